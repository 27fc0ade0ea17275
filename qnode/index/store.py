"""The point store: one LMDB environment a shard, and what its databases hold.

    ids       key → number                                 sorted as ids sort, so this is also the scroll order
    records   number → record (see `records`)
    payloads  number → checksum u32, JSON bytes
    free      number → nothing                             numbers of deleted points, to be used again
    dead      see `segment_rows`
    checks    see `segment_rows`
    postings  see `fields`
    fields    see `fields`
    meta      "applied_op", "next_number", "manifest"

Numbers are native unsigned 32-bit integers (LMDB integer keys).

Commits are synchronous: what is committed is on disk. One thread writes; read transactions are short, for a long one
would keep old pages from being used again. The map is sized once, generously: it is address space, not memory.
LMDB keeps no checksums of its own pages, so payloads and the manifest carry their own.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import lmdb
import numpy as np
import numpy.typing as npt
import xxhash

from qnode.disk import fault_of, is_full, remove_tree, sync_directory
from qnode.errors import Corruption, InternalError, OutOfSpace, QnodeError, Unavailable
from qnode.index.fields import FIELDS_FLAGS, POSTINGS_FLAGS

MAP_BYTES = 1 << 37
MAX_READERS = 512

PAUSE_PATIENCE_SECONDS = 0.02
"""An exchange keeps new readers waiting so long for those that read; then it lets all go on …"""

PAUSE_RETRY_SECONDS = 0.1
"""… and tries again after this time …"""

PAUSE_ATTEMPTS = 50
"""… so often; the last time it waits as long as it takes."""

LMDB_ENGINE = 0
"""The 0.9 engine (data format v1); the formats of the two bundled engines do not read each other's files."""

MAX_DATABASES = 16

_NUMBER_KEYS: dict[str, Any] = {"integerkey": True}
DATABASES: dict[str, dict[str, Any]] = {
    "ids": {},
    "records": _NUMBER_KEYS,
    "payloads": _NUMBER_KEYS,
    "free": _NUMBER_KEYS,
    "dead": {},
    "checks": {},
    "postings": POSTINGS_FLAGS,
    "fields": FIELDS_FLAGS,
    "meta": {},
}

Numbers = npt.NDArray[np.uint32]

_U64 = struct.Struct("<Q")


