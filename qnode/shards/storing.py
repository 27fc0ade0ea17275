"""What the writer thread of a shard does to its log, with what has to be noted of it; and how the disk takes it.

A disk that hangs raises nothing: the call does not return, the writer thread stands still, and all else of the process goes on.
So it is looked at from outside: `ailment` may be asked on any thread.

Left out: the index, whose transactions may take their time; a disk that hangs is met by the next sync of the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic

from qnode.errors import OutOfSpace
from qnode.models.operation import Operation
from qnode.shards.applying import Applying
from qnode.shards.replication import actions as do
from qnode.shards.tail import Tail
from qnode.shards.trimming import Trimming
from qnode.wal import Log


class Storing:
    """A log, and who else must know of what is put into it and cut off it."""

    def __init__(self, log: Log, tail: Tail, applying: Applying, trimming: Trimming) -> None:
        self._log, self._tail, self._applying, self._trimming = log, tail, applying, trimming
        self._busy_since: float | None = None
        self._full_since: float | None = None
        self._full_at = 0.0

    def put(self, store: do.Store, operations: Mapping[int, Operation]) -> None:
        """Cut off and append, as an action says; raise OutOfSpace, and nothing of the records is there."""
        try:
            with self._watched():
                if store.truncate_from is not None:
                    self._tail.cut(store.truncate_from)
                    self._applying.forget_reading()
                    self._log.truncate_from(store.truncate_from)
                self._log.append(store.records)
        except OutOfSpace:
            self._full_at = monotonic()
            if self._full_since is None:
                self._full_since = self._full_at
            raise
        self._full_since = None
        self._tail.add(store.records, operations)
        self.count(store)

    def sync(self) -> None:
        """Make durable what was put into the log."""
        with self._watched():
            self._log.sync()

    def count(self, store: do.Store) -> None:
        """Note how much the log has grown."""
        self._trimming.logged(sum(len(record.payload) for record in store.records))

    def ailment(self, patience_seconds: float) -> str | None:
        """Say what has been wrong for so long. A full disk counts as far as it was tried: nobody asks it in between."""
        since = self._busy_since  # another thread may change it at any moment
        if since is not None and monotonic() - since >= patience_seconds:
            return "its disk does not answer"
        since = self._full_since
        if since is not None and self._full_at - since >= patience_seconds:
            return "its disk is full"
        return None

    @contextmanager
    def _watched(self) -> Iterator[None]:
        self._busy_since = monotonic()
        try:
            yield
        finally:
            self._busy_since = None
