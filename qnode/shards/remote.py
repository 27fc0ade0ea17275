"""Asking another peer about shards that it holds: values to bytes, one call, bytes to values.

Left out: whom to ask, and whom to ask next.
"""

from __future__ import annotations

from typing import Any, Final

from qnode import deadline
from qnode.channel import Channel, LinkBroken
from qnode.errors import TimedOut, UnknownOutcome
from qnode.models import wire
from qnode.models.shard_calls import NotServed, ReachedRequest, ReadCall, ReadRequest, WriteCall
from qnode.models.write import WriteRequest
from qnode.shards.topics import Topic

LONGEST_CALL_SECONDS: Final = 3600.0
"""A call that may take as long as it likes ends when its link breaks, and at the latest after this."""

GRACE_SECONDS: Final = 2.0
"""A peer that is to answer within some time may answer so much later: what it says then is better than not to know."""


class Remote:
    """The other peers, as those that hold shards. A node that runs alone has no channel, and nobody to ask."""

    def __init__(self, channel: Channel | None) -> None:
        self._channel = channel

    @property
    def is_alone(self) -> bool:
        return self._channel is None

    def is_connected(self, peer: int) -> bool:
        return self._channel is not None and self._channel.is_connected(peer)

    def connected_peers(self) -> list[int]:
        return [] if self._channel is None else self._channel.connected_peers()

    async def read(self, peer: int, folder: str, shards: tuple[int, ...], request: ReadRequest) -> Any | NotServed:
        """Read shards of a peer, until the deadline of this context; raise what the peer raises, or that it was not reached."""
        assert self._channel is not None
        seconds = deadline.seconds_left()
        call = wire.encode(ReadCall(folder, shards, request, seconds))
        longest_seconds = LONGEST_CALL_SECONDS if seconds is None else seconds + GRACE_SECONDS
        return wire.decode(await self._channel.call(peer, Topic.READ, call, longest_seconds))

    async def reached(self, peer: int, index: int, seconds: float) -> None:
        """Return when a peer's collections are what the topology of this index says."""
        assert self._channel is not None
        call = wire.encode(ReadCall("", (), ReachedRequest(index), seconds))
        await self._channel.call(peer, Topic.READ, call, seconds)

    async def write(
        self, peer: int, folder: str, shard: int, request: WriteRequest, *, wait: bool, seconds: float | None
    ) -> int | None:
        """Let a primary take a write: its op_num, or None if it was logged and `seconds` were not enough.

        Raise NotPrimary, Unreached or what else the peer refuses it with, when it was not taken; UnknownOutcome if it may have been.
        """
        assert self._channel is not None
        call = wire.encode(WriteCall(folder, shard, request, wait, seconds))
        longest_seconds = LONGEST_CALL_SECONDS if seconds is None else seconds + GRACE_SECONDS
        try:
            op_num = wire.decode(await self._channel.call(peer, Topic.WRITE, call, longest_seconds))
        except (LinkBroken, TimedOut) as error:
            text = f"peer {peer}, the primary of shard {shard}, has not answered, and may have taken the write: {error}"
            raise UnknownOutcome(text) from None
        if op_num is not None and type(op_num) is not int:
            raise wire.BadWire(f"peer {peer} has answered a write with a {type(op_num).__name__}")
        return op_num
