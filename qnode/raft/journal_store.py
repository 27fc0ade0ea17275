"""The journal's bytes in one LMDB environment.

    entries   index u64, big-endian → checksum u64, term u64, command
    state     "hard" → checksum u64, msgpack [format, incarnation, term, vote, commit]
              "snapshot" → see `snapshot`

Checksums are xxh3_64, an entry's seeded with its index: a value in another's place does not pass. Each commit is one
synchronous transaction. One process, one thread.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, Final

import lmdb
import msgpack
import xxhash

from qnode.disk import is_full, make_directory
from qnode.errors import Corruption, InternalError, OutOfSpace, QnodeError
from qnode.raft.journal import Changes, Entry, HardState, Stored
from qnode.raft.snapshot import Snapshot

MAP_BYTES: Final = 1 << 32
LMDB_ENGINE: Final = 0
"""The 0.9 engine (data format v1), for a new file; an old one's format decides by itself."""

FORMAT_VERSION: Final = 1
_HARD: Final = b"hard"
_SNAPSHOT: Final = b"snapshot"
_KEY: Final = struct.Struct(">Q")
_HEAD: Final = struct.Struct("<QQ")
_WAY_OUT: Final = "Remove this peer from the cluster, empty its raft folder, and let it join again"


class LmdbJournalStore:
    """The durable part of a journal; `path` is the folder that holds data.mdb."""

    def __init__(self, path: Path) -> None:
        make_directory(path)
        self._file = path / "data.mdb"
        is_new = not self._file.exists() or not self._file.stat().st_size
        engine: dict[str, Any] = {"lib_version": LMDB_ENGINE} if is_new else {}
        try:
            self._env = lmdb.open(str(path), map_size=MAP_BYTES, max_dbs=2, **engine)
            self._entries = self._env.open_db(b"entries")
            self._state = self._env.open_db(b"state")
        except (lmdb.CorruptedError, lmdb.InvalidError, lmdb.VersionMismatchError) as error:
            raise self._damaged(str(error)) from error
        except lmdb.Error as error:
            raise self._fault_of(error) from error

    def load(self) -> Stored:
        """Read and check everything; raise Corruption."""
        try:
            with self._env.begin() as txn:
                hard, snapshot = txn.get(_HARD, db=self._state), txn.get(_SNAPSHOT, db=self._state)
                pairs = list(txn.cursor(self._entries))
        except lmdb.Error as error:
            raise self._damaged(str(error)) from error
        entries = [self._entry(key, value) for key, value in pairs]
        if hard is None and not entries and snapshot is None:
            return Stored(None, [], None)
        try:
            stored = Stored(_hard_state(hard or b""), entries, Snapshot.from_bytes(snapshot) if snapshot else None)
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise self._damaged(str(error)) from error
        self._check(stored)
        return stored

    def commit(self, changes: Changes) -> None:
        try:
            with self._env.begin(write=True) as txn:
                if changes.hard is not None:
                    txn.put(_HARD, _hard_bytes(changes.hard), db=self._state)
                if changes.snapshot is not None:
                    txn.put(_SNAPSHOT, changes.snapshot.to_bytes(), db=self._state)
                self._drop(txn, changes)
                for command, index, term in changes.entries:
                    txn.put(_KEY.pack(index), _entry_bytes(command, index, term), db=self._entries)
        except lmdb.Error as error:
            raise self._fault_of(error) from error

    def close(self) -> None:
        self._env.close()

    def _drop(self, txn: Any, changes: Changes) -> None:
        cursor = txn.cursor(self._entries)
        while cursor.first() and _KEY.unpack(cursor.key())[0] < changes.drop_below:
            cursor.delete()
        while cursor.last() and _KEY.unpack(cursor.key())[0] >= changes.drop_from:
            cursor.delete()

    def _entry(self, key: bytes, value: bytes) -> Entry:
        (index,) = _KEY.unpack(key)
        if len(value) < _HEAD.size or value[:8] != _digest(value[8:], index):
            raise self._damaged(f"the checksum of entry {index} does not match")
        return value[_HEAD.size :], index, _HEAD.unpack_from(value)[1]

    def _check(self, stored: Stored) -> None:
        hard, entries, snapshot = stored.hard, stored.entries, stored.snapshot
        assert hard is not None
        first, last = (entries[0][1], entries[-1][1]) if entries else (1, 0)
        if [index for _, index, _ in entries] != list(range(first, last + 1)):
            raise self._damaged("entries are missing")
        snapshot_index = 1 if snapshot is None else snapshot.index
        if not entries or not first <= snapshot_index <= hard.commit <= last:
            raise self._damaged("its entries do not reach from its snapshot to its commit index")

    def _damaged(self, fault: str) -> Corruption:
        return Corruption(self._file, fault, _WAY_OUT)

    def _fault_of(self, error: lmdb.Error) -> QnodeError:
        if isinstance(error, lmdb.MapFullError) or (self._file.exists() and is_full(self._file)):
            return OutOfSpace(f"no space left for {self._file}")
        return InternalError(f"{self._file} could not be written: {error}")


def _digest(content: bytes, seed: int) -> bytes:
    return xxhash.xxh3_64_intdigest(content, seed).to_bytes(8, "little")


def _entry_bytes(command: bytes, index: int, term: int) -> bytes:
    content = term.to_bytes(8, "little") + command
    return _digest(content, index) + content


def _hard_bytes(hard: HardState) -> bytes:
    content: bytes = msgpack.packb([FORMAT_VERSION, hard.incarnation, hard.term, hard.vote, hard.commit])
    return _digest(content, 0) + content


def _hard_state(value: bytes) -> HardState:
    if _digest(value[8:], 0) != value[:8]:
        raise ValueError("the checksum of term and vote does not match")
    version, incarnation, term, vote, commit = msgpack.unpackb(value[8:])
    if version != FORMAT_VERSION:
        raise ValueError(f"the journal is of format {version}, which is unknown")
    return HardState(incarnation, term, vote, commit)
