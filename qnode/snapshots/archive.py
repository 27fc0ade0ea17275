"""Archives: plain tar, written and read as a stream, with nothing in it but files whose names are known here.

    pieces(first_of(manifest), members_of(shards))  →  the bytes of one (`packing`)
    unpack(archive, folder)                         →  manifest; folder/<number> is a copy of an index then

Nothing is compressed, so an archive is never smaller than what it becomes. Links, devices, sparse files, extended headers
and names that are not expected end the reading; so does a file twice, an end before the end, and a wrong checksum. Blocks.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

import orjson
import xxhash

from qnode.disk import fault_of, make_directory, new_file, sync_directory
from qnode.errors import BadInput
from qnode.index.copying import SourceFile, is_file_of_an_index
from qnode.snapshots.manifest import MANIFEST, MOST_MANIFEST_BYTES, Manifest
from qnode.snapshots.packing import CHECKSUMS, PIECE_BYTES, First, Member

MOST_FILES: Final = 1 << 20
MOST_CHECKSUMS_BYTES: Final = 128 << 20

_BLOCK: Final = tarfile.BLOCKSIZE
_END: Final = bytes(_BLOCK)
_SHARD_FILE: Final = re.compile(r"shards/(0|[1-9][0-9]{0,9})/(.+)", re.DOTALL)


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


def members_of(shards: Mapping[int, Sequence[SourceFile]]) -> list[Member]:
    """Name the files of shards as they stand in an archive."""
    return [
        Member(f"shards/{number}/{file.path}", file.size_bytes, partial(file.pieces, PIECE_BYTES))
        for number, files in shards.items()
        for file in files
    ]


def first_of(manifest: Manifest) -> First:
    """Give the file that an archive begins with."""
    return First(MANIFEST, manifest.to_bytes())


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
        with new_file(path) as written:
            for piece in entry.pieces():
                digest.update(piece)
                written.write(piece)
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
