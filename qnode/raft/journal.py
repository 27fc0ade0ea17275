"""The log of the group on this peer: term, vote, entries, commit index, and the snapshot that stands for what was cut off.

It speaks pysyncobj's journal interface, whose methods count entries from the first one that is held. Changes gather in
the heap; `unsaved` gives all of them for one transaction of the store, which may run in another thread, and `saved` hears
that they are durable. Between the two nothing may change. **Nothing leaves the peer before it**: messages are sent, and
entries applied, only behind `saved` (`replica`). So a peer never shows
a term, a vote, an entry or a commit index that it would not remember after a crash, and a turn without changes costs no
transaction.

Invariants: there is always at least one entry, and the first one is the base: it is committed, it is never sent, only
compared with. The snapshot reaches at least up to the base (without a snapshot, the base is entry 1). Snapshot and
cutting off are one transaction. The commit index is durable before an entry is applied under it, so that a restart
leads to at least the state that was seen before.

Left out: where the bytes go (`JournalStore`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, overload

from qnode.raft.commands import NO_OPERATION
from qnode.raft.snapshot import Snapshot

Entry = tuple[bytes, int, int]
"""Command, index, term: pysyncobj's order."""


@dataclass(frozen=True, slots=True)
class HardState:
    """What a peer must remember beside its entries."""

    incarnation: int
    term: int = 0
    vote: int | None = None
    commit: int = 1


@dataclass(frozen=True, slots=True)
class Stored:
    """What a store holds; `hard` is None for a new one."""

    hard: HardState | None
    entries: Sequence[Entry]
    snapshot: Snapshot | None


@dataclass(frozen=True, slots=True)
class Changes:
    """What one transaction does, in this order: hard state, snapshot, drop both ends, write entries."""

    hard: HardState | None
    snapshot: Snapshot | None
    drop_below: int
    drop_from: int
    entries: Sequence[Entry]


class JournalStore(Protocol):
    """Durable memory: all changes of a commit or none."""

    def load(self) -> Stored: ...

    def commit(self, changes: Changes) -> None:
        """Make the changes durable before returning. OutOfSpace: nothing was changed, and it may be tried again.

        After anything else that it has raised, the journal must not be used again.
        """

    def close(self) -> None: ...


class Journal:
    """The journal of one open peer. `new_incarnation` counts if the store is new."""

    def __init__(self, store: JournalStore, new_incarnation: int) -> None:
        self._store = store
        stored = store.load()
        self._entries: list[Entry] = list(stored.entries)
        self.snapshot = stored.snapshot
        self._hard = stored.hard or HardState(new_incarnation)
        self.durable_commit = self._hard.commit
        """Up to here it is durable that the entries are committed."""
        self._hard_changed = stored.hard is None
        self._snapshot_changed = False
        self._first_changed = False
        self._changed_from: int | None = None

    @property
    def incarnation(self) -> int:
        return self._hard.incarnation

    @property
    def is_new(self) -> bool:
        """Whether it has never held anything."""
        return not self._entries

    @property
    def first_index(self) -> int:
        """The index of the base."""
        return self._entries[0][1]

    @property
    def last_index(self) -> int:
        return self._entries[-1][1]

    @property
    def snapshot_index(self) -> int:
        return self.snapshot.index if self.snapshot is not None else 1

    def term_of(self, index: int) -> int | None:
        """Give the term of an entry, or None if the entry is not held."""
        first = self.first_index
        return self._entries[index - first][2] if first <= index <= self.last_index else None

    def first_index_of_term(self, index: int) -> int:
        """Give the lowest index from which on all entries up to `index` are of one term."""
        term = self.term_of(index)
        while self.term_of(index - 1) == term:
            index -= 1
        return index

    def since(self, index: int) -> list[Entry]:
        """Give the entries from `index` on."""
        return self._entries[max(0, index - self.first_index) :]

    # pysyncobj's interface; positions count from the base

    def add(self, command: bytes, idx: int, term: int) -> None:
        assert not self._entries or (idx == self.last_index + 1 and term >= self._entries[-1][2])
        self._entries.append((command, idx, term))
        self._mark(idx)

    def deleteEntriesFrom(self, entryFrom: int) -> None:
        assert 0 < entryFrom <= len(self._entries), "the base is never dropped"
        self._mark(self.first_index + entryFrom)
        del self._entries[entryFrom:]

    @overload
    def __getitem__(self, item: int) -> Entry: ...
    @overload
    def __getitem__(self, item: slice) -> list[Entry]: ...
    def __getitem__(self, item: int | slice) -> Entry | list[Entry]:
        return self._entries[item]

    def __len__(self) -> int:
        return len(self._entries)

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:
        assert raftCommitIndex <= self.last_index
        self._set(HardState(self._hard.incarnation, self._hard.term, self._hard.vote, raftCommitIndex))

    def getRaftCommitIndex(self) -> int:
        return self._hard.commit

    def setCurrentTerm(self, term: int, votedForNodeId: int | None) -> None:
        assert term >= self._hard.term
        assert term > self._hard.term or self._hard.vote in (None, votedForNodeId), "one vote a term"
        self._set(HardState(self._hard.incarnation, term, votedForNodeId, self._hard.commit))

    def getCurrentTerm(self) -> int:
        return self._hard.term

    def getVotedForNodeId(self) -> int | None:
        return self._hard.vote

    def onOneSecondTimer(self) -> None:
        """Nothing depends on time here."""

    # compaction

    def compact(self, snapshot: Snapshot, first_index: int) -> None:
        """Let a snapshot of applied entries stand for those before `first_index`, which becomes the base."""
        assert self.first_index <= first_index <= snapshot.index <= self._hard.commit
        del self._entries[: first_index - self.first_index]
        self._set_snapshot(snapshot)

    def install(self, snapshot: Snapshot) -> None:
        """Replace everything by another peer's snapshot."""
        self._entries = [(NO_OPERATION, snapshot.index, snapshot.term)]
        self._mark(0)
        self._set_snapshot(snapshot)
        term, vote = self._hard.term, self._hard.vote
        if snapshot.term > term:
            term, vote = snapshot.term, None
        self._set(HardState(self._hard.incarnation, term, vote, snapshot.index))

    def unsaved(self) -> Changes | None:
        """Give what a commit of the store has to make durable, if anything."""
        from_index = self._changed_from
        if not (self._hard_changed or self._snapshot_changed or self._first_changed or from_index is not None):
            return None
        return Changes(
            hard=self._hard if self._hard_changed else None,
            snapshot=self.snapshot if self._snapshot_changed else None,
            drop_below=self.first_index if self._first_changed else 0,
            drop_from=self.last_index + 1 if from_index is None else from_index,
            entries=[] if from_index is None else self.since(from_index),
        )

    def saved(self) -> None:
        """Hear that what `unsaved` has given, and all that there is, is durable."""
        self._hard_changed = self._snapshot_changed = self._first_changed = False
        self._changed_from = None
        self.durable_commit = self._hard.commit

    def flush(self) -> None:
        """Make everything durable that was taken so far, while nobody else is served yet."""
        if (changes := self.unsaved()) is not None:
            self._store.commit(changes)
            self.saved()

    def close(self) -> None:
        """Let go of the store; what was not saved is forgotten, and nobody has seen it."""
        self._store.close()

    def _mark(self, index: int) -> None:
        self._changed_from = index if self._changed_from is None else min(index, self._changed_from)

    def _set(self, hard: HardState) -> None:
        if hard != self._hard:
            self._hard = hard
            self._hard_changed = True

    def _set_snapshot(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._snapshot_changed = self._first_changed = True
