"""Vectors that are added to an open index and taken away from it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qnode.errors import BadInput, OlderSettings
from qnode.index import Index, check, maintenance, reading
from qnode.models.columns import column_of
from qnode.models.filter import Filter, HasVector
from qnode.models.operation import DeleteVectors, OverwritePayload, UpdateVectors, Upsert, VectorColumn
from qnode.models.point_id import key_of
from qnode.models.query import ALL_VECTORS, CountRequest, Nearest, QueryRequest, RetrieveRequest
from qnode.models.vector_params import Distance, IndexParams, VectorParams

FIRST, KEYS = VectorParams("a", 0, 2, Distance.DOT), [key_of(number) for number in range(4)]
BEFORE = IndexParams((FIRST,))
ADDED = IndexParams((FIRST, VectorParams("b", 1, 3, Distance.DOT)), next_slot=2)
REMOVED = replace(BEFORE, next_slot=2)
AGAIN = IndexParams((FIRST, VectorParams("b", 2, 3, Distance.DOT, multivector=True)), next_slot=3)
EVERYWHERE = np.arange(4, dtype=np.int32)


def column(size: int, first: float = 0.0) -> VectorColumn:
    return VectorColumn(EVERYWHERE, np.arange(first, first + 4 * size, dtype=np.float32).reshape(4, size))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where there is an index with four points."""
    index = Index.open(tmp_path / "shard", BEFORE)
    index.apply([(1, Upsert(KEYS, [b"{}"] * 4, {"a": column(2)}))])
    index.close()
    return tmp_path / "shard"


def vectors_of(index: Index, key: bytes) -> dict[str, object]:
    [point] = reading.retrieve(index, RetrieveRequest((key,), with_vector=ALL_VECTORS))
    assert point.vectors is not None
    return {name: np.asarray(vector).tolist() for name, vector in point.vectors.items()}


def having(index: Index, name: str) -> int:
    return reading.count(index, CountRequest(Filter(must=(HasVector(name),))))


def test_a_vector_that_is_added_is_written_and_searched_beside_the_others(path: Path) -> None:
    index = Index.open(path, BEFORE)
    maintenance.configure(index, ADDED)
    assert vectors_of(index, KEYS[0]) == {"a": [0.0, 1.0]}
    index.apply([(2, UpdateVectors(KEYS, {"b": column(3)}, {"b": 1}))])
    for _ in range(2):
        assert vectors_of(index, KEYS[1]) == {"a": [2.0, 3.0], "b": [3.0, 4.0, 5.0]}
        query = np.ones(3, np.float32)
        [best, *_] = reading.search(index, QueryRequest(Nearest(query), "b"), query)
        assert (best.key, best.score) == (KEYS[3], 30.0)
        assert having(index, "b") == 4
        assert list(check.faults(index)) == []
        index.close()
        index = Index.open(path, ADDED)
    index.close()


def test_a_vector_that_is_taken_away_leaves_nothing_and_one_of_its_name_begins_empty(path: Path) -> None:
    index = Index.open(path, ADDED)
    index.apply([(2, UpdateVectors(KEYS, {"b": column(3)}, {"b": 1}))])
    assert having(index, "b") == 4
    maintenance.configure(index, REMOVED)
    assert vectors_of(index, KEYS[1]) == {"a": [2.0, 3.0]}
    with pytest.raises(BadInput, match="Not existing vector name error: b"):
        reading.vector_of(index, KEYS[1], "b")
    assert {entry.slot for entry in index.manifest.segments} == {0}
    maintenance.configure(index, AGAIN)
    assert having(index, "b") == 0
    assert vectors_of(index, KEYS[1]) == {"a": [2.0, 3.0]}
    rows = [np.ones((2, 3), np.float32)] * 4
    index.apply([(3, UpdateVectors(KEYS, {"b": column_of(EVERYWHERE, rows)}, {"b": 2}))])
    assert vectors_of(index, KEYS[1]) == {"a": [2.0, 3.0], "b": rows[0].tolist()}
    assert list(check.faults(index)) == []
    index.close()


def test_a_vector_that_went_while_the_index_was_closed_is_gone_when_it_is_opened(path: Path) -> None:
    index = Index.open(path, ADDED)
    index.apply([(2, UpdateVectors(KEYS, {"b": column(3)}, {"b": 1}))])
    index.close()
    index = Index.open(path, AGAIN)
    assert {entry.slot for entry in index.manifest.segments} == {0}
    assert sorted(folder.name for folder in (path / "segments").iterdir()) == ["1"]
    assert having(index, "b") == 0
    index.apply(
        [(3, Upsert(KEYS[:1], [b"{}"], {"a": VectorColumn(EVERYWHERE[:1], np.ones((1, 2), np.float32))}, {"a": 0}))]
    )
    assert list(check.faults(index)) == []
    index.close()


def test_operations_about_a_slot_that_is_gone_pass_it_over(path: Path) -> None:
    index = Index.open(path, AGAIN)
    index.apply(
        [
            (2, Upsert(KEYS, [b"{}"] * 4, {"a": column(2, 1), "b": column(3)}, {"a": 0, "b": 1})),
            (3, UpdateVectors(KEYS, {"b": column(3)}, {"b": 1})),
            (4, DeleteVectors(KEYS, ["b"], {"b": 1})),
        ]
    )
    assert vectors_of(index, KEYS[0]) == {"a": [1.0, 2.0]}
    assert having(index, "b") == 0
    assert list(check.faults(index)) == []
    index.close()


def test_operations_wait_for_settings_that_know_their_slots(path: Path) -> None:
    index = Index.open(path, BEFORE)
    added = UpdateVectors(KEYS, {"b": column(3)}, {"b": 1})
    with pytest.raises(OlderSettings):
        index.apply([(2, added)])
    assert index.applied_op == 1
    maintenance.configure(index, ADDED)
    index.apply([(2, added)])
    index.close()
    older = Index.open(path, BEFORE)  # as a node that starts before it has heard all
    with pytest.raises(OlderSettings):
        older.apply([(3, OverwritePayload(KEYS, b"{}"))])
    maintenance.configure(older, ADDED)
    older.apply([(3, OverwritePayload(KEYS, b"{}"))])
    assert vectors_of(older, KEYS[1]) == {"a": [2.0, 3.0], "b": [3.0, 4.0, 5.0]}
    assert list(check.faults(older)) == []
    older.close()
