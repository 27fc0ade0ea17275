"""A long upload while the builder is busy: growing segments are closed by the writer itself."""

from pathlib import Path

import numpy as np
import pytest

from qnode.index import Index, planning, reading
from qnode.models.operation import Upsert, VectorColumn
from qnode.models.point_id import id_of, key_of
from qnode.models.query import Nearest, QueryRequest
from qnode.models.vector_params import Distance, IndexParams, VectorParams

DIM, ROWS, BATCHES = 8, 100, 6
PARAMS = IndexParams((VectorParams("", 0, DIM, Distance.EUCLID),), indexing_threshold_kb=1)


def batch(number: int, vectors: np.ndarray) -> tuple[int, Upsert]:
    keys = [key_of(number * ROWS + at) for at in range(ROWS)]
    rows = vectors[number * ROWS : (number + 1) * ROWS]
    return number + 1, Upsert(keys, [b"{}"] * ROWS, {"": VectorColumn(np.arange(ROWS, dtype=np.int32), rows)})


def test_an_unbuilt_upload_lies_in_closed_pieces_and_is_found_also_after_a_reopen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "PIECE_BYTES", 2 * ROWS * DIM * 4 - 1)
    vectors = np.random.default_rng(5).standard_normal((BATCHES * ROWS, DIM)).astype(np.float32)
    index = Index.open(tmp_path, PARAMS)
    for number in range(BATCHES):
        index.apply([batch(number, vectors)])
    for _ in range(2):
        assert [(part.rows, part.is_full) for part in index.spaces[0].parts] == [(200, True), (200, True), (200, False)]
        for number in (0, 250, 599):
            request = QueryRequest(Nearest(vectors[number]), limit=1)
            assert [id_of(point.key) for point in reading.search(index, request, vectors[number])] == [number]
        index.close()
        index = Index.open(tmp_path, PARAMS)
    index.close()


def test_a_segment_closed_by_a_write_that_failed_is_open_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "PIECE_BYTES", ROWS * DIM * 4 - 1)
    vectors = np.random.default_rng(6).standard_normal((2 * ROWS, DIM)).astype(np.float32)
    index = Index.open(tmp_path, PARAMS)
    index.apply([batch(0, vectors)])
    op_num, upsert = batch(1, vectors)
    broken = Upsert(upsert.keys, [b"{"] * ROWS, {"": VectorColumn(upsert.vectors[""].at, vectors[:, :3])})
    with pytest.raises(AssertionError):
        index.apply([(op_num, broken)])
    assert [(part.rows, part.is_full) for part in index.spaces[0].parts] == [(ROWS, False)]
    index.apply([(op_num, upsert)])
    assert [(part.rows, part.is_full) for part in index.spaces[0].parts] == [(ROWS, True), (ROWS, False)]
    index.close()
