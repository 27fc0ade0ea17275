"""Columns of vectors of each kind, and their place in the records of the log."""

import numpy as np
import pytest

from qnode.models.columns import as_multi, chosen, column_of, joined, size_bytes, vectors_of
from qnode.models.operation import Column, MultiColumn, SparseColumn, Upsert, VectorColumn, decode, encode
from qnode.models.point_id import key_of
from qnode.models.query import AnyVector, SparseVector

WRITTEN_BEFORE = bytes.fromhex(
    "85a17601a26f70a6757073657274a46b65797392c409000000000000000001c409000000000000000002a87061796c6f61647392c402"
    "7b7dc4077b2261223a317da7766563746f727381a09302c4080000000001000000c4100000003f0000803f00000040000040c0"
)
"""A record of a version that knew dense vectors alone: two points, unnamed vectors."""


def rows_of(column: Column) -> list[object]:
    return [_plain(vector) for vector in vectors_of(column)]


def _plain(vector: AnyVector) -> object:
    return (vector.indices.tolist(), vector.values.tolist()) if isinstance(vector, SparseVector) else vector.tolist()


def columns(seed: int) -> list[tuple[list[AnyVector], Column]]:
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 4, 6)
    kinds: list[list[AnyVector]] = [
        [random.standard_normal(3).astype(np.float32) for _ in range(6)],
        [random.standard_normal((length, 3)).astype(np.float32) for length in lengths],
        [
            SparseVector(
                np.arange(length - 1, dtype=np.uint32) * 7, random.standard_normal(length - 1).astype(np.float32)
            )
            for length in lengths
        ],
    ]
    at = np.array([0, 2, 3, 5, 8, 9], np.int32)
    return [(vectors, column_of(at, vectors)) for vectors in kinds]


@pytest.mark.parametrize("seed", range(3))
def test_a_column_gives_its_vectors_as_they_were_also_of_some_places_and_joined(seed: int) -> None:
    for vectors, column in columns(seed):
        plain = [_plain(vector) for vector in vectors]
        assert rows_of(column) == plain
        some = chosen(column, np.array([1, 4], np.int32), np.array([3, 1], np.intp))
        assert some.at.tolist() == [1, 4]
        assert rows_of(some) == [plain[3], plain[1]]
        assert rows_of(chosen(column, column.at[:0], np.empty(0, np.intp))) == []
        assert rows_of(joined([some, column])) == [plain[3], plain[1], *plain]
        assert size_bytes(column) > size_bytes(some)


def test_a_dense_vector_is_a_multivector_of_one_row() -> None:
    dense = VectorColumn(np.array([0, 2], np.int32), np.array([[1, 2], [3, 4]], np.float32))
    multi = as_multi(dense)
    assert rows_of(multi) == [[[1.0, 2.0]], [[3.0, 4.0]]]
    assert as_multi(multi) is multi


@pytest.mark.parametrize("seed", range(3))
def test_a_record_of_the_log_gives_columns_of_all_kinds_back(seed: int) -> None:
    named = dict(zip(("dense", "multi", "sparse"), (column for _, column in columns(seed)), strict=True))
    keys = [key_of(number) for number in range(10)]
    read = decode(encode(Upsert(keys, [b"{}"] * 10, named)))
    assert isinstance(read, Upsert)
    for name, column in named.items():
        assert type(read.vectors[name]) is type(column)
        for field in type(column).__slots__:
            given, found = getattr(column, field), getattr(read.vectors[name], field)
            assert (given.dtype, given.shape, given.tolist()) == (found.dtype, found.shape, found.tolist())


def test_a_record_of_dense_vectors_alone_is_read_and_written_as_it_was_before_there_were_others() -> None:
    read = decode(WRITTEN_BEFORE)
    assert isinstance(read, Upsert)
    assert rows_of(read.vectors[""]) == [[0.5, 1.0], [2.0, -3.0]]
    assert encode(read) == WRITTEN_BEFORE
    assert not isinstance(read.vectors[""], MultiColumn | SparseColumn)
