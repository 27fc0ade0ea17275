"""Archives: plain tar, written and read as a stream, with nothing in it but files whose names are known here.

    pack(archive, manifest, folders)     →  SHA-256 of the file
    unpack(archive, folder)              →  manifest; folder/<number> is a copy of an index then

Nothing is compressed, so an archive is never smaller than what it becomes. Links, devices, sparse files, extended headers
and names that are not expected end the reading; so does a file twice, an end before the end, and a wrong checksum. Blocks.
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final

import orjson
import xxhash

from qnode.disk import fault_of, make_directory, sync_directory
from qnode.errors import BadInput
from qnode.index.copying import is_file_of_an_index
from qnode.snapshots.manifest import CHECKSUMS, MANIFEST, MOST_MANIFEST_BYTES, Manifest

PIECE_BYTES: Final = 1 << 20
MOST_FILES: Final = 1 << 20
MOST_CHECKSUMS_BYTES: Final = 128 << 20

_BLOCK: Final = tarfile.BLOCKSIZE
_END: Final = bytes(_BLOCK)
_SHARD_FILE: Final = re.compile(r"shards/(0|[1-9][0-9]{0,9})/(.+)", re.DOTALL)


class Writer:
    """Writes an archive from its begin to its end, and knows the SHA-256 of what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self._checksums: dict[str, str] = {}

    def add_bytes(self, name: str, content: bytes) -> None:
        """Add a small file."""
        self._begin(name, len(content))
        self._write(content)
        self._fill(len(content))

    def add_file(self, name: str, path: Path) -> None:
        """Add a file, which must not change meanwhile."""
        digest, left_bytes = xxhash.xxh3_64(), path.stat().st_size
        self._begin(name, left_bytes)
        size_bytes = left_bytes
        with path.open("rb", buffering=0) as file:
            while left_bytes:
                piece = file.read(min(PIECE_BYTES, left_bytes))
                assert piece, f"{path} has become shorter"
                digest.update(piece)
                self._write(piece)
                left_bytes -= len(piece)
        self._fill(size_bytes)
        self._checksums[name] = digest.hexdigest()

    def finish(self) -> str:
        """Write the checksums and the end; give the SHA-256 of all that was written."""
        self.add_bytes(CHECKSUMS, orjson.dumps(self._checksums))
        self._write(_END + _END)
        return self._sha256.hexdigest()

    def _begin(self, name: str, size_bytes: int) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = size_bytes, 0o644
        header = info.tobuf(tarfile.GNU_FORMAT)
        assert len(header) == _BLOCK, f"{name} is too long a name"
        self._write(header)

    def _fill(self, size_bytes: int) -> None:
        self._write(bytes(-size_bytes % _BLOCK))

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._sha256.update(data)


class Entry:
    """A file of an archive that is being read; `pieces` gives its content once, in order."""

    def __init__(self, file: BinaryIO, name: str, size_bytes: int) -> None:
        self.name = name
        self.size_bytes = size_bytes
        self._file = file

    def pieces(self) -> Iterator[bytes]:
        """Give the content; raise BadInput if the archive ends before it."""
        left_bytes = self.size_bytes
        while left_bytes:
            piece = self._file.read(min(PIECE_BYTES, left_bytes))
            if not piece:
                raise BadInput("the snapshot ends within a file")
            left_bytes -= len(piece)
            yield piece
        self._file.seek(-self.size_bytes % _BLOCK, os.SEEK_CUR)

    def content(self, most_bytes: int) -> bytes:
        """Give the content of a small file."""
        if self.size_bytes > most_bytes:
            raise BadInput(f"{self.name} of the snapshot is too large")
        return b"".join(self.pieces())


