"""Which members have no link to this node, and since when. A link breaks by itself when the other end is silent (`channel`)."""

from __future__ import annotations

import asyncio

from qnode.channel import Channel
from qnode.models.topology import Topology


class Liveness:
    """Watches links from the start, so that whoever begins to lead knows already who is away."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._since: dict[int, float] = {}
        self._time = asyncio.get_running_loop().time
        channel.watch(self._connected, self._disconnected)

    def silent_since(self, topology: Topology) -> dict[int, float]:
        """Give the members without a link, and the loop's time at which it broke, or at which none was found first."""
        silent = {}
        for peer in topology.peers:
            if peer != self._channel.me and not self._channel.is_connected(peer):
                silent[peer] = self._since.setdefault(peer, self._time())
        return silent

    def _connected(self, peer: int) -> None:
        self._since.pop(peer, None)

    def _disconnected(self, peer: int, reason: str) -> None:
        self._since[peer] = self._time()
