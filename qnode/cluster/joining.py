"""How a node gets into a cluster: it introduces itself to a member, which proposes to add it and answers who is there.

    JOIN = JSON {"peer", "incarnation", "uri", "name", "version", "zone"}        answered by JSON {peer: uri, …}

A refusal (the id or the address is another storage's) is final. Everything else is tried again until the time is up: the
member may not be there yet, or have no leader. A node that asks twice is added once.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import Final

import orjson

from qnode.channel import Channel
from qnode.channel.addresses import parse_uri
from qnode.errors import BadRequest, CannotJoin, CannotStart, QnodeError
from qnode.models.topology import Topology
from qnode.models.topology_commands import AddPeer
from qnode.shards.topics import Topic

_RETRY_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Introduction:
    """What a node says of itself. `incarnation` is that of its journal."""

    peer: int
    incarnation: int
    uri: str
    name: str
    version: str
    zone: str | None

    def to_bytes(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def from_bytes(cls, value: bytes) -> Introduction:
        """Read what `to_bytes` wrote; raise BadRequest or BadInput."""
        try:
            made = cls(**orjson.loads(value))
        except (ValueError, TypeError) as error:
            raise BadRequest(f"this is no introduction: {error}") from None
        texts, numbers = (made.uri, made.name, made.version, made.zone or ""), (made.peer, made.incarnation)
        if any(type(text) is not str for text in texts) or any(type(number) is not int for number in numbers):
            raise BadRequest("this is no introduction")
        parse_uri(made.uri)
        return made

    def command(self) -> AddPeer:
        """Make the command that adds the node, or renews what is known of it."""
        return AddPeer(self.peer, self.uri, str(self.incarnation), self.name, self.version, self.zone)


def members_to_bytes(topology: Topology) -> bytes:
    """Write who is there and where."""
    return orjson.dumps({str(peer): entry.uri for peer, entry in topology.peers.items()})


async def join(channel: Channel, introduction: Introduction, bootstrap: str, timeout_seconds: float) -> dict[int, str]:
    """Ask the peer at `bootstrap` to be added; give the members and their addresses.

    Raise CannotJoin if the cluster refuses this node, CannotStart if nobody has answered in time.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_seconds
    peer: int | None = None
    while True:
        left_seconds = deadline - loop.time()
        try:
            if peer is None or not channel.is_connected(peer):
                peer = await channel.meet(bootstrap, left_seconds)
            answer = await channel.call(peer, Topic.JOIN, introduction.to_bytes(), left_seconds)
            return {int(member): uri for member, uri in orjson.loads(answer).items()}
        except BadRequest as error:
            raise CannotJoin(f"the cluster at {bootstrap} refuses this node: {error}") from None
        except QnodeError as error:
            if loop.time() + _RETRY_SECONDS >= deadline:
                raise CannotStart(
                    f"no cluster could be joined through {bootstrap} within {timeout_seconds:g} s: {error}"
                ) from None
        await asyncio.sleep(_RETRY_SECONDS)