def entries(file: BinaryIO) -> Iterator[Entry]:
    """Go through the files of an archive; each must be read to its end before the next. Raise BadInput."""
    for _ in range(MOST_FILES):
        header = file.read(_BLOCK)
        if header == _END:
            return
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError) as error:
            raise BadInput(f"the snapshot cannot be read as an archive: {error}") from None
        if info.type != tarfile.REGTYPE or info.size < 0:
            raise BadInput("the snapshot holds something else than files")
        yield Entry(file, info.name, info.size)
    raise BadInput("the snapshot has too many files")


def pack(archive: Path, manifest: Manifest, folders: Mapping[int, Path]) -> str:
    """Write copies of shards into an archive that must not exist; durable, and its SHA-256 given. Raise OutOfSpace."""
    try:
        with archive.open("xb") as file:
            writer = Writer(file)
            writer.add_bytes(MANIFEST, manifest.to_bytes())
            for number, folder in folders.items():
                for path in _files_of(folder):
                    writer.add_file(f"shards/{number}/{path.relative_to(folder).as_posix()}", path)
            checksum = writer.finish()
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise fault_of(error, f"{archive} could not be written") from error
    return checksum


def read_manifest(archive: Path) -> Manifest:
    """Read what an archive says of itself; raise BadInput."""
    with archive.open("rb") as file:
        return _manifest_of(entries(file))


def unpack(archive: Path, folder: Path) -> Manifest:
    """Put the copies of an archive into folders named by their shards' numbers; durable. Raise BadInput or OutOfSpace.

    What fails leaves a part of it, which is the caller's to remove.
    """
    try:
        with archive.open("rb") as file:
            found = entries(file)
            manifest = _manifest_of(found)
            numbers = {shard.number for shard in manifest.shards}
            checksums: dict[str, str] = {}
            for entry in found:
                if entry.name == CHECKSUMS:
                    _compare(entry.content(MOST_CHECKSUMS_BYTES), checksums)
                    break
                checksums[entry.name] = _extract(entry, folder, numbers)
            else:
                raise BadInput("the snapshot ends before its checksums")
    except OSError as error:
        raise fault_of(error, f"the snapshot could not be unpacked into {folder}") from error
    for number in numbers:
        _complete(folder / str(number))
    return manifest


def _manifest_of(found: Iterator[Entry]) -> Manifest:
    first = next(found, None)
    if first is None or first.name != MANIFEST:
        raise BadInput("this is no snapshot of qnode")
    return Manifest.from_bytes(first.content(MOST_MANIFEST_BYTES))


def _extract(entry: Entry, folder: Path, numbers: Iterable[int]) -> str:
    """Write a file of a shard to its place; give its checksum."""
    matched = _SHARD_FILE.fullmatch(entry.name)
    if matched is None or int(matched[1]) not in numbers or not is_file_of_an_index(matched[2]):
        raise BadInput(f"the snapshot holds {entry.name[:100]!r}, which is no file of its shards")
    path = folder / matched[1] / matched[2]
    make_directory(path.parent)
    digest = xxhash.xxh3_64()
    try:
        with path.open("xb") as written:
            for piece in entry.pieces():
                digest.update(piece)
                written.write(piece)
            written.flush()
            os.fsync(written.fileno())
    except FileExistsError:
        raise BadInput(f"the snapshot holds {entry.name} twice") from None
    return digest.hexdigest()


def _compare(content: bytes, checksums: Mapping[str, str]) -> None:
    try:
        expected = orjson.loads(content)
    except orjson.JSONDecodeError:
        expected = None
    if expected != checksums:
        raise BadInput("the snapshot is damaged: its files do not match their checksums")


def _complete(folder: Path) -> None:
    """See that a copy has its store; make its folders durable."""
    if not (folder / "store" / "data.mdb").exists():
        raise BadInput("the snapshot lacks the store of a shard that it names")
    make_directory(folder / "segments")
    for part in (*(folder / "segments").iterdir(), folder / "segments", folder / "store", folder, folder.parent):
        sync_directory(part)


def _files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "lock.mdb")
