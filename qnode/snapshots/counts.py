"""How many snapshots of a collection are being made and restored, and how many were made since the node was started."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class SnapshotCount:
    """creating, recovering: now. created: since the start."""

    creating: int = 0
    recovering: int = 0
    created: int = 0


class SnapshotCounts:
    """The counts by collection. Those of a collection that is gone stay: a new one of its name goes on counting."""

    def __init__(self) -> None:
        self._by_collection: dict[str, SnapshotCount] = {}

    def of(self, collection: str) -> SnapshotCount:
        """Tell the counts of a collection."""
        return self._by_collection.get(collection) or SnapshotCount()

    @contextmanager
    def creating(self, collection: str) -> Iterator[None]:
        """Count a snapshot that is being made, and that it was."""
        count = self._by_collection.setdefault(collection, SnapshotCount())
        count.creating += 1
        try:
            yield
            count.created += 1
        finally:
            count.creating -= 1

    @contextmanager
    def recovering(self, collection: str) -> Iterator[None]:
        """Count a snapshot that is being restored."""
        count = self._by_collection.setdefault(collection, SnapshotCount())
        count.recovering += 1
        try:
            yield
        finally:
            count.recovering -= 1
