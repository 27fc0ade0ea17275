"""Asking another peer about shards that it holds: values to bytes, one call, bytes to values.

Left out: whom to ask, and whom to ask next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Any, Final

from qnode import deadline
from qnode.channel import Channel, LinkBroken
from qnode.errors import QnodeError, TimedOut, UnknownOutcome
from qnode.models import search_wire, wire
from qnode.models.query import Hits, Point, QueryRequest
from qnode.models.shard_calls import (
    NotServed,
    ReachedRequest,
    ReadCall,
    ReadRequest,
    RoutedRequest,
    Table,
    WriteCall,
    points_of,
)
from qnode.models.write import WriteRequest
from qnode.shards.topics import Topic

LONGEST_CALL_SECONDS: Final = 3600.0
"""A call that may take as long as it likes ends when its link breaks, and at the latest after this."""

GRACE_SECONDS: Final = 2.0
"""A peer that is to answer within some time may answer so much later: what it says then is better than not to know."""

LINK_PATIENCE_SECONDS: Final = 2.0
"""A link that broke may be there again within this time: as long as that its peer counts as one that can be reached."""


class Remote:
    """The other peers, as those that hold shards. A node that runs alone has no channel, and nobody to ask."""

    def __init__(self, channel: Channel | None) -> None:
        self._channel = channel
        self._broke_at: dict[int, float] = {}
        self.changes = 0
        """How often a link has come or gone."""
        if channel is not None:
            channel.watch(self._connected, self._disconnected)

    def _connected(self, peer: int) -> None:
        self.changes += 1
        self._broke_at.pop(peer, None)

    def _disconnected(self, peer: int, reason: str) -> None:
        self.changes += 1
        self._broke_at[peer] = monotonic()

    @property
    def is_alone(self) -> bool:
        return self._channel is None

    def is_connected(self, peer: int) -> bool:
        return self._channel is not None and self._channel.is_connected(peer)

    def peers_in_reach(self) -> list[int]:
        """List the peers that have a link, or had one a moment ago."""
        if self._channel is None:
            return []
        lost = [peer for peer in self._broke_at if self._patience_seconds(peer) > 0]
        return sorted({*self._channel.connected_peers(), *lost})

    async def wait_for_link(self, peers: Iterable[int]) -> bool:
        """Wait for a link to one of these peers, as long as those that have none had one a moment ago; say whether there is one."""
        assert self._channel is not None
        if any(map(self.is_connected, wanted := list(peers))):
            return True
        waits = {peer: seconds for peer in wanted if (seconds := self._patience_seconds(peer)) > 0}
        waiting = [asyncio.ensure_future(self._channel.wait_connected(peer, waits[peer])) for peer in waits]
        try:
            for first in asyncio.as_completed(waiting):
                try:
                    await first
                except TimedOut:
                    continue
                return True
            return False
        finally:
            for each in waiting:
                each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    def _patience_seconds(self, peer: int) -> float:
        return self._broke_at.get(peer, 0.0) + LINK_PATIENCE_SECONDS - monotonic()

    async def read(self, peer: int, folder: str, shards: tuple[int, ...], request: ReadRequest) -> Any | NotServed:
        """Read shards of a peer, until the deadline of this context; raise what the peer raises, or that it was not reached."""
        assert self._channel is not None
        seconds = deadline.seconds_left()
        call = wire.encode(ReadCall(folder, shards, request, seconds))
        longest_seconds = LONGEST_CALL_SECONDS if seconds is None else seconds + GRACE_SECONDS
        return wire.decode(await self._channel.call(peer, Topic.READ, call, longest_seconds))

    def search(
        self,
        peer: int,
        folder: str,
        shards: tuple[int, ...],
        request: QueryRequest,
        seconds: float | None,
        found: Callable[[Sequence[Point] | None], None],
    ) -> Callable[[], None]:
        """Begin a search for the nearest points in shards of a peer; `found` gets them, or None for whatever fails, when the answer is read.

        Gives what withdraws it, after which `found` is not called; raises Unreached.
        """
        assert self._channel is not None
        content = search_wire.encode_search(folder, shards, request, seconds)
        longest_seconds = LONGEST_CALL_SECONDS if seconds is None else seconds

        def answered(end: bytes | QnodeError) -> None:
            found(None if isinstance(end, QnodeError) else _points_in(end))

        return self._channel.ask(peer, Topic.SEARCH, content, longest_seconds, answered)

    async def reached(self, peer: int, index: int, seconds: float) -> None:
        """Return when a peer's collections are what the topology of this index says."""
        assert self._channel is not None
        await self.wait_for_link([peer])
        call = wire.encode(ReadCall("", (), ReachedRequest(index), seconds))
        await self._channel.call(peer, Topic.READ, call, seconds)

    async def routed(self, peer: int, folder: str, index: int, seconds: float) -> None:
        """Return when all writes of a peer to a collection are over that it began by an older topology."""
        assert self._channel is not None
        call = wire.encode(ReadCall(folder, (), RoutedRequest(index), seconds))
        await self._channel.call(peer, Topic.READ, call, seconds)

    async def write(
        self, peer: int, folder: str, shard: int, request: WriteRequest, *, wait: bool, seconds: float
    ) -> int | None:
        """Let a primary take a write: its op_num, or None if it was logged and `seconds` were not enough.

        Raise NotPrimary, Unreached or what else the peer refuses it with, when it was not taken; UnknownOutcome if it may have been.
        """
        assert self._channel is not None
        call = wire.encode(WriteCall(folder, shard, request, wait, seconds))
        try:
            op_num = wire.decode(await self._channel.call(peer, Topic.WRITE, call, seconds + GRACE_SECONDS))
        except (LinkBroken, TimedOut) as error:
            text = f"peer {peer}, the primary of shard {shard}, has not answered, and may have taken the write: {error}"
            raise UnknownOutcome(text) from None
        if op_num is not None and type(op_num) is not int:
            raise wire.BadWire(f"peer {peer} has answered a write with a {type(op_num).__name__}")
        return op_num


def _points_in(answer: bytes) -> Sequence[Point] | None:
    """Read what a search found; None if it was not done, or if that cannot be read."""
    try:
        found = search_wire.decode_found(answer)
        return points_of(found) if isinstance(found, Hits | Table) else None
    except (wire.BadWire, ValueError):
        return None
