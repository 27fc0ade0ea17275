"""A copy of an index, made while it changes: it holds one state, whole."""

import gc
import resource
import shutil
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xxhash

from qnode.errors import Corruption, InternalError, OutOfSpace
from qnode.index import Index, compaction, maintenance, reading
from qnode.index.builders import write_job
from qnode.index.check import faults
from qnode.index.copying import copy_index, files_of_copy, hold, is_file_of_an_index
from qnode.index.vectors import BuildJob
from qnode.index.vectors.build import build
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


def build_here(driver: Driver) -> None:
    """Do all builds that are due in this process, which takes no start of another."""
    while maintenance.is_due(driver.index):
        planned = maintenance.begin_build(driver.index)
        if planned is None:  # it had only to drop what holds no living row
            continue
        build(BuildJob.from_json(write_job(planned, threads=1).read_bytes()))
        maintenance.install(driver.index, planned)
        planned.clean_up()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index with a sealed and a growing segment, dead rows and a payload index."""
    made = Driver(tmp_path_factory.mktemp("copying") / "shard", ONE)
    maintenance.create_field(made.index, "n", FieldSchema("integer"))
    made.apply(upsert(range(POINTS), vectors(POINTS), [{"n": n % 10} for n in range(POINTS)]))
    build_here(made)
    made.apply(upsert(range(50), vectors(50, seed=1)), Delete([key_of(n) for n in range(90, 100)]))
    while not maintenance.step_fields(made.index, 1000):
        pass
    made.index.close()
    return made.path


@pytest.fixture
def driver(model: Path, tmp_path: Path) -> Iterator[Driver]:
    shutil.copytree(model, tmp_path / "shard")
    made = Driver(tmp_path / "shard", ONE)
    yield made
    made.index.close()


def test_a_copy_holds_what_the_index_held(driver: Driver, tmp_path: Path) -> None:
    applied_op = copy_index(driver.index, tmp_path / "copy")
    assert applied_op == driver.index.applied_op
    assert opened_state(tmp_path / "copy") == (applied_op, state(driver.index))
    assert driver.index.store.is_held is False


def test_a_copy_without_hard_links_holds_the_same(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, target: Path) -> None:
        raise PermissionError

    build_here(driver)
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    copy_index(driver.index, tmp_path / "copy")
    sealed = list((tmp_path / "copy" / "segments").glob("*/links.bin"))
    assert [file.stat().st_nlink for file in sealed] == [1]
    assert opened_state(tmp_path / "copy") == (driver.index.applied_op, state(driver.index))


def test_posting_lists_that_have_pages_of_their_own_are_copied_and_compacted(tmp_path: Path) -> None:
    count = 5000  # of one value: more than a list in a page of others holds
    made = Driver(tmp_path / "shard", ONE)
    maintenance.create_field(made.index, "n", FieldSchema("integer"))
    made.apply(upsert(range(count), vectors(count), [{"n": 7}] * count))
    while not maintenance.step_fields(made.index, 1000):
        pass
    expected = state(made.index)
    copy_index(made.index, tmp_path / "copy")
    assert opened_state(tmp_path / "copy") == (made.index.applied_op, expected)
    compaction.compact(made.index.store)
    assert list(faults(made.index)) == []
    assert state(made.index) == expected
    made.index.close()


def test_a_copy_of_an_empty_index_is_empty(tmp_path: Path) -> None:
    empty = Driver(tmp_path / "shard", ONE)
    assert copy_index(empty.index, tmp_path / "copy") == 0
    assert opened_state(tmp_path / "copy") == (0, [])
    empty.index.close()


def test_a_copy_is_of_the_moment_of_hold_whatever_happens_before_it_is_written(driver: Driver, tmp_path: Path) -> None:
    expected, before = state(driver.index), driver.index.manifest.segments
    with closing(hold(driver.index)) as held:
        driver.apply(upsert(range(40, 600), vectors(560, seed=2)), Delete([key_of(n) for n in range(600, 700)]))
        maintenance.configure(driver.index, replace(ONE, vectors=(replace(ONE.vectors[0], m=4),)))  # all is built anew
        build_here(driver)
        gc.collect()  # nothing but the copy shall be what keeps the replaced segments' files
        driver.apply(upsert(range(5000, 5400), vectors(400, seed=3)))
        assert held.write(tmp_path / "copy") == held.applied_op
    assert not {entry.id for entry in before} & {entry.id for entry in driver.index.manifest.segments}
    assert opened_state(tmp_path / "copy") == (held.applied_op, expected)


def test_writing_to_a_copy_leaves_the_index_as_it_is(driver: Driver, tmp_path: Path) -> None:
    copy_index(driver.index, tmp_path / "copy")
    expected = state(driver.index)
    copied = Driver(tmp_path / "copy", ONE)
    copied.apply(upsert(range(POINTS), vectors(POINTS, seed=4)))
    build_here(copied)
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
        with closing(hold(driver.index)) as held:
            writing = threading.Thread(target=held.write, args=(tmp_path / str(number),))
            writing.start()
            for _ in range(5):
                ids = chance.choice(POINTS, 60, replace=False).tolist()
                driver.apply(upsert(ids, vectors(60, seed=int(chance.integers(1 << 30)))))
                driver.apply(Delete([key_of(n) for n in chance.choice(POINTS, 3).tolist()]))
            writing.join()
        expected[driver.index.applied_op] = state(driver.index)
        written.append(tmp_path / str(number))
    for folder in written:
        applied_op, read = opened_state(folder)
        assert read == expected[applied_op]


def test_a_store_that_is_held_is_not_compacted(driver: Driver, tmp_path: Path) -> None:
    before = (driver.path / "store" / "data.mdb").stat().st_ino
    with closing(hold(driver.index)):
        compaction.compact(driver.index.store)
        assert (driver.path / "store" / "data.mdb").stat().st_ino == before
    compaction.compact(driver.index.store)
    assert (driver.path / "store" / "data.mdb").stat().st_ino != before


def test_a_growing_file_that_is_too_short_is_named(driver: Driver, tmp_path: Path) -> None:
    growing = driver.index.spaces[0].growing
    assert growing is not None
    file = growing.segment.directory / "entries.bin"
    with file.open("r+b") as shortened:
        shortened.truncate(10)
    with closing(hold(driver.index)) as held, pytest.raises(Corruption, match=r"entries\.bin"):
        held.write(tmp_path / "copy")


def test_a_copy_whose_last_bytes_find_no_room_is_refused(driver: Driver, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with closing(hold(driver.index)) as held:
        most_bytes = max(file.size_bytes for file in held.files() if not file.is_final)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes - 1, hard))
        try:
            with pytest.raises(OutOfSpace):
                held.write(tmp_path / "copy")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_files_of_a_copy_are_listed_and_nothing_else_is_taken_for_one(driver: Driver, tmp_path: Path) -> None:
    copy_index(driver.index, tmp_path / "copy")
    listed = files_of_copy(tmp_path / "copy")
    assert listed[0].path == "store/data.mdb"
    assert len(listed) == sum(path.is_file() for path in (tmp_path / "copy").rglob("*"))
    for file in listed:
        assert is_file_of_an_index(file.path)
        content = (tmp_path / "copy" / file.path).read_bytes()
        assert (file.size_bytes, file.xxh3) == (len(content), xxhash.xxh3_64_hexdigest(content))
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
