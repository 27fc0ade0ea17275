"""Copying a shard's files from its primary to a replica that the log cannot help: what both ends agree on.

    primary                                replica
    keeps one state, writes it beside
    offer: listing               ──call──▸
                                 ◂─────── how much of it has arrived already
    bytes from there on         ═stream═▸  beside the shard, checked, synced
    INSTALL                     ─message▸  in place of the shard, if its own topology agrees
                                ◂message─  COPIED
    goes on from the log

The files of a copy, one behind the other in the order of its listing, are one row of bytes: a position in it is all
that resuming needs. Both ends forget a copy when their process ends, and remove what it left when the shard is opened
again.

The last two steps go over the link of the Appends, for their place among those decides whether they are true
(`replication.actions.NeedsCopy`); the others may happen at any time. See `copy_sending` and `copy_receiving` for the
two ends.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson

from qnode.disk import remove_trash, remove_tree
from qnode.errors import BadRequest
from qnode.index.copying import CopiedFile, is_file_of_an_index
from qnode.shards.peer_frames import COPY_ID_BYTES, Address, CopyId

PIECE_BYTES: Final = 1 << 20
"""So much of a copy is read, or written, at once."""

MAX_FILES: Final = 100_000
_MAX_BYTES: Final = 1 << 50

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class CopySettings:
    """The bounds of copying; `bytes_per_second` is that of all copies that leave this node together, None for no bound."""

    most_outgoing: int = 2
    """So many copies leave this node at a time; others wait."""
    bytes_per_second: int | None = None
    call_timeout_seconds: float = 10.0
    stall_timeout_seconds: float = 30.0
    """A receiver that takes nothing for so long is given up …"""
    install_timeout_seconds: float = 300.0
    """… and one that was told to put a copy in its place, after this."""
    link_timeout_seconds: float = 60.0
    """A broken link may take so long to come up again; then what was sent is given up."""
    retry_seconds: float = 0.2
    longest_retry_seconds: float = 30.0
    """After a failure the next attempt follows after a pause, doubled each time from the first to the longest."""
    follow_timeout_seconds: float = 600.0
    """So long the log is kept for a replica that was copied and is not in sync yet."""


class Stage(StrEnum):
    """How far a copy has come, in the words that clients know."""

    CREATING = "creating snapshot"
    TRANSFERRING = "transferring"
    RECOVERING = "recovering"
    SYNCING = "syncing queued updates"
    DOWNLOADING = "downloading"
    RESTORING = "restoring"


@dataclass(frozen=True, slots=True)
class CopyProgress:
    """A copy under way between this node and `peer`; the last two stages are those of a receiver."""

    address: Address
    peer: int
    stage: Stage
    done_bytes: int
    total_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Offer:
    """What a primary has to give in an epoch."""

    address: Address
    copy: CopyId
    epoch: int
    files: tuple[CopiedFile, ...]

    @property
    def total_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def encode_offer(offer: Offer) -> bytes:
    """Write an offer."""
    listing = [[file.path, file.size_bytes, file.xxh3] for file in offer.files]
    return orjson.dumps([*offer.address, offer.copy.hex(), offer.epoch, listing])


def decode_offer(data: bytes) -> Offer:
    """Read an offer; raise BadRequest for anything that is none, or whose files are not those of an index."""
    try:
        folder, number, copy, epoch, listing = _checked(data, str, int, str, int, list)
        files = tuple(_file(entry) for entry in listing[:MAX_FILES])
        if len({file.path for file in files}) != len(listing):
            raise ValueError("a file twice, or too many")
        if not sum(file.size_bytes for file in files):
            raise ValueError("it is empty")
        return Offer((folder, number), _copy_id(copy), epoch, files)
    except (ValueError, TypeError) as error:
        raise BadRequest(f"not the offer of a copy: {error}") from None


def encode_opening(address: Address, copy: CopyId, position: int) -> bytes:
    """Write the header of a stream that brings a copy's bytes from a position on."""
    return orjson.dumps([*address, copy.hex(), position])


def decode_opening(data: bytes) -> tuple[Address, CopyId, int]:
    """Read the header of a stream; raise BadRequest."""
    try:
        folder, number, copy, position = _checked(data, str, int, str, int)
        return (folder, number), _copy_id(copy), position
    except (ValueError, TypeError) as error:
        raise BadRequest(f"not the beginning of a copy: {error}") from None


def _checked(data: bytes, *kinds: type) -> list[Any]:
    values = orjson.loads(data)
    if type(values) is not list or [type(value) for value in values] != list(kinds):
        raise ValueError("it has other parts")
    return values


def _copy_id(text: str) -> CopyId:
    copy = bytes.fromhex(text)
    if len(copy) != COPY_ID_BYTES:
        raise ValueError("its id is of another size")
    return copy


def _file(entry: list[Any]) -> CopiedFile:
    path, size_bytes, xxh3 = entry
    if not (type(path) is str and is_file_of_an_index(path)):
        raise ValueError(f"{path!r} is no file of an index")
    if not (type(size_bytes) is int and 0 <= size_bytes < _MAX_BYTES and type(xxh3) is str and len(xxh3) == 16):
        raise ValueError(f"{path} has no size and checksum")
    return CopiedFile(path, size_bytes, xxh3)


def outgoing_folder(shard_path: Path, copy: CopyId) -> Path:
    """Where a copy of a shard is made, to be sent."""
    return shard_path.with_name(f"{shard_path.name}.outgoing-{copy.hex()}")


def incoming_folder(shard_path: Path, copy: CopyId) -> Path:
    """Where a copy arrives, to be put in a shard's place."""
    return shard_path.with_name(f"{shard_path.name}.incoming-{copy.hex()}")


def leftovers(shard_path: Path) -> list[Path]:
    """List what an earlier process left of copies of a shard."""
    kinds = ("outgoing", "incoming")
    return [path for kind in kinds for path in shard_path.parent.glob(f"{shard_path.name}.{kind}-*")]


def remove_leftovers(folders: list[Path], shard_path: Path) -> None:
    """Remove what an earlier process left; blocks."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    remove_trash(shard_path.parent)


def discard(folder: Path) -> None:
    """Remove a copy that is not needed any more, as far as it goes; blocks."""
    if folder.exists():
        remove_tree(folder)


async def to_its_end(work: Coroutine[Any, Any, Result]) -> Result:
    """Do something that cannot be left half-way: who is cancelled meanwhile ends when it is done."""
    task = asyncio.get_running_loop().create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise


class Throttle:
    """Makes those who call `take` wait, so that together they take no more than so many bytes a second."""

    def __init__(self, bytes_per_second: int | None) -> None:
        self._bytes_per_second = bytes_per_second
        self._free_at = 0.0

    async def take(self, size_bytes: int) -> None:
        """Wait for the turn to send so many bytes."""
        if self._bytes_per_second is None:
            return
        now = asyncio.get_running_loop().time()
        begins_at = max(now, self._free_at)
        self._free_at = begins_at + size_bytes / self._bytes_per_second
        await asyncio.sleep(begins_at - now)
