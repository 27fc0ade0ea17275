"""What nodes do for each other's snapshots: copy their shards for one that makes an archive, restore what they are primary of.

    asker                                   peer
    take: collection, shards, token ──call──▸ copies its shards, packs them
           archive of those shards ◂─stream── with the token
                                    ◂─────── answer
    archive of a shard, with a token ─stream▸ unpacks it, and keeps it for some time
    switch: token, collection, shard ─call──▸ restores it, if it is its primary
                                    ◂─────── answer

An archive of a peer is checked against its checksums, and not examined: peers have proved who they are.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import orjson

from qnode.channel import Channel, IncomingStream
from qnode.disk import fault_of
from qnode.errors import BadRequest, TimedOut, Unavailable
from qnode.index.copying import files_in
from qnode.shards.collection import Collection
from qnode.shards.copying import PIECE_BYTES, to_its_end
from qnode.shards.topics import Topic
from qnode.snapshots import archive
from qnode.snapshots.archive import first_of, members_of
from qnode.snapshots.fetching import Arriving
from qnode.snapshots.manifest import Manifest
from qnode.snapshots.packing import next_of, pieces
from qnode.snapshots.staging import Staging
from qnode.snapshots.taking import Taken, contents, taken_as_copied

TAKE_SECONDS: Final = 3600.0
RESTORE_SECONDS: Final = 3600.0
STALL_SECONDS: Final = 30.0
KEEP_SECONDS: Final = 2 * RESTORE_SECONDS
"""So long a peer keeps what was brought to it and is not asked for."""

_TAKEN, _BROUGHT = "taken", "brought"


class Peers:
    """The other nodes. `find`: an open collection by its name. What they ask is answered after `answer`."""

    def __init__(self, channel: Channel, staging: Staging, find: Callable[[str], Collection]) -> None:
        self._channel = channel
        self._staging = staging
        self._find = find
        self._expected: dict[str, Path] = {}
        self._brought: dict[str, tuple[Path, AsyncExitStack]] = {}
        self._expiring: set[asyncio.Task[None]] = set()

    def answer(self, restore: Callable[[str, int, Path], Awaitable[None]]) -> None:
        """Take the topics of the channel. `restore`: put a copy in the place of a shard of this node."""
        self._restore = restore
        self._channel.on_call(Topic.SNAPSHOT_TAKE, self._take)
        self._channel.on_call(Topic.SNAPSHOT_SWITCH, self._switch)
        self._channel.on_stream(Topic.SNAPSHOT, self._arrives)

    async def take(self, peer: int, name: str, numbers: list[int], place: Path) -> list[Taken]:
        """Have a peer copy shards that are Active there; put the copies into `place`/<number>."""
        token = secrets.token_hex(16)
        async with self._staging.place() as own:
            self._expected[token] = own / "archive"
            try:
                asked = orjson.dumps([name, numbers, token])
                await self._channel.call(peer, Topic.SNAPSHOT_TAKE, asked, TAKE_SECONDS)
                manifest = await asyncio.to_thread(archive.unpack, own / "archive", place)
            finally:
                del self._expected[token]
        if sorted(shard.number for shard in manifest.shards) != sorted(numbers):
            raise Unavailable(f"peer {peer} has copied other shards of {name} than it was asked for")
        return [Taken(part, await asyncio.to_thread(files_in, place / str(part.number))) for part in manifest.shards]

    async def bring(self, peer: int, folder: Path, manifest: Manifest) -> str:
        """Have a peer keep a copy for a while; give the token that names it. `manifest`: with that shard alone."""
        (part,) = manifest.shards
        token = secrets.token_hex(16)
        files = await asyncio.to_thread(files_in, folder)
        content = pieces(first_of(manifest), members_of({part.number: files}))
        await self._send(peer, [_BROUGHT, token], content, RESTORE_SECONDS)
        return token

    async def switch(self, peer: int, token: str, name: str, number: int) -> None:
        """Have a peer put what was brought in the place of a shard that it is primary of."""
        asked = orjson.dumps([token, name, number])
        await self._channel.call(peer, Topic.SNAPSHOT_SWITCH, asked, RESTORE_SECONDS)

    async def forget(self, peer: int, token: str) -> None:
        """Tell a peer that what was brought is not needed."""
        await self._channel.call(peer, Topic.SNAPSHOT_SWITCH, orjson.dumps([token, None, None]), STALL_SECONDS)

    # What peers ask

    async def _take(self, peer: int, content: bytes) -> bytes:
        try:
            name, numbers, token = orjson.loads(content)
            wanted = [int(number) for number in numbers]
        except (ValueError, TypeError) as error:
            raise BadRequest(f"not the order of a snapshot: {error}") from None
        collection = self._find(str(name))
        async with self._staging.place() as place:
            sent = pieces(*contents(collection, await taken_as_copied(collection, wanted, place)))
            await self._send(peer, [_TAKEN, str(token)], sent, STALL_SECONDS)
        return b""

    async def _arrives(self, peer: int, header: bytes, stream: IncomingStream) -> bytes:
        try:
            kind, *about = orjson.loads(header)
            if kind == _TAKEN and (target := self._expected.get(about[0])) is not None:
                await _receive(stream, target)
                return b""
            if kind == _BROUGHT:
                await self._keep(str(about[0]), stream)
                return b""
        except (ValueError, TypeError, IndexError) as error:
            raise BadRequest(f"not the beginning of a snapshot: {error}") from None
        raise BadRequest("nobody waits for this snapshot")

    async def _keep(self, token: str, stream: IncomingStream) -> None:
        """Unpack what a peer brings, for some time."""
        async with AsyncExitStack() as opened:
            place = await opened.enter_async_context(self._staging.place())
            await _receive(stream, place / "archive")
            manifest = await to_its_end(asyncio.to_thread(archive.unpack, place / "archive", place))
            await asyncio.to_thread((place / "archive").unlink)
            (part,) = manifest.shards
            self._brought[token] = place / str(part.number), opened.pop_all()
        asyncio.get_running_loop().call_later(KEEP_SECONDS, self._expire, token)

    def _expire(self, token: str) -> None:
        if (found := self._brought.pop(token, None)) is not None:
            task = asyncio.get_running_loop().create_task(found[1].aclose())
            self._expiring.add(task)
            task.add_done_callback(self._expiring.discard)

    async def _switch(self, peer: int, content: bytes) -> bytes:
        try:
            token, name, number = orjson.loads(content)
            found = self._brought.pop(token, None)
        except (ValueError, TypeError) as error:
            raise BadRequest(f"not the order to restore: {error}") from None
        if found is not None:
            folder, opened = found
            async with opened:
                if name is not None:
                    await self._restore(str(name), int(number), folder)
        elif name is not None:
            raise Unavailable(f"peer {self._channel.me} does not have what was brought to it")
        return b""

    async def _send(self, peer: int, header: list[object], content: Iterator[bytes], answer_seconds: float) -> None:
        async with self._channel.open_stream(peer, Topic.SNAPSHOT, orjson.dumps(header)) as stream:
            try:
                while piece := await to_its_end(asyncio.to_thread(next_of, content)):
                    async with asyncio.timeout(STALL_SECONDS):
                        await stream.write(piece)
            except TimeoutError:
                raise TimedOut(f"peer {peer} takes no more of a snapshot") from None
            except OSError as error:
                raise fault_of(error, f"what was to be sent to peer {peer} could not be read") from error
            await stream.finish(answer_seconds)


async def _receive(stream: IncomingStream, target: Path) -> None:
    arriving = await asyncio.to_thread(Arriving, target)
    try:
        waiting = bytearray()
        async for piece in stream:
            waiting += piece
            if len(waiting) >= PIECE_BYTES:
                await to_its_end(asyncio.to_thread(arriving.write, waiting))
                waiting = bytearray()
        await to_its_end(asyncio.to_thread(arriving.write, waiting))
    finally:
        await to_its_end(asyncio.to_thread(arriving.close))
