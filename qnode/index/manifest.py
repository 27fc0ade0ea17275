"""Which segments a shard consists of. It changes in one LMDB transaction, after the files are on disk."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

import lmdb
import orjson

from qnode.index.store import Store, get_sealed, put_sealed

_NAME = b"manifest"


class SegmentState(StrEnum):
    """growing: takes rows. full: takes none any more, waits for the builder. sealed: written by the builder."""

    GROWING = "growing"
    FULL = "full"
    SEALED = "sealed"


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """One segment: its number (also its folder's name), its vector slot, its state, and how many rows count."""

    id: int
    slot: int
    state: SegmentState
    rows: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The segments in the order of their making; `next_id` was never used by a segment."""

    next_id: int = 1
    segments: tuple[SegmentEntry, ...] = field(default=())

    def entry(self, segment: int) -> SegmentEntry:
        """The entry of a segment that is in the manifest."""
        return next(entry for entry in self.segments if entry.id == segment)

    def added(self, slot: int, state: SegmentState, rows: int = 0) -> tuple[Manifest, SegmentEntry]:
        """The manifest with a new segment."""
        entry = SegmentEntry(self.next_id, slot, state, rows)
        return Manifest(self.next_id + 1, (*self.segments, entry)), entry

    def changed(self, entry: SegmentEntry) -> Manifest:
        """The manifest with this entry in place of the one of the same id."""
        return replace(self, segments=tuple(entry if old.id == entry.id else old for old in self.segments))

    def without(self, ids: set[int]) -> Manifest:
        """The manifest without these segments."""
        return replace(self, segments=tuple(entry for entry in self.segments if entry.id not in ids))


def read_manifest(txn: lmdb.Transaction, store: Store) -> Manifest:
    """Read the manifest; an empty one for a new store; raise Corruption if its checksum does not match."""
    value = get_sealed(txn, store, _NAME)
    if value is None:
        return Manifest()
    content = orjson.loads(value)
    entries = tuple(
        SegmentEntry(entry["id"], entry["slot"], SegmentState(entry["state"]), entry["rows"])
        for entry in content["segments"]
    )
    return Manifest(content["next_id"], entries)


def write_manifest(txn: lmdb.Transaction, store: Store, manifest: Manifest) -> None:
    """Put the manifest into the transaction."""
    put_sealed(txn, store, _NAME, orjson.dumps(manifest))