class Store:
    """An open environment with its databases. `path` is the directory that holds data.mdb.

    The environment may be exchanged for a smaller copy of it (`exchange`). That waits for all who read, so a
    transaction and the database handles it is used with always belong together.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self.read_only = read_only
        self._gate = threading.Condition()
        self._readers = 0
        self._holds = 0
        self._paused = False
        self._closed = False
        self._thread = threading.local()
        if not read_only:
            finish_exchange(path)
            path.mkdir(parents=True, exist_ok=True)
        self._open()

    def _open(self) -> None:
        file = self.path / "data.mdb"
        is_new = (
            not file.exists() or not file.stat().st_size
        )  # empty: a crash came between its making and its first page
        engine: dict[str, Any] = {"lib_version": LMDB_ENGINE} if is_new else {}
        try:
            self.env = lmdb.open(
                str(self.path),
                map_size=MAP_BYTES,
                max_dbs=MAX_DATABASES,
                max_readers=MAX_READERS,
                max_spare_txns=4,
                readonly=self.read_only,
                create=not self.read_only,
                **engine,
            )
        except (lmdb.CorruptedError, lmdb.InvalidError, lmdb.VersionMismatchError) as error:
            raise Corruption(file, str(error), RESTORE) from error
        except lmdb.Error as error:
            raise self._fault_of_opening(error) from error
        if not self.read_only:
            self._cover_all_pages()
        self._file_number = file.stat().st_ino

        def database(name: str) -> Any:
            return self.env.open_db(name.encode(), create=not self.read_only, **DATABASES[name])

        try:
            self.ids = database("ids")
            self.records = database("records")
            self.payloads = database("payloads")
            self.free = database("free")
            self.dead = database("dead")
            self.checks = database("checks")
            self.postings = database("postings")
            self.fields = database("fields")
            self.meta = database("meta")
        except (lmdb.CorruptedError, lmdb.PageNotFoundError) as error:
            self.env.close()
            raise Corruption(file, str(error), RESTORE) from error
        except lmdb.Error as error:
            self.env.close()
            raise self._fault_of_opening(error) from error

    def _fault_of_opening(self, error: lmdb.Error) -> QnodeError:
        """Say whether there was no room to make the store; LMDB does not."""
        probe = self.path / "probe"
        try:
            probe.touch()
            try:
                full = not self.read_only and is_full(probe)
            finally:
                probe.unlink()
        except OSError as fault:
            return fault_of(fault, f"the store {self.path} could not be opened")
        if full:
            return OutOfSpace(f"no space left on the disk of {self.path}")
        return InternalError(f"the store {self.path} could not be opened: {error}")

    def _cover_all_pages(self) -> None:
        """Let the file reach to its last page.

        It may rightly be shorter, where pages at the end were freed before they were ever written. Where it was cut
        off, a page that is missing now reads as zeros, which is noticed; without this the kernel would end the process.
        """
        if self.total_bytes > (self.path / "data.mdb").stat().st_size:
            with contextlib.suppress(OSError):  # no room: it stays as it was
                os.truncate(self.path / "data.mdb", self.total_bytes)

    def reading(self) -> Reading:
        """Give a read transaction: one state of the store, however long it is held (hold it shortly)."""
        return Reading(self)

    def enter(self) -> None:
        """Count a reader in; wait while the environment is being exchanged."""
        depth = getattr(self._thread, "depth", 0)
        with self._gate:
            while self._paused and not depth:  # who reads already is waited for, and must not wait
                self._gate.wait()
            if self._closed:
                raise Unavailable(f"the store {self.path} is closed")
            self._readers += 1
        self._thread.depth = depth + 1

    def leave(self) -> None:
        """Count a reader out."""
        self._thread.depth -= 1
        with self._gate:
            self._readers -= 1
            if not self._readers:
                self._gate.notify_all()

    def hold(self) -> lmdb.Transaction:
        """Begin a read transaction that may last, and that any thread may go on with; for the writer thread.

        `let_go` ends it; until then there is no exchange.
        """
        with self._gate:
            if self._closed:
                raise Unavailable(f"the store {self.path} is closed")
            self._readers += 1
            self._holds += 1
        try:
            return self.env.begin()
        except BaseException:
            self._uncount_hold()
            raise

    def let_go(self, txn: lmdb.Transaction) -> None:
        """End what `hold` began; for any thread."""
        try:
            txn.abort()
        finally:
            self._uncount_hold()

    def _uncount_hold(self) -> None:
        with self._gate:
            self._readers -= 1
            self._holds -= 1
            if not self._readers:
                self._gate.notify_all()

    @property
    def is_held(self) -> bool:
        """Whether a long read goes on, which an exchange would have to wait for."""
        return self._holds > 0

    @contextmanager
    def writing(self) -> Iterator[lmdb.Transaction]:
        """Give the write transaction; commit at the end, or change nothing and raise OutOfSpace on a full disk."""
        try:
            with self.env.begin(write=True) as txn:
                yield txn
        except lmdb.MapFullError as error:
            raise OutOfSpace(f"the store {self.path} has reached its largest size") from error
        except (lmdb.CorruptedError, lmdb.PageNotFoundError) as error:
            raise Corruption(self.path / "data.mdb", str(error), RESTORE) from error
        except lmdb.Error as error:
            if is_full(self.path / "data.mdb"):
                raise OutOfSpace(f"no space left on the disk of {self.path}") from error
            raise InternalError(f"the store {self.path} failed: {error}") from error

    def close(self) -> None:
        """Refuse new readers, wait for those that are reading, and close."""
        with self._gate:
            self._closed = True
            self._gate.wait_for(lambda: self._readers == 0)
        self.env.close()

    def exchange(self, rename: Callable[[], None]) -> None:
        """Close the environment, let `rename` put another in its place, and open that; readers wait meanwhile."""
        self._pause()
        try:
            self.env.close()
            rename()
            self._open()
        except BaseException:
            self._closed = True
            raise
        finally:
            with self._gate:
                self._paused = False
                self._gate.notify_all()

    def _pause(self) -> None:
        """Keep readers out, at a moment when nobody reads: a long read shall not hold up all that come after it."""
        for attempt in range(PAUSE_ATTEMPTS):
            patience = PAUSE_PATIENCE_SECONDS if attempt < PAUSE_ATTEMPTS - 1 else None
            with self._gate:
                self._gate.wait_for(lambda: not self._paused)
                self._paused = True
                if self._gate.wait_for(lambda: self._readers == 0, patience):
                    return
                self._paused = False
                self._gate.notify_all()
            time.sleep(PAUSE_RETRY_SECONDS)

    @property
    def was_exchanged(self) -> bool:
        """Whether another process has put another environment in the place of this one."""
        try:
            return (self.path / "data.mdb").stat().st_ino != self._file_number
        except FileNotFoundError:  # it is about to: this one is gone, the other not yet there
            return False

    @property
    def disk_bytes(self) -> int:
        """The size of the file; waits like a reader, for while it is exchanged there is none."""
        with self.reading():
            return (self.path / "data.mdb").stat().st_size

    @property
    def total_bytes(self) -> int:
        """The pages of the file, used or free."""
        return int((self.env.info()["last_pgno"] + 1) * self.env.stat()["psize"])

    def used_bytes(self) -> int:
        """The pages that hold something."""
        with self.reading() as txn:
            stats = [txn.stat(getattr(self, name)) for name in DATABASES]
        pages = sum(stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"] for stat in stats)
        return int(pages * stats[0]["psize"])


class Reading:
    """A read transaction as a context; a class, since every search enters one."""

    __slots__ = ("_store", "_txn")

    def __init__(self, store: Store) -> None:
        self._store = store

    def __enter__(self) -> lmdb.Transaction:
        self._store.enter()
        try:
            self._txn = self._store.env.begin()
        except BaseException:
            self._store.leave()
            raise
        return self._txn

    def __exit__(self, *_: object) -> None:
        try:
            self._txn.abort()
        finally:
            self._store.leave()


def compacted_path(path: Path) -> Path:
    """Where a complete smaller copy of the environment in `path` waits to take its place."""
    return path.with_name(path.name + ".compact")


def finish_exchange(path: Path) -> None:
    """Finish or undo what a crash left of an exchange."""
    compacted = compacted_path(path)
    if not path.exists() and compacted.exists():
        compacted.rename(path)
        sync_directory(path.parent)
    for left in path.parent.glob(f"{path.name}.*"):
        remove_tree(left)


RESTORE = "Restore the shard from a snapshot or from another replica"


def number_keys(numbers: Numbers) -> list[bytes]:
    """The LMDB keys of point numbers."""
    flat = np.ascontiguousarray(numbers, "<u4").tobytes()
    return [flat[at : at + 4] for at in range(0, len(flat), 4)]


def get_meta_u64(txn: lmdb.Transaction, store: Store, name: bytes, default: int = 0) -> int:
    """Read a counter."""
    value = txn.get(name, db=store.meta)
    return default if value is None else int(_U64.unpack(value)[0])


def put_meta_u64(txn: lmdb.Transaction, store: Store, name: bytes, value: int) -> None:
    """Write a counter."""
    txn.put(name, _U64.pack(value), db=store.meta)


def get_sealed(txn: lmdb.Transaction, store: Store, name: bytes) -> bytes | None:
    """Read a value that carries its checksum; raise Corruption if it does not match."""
    value = txn.get(name, db=store.meta)
    if value is None:
        return None
    if len(value) < 8 or _U64.unpack_from(value)[0] != xxhash.xxh3_64_intdigest(value[8:]):
        raise Corruption(store.path / "data.mdb", f"the checksum of its {name.decode()} does not match", RESTORE)
    return bytes(value[8:])


def put_sealed(txn: lmdb.Transaction, store: Store, name: bytes, value: bytes) -> None:
    """Write a value in front of which its checksum stands."""
    txn.put(name, _U64.pack(xxhash.xxh3_64_intdigest(value)) + value, db=store.meta)


def seal_payload(payload: bytes) -> bytes:
    """Put the checksum in front of a payload."""
    return xxhash.xxh32_intdigest(payload).to_bytes(4, "little") + payload


def open_payload(value: bytes, store: Store, number: int) -> bytes:
    """Take the checksum off a payload; raise Corruption if it does not match."""
    payload = value[4:]
    if xxhash.xxh32_intdigest(payload) != int.from_bytes(value[:4], "little"):
        raise Corruption(store.path / "data.mdb", f"the payload of point number {number} does not match", RESTORE)
    return payload


def get_many(txn: lmdb.Transaction, db: Any, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    """Read several keys at once; missing ones are left out."""
    with txn.cursor(db=db) as cursor:
        return dict(cast("list[tuple[bytes, bytes]]", cursor.getmulti(keys)))


def put_many(txn: lmdb.Transaction, db: Any, items: Sequence[tuple[bytes, bytes]]) -> None:
    """Write several keys at once."""
    if items:
        with txn.cursor(db=db) as cursor:
            cursor.putmulti(items)
