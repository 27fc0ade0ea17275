"""The log on a disk that does what it should."""

import random
import threading
from pathlib import Path

import pytest

from qnode.errors import InternalError, NotFound
from qnode.wal.log import Log, Record
from tests.support.faulty_disk import FaultyDisk


def records(first_op: int, count: int, epoch: int = 1, payload: bytes = b"payload") -> list[Record]:
    return [Record(epoch, op_num, payload) for op_num in range(first_op, first_op + count)]


def file_names(directory: Path) -> list[int]:
    assert all(path.suffix == ".log" for path in directory.iterdir())
    return sorted(int(path.stem) for path in directory.iterdir())


def test_new_log_is_empty_and_begins_where_it_is_told(tmp_path: Path) -> None:
    log = Log.open(tmp_path / "a" / "wal", next_op=17)
    assert (log.first_op, log.next_op, log.last_epoch) == (17, 17, 0)
    assert list(log.read(17)) == []
    log.close()
    assert file_names(tmp_path / "a" / "wal") == [17]


def test_records_are_read_in_order_from_any_op_num(tmp_path: Path) -> None:
    log = Log.open(tmp_path, file_bytes=300)
    written = records(1, 3) + records(4, 5, epoch=2, payload=b"") + records(9, 30, epoch=7, payload=bytes(50))
    for record in written:
        log.append([record])
    assert len(file_names(tmp_path)) > 3
    for from_op in range(1, 40):
        assert list(log.read(from_op)) == written[from_op - 1 :]
    log.close()


def test_read_gives_what_is_there_at_the_call(tmp_path: Path) -> None:
    log = Log.open(tmp_path)
    log.append(records(1, 2))
    reading = log.read(1)
    log.append(records(3, 2))
    assert [record.op_num for record in reading] == [1, 2]
    log.close()


def test_closed_log_opens_with_everything(tmp_path: Path) -> None:
    log = Log.open(tmp_path, file_bytes=500)
    log.append(records(1, 10, epoch=3))
    log.append(records(11, 10, epoch=4))
    log.append(records(21, 1, epoch=4))
    log.close()
    log.close()
    again = Log.open(tmp_path)
    assert (again.first_op, again.next_op, again.last_epoch) == (1, 22, 4)
    assert [record.op_num for record in again.read(1)] == list(range(1, 22))
    again.append(records(22, 1, epoch=4))
    again.close()


def test_closed_log_takes_nothing_more_and_can_be_read(tmp_path: Path) -> None:
    log = Log.open(tmp_path)
    log.append(records(1, 2))
    log.close()
    with pytest.raises(InternalError, match="it was closed"):
        log.append(records(3, 1))
    with pytest.raises(InternalError, match="it was closed"):
        log.sync()
    assert list(log.read(1)) == records(1, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        [Record(5, 5, b"")],
        [Record(5, 3, b"")],
        [Record(5, 4, b""), Record(5, 6, b"")],
        [Record(4, 4, b"")],
        [Record(6, 4, b""), Record(5, 5, b"")],
    ],
)
def test_records_out_of_order_are_our_mistake(tmp_path: Path, wrong: list[Record]) -> None:
    log = Log.open(tmp_path)
    log.append(records(1, 3, epoch=5))
    with pytest.raises(AssertionError):
        log.append(wrong)
    assert log.next_op == 4
    log.close()


def test_group_of_thousands_of_records_is_one_append(tmp_path: Path) -> None:
    log = Log.open(tmp_path)
    group = records(1, 3000, payload=bytes(5000))
    log.append(group)
    log.sync()
    assert list(log.read(1)) == group
    log.close()


def test_one_sync_serves_all_that_was_appended_and_a_second_is_free(tmp_path: Path) -> None:
    disk = FaultyDisk(tmp_path, random.Random(1))
    log = Log.open(tmp_path, disk)
    before = disk.syncs
    log.append(records(1, 1))
    log.append(records(2, 1))
    log.sync()
    log.sync()
    assert disk.syncs == before + 1
    log.close()


def test_truncated_records_are_replaced(tmp_path: Path) -> None:
    log = Log.open(tmp_path, file_bytes=200)
    for op_num in range(1, 31):
        log.append(records(op_num, 1, epoch=op_num))
    log.truncate_from(12)
    assert (log.next_op, log.last_epoch) == (12, 11)
    assert max(file_names(tmp_path)) <= 12
    log.append(records(12, 2, epoch=40, payload=b"other"))
    assert list(log.read(11)) == records(11, 1, epoch=11) + records(12, 2, epoch=40, payload=b"other")
    log.close()
    again = Log.open(tmp_path)
    assert (again.next_op, again.last_epoch) == (14, 40)
    again.close()


