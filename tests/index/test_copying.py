"""A copy of an index, made while it changes: it holds one state, whole."""

import gc
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from qnode.errors import Corruption, InternalError
from qnode.index import Index, compaction, maintenance, reading
from qnode.index.check import faults
from qnode.index.copying import copy_index, files_of_copy, hold, is_file_of_an_index
from qnode.models.field_schema import FieldSchema
from qnode.models.operation import Delete
from qnode.models.point_id import key_of
from qnode.models.query import ALL_PAYLOAD, ALL_VECTORS, ScrollRequest
from tests.index.test_index import ONE, Driver, upsert, vectors

SEED = 7
POINTS = 700

State = list[tuple[bytes, int, bytes, bytes]]


def state(index: Index) -> State:
    """Everything that can be read of all points, in order."""
    points = reading.scroll(index, ScrollRequest(limit=10**6, with_payload=ALL_PAYLOAD, with_vector=ALL_VECTORS))
    return [(p.key, p.version, bytes(p.payload), p.vectors[""].tobytes()) for p in points]


def opened_state(folder: Path) -> tuple[int, State]:
    """Open a copy, check it, and read it; it can be written to as well."""
    index = Index.open(folder, ONE, verify=True)
    try:
        assert list(faults(index)) == []
        applied_op, read = index.applied_op, state(index)
        index.apply([(applied_op + 1, upsert([10**6], vectors(1)))])
        assert index.points_count == len(read) + 1
        return applied_op, read
    finally:
        index.close()


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    """An index with a sealed and a growing segment, dead rows and a payload index."""
    made = Driver(tmp_path / "shard", ONE)
    maintenance.create_field(made.index, "n", FieldSchema("integer"))
    made.apply(upsert(range(POINTS), vectors(POINTS), [{"n": n % 10} for n in range(POINTS)]))
    made.build()
    made.apply(upsert(range(50), vectors(50, seed=1)), Delete([key_of(n) for n in range(90, 100)]))
    while not maintenance.step_fields(made.index, 1000):
        pass
    yield made
    made.index.close()


def test_a_copy_holds_what_the_index_held(driver: Driver, tmp_path: Path) -> None:
    applied_op = copy_index(driver.index, tmp_path / "copy")
    assert applied_op == driver.index.applied_op
    assert opened_state(tmp_path / "copy") == (applied_op, state(driver.index))
    assert driver.index.store.is_held is False


def test_a_copy_of_an_empty_index_is_empty(tmp_path: Path) -> None:
    empty = Driver(tmp_path / "shard", ONE)
    assert copy_index(empty.index, tmp_path / "copy") == 0
    assert opened_state(tmp_path / "copy") == (0, [])
    empty.index.close()


def test_a_copy_is_of_the_moment_of_hold_whatever_happens_before_it_is_written(driver: Driver, tmp_path: Path) -> None:
    expected = state(driver.index)
    held = hold(driver.index)
    before = {path.name for path in (driver.path / "segments").iterdir()}
    driver.apply(upsert(range(40, 600), vectors(560, seed=2)), Delete([key_of(n) for n in range(600, 700)]))
    driver.build()
    gc.collect()  # a search that ended long ago must not be what keeps the replaced segments' files
    driver.apply(upsert(range(5000, 5400), vectors(400, seed=3)))
    assert held.write(tmp_path / "copy") == held.applied_op
    held.release()
    assert not before & {str(entry.id) for entry in driver.index.manifest.segments}
    assert opened_state(tmp_path / "copy") == (held.applied_op, expected)


def test_writing_to_a_copy_leaves_the_index_as_it_is(driver: Driver, tmp_path: Path) -> None:
    copy_index(driver.index, tmp_path / "copy")
    expected = state(driver.index)
    copied = Driver(tmp_path / "copy", ONE)
    copied.apply(upsert(range(POINTS), vectors(POINTS, seed=4)))
    copied.build()
    copied.index.close()
    driver.reopen()
    assert state(driver.index) == expected
    assert list(faults(driver.index)) == []


def test_every_copy_beside_a_busy_writer_holds_one_state(driver: Driver, tmp_path: Path) -> None:
    print(f"seed {SEED}")
    chance = np.random.default_rng(SEED)
    expected = {driver.index.applied_op: state(driver.index)}
    written: list[Path] = []
    for number in range(4):
        held = hold(driver.index)
        writing = threading.Thread(target=held.write, args=(tmp_path / str(number),))
        writing.start()
        for _ in range(5):
            ids = chance.choice(POINTS, 60, replace=False).tolist()
            driver.apply(upsert(ids, vectors(60, seed=int(chance.integers(1 << 30)))))
            driver.apply(Delete([key_of(n) for n in chance.choice(POINTS, 3).tolist()]))
        writing.join()
        held.release()
        expected[driver.index.applied_op] = state(driver.index)
        written.append(tmp_path / str(number))
    for folder in written:
        applied_op, read = opened_state(folder)
        assert read == expected[applied_op]


def test_a_store_that_is_held_is_not_compacted(driver: Driver, tmp_path: Path) -> None:
    held = hold(driver.index)
    before = (driver.path / "store" / "data.mdb").stat().st_ino
    compaction.compact(driver.index.store)
    assert (driver.path / "store" / "data.mdb").stat().st_ino == before
    held.release()
    compaction.compact(driver.index.store)
    assert (driver.path / "store" / "data.mdb").stat().st_ino != before


def test_a_growing_file_that_is_too_short_is_named(driver: Driver, tmp_path: Path) -> None:
    growing = driver.index.spaces[0].growing
    assert growing is not None
    file = growing.segment.directory / "entries.bin"
    held = hold(driver.index)
    with file.open("r+b") as shortened:
        shortened.truncate(10)
    with pytest.raises(Corruption, match=r"entries\.bin"):
        held.write(tmp_path / "copy")
    held.release()


def test_the_files_of_a_copy_are_listed_and_nothing_else_is_taken_for_one(driver: Driver, tmp_path: Path) -> None:
    copy_index(driver.index, tmp_path / "copy")
    listed = files_of_copy(tmp_path / "copy")
    assert listed[0] == "store/data.mdb"
    assert all(is_file_of_an_index(path) for path in listed)
    for path in (
        "../store/data.mdb",
        "/etc/passwd",
        "store/lock.mdb",
        "segments/../../x.bin",
        "segments/1/",
        "segments/1/x.bin\n",
        "segments/1/a/b.bin",
        "",
        "wal/1.log",
    ):
        assert not is_file_of_an_index(path)
    (tmp_path / "copy" / "note.txt").write_text("x")
    with pytest.raises(InternalError, match=r"note\.txt"):
        files_of_copy(tmp_path / "copy")
