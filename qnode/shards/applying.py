"""From a shard's log into its index: what is committed, in order, in pieces, and again where there was no room.

What is committed cannot be refused any more. An index without room, or with settings from before a vector was added, keeps it waiting,
and the shard takes nothing new meanwhile; any other failure is raised, for then what the heap holds may be wrong.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import Final

from qnode.errors import OlderSettings, OutOfSpace
from qnode.index import Index
from qnode.models.operation import Operation
from qnode.shards.opening import APPLY_BYTES, APPLY_OPERATIONS
from qnode.shards.postponing import Postponed
from qnode.shards.tail import LogReader, Tail
from qnode.shards.waiting import text_of
from qnode.wal import Log

RETRY_SECONDS: Final = 1.0
"""What found no room is tried again after this time, or as soon as there are other settings."""

_log = logging.getLogger(__name__)


class Applying:
    """Applies operations to an index. `no_room` says why it does not get on, whichever of the two it is; since when, and when it is tried again."""

    def __init__(self, index: Index, log: Log, tail: Tail) -> None:
        self._index = index
        self._log = log
        self._tail = tail
        self._reader = LogReader(log)
        self.no_room: OutOfSpace | OlderSettings | None = None
        self.no_room_since = self.again_at = 0.0
        self._tried_with = index.params
        self.postponed = Postponed(index, log)

    @property
    def lacks_room(self) -> bool:
        """Whether it is room that is missing, of which nobody knows when there will be some; settings are on their way."""
        return isinstance(self.no_room, OutOfSpace)

    def ailment(self, patience_seconds: float) -> str | None:
        """Say why nothing was applied for so long; on any thread."""
        no_room = self.no_room  # another thread may change it at any moment
        if no_room is None or monotonic() - self.no_room_since < patience_seconds:
            return None
        return text_of(no_room)

    def forget_reading(self) -> None:
        """Hear that the end of the log is being cut off: what was read ahead may be of it."""
        self._reader = LogReader(self._log)

    def due_at(self, up_to_op: int, *, is_alone: bool) -> float | None:
        """When to apply what there is; None: not before something has happened.

        Beside other replicas nothing waits for graphs: those that do would be taken for ones that do not get on.
        """
        if self._index.applied_op >= up_to_op or (is_alone and self.postponed.must_wait):
            return None
        return 0.0 if self.no_room is None else self.again_at

    def is_due(self, up_to_op: int, now: float, *, is_alone: bool) -> bool:
        """Whether there is something to apply, and nothing speaks against trying it now."""
        due_at = self.due_at(up_to_op, is_alone=is_alone)
        return due_at is not None and (now >= due_at or self._index.params is not self._tried_with)

    def apply_some(self, up_to_op: int, now: float) -> bool:
        """Apply the next piece; False if there was no room. Raise InternalError, Corruption."""
        operations = self._piece(self._index.applied_op + 1, up_to_op)
        try:
            self._index.apply(operations)
        except (OutOfSpace, OlderSettings) as error:
            if self._index.stored_op >= operations[0][0]:
                raise
            if self.no_room is None:
                self.no_room_since = now
                _log.error("committed operations of %s wait: %s", self._index.path, error)
            self.no_room, self.again_at = error, now + RETRY_SECONDS
            self._tried_with = self._index.params
            return False
        self.no_room = None
        self.postponed.forget_up_to(self._index.applied_op)
        return True

    def _piece(self, first_op: int, last_op: int) -> list[tuple[int, Operation]]:
        operations: list[tuple[int, Operation]] = []
        size_bytes, most_bytes = 0, min(APPLY_BYTES, self.postponed.piece_bytes)
        for op_num in range(first_op, min(last_op, first_op + APPLY_OPERATIONS - 1) + 1):
            operation, payload_bytes = self._tail.operation(op_num, self._reader)
            operations.append((op_num, operation))
            size_bytes += payload_bytes
            if size_bytes >= most_bytes:
                break
        return operations
