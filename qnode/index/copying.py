"""Copying an open index while it is written and built: for other peers, and for snapshots.

    held = hold(index)              # on the writer thread: takes no time
    applied_op = held.write(folder) # in any thread: takes its time; or held.files(), to read them as they are
    held.close()

A copy is the index as of one transaction: the store page by page, the sealed segments as hard links (nothing ever
writes to them again), of growing ones the rows that the transaction's manifest counts (rows that count are never
overwritten). It is durable when `write` returns, and opens like any index with the same settings.

The store's first two pages say which state is the newest: they are read when it is held. All other pages of that state
stay as they are while the transaction lasts, so they can be copied at leisure. LMDB's own copy without free pages would
be smaller, and ends the process where a posting list has pages of its own (0.9.36, mdb_env_cwalk).

What keeps it whole meanwhile: the transaction keeps the store's pages, and segments that a build replaces keep their
files as long as somebody refers to them, which `Held` does. Until it is closed, freed pages are not used again, the
store is not compacted, and closing the index waits.

Left out: the log, and resuming. What fails leaves a part of a copy, which is the caller's to remove.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import lmdb

from qnode.disk import fault_of, new_file, sync_directory
from qnode.errors import Corruption, InternalError
from qnode.index.index import Index
from qnode.index.manifest import SegmentEntry, SegmentState, read_manifest
from qnode.index.segments import Growing, Segment
from qnode.index.store import RESTORE, Store, get_meta_u64
from qnode.index.vectors.files import CHUNK_BYTES, checksum_of

_STORE_FILE: Final = "store/data.mdb"
_FILE_OF_AN_INDEX: Final = re.compile(r"store/data\.mdb|segments/[1-9][0-9]{0,9}/[a-z_]{1,40}\.(?:bin|json)")


@dataclass(frozen=True, slots=True)
class CopiedFile:
    """A file of a copy: its path in the folder, its size, and its XXH3 in hexadecimal."""

    path: str
    size_bytes: int
    xxh3: str


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of a copy that is not made yet: `head`, then `source` behind as many bytes up to `stored_bytes`, then zeros.

    `is_final`: nothing ever writes to `source` again, and all of it counts.
    """

    path: str
    source: Path
    size_bytes: int
    stored_bytes: int
    head: bytes = b""
    is_final: bool = False

    def pieces(self, most_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
        """Give the content, in order. Raises Corruption if the source has become shorter, and OSError."""
        if self.head:
            yield self.head
        left_bytes = self.stored_bytes - len(self.head)
        with self.source.open("rb", buffering=0) as file:
            file.seek(len(self.head))
            while left_bytes > 0:
                piece = file.read(min(most_bytes, left_bytes))
                if not piece:
                    fault = f"it has {self.stored_bytes - left_bytes} bytes of {self.stored_bytes}"
                    raise Corruption(self.source, fault, RESTORE)
                yield piece
                left_bytes -= len(piece)
        left_bytes = self.size_bytes - max(self.stored_bytes, len(self.head))
        while left_bytes > 0:
            yield bytes(min(most_bytes, left_bytes))
            left_bytes -= min(most_bytes, left_bytes)


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """One state of an index, kept as it is until `close`, which must follow."""

    applied_op: int
    _store: Store
    _txn: lmdb.Transaction
    _heads: bytes
    _store_bytes: int
    _segments: tuple[tuple[SegmentEntry, Segment], ...]

    def files(self) -> list[SourceFile]:
        """List what a copy consists of, the store first; to be read before `close`. Raises OSError."""
        source = self._store.path / "data.mdb"
        on_disk_bytes = min(self._store_bytes, source.stat().st_size)  # shorter where its last pages were never written
        found = [SourceFile(_STORE_FILE, source, self._store_bytes, on_disk_bytes, self._heads)]
        for entry, segment in self._segments:
            found += _files_of_segment(entry, segment)
        return found

    def write(self, folder: Path) -> int:
        """Write the copy into a folder, which must not exist, and give its applied_op.

        On the same file system it needs room for the store and the growing segments only. Raises OutOfSpace,
        InternalError or Corruption.
        """
        try:
            (folder / "store").mkdir(parents=True)
            (folder / "segments").mkdir()
            for entry, _ in self._segments:
                (folder / "segments" / str(entry.id)).mkdir()
            for file in self.files():
                if file.is_final:
                    _link(file, folder / file.path)
                else:
                    _write(file, folder / file.path)
            written = [folder / "segments" / str(entry.id) for entry, _ in self._segments]
        except OSError as error:
            raise fault_of(error, f"{folder} could not be written") from error
        for made in (*written, folder / "store", folder / "segments", folder, folder.parent):
            sync_directory(made)
        return self.applied_op

    def close(self) -> None:
        """Let the index go on without regard to this copy; for any thread."""
        self._store.let_go(self._txn)


def hold(index: Index) -> Held:
    """Keep the last committed state of an index; for the writer thread. Raise Corruption if its manifest is damaged."""
    store = index.store
    txn = store.hold()
    try:
        entries = read_manifest(txn, store).segments
        applied_op = get_meta_u64(txn, store, b"applied_op")
        segments = {part.id: part.segment for space in index.spaces.values() for part in space.parts}
        served = tuple((entry, segments[entry.id]) for entry in entries if entry.id in segments)
        return Held(applied_op, store, txn, _heads_of(store), store.total_bytes, served)
    except BaseException:
        store.let_go(txn)
        raise


def copy_index(index: Index, folder: Path) -> int:
    """Copy an index into a folder that must not exist; give its applied_op. The writer thread waits for all of it."""
    with closing(hold(index)) as held:
        return held.write(folder)


def files_in(folder: Path) -> list[SourceFile]:
    """List the files of a copy as they are to be read, the store first. Raises OSError."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "lock.mdb")
    sizes = [(path, path.stat().st_size) for path in paths]
    found = [SourceFile(path.relative_to(folder).as_posix(), path, size, size, is_final=True) for path, size in sizes]
    return sorted(found, key=lambda file: file.path != _STORE_FILE)


def is_file_of_an_index(path: str) -> bool:
    """Say whether a relative path may be that of a file in a copy; none of these leads out of the folder."""
    return _FILE_OF_AN_INDEX.fullmatch(path) is not None


def files_of_copy(folder: Path) -> list[CopiedFile]:
    """List the files of a copy with their checksums, the store first; reads them all. Raise InternalError if it is none."""
    found = files_in(folder)
    strange = [file.path for file in found if not is_file_of_an_index(file.path)]
    if strange or not found or found[0].path != _STORE_FILE:
        raise InternalError(f"{folder} is no copy of an index: {', '.join(strange[:3]) or 'it has no store'}")
    return [CopiedFile(file.path, file.size_bytes, checksum_of(file.source)) for file in found]


def _heads_of(store: Store) -> bytes:
    """Read the two pages that say which state is the newest; for the writer thread, where nothing changes them."""
    with (store.path / "data.mdb").open("rb") as file:
        return file.read(2 * int(store.env.stat()["psize"]))


def _files_of_segment(entry: SegmentEntry, segment: Segment) -> list[SourceFile]:
    folder = f"segments/{entry.id}"
    if entry.state is SegmentState.SEALED:
        sealed = [(file, file.stat().st_size) for file in sorted(segment.directory.iterdir())]
        return [SourceFile(f"{folder}/{file.name}", file, size, size, is_final=True) for file, size in sealed]
    assert isinstance(segment, Growing)
    growing = segment.lengths_bytes(entry.rows)
    return [
        SourceFile(f"{folder}/{name}", segment.directory / name, size, size) for name, size in sorted(growing.items())
    ]


def _link(file: SourceFile, target: Path) -> None:
    """Give a finished file a second name; where the file system knows no such thing, copy it."""
    try:
        target.hardlink_to(file.source)
    except FileNotFoundError:
        raise
    except OSError:
        _write(file, target)


def _write(file: SourceFile, target: Path) -> None:
    with new_file(target) as written:
        for piece in file.pieces():
            written.write(piece)
