"""Multivectors in the index against brute force: random histories, reopening, building, all metrics and datatypes."""

from pathlib import Path

import numpy as np
import pytest

from qnode.index import check, reading
from qnode.index.vectors import scoring
from qnode.index.vectors.query import normalised
from qnode.models.columns import column_of
from qnode.models.filter import Filter, HasId
from qnode.models.operation import Upsert
from qnode.models.point_id import PointKey, key_of
from qnode.models.query import Nearest, QueryRequest, SearchParams, Vector
from qnode.models.vector_params import Datatype, Distance, IndexParams, VectorParams
from tests.index.histories import History

DIM = 8


class MultiHistory(History[Vector]):
    """Random operations on an index of multivectors."""

    def __init__(self, path: Path, params: VectorParams, seed: int, threshold_kb: int = 4) -> None:
        super().__init__(path, IndexParams((params,), indexing_threshold_kb=threshold_kb), "", seed, ids=150, most=30)

    def vector(self, longest: int = 5) -> Vector:
        rows = self.random.standard_normal((self.random.integers(1, longest + 1), DIM)).astype(np.float32)
        params = self.params.vectors[0]
        if params.datatype is Datatype.UINT8:
            rows = np.abs(rows * 60)
        return normalised(rows) if scoring.normalises(params) else rows

    def stored(self, rows: Vector) -> Vector:
        return scoring.to_stored(rows, self.params.vectors[0].datatype).astype(np.float32)

    def check(self) -> None:
        assert list(check.faults(self.index)) == []
        held = self.held
        space = self.index.spaces[0]
        assert space.count == len(held)
        self.check_read_back(assert_equal)
        query = self.vector()
        expected = brute_force(self.params.vectors[0], query, held)
        for exact in (True, False):
            found = reading.search(
                self.index, QueryRequest(None, limit=10, params=SearchParams(exact=exact, hnsw_ef=400)), query
            )
            assert_same(found, expected[:10])
        few = set(list(self.points)[::20])
        found = reading.search(self.index, QueryRequest(None, filter=Filter(must=(HasId(frozenset(few)),))), query)
        assert_same(found, [(score, key) for score, key in expected if key in few][:10])


def assert_equal(got: object, rows: Vector) -> None:
    assert isinstance(got, np.ndarray)
    assert np.array_equal(got, rows)


def assert_same(found: object, expected: list[tuple[float, PointKey]]) -> None:
    assert [point.key for point in found] == [key for _, key in expected]  # type: ignore[attr-defined]
    scores = [float(point.score) for point in found]  # type: ignore[attr-defined]
    assert scores == pytest.approx([score for score, _ in expected], rel=2e-3, abs=2e-3)


def brute_force(params: VectorParams, query: Vector, held: dict[PointKey, Vector]) -> list[tuple[float, PointKey]]:
    wide = scoring.to_stored(query, params.datatype).astype(np.float64)
    found = []
    for key, rows in held.items():
        stored = rows.astype(np.float64)
        match params.distance:
            case Distance.EUCLID:
                each = -((wide[:, None] - stored[None]) ** 2).sum(2)
            case Distance.MANHATTAN:
                each = -np.abs(wide[:, None] - stored[None]).sum(2)
            case _:
                each = wide @ stored.T
                if params.distance is Distance.COSINE and params.datatype is Datatype.UINT8:
                    each = each / np.linalg.norm(wide, axis=1)[:, None] / np.linalg.norm(stored, axis=1)[None]
        total = float(each.max(1).sum())
        if params.distance is Distance.EUCLID:
            total = abs(total) ** 0.5
        found.append((abs(total) if params.distance is Distance.MANHATTAN else total, key))
    return sorted(found, key=lambda hit: hit[0], reverse=not params.distance.smaller_is_better)


@pytest.mark.parametrize(
    ("distance", "datatype"),
    [
        (Distance.COSINE, Datatype.FLOAT32),
        (Distance.DOT, Datatype.FLOAT16),
        (Distance.EUCLID, Datatype.FLOAT32),
        (Distance.MANHATTAN, Datatype.FLOAT32),
        (Distance.COSINE, Datatype.UINT8),
    ],
)
def test_a_history_of_multivectors_gives_what_brute_force_gives(
    tmp_path: Path, distance: Distance, datatype: Datatype
) -> None:
    seed = 11
    params = VectorParams("", 0, DIM, distance, datatype, m=8, ef_construct=32, multivector=True)
    history = MultiHistory(tmp_path / "shard", params, seed)
    history.live(rounds=2, steps=12, copied_in=1)


def test_a_large_segment_is_searched_by_candidates_and_finds_nearly_all(tmp_path: Path) -> None:
    seed = 12
    params = VectorParams("", 0, DIM, Distance.COSINE, m=16, ef_construct=64, multivector=True)
    history = MultiHistory(tmp_path / "shard", params, seed, threshold_kb=64)
    topics = history.random.standard_normal((500, DIM)).astype(np.float32)

    def text(rows: int) -> Vector:
        about = topics[history.random.integers(len(topics))]
        return normalised(about + 0.5 * history.random.standard_normal((rows, DIM)).astype(np.float32))

    keys = [key_of(number) for number in range(2500)]
    vectors = [text(10) for _ in keys]
    history.apply(Upsert(keys, [b"{}"] * len(keys), {"": column_of(np.arange(len(keys), dtype=np.int32), vectors)}))
    history.points = {key: history.stored(rows) for key, rows in zip(keys, vectors, strict=True)}
    history.build()
    space = history.index.spaces[0]
    assert space.indexed_count > 2400
    held = {key: rows for key, rows in history.points.items() if rows is not None}
    hits = 0
    for _ in range(20):
        query = text(4)
        best = {key for _, key in brute_force(params, query, held)[:10]}
        found = reading.search(history.index, QueryRequest(Nearest(query), params=SearchParams(hnsw_ef=80)), query)
        hits += len(best & {point.key for point in found})
    print(hits)
    assert hits >= 190
    history.index.close()
