"""Writes that wait in the log until there are graphs (`optimizers_config.prevent_unoptimized`).

While more rows of a vector have no graph than the indexing threshold allows, nothing more is applied. What waits is durable, and
seen by nobody; what it replaces or deletes is read until then. Who waits for a write to be applied waits for the build. Where no
build is to be expected, because they fail or the shard is being closed, nothing waits: deletes would wait for room that they make.

On the writer thread, but for `points` and `is_empty`, which any thread may look at, and `expects_no_build`, which any may set.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

from qnode.index import Index, maintenance
from qnode.models.operation import Operation, Upsert, decode
from qnode.shards.replication import actions as do
from qnode.wal import Log, Record

MOST_BYTES: Final = 256 << 20
"""When so much waits, further writes are not logged either, but wait in front of the log."""


class Postponed:
    """What of a shard's log waits for graphs."""

    def __init__(self, index: Index, log: Log) -> None:
        self._index = index
        self._waiting: deque[tuple[int, int, int]] = deque()  # number, points, bytes
        self._bytes = 0
        self.points = 0
        self.expects_no_build = False
        if self.is_asked_for and index.applied_op + 1 < log.next_op:  # what an earlier process left
            for record in log.read(index.applied_op + 1):
                self._note(record, decode(record.payload))

    @property
    def is_asked_for(self) -> bool:
        """Whether the collection wants it."""
        return self._index.params.prevent_unoptimized

    @property
    def must_wait(self) -> bool:
        """Whether nothing is to be applied now."""
        return self.is_asked_for and not self.expects_no_build and maintenance.is_overdue(self._index)

    @property
    def piece_bytes(self) -> int:
        """How much is to be applied at most before it is asked again whether more must wait."""
        threshold_bytes = self._index.params.indexing_threshold_kb * 1024
        return threshold_bytes if self.is_asked_for and threshold_bytes else MOST_BYTES

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be applied yet; on any thread."""
        return not self._waiting

    @property
    def is_too_much(self) -> bool:
        """Whether so much waits that no more is to be logged."""
        return self._bytes >= MOST_BYTES

    def add(self, store: do.Store, operations: Mapping[int, Operation], *, is_alone: bool) -> None:
        """Note what was cut off the log, and what was logged and not applied; beside other replicas that does not wait."""
        while self._waiting and store.truncate_from is not None and self._waiting[-1][0] >= store.truncate_from:
            self._forget(self._waiting.pop())
        for record in store.records if is_alone else ():
            self._note(record, operations.get(record.op_num))

    def forget_up_to(self, op_num: int) -> None:
        """Hear what was applied."""
        while self._waiting and self._waiting[0][0] <= op_num:
            self._forget(self._waiting.popleft())

    def _note(self, record: Record, operation: Operation | None) -> None:
        points = len(operation.keys) if isinstance(operation, Upsert) else 0
        self._waiting.append((record.op_num, points, len(record.payload)))
        self._bytes += len(record.payload)
        self.points += points

    def _forget(self, entry: tuple[int, int, int]) -> None:
        self._bytes -= entry[2]
        self.points -= entry[1]
