"""How fast the log is: small records in groups, large records, opening and reading.

    python -m benchmarks.wal [directory]

Prints one line a measure. The raw lines beside them are what the disk itself does with the same bytes.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from qnode.wal.log import Log, Record

SMALL_BYTES, SMALL_GROUP, SMALL_GROUPS = 200, 100, 1000
LARGE_BYTES, LARGE_COUNT = 1_500_000, 300


def seconds(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def raw_write(path: Path, chunk: bytes, count: int) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    for position in range(count):
        os.pwrite(descriptor, chunk, position * len(chunk))
        os.fdatasync(descriptor)
    os.close(descriptor)


def append_groups(log: Log, payload: bytes, group: int, count: int) -> None:
    for _ in range(count):
        log.append([Record(1, op_num, payload) for op_num in range(log.next_op, log.next_op + group)])
        log.sync()


def measure(directory: Path) -> None:
    """Run all measures in an empty directory."""
    small, large = os.urandom(SMALL_BYTES), os.urandom(LARGE_BYTES)
    group_bytes = small * SMALL_GROUP

    log = Log.open(directory / "small")
    took = seconds(lambda: append_groups(log, small, SMALL_GROUP, SMALL_GROUPS))
    records = SMALL_GROUP * SMALL_GROUPS
    print(f"append {SMALL_BYTES} B, a sync for each {SMALL_GROUP}: {records / took:,.0f} records/s")
    raw = seconds(lambda: raw_write(directory / "raw", group_bytes, SMALL_GROUPS))
    print(f"  raw pwrite + fdatasync: {records / raw:,.0f} records/s")
    took = seconds(lambda: append_groups(log, small, 1, SMALL_GROUPS))
    print(f"append {SMALL_BYTES} B, a sync for each: {took / SMALL_GROUPS * 1e3:.3f} ms")
    log.close()
    took = seconds(lambda: Log.open(directory / "small").close())
    print(f"open a log of {records + SMALL_GROUPS:,} small records: {took * 1e3:.0f} ms")
    log = Log.open(directory / "small")
    took = seconds(lambda: sum(1 for _ in log.read(1)))
    print(f"read small records: {(records + SMALL_GROUPS) / took:,.0f} records/s")
    log.close()

    log = Log.open(directory / "large")
    megabytes = LARGE_BYTES * LARGE_COUNT / 1e6
    took = seconds(lambda: append_groups(log, large, 1, LARGE_COUNT))
    print(f"append 1.5 MB, a sync for each: {megabytes / took:,.0f} MB/s, {took / LARGE_COUNT * 1e3:.2f} ms each")
    raw = seconds(lambda: raw_write(directory / "raw-large", large, LARGE_COUNT))
    print(f"  raw pwrite + fdatasync: {megabytes / raw:,.0f} MB/s")
    took = seconds(lambda: log.append([Record(1, log.next_op + position, large) for position in range(50)]))
    print(f"append 1.5 MB without sync: {LARGE_BYTES * 50 / 1e6 / took:,.0f} MB/s")
    log.close()
    log = Log.open(directory / "large", read_only=True)
    took = seconds(lambda: sum(1 for _ in log.read(1)))
    print(f"read 1.5 MB records: {megabytes / took:,.0f} MB/s")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as scratch:
        measure(Path(scratch))