def test_truncation_at_its_first_record_leaves_an_empty_log(tmp_path: Path) -> None:
    log = Log.open(tmp_path, file_bytes=200, next_op=5)
    for op_num in range(5, 30):
        log.append(records(op_num, 1))
    log.truncate_from(5)
    assert (log.first_op, log.next_op, log.last_epoch) == (5, 5, 0)
    assert list(log.read(5)) == []
    log.close()


def test_dropping_removes_whole_files_only(tmp_path: Path) -> None:
    log = Log.open(tmp_path, file_bytes=200)
    for op_num in range(1, 31):
        log.append(records(op_num, 1))
    size, files = log.size_bytes, file_names(tmp_path)
    assert len(files) > 3
    log.drop_before(files[2] - 1)
    assert log.first_op == files[1]
    log.drop_before(files[2])
    assert log.first_op == files[2]
    assert log.size_bytes < size
    with pytest.raises(NotFound, match=f"record 1 of the log .* begins with {files[2]}"):
        log.read(1)
    log.drop_before(log.next_op)
    assert file_names(tmp_path) == files[-1:]
    assert [record.op_num for record in log.read(log.first_op)] == list(range(files[-1], 31))
    log.close()
    again = Log.open(tmp_path)
    assert (again.first_op, again.next_op) == (files[-1], 31)
    again.close()


@pytest.mark.parametrize("next_op", [1, 6, 31, 1000])
def test_reset_log_is_empty_and_goes_on_elsewhere(tmp_path: Path, next_op: int) -> None:
    log = Log.open(tmp_path, file_bytes=200)
    for op_num in range(1, 31):
        log.append(records(op_num, 1))
    log.reset(next_op, 9)
    assert (log.first_op, log.next_op, log.last_epoch) == (next_op, next_op, 9)
    log.append(records(next_op, 20, epoch=9, payload=b"new"))
    log.close()
    again = Log.open(tmp_path)
    assert (again.first_op, again.next_op) == (next_op, next_op + 20)
    assert list(again.read(next_op)) == records(next_op, 20, epoch=9, payload=b"new")
    again.close()


def test_empty_log_knows_the_epoch_of_the_records_before_it(tmp_path: Path) -> None:
    log = Log.open(tmp_path)
    log.reset(50, 6)
    log.close()
    again = Log.open(tmp_path)
    assert (again.next_op, again.last_epoch) == (50, 6)
    with pytest.raises(AssertionError):
        again.append(records(50, 1, epoch=5))
    again.close()


def test_log_knows_the_epoch_in_front_of_its_first_record(tmp_path: Path) -> None:
    with Log.open(tmp_path, file_bytes=100) as log:
        assert log.epoch_before == 0
        for op_num in range(1, 7):
            log.append([Record(op_num // 2 + 1, op_num, bytes(60))])
            log.sync()
        log.drop_before(5)
        epoch = next(iter(log.read(log.first_op))).epoch
        assert 1 < log.first_op <= 5
        assert log.epoch_before == (log.first_op - 1) // 2 + 1 <= epoch
        first_op = log.first_op
    with Log.open(tmp_path) as log:
        assert log.epoch_before == (first_op - 1) // 2 + 1
        log.reset(20, 9)
        assert log.epoch_before == 9


def test_syncs_run_beside_appends_over_many_files(tmp_path: Path) -> None:
    log = Log.open(tmp_path, file_bytes=20_000)
    faults: list[BaseException] = []
    finished = threading.Event()

    def keep_syncing() -> None:
        try:
            while not finished.is_set():
                log.sync()
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=keep_syncing) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for op_num in range(1, 2001):
            log.append(records(op_num, 1, payload=bytes(op_num % 500)))
            if op_num % 100 == 0:
                assert sum(1 for _ in log.read(op_num - 99)) == 100
    finally:
        finished.set()
        for thread in threads:
            thread.join()
    assert faults == []
    log.close()
    again = Log.open(tmp_path, read_only=True)
    assert [record.op_num for record in again.read(1)] == list(range(1, 2001))
