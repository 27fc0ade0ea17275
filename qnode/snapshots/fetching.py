"""Bringing a snapshot here that a client has named: by URL, or as a file that lies in the snapshots folder.

Nothing is trusted of it: a remote file may be of any size, so the disk is watched while it comes, and a path may lead out of
the folder by links, so it is resolved first.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import unquote, urlsplit

import httpx

from qnode.disk import fault_of
from qnode.errors import BadRequest, Forbidden, OutOfSpace

PIECE_BYTES: Final = 1 << 20
LOOK_BYTES: Final = 64 << 20
KEPT_FREE_BYTES: Final = 256 << 20
"""What arrives is refused when it leaves less than this of the disk."""

CONNECT_SECONDS: Final = 10.0
STALL_SECONDS: Final = 60.0
MOST_REDIRECTS: Final = 5


class Priority(StrEnum):
    """Whose data counts where a shard has other replicas that are in sync. no_sync is taken as `snapshot`: no replica of a
    shard may hold what the others do not.
    """

    NO_SYNC = "no_sync"
    SNAPSHOT = "snapshot"
    REPLICA = "replica"


@dataclass(frozen=True, slots=True)
class Location:
    """Where a snapshot is to be recovered from. `base`: the folder that a plain name is looked up in."""

    uri: str
    api_key: str | None = None
    base: Path | None = None


class Arriving:
    """A file that is written piece by piece, as long as there is room for it; blocks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO = path.open("xb")
        self._looked_at_bytes = 0
        self.size_bytes = 0
        self._look()

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        """Write on; raise OutOfSpace."""
        try:
            self._file.write(piece)
        except OSError as error:
            raise fault_of(error, f"{self._path} could not be written") from error
        self.size_bytes += len(piece)
        if self.size_bytes - self._looked_at_bytes >= LOOK_BYTES:
            self._look()

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as error:
            raise fault_of(error, f"{self._path} could not be written") from error

    def _look(self) -> None:
        self._looked_at_bytes = self.size_bytes
        if shutil.disk_usage(self._path.parent).free < KEPT_FREE_BYTES:
            self._file.close()
            raise OutOfSpace(f"no space left for the snapshot on the disk of {self._path.parent}")


async def fetch(location: Location, root: Path, target: Path, *, allows_remote: bool) -> Path:
    """Give the file of a snapshot: `target`, if it had to be fetched. `root`: the snapshots folder."""
    try:
        parts = urlsplit(location.uri)
        host = parts.hostname
    except ValueError:
        raise _invalid() from None
    if parts.scheme in ("http", "https"):
        if not allows_remote:
            raise Forbidden("Snapshot recovery from remote URLs is disabled in the configuration")
        await _download(location, target)
        return target
    if parts.scheme == "file":
        if host not in (None, "localhost") or not parts.path.startswith("/"):
            raise _invalid()
        return await asyncio.to_thread(_inside, Path(unquote(parts.path)), root)
    if not parts.scheme and location.base is not None:
        return await asyncio.to_thread(_inside, location.base / location.uri, root)
    raise _invalid()


def _invalid() -> BadRequest:
    return BadRequest("Invalid snapshot URI, file path must be absolute or on localhost")


def _inside(path: Path, root: Path) -> Path:
    try:
        resolved = path.resolve()
        is_file = resolved.is_file()
    except (OSError, ValueError):
        is_file = False
    if not is_file:
        raise BadRequest(f'Snapshot file "{path}" does not exist')
    if not resolved.is_relative_to(root.resolve()):
        raise Forbidden(f"Snapshot file path must be inside the snapshots directory {root.resolve()}")
    return resolved


async def _download(location: Location, target: Path) -> None:
    headers = {b"accept-encoding": b"identity"}
    if location.api_key is not None:
        headers[b"api-key"] = location.api_key.encode()  # any text: as a string, httpx takes ASCII alone
    client = httpx.AsyncClient(
        timeout=httpx.Timeout(STALL_SECONDS, connect=CONNECT_SECONDS),
        follow_redirects=location.api_key is None,  # a key is for the host that was named
        max_redirects=MOST_REDIRECTS,
        headers=headers,
    )
    try:
        async with client, client.stream("GET", location.uri) as answer:
            if answer.status_code != 200:
                raise BadRequest(f"Failed to download snapshot from {location.uri}: status {answer.status_code}")
            arriving = await asyncio.to_thread(Arriving, target)
            try:
                async for piece in answer.aiter_raw(PIECE_BYTES):
                    await asyncio.to_thread(arriving.write, piece)
            finally:
                await asyncio.to_thread(arriving.close)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise BadRequest(f"Failed to download snapshot from {location.uri}: {error!r}") from None


def sha256_of(path: Path) -> str:
    """Compute the SHA-256 of a file, in hexadecimal. Blocks."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise fault_of(error, f"{path} could not be read") from error
