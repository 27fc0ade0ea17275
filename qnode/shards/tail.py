"""The newest records of a log, kept in memory for those who are about to need them: replicas, and the index.

What was just logged is sent and applied from here; what is older, or was too much to keep, is read from the log's files. One
thread uses it, the one that changes the log. The memory is bounded by the size of the payloads; an operation that is kept
beside its payload, so that it need not be decoded again, may double it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from qnode.models.operation import Operation, decode
from qnode.wal import Log, Record

TAIL_BYTES: Final = 32 << 20
"""So much of the log's end is kept in memory at most."""


class LogReader:
    """Reads a log's records one after the other; make one for each who reads on where he stopped."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._records: Iterator[Record] = iter(())
        self._last: Record | None = None

    def record(self, op_num: int) -> Record:
        """Give a record, quickly if it is the one behind the last, or that one again. Raise NotFound, Corruption."""
        if self._last is None or self._last.op_num != op_num:
            follows = self._last is not None and self._last.op_num + 1 == op_num
            record = next(self._records, None) if follows else None
            if record is None:  # also where the log has grown since the reading began
                self._records = self._log.read(op_num)
                record = next(self._records, None)
            assert record is not None, f"the log ends before record {op_num}"
            assert record.op_num == op_num, f"record {record.op_num} where {op_num} was asked for"
            self._last = record
        return self._last


class Tail:
    """Records by number, contiguous, up to the log's last; the operations of some of them."""

    def __init__(self) -> None:
        self._records: dict[int, Record] = {}  # ascending
        self._operations: dict[int, Operation] = {}
        self._bytes = 0

    def add(self, records: Sequence[Record], operations: Mapping[int, Operation]) -> None:
        """Keep what was just logged, and forget the oldest where it is too much."""
        for record in records:
            self._records[record.op_num] = record
            self._bytes += len(record.payload)
        self._operations.update(operations)
        while self._bytes > TAIL_BYTES and self._records:
            self._forget(next(iter(self._records)))

    def cut(self, from_op: int) -> None:
        """Forget an operation and all behind it: they are being cut off the log."""
        while self._records and (last := next(reversed(self._records))) >= from_op:
            self._forget(last)

    def forget_up_to(self, op_num: int) -> None:
        """Forget operations that nobody is about to need."""
        while self._records and (first := next(iter(self._records))) <= op_num:
            self._forget(first)

    def record(self, op_num: int, reader: LogReader) -> Record:
        """Give a record from memory, or else from the reader's log. Raise NotFound, Corruption."""
        return self._records.get(op_num) or reader.record(op_num)

    def operation(self, op_num: int, reader: LogReader) -> tuple[Operation, int]:
        """Give an operation, and the size of its payload. Raise Corruption."""
        record = self.record(op_num, reader)
        return self._operations.get(op_num) or decode(record.payload), len(record.payload)

    def _forget(self, op_num: int) -> None:
        self._bytes -= len(self._records.pop(op_num).payload)
        self._operations.pop(op_num, None)
