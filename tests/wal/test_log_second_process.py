"""A second process reads the log while the first one writes."""

import subprocess
import sys
from pathlib import Path

from qnode.wal.log import Log, Record

READER = """
import sys
from pathlib import Path
from qnode.wal.log import Log

log = Log.open(Path(sys.argv[1]), read_only=True)
for line in sys.stdin:
    from_op = int(line)
    found = list(log.read(from_op))
    assert all(r.op_num == from_op + i and r.payload == bytes([r.op_num % 251]) * (r.op_num % 3000) for i, r in enumerate(found))
    print(len(found), flush=True)
"""


def payload(op_num: int) -> bytes:
    return bytes([op_num % 251]) * (op_num % 3000)


def start_reader(directory: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", READER, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def ask(reader: "subprocess.Popen[str]", from_op: int) -> None:
    assert reader.stdin is not None
    reader.stdin.write(f"{from_op}\n")
    reader.stdin.flush()


def answer(reader: "subprocess.Popen[str]") -> int:
    assert reader.stdout is not None
    line = reader.stdout.readline()
    assert line, "the reader ended"
    return int(line)


def test_second_process_sees_every_record_that_was_appended_before_it_looks(tmp_path: Path) -> None:
    with Log.open(tmp_path, file_bytes=100_000) as log, start_reader(tmp_path) as reader:
        next_from = 1
        for op_num in range(1, 1001):
            log.append([Record(1, op_num, payload(op_num))])
            if op_num % 50 == 0:
                ask(reader, next_from)
                assert answer(reader) == op_num + 1 - next_from
                next_from = op_num + 1
        assert reader.stdin is not None
        reader.stdin.close()
    assert reader.returncode == 0


def test_second_process_reads_whole_records_while_files_come_and_go(tmp_path: Path) -> None:
    with Log.open(tmp_path, file_bytes=50_000) as log, start_reader(tmp_path) as reader:
        op_num = 1
        for _ in range(40):
            low, high = log.first_op, op_num
            ask(reader, max(low, high - 20))
            for _ in range(50):
                log.append([Record(1, op_num, payload(op_num))])
                op_num += 1
            log.sync()
            log.truncate_from(op_num - 10)
            op_num -= 10
            log.drop_before(high - 100)
            assert answer(reader) >= high - max(low, high - 20)
        assert reader.stdin is not None
        reader.stdin.close()
    assert reader.returncode == 0


def test_opening_for_reading_writes_nothing(tmp_path: Path) -> None:
    log = Log.open(tmp_path, file_bytes=100)
    for op_num in range(1, 10):
        log.append([Record(1, op_num, payload(op_num))])
    torn = max(tmp_path.iterdir())
    torn.write_bytes(torn.read_bytes()[:-1])
    (tmp_path / "left.log.tmp").write_bytes(b"half")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    reader = Log.open(tmp_path, read_only=True)
    assert [r.op_num for r in reader.read(1)] == list(range(1, 9))
    assert reader.next_op == 9
    reader.close()
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()} == before
    log.close()


def test_directory_that_is_not_there_yet_reads_as_an_empty_log(tmp_path: Path) -> None:
    reader = Log.open(tmp_path / "wal", read_only=True, next_op=5)
    assert (reader.first_op, reader.next_op, reader.size_bytes) == (5, 5, 0)
    assert list(reader.read(5)) == []
    assert not (tmp_path / "wal").exists()
    with Log.open(tmp_path / "wal") as log:
        log.append([Record(1, 1, b"first")])
        assert list(reader.read(1)) == [Record(1, 1, b"first")]
