"""A shard's log as the protocol sees it: which epoch each operation has, and how much of it is durable.

The image is ahead of the disk: it shows the log as it will be when every `Store` that was given has been done. Each Store
has a ticket; what the driver reports by ticket moves `appended_op` (in the file) and `synced_op` (durable).

Invariants: first_op - 1 <= synced_op <= appended_op <= last_op. A report of a Store that a later one has cut off counts only
for what was left of it: so an old sync never vouches for new records of the same numbers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from qnode.shards.replication.actions import Store
from qnode.wal import Record


@dataclass(slots=True)
class _Pending:
    """A Store under way: the log's end before its records, and behind them, as far as they still stand."""

    ticket: int
    base_op: int
    last_op: int


class LogImage:
    """Epochs by operation, as runs: the first operation of each, and its epoch."""

    def __init__(self, next_op: int, epoch_before: int | None) -> None:
        """Begin with an empty, durable log; `epoch_before` is that of the operation before next_op, None if unknown."""
        self.first_op = next_op
        self.last_op = self.appended_op = self.synced_op = next_op - 1
        self._epoch_before = epoch_before
        self._starts: list[int] = []
        self._epochs: list[int] = []
        self._pending: deque[_Pending] = deque()
        self._next_ticket = 1

    @classmethod
    def of(cls, first_op: int, epoch_before: int, records: Iterable[Record]) -> Self:
        """Take a log that was just opened, all of it durable; `epoch_before` 0: unknown, unless it begins with 1."""
        image = cls(first_op, epoch_before if epoch_before or first_op == 1 else None)
        for record in records:
            image._extend(record)
        image.appended_op = image.synced_op = image.last_op
        return image

    @property
    def last_epoch(self) -> int:
        """The epoch of the last operation; 0 when nothing is known of it."""
        return self._epochs[-1] if self._epochs else self._epoch_before or 0

    def epoch_at(self, op_num: int) -> int | None:
        """Tell the epoch of an operation; None if the log does not hold it, and does not begin behind it."""
        if self.first_op <= op_num <= self.last_op:
            return self._epochs[bisect_right(self._starts, op_num) - 1]
        return self._epoch_before if op_num == self.first_op - 1 else None

    def latest_of(self, epoch: int, op_num: int) -> int:
        """Find the last operation up to `op_num` whose epoch is at most `epoch`, as far as that can be told here."""
        run = bisect_right(self._epochs, epoch)
        behind = self._starts[run] if run < len(self._starts) else self.last_op + 1
        return min(op_num, behind - 1, self.last_op)

    def store(self, records: Sequence[Record]) -> Store:
        """Put records, contiguous, where they belong; what stands there from the first of them on is cut off."""
        first_op = records[0].op_num
        assert self.first_op <= first_op <= self.last_op + 1, (
            f"{first_op} is not in {self.first_op}..{self.last_op + 1}"
        )
        truncate_from = None
        if first_op <= self.last_op:
            truncate_from = first_op
            self._cut(first_op - 1)
        for record in records:
            self._extend(record)
        self._pending.append(_Pending(self._next_ticket, first_op - 1, self.last_op))
        self._next_ticket += 1
        return Store(self._next_ticket - 1, truncate_from, tuple(records))

    def appended(self, ticket: int) -> None:
        """Note that a Store, and all before it, is in the file."""
        for pending in self._pending:
            if pending.ticket <= ticket:
                self.appended_op = max(self.appended_op, pending.last_op)

    def synced(self, ticket: int) -> None:
        """Note that a Store, and all before it, is durable."""
        while self._pending and self._pending[0].ticket <= ticket:
            self.synced_op = max(self.synced_op, self._pending.popleft().last_op)
        self.appended_op = max(self.appended_op, self.synced_op)

    def refused(self, ticket: int) -> None:
        """Note that nothing of a Store, and of all behind it, is in the file, but that what they cut off is gone."""
        while self._pending and self._pending[-1].ticket >= ticket:
            pending = self._pending.pop()
            assert self.appended_op <= pending.base_op, f"{self.appended_op} operations are in the file"
            self._cut(pending.base_op)

    def drop_before(self, op_num: int) -> None:
        """Forget the operations before this one, which the file no longer holds."""
        assert op_num <= self.synced_op + 1
        if op_num <= self.first_op:
            return
        self._epoch_before = self.epoch_at(op_num - 1)
        run = bisect_right(self._starts, op_num) - 1
        if op_num > self.last_op:
            run = len(self._starts)
        del self._starts[:run], self._epochs[:run]
        if self._starts:
            self._starts[0] = max(self._starts[0], op_num)
        self.first_op = op_num

    def _extend(self, record: Record) -> None:
        assert record.op_num == self.last_op + 1, f"operation {record.op_num} where {self.last_op + 1} is due"
        assert record.epoch >= self.last_epoch, f"epoch {record.epoch} after {self.last_epoch}"
        if not self._epochs or record.epoch > self._epochs[-1]:
            self._starts.append(record.op_num)
            self._epochs.append(record.epoch)
        self.last_op = record.op_num

    def _cut(self, last_op: int) -> None:
        while self._starts and self._starts[-1] > last_op:
            self._starts.pop()
            self._epochs.pop()
        self.last_op = min(self.last_op, last_op)
        self.appended_op = min(self.appended_op, last_op)
        self.synced_op = min(self.synced_op, last_op)
        for pending in self._pending:
            pending.base_op = min(pending.base_op, last_op)
            pending.last_op = min(pending.last_op, last_op)
