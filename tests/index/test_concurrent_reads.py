"""Reads in other threads while the writer changes, builds and forgets: a point that is there is never missed."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from qnode.index import Index, reading
from qnode.models.operation import Upsert, VectorColumn
from qnode.models.point_id import PointKey, key_of
from qnode.models.query import ALL_VECTORS, Nearest, QueryRequest, RetrieveRequest
from qnode.models.vector_params import Distance, IndexParams, VectorParams

POINTS, DIM, COMMITS, CHANGED = 200, 8, 60, 20
KEYS = tuple(key_of(number) for number in range(POINTS))
VECTORS = np.random.default_rng(5).standard_normal((POINTS, DIM)).astype(np.float32)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    opened = Index.open(tmp_path / "shard", IndexParams((VectorParams("", 0, DIM, Distance.DOT),)))
    opened.apply([(1, rewriting(np.arange(POINTS)))])
    yield opened
    opened.close()


def rewriting(numbers: np.ndarray) -> Upsert:
    """The same vectors again, so that every read has the same answer before, after, and at any moment between."""
    column = VectorColumn(np.arange(len(numbers), dtype=np.int32), VECTORS[numbers])
    return Upsert([KEYS[number] for number in numbers.tolist()], [b"{}"] * len(numbers), {"": column})


@contextmanager
def repeated(*reads: Callable[[], None]) -> Iterator[None]:
    """Run each read again and again, in a thread of its own, until the block ends; then raise what one has raised."""
    ended = threading.Event()
    faults: list[BaseException] = []

    def repeat(read: Callable[[], None]) -> None:
        try:
            while not ended.is_set():
                read()
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=repeat, args=(read,)) for read in reads]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    if faults:
        raise faults[0]


def rewrite_often(index: Index) -> None:
    generator = np.random.default_rng(6)
    for op_num in range(2, COMMITS):
        index.apply([(op_num, rewriting(generator.choice(POINTS, CHANGED, replace=False)))])


def test_a_search_misses_no_point_that_is_being_rewritten(index):
    def search() -> None:
        found = reading.search(index, QueryRequest(Nearest(VECTORS[0]), limit=POINTS), VECTORS[0])
        assert {point.key for point in found} == set(KEYS)

    with repeated(search, search):
        rewrite_often(index)


def test_vectors_are_read_while_they_are_rewritten(index):
    def retrieve() -> None:
        found = reading.retrieve(index, RetrieveRequest(KEYS, with_vector=ALL_VECTORS))
        assert np.array_equal(np.array([point.vectors[""] for point in found]), VECTORS)

    keys: Iterator[tuple[int, PointKey]] = iter(())

    def read_one() -> None:
        nonlocal keys
        number, key = next(keys, (0, KEYS[0]))
        if number == 0:
            keys = iter(list(enumerate(KEYS))[1:])
        assert np.array_equal(reading.vector_of(index, key, ""), VECTORS[number])

    with repeated(retrieve, read_one):
        rewrite_often(index)
