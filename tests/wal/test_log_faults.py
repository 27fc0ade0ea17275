"""The log on a disk that is full, stops short, fails to sync, or loses power between two calls."""

import random
from pathlib import Path

import pytest

from qnode.errors import InternalError, OutOfSpace
from qnode.wal.log import Log, Record
from tests.support.faulty_disk import FaultyDisk, PowerCut


def record(op_num: int, payload: bytes = b"payload") -> Record:
    return Record(1, op_num, payload)


@pytest.fixture
def disk(tmp_path: Path) -> FaultyDisk:
    return FaultyDisk(tmp_path, random.Random(7))


def test_full_disk_refuses_a_group_whole_and_goes_on_when_there_is_room(tmp_path: Path, disk: FaultyDisk) -> None:
    log = Log.open(tmp_path, disk)
    log.append([record(1)])
    log.sync()
    size = log.size_bytes
    for free_bytes in range(0, 130, 13):
        disk.free_bytes = free_bytes
        with pytest.raises(OutOfSpace, match=r"Insufficient storage: .*took no more records: No space left"):
            log.append([record(2, bytes(50)), record(3, bytes(50))])
        assert (log.next_op, log.size_bytes) == (2, size)
        assert list(log.read(1)) == [record(1)]
    disk.free_bytes = None
    log.append([record(2)])
    log.sync()
    disk.crash()
    assert list(Log.open(tmp_path, disk).read(1)) == [record(1), record(2)]


@pytest.mark.parametrize("seed", range(20))
def test_refused_record_does_not_come_back_after_a_crash(tmp_path: Path, seed: int) -> None:
    disk = FaultyDisk(tmp_path, random.Random(seed))
    log = Log.open(tmp_path, disk)
    disk.free_bytes = 150
    with pytest.raises(OutOfSpace):
        log.append([record(1), record(2), record(3, bytes(100))])
    disk.crash()
    assert list(Log.open(tmp_path, disk).read(1)) == []


@pytest.mark.parametrize("seed", range(20))
def test_record_that_an_opened_log_does_not_hold_stays_away(tmp_path: Path, seed: int) -> None:
    disk = FaultyDisk(tmp_path, random.Random(seed))
    log = Log.open(tmp_path, disk)
    log.append([record(1)])
    log.sync()
    disk.free_bytes, disk.fail_next_syncs = 100, 1
    with pytest.raises(InternalError, match="could not be cut back"):
        log.append([record(2), record(3), record(4, bytes(100))])
    disk.kill()
    assert list(Log.open(tmp_path, disk).read(1)) == [record(1)]
    disk.crash()
    assert list(Log.open(tmp_path, disk).read(1)) == [record(1)]


def test_full_disk_refuses_a_new_file_and_keeps_the_old(tmp_path: Path, disk: FaultyDisk) -> None:
    log = Log.open(tmp_path, disk, file_bytes=100)
    log.append([record(1, bytes(100))])
    log.sync()
    for free_bytes in (0, 20, 28, 60):
        disk.free_bytes = free_bytes
        with pytest.raises(OutOfSpace):
            log.append([record(2)])
    assert [path.name for path in tmp_path.iterdir()] == [f"{1:020}.log"]
    disk.free_bytes = None
    log.append([record(2)])
    log.close()
    assert len(list(tmp_path.iterdir())) == 2
    assert [r.op_num for r in Log.open(tmp_path, read_only=True).read(1)] == [1, 2]


def test_sync_on_a_full_disk_makes_durable_without_a_mark(tmp_path: Path, disk: FaultyDisk) -> None:
    log = Log.open(tmp_path, disk)
    disk.free_bytes = 100
    log.append([record(1, bytes(60))])
    log.sync()
    disk.crash()
    disk.free_bytes = 0
    assert list(Log.open(tmp_path, disk).read(1)) == [record(1, bytes(60))]


def test_short_writes_are_continued(tmp_path: Path, disk: FaultyDisk) -> None:
    log = Log.open(tmp_path, disk)
    disk.short_writes = True
    group = [record(op_num, bytes([op_num]) * 5000 * (op_num % 2)) for op_num in range(1, 30)]
    log.append(group)
    log.sync()
    disk.crash()
    assert list(Log.open(tmp_path, disk).read(1)) == group


def test_failed_write_leaves_the_log_as_it_was(tmp_path: Path, disk: FaultyDisk) -> None:
    log = Log.open(tmp_path, disk)
    log.append([record(1)])
    disk.fail_next_writes = 1
    with pytest.raises(InternalError, match="took no more records"):
        log.append([record(2)])
    log.append([record(2)])
    log.close()
    assert list(log.read(1)) == [record(1), record(2)]


def test_log_accepts_nothing_more_after_a_failed_sync(tmp_path: Path, disk: FaultyDisk) -> None:
    log = Log.open(tmp_path, disk)
    log.append([record(1)])
    log.sync()
    log.append([record(2)])
    disk.fail_next_syncs = 1
    with pytest.raises(InternalError, match="could not be synced"):
        log.sync()
    refused = "accepts nothing more: .* could not be synced .*; it must be opened anew"
    for _ in range(2):
        with pytest.raises(InternalError, match=refused):
            log.append([record(3)])
        with pytest.raises(InternalError, match=refused):
            log.sync()
    with pytest.raises(InternalError, match=refused):
        log.truncate_from(1)
    with pytest.raises(InternalError, match=refused):
        log.reset(1, 1)
    assert list(log.read(1)) == [record(1), record(2)]
    log.close()


@pytest.mark.parametrize("seed", range(20))
def test_what_is_read_after_a_failed_sync_and_a_restart_is_durable(tmp_path: Path, seed: int) -> None:
    disk = FaultyDisk(tmp_path, random.Random(seed))
    log = Log.open(tmp_path, disk)
    log.append([record(1, bytes(3000))])
    disk.fail_next_syncs = 1
    with pytest.raises(InternalError):
        log.sync()
    disk.kill()
    assert list(Log.open(tmp_path, disk).read(1)) == [record(1, bytes(3000))]
    disk.crash()
    assert list(Log.open(tmp_path, disk).read(1)) == [record(1, bytes(3000))]


@pytest.mark.parametrize("calls", range(12))
def test_reset_that_a_power_cut_interrupts_happened_wholly_or_not_at_all(tmp_path: Path, calls: int) -> None:
    disk = FaultyDisk(tmp_path, random.Random(calls))
    log = Log.open(tmp_path, disk, file_bytes=50)
    log.append([record(1)])
    log.append([record(2)])
    log.append([record(3)])
    log.sync()
    disk.calls_before_power_cut = calls
    try:
        log.reset(2, 9)
        finished = True
    except PowerCut:
        finished = False
    disk.crash()
    again = Log.open(tmp_path, disk)
    before = (again.first_op, again.next_op, again.last_epoch) == (1, 4, 1) and len(list(again.read(1))) == 3
    after = (again.first_op, again.next_op, again.last_epoch) == (2, 2, 9) and not list(again.read(2))
    assert after or (before and not finished)
    assert len(list(tmp_path.iterdir())) == (1 if after else 3)
