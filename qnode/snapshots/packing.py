"""Making archives: plain tar, as a stream whose length is known before its first byte is.

    pieces(first, members)   →  the bytes, one after the other: `first`, the members, their checksums, the end
    size_of(first, members)  →  how many that will be
    pack(path, pieces)       →  SHA-256 of the file, which is durable then

Whatever is read is read once: on its way it is hashed for the list of checksums and, when a file is made of it, for the SHA-256,
which takes longer than all the rest and has a thread of its own. What is written is synced in parts as it comes, by another thread,
so that the sync at the end has little left to wait for, and the log's syncs no long queue before them. Blocks.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
import xxhash

from qnode.disk import SYNC_STEP_BYTES, fault_of

CHECKSUMS: Final = "checksums.json"
"""The last file: XXH3 of every one between it and the first."""

PIECE_BYTES: Final = 1 << 20
MOST_WAITING: Final = 8
"""So many pieces may wait for being hashed."""

_BLOCK: Final = tarfile.BLOCKSIZE
_END: Final = bytes(2 * _BLOCK)
_XXH3_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class Member:
    """A file to be put into an archive. `pieces` gives as many bytes as it says, anew at each call."""

    name: str
    size_bytes: int
    pieces: Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class First:
    """The small file that begins an archive and says what it is."""

    name: str
    content: bytes


def pieces(first: First, members: Sequence[Member]) -> Iterator[bytes]:
    """Give the bytes of an archive; no piece is empty. Raises what reading its members raises."""
    yield _small(first.name, first.content)
    checksums: dict[str, str] = {}
    for member in members:
        yield _header(member.name, member.size_bytes)
        digest, size_bytes = xxhash.xxh3_64(), 0
        for piece in member.pieces():
            digest.update(piece)
            size_bytes += len(piece)
            yield piece
        assert size_bytes == member.size_bytes, f"{member.name} has another size than was said"
        if filling := _filling(size_bytes):
            yield filling
        checksums[member.name] = digest.hexdigest()
    yield _small(CHECKSUMS, orjson.dumps(checksums)) + _END


def next_of(content: Iterator[bytes]) -> bytes:
    """Give the next piece, an empty one behind the last: for threads, which cannot pass on that an iterator has ended."""
    return next(content, b"")


def size_of(first: First, members: Sequence[Member]) -> int:
    """Tell how long an archive will be."""
    checksums = len(orjson.dumps({member.name: "0" * _XXH3_DIGITS for member in members}))
    sizes = [len(first.content), checksums, *(member.size_bytes for member in members)]
    return sum(_BLOCK + size_bytes + -size_bytes % _BLOCK for size_bytes in sizes) + len(_END)


def pack(path: Path, content: Iterable[bytes]) -> str:
    """Write a file that must not exist; durable, and its SHA-256 given. Raises OutOfSpace, and what `content` raises."""
    digest = hashlib.sha256()
    try:
        with path.open("xb") as file, ThreadPoolExecutor(1, "sha256") as hashing, ThreadPoolExecutor(1, "sync") as disk:
            hashed: deque[Future[None]] = deque()
            synced: Future[None] | None = None
            unsynced_bytes = 0
            for piece in content:
                hashed.append(hashing.submit(digest.update, piece))
                if len(hashed) > MOST_WAITING:
                    hashed.popleft().result()
                file.write(piece)
                unsynced_bytes += len(piece)
                if unsynced_bytes >= SYNC_STEP_BYTES:
                    if synced is not None:
                        synced.result()
                    file.flush()
                    synced, unsynced_bytes = disk.submit(os.fdatasync, file.fileno()), 0
            if synced is not None:
                synced.result()
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise fault_of(error, f"{path} could not be written") from error
    return digest.hexdigest()


def _small(name: str, content: bytes) -> bytes:
    return _header(name, len(content)) + content + _filling(len(content))


def _header(name: str, size_bytes: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size_bytes, 0o644
    header = info.tobuf(tarfile.GNU_FORMAT)
    assert len(header) == _BLOCK, f"{name} is too long a name"
    return header


def _filling(size_bytes: int) -> bytes:
    return bytes(-size_bytes % _BLOCK)
