"""Which members have no link to this node, and since when; and which of them, or this one, are about to go.

A link breaks by itself when the other end is silent (`channel`). A member that goes says so on each of its links; that holds
until it has a link again, so whoever looks when the link has broken knows why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from qnode.channel import Channel
from qnode.models.topology import Topology
from qnode.shards.topics import Topic


class Liveness:
    """Watches links from the start, so that whoever begins to lead knows already who is away."""

    def __init__(self, channel: Channel, changed: Callable[[], None]) -> None:
        """changed: told when somebody has said that he goes."""
        self._channel = channel
        self._changed = changed
        self._since: dict[int, float] = {}
        self._leaving: set[int] = set()
        self._time = asyncio.get_running_loop().time
        channel.on_message(Topic.LEAVING, self._said_to_leave)
        channel.watch(self._connected, self._disconnected)

    @property
    def leaves(self) -> bool:
        """Whether this node is about to go."""
        return self._channel.me in self._leaving

    def leave(self) -> None:
        """Say that this node is about to go, to all that have a link and to whoever gets one."""
        self._leaving.add(self._channel.me)
        for peer in self._channel.connected_peers():
            self._channel.send(peer, Topic.LEAVING, b"")

    def is_leaving(self, peer: int) -> bool:
        """Tell whether a peer is about to go, or has gone after saying so."""
        return peer in self._leaving

    def silent_since(self, topology: Topology) -> dict[int, float]:
        """Give the members without a link, and the loop's time at which it broke, or at which none was found first."""
        silent = {}
        for peer in topology.peers:
            if peer != self._channel.me and not self._channel.is_connected(peer):
                silent[peer] = self._since.setdefault(peer, self._time())
        return silent

    def absent_since(self, topology: Topology) -> dict[int, float]:
        """Give the members that nothing new should be given to: the silent, and from now on those that are about to go."""
        leaving = dict.fromkeys(self._leaving & topology.peers.keys(), self._time())
        return {**leaving, **self.silent_since(topology)}

    def _said_to_leave(self, peer: int, _: bytes) -> None:
        self._leaving.add(peer)
        self._changed()

    def _connected(self, peer: int) -> None:
        self._since.pop(peer, None)
        self._leaving.discard(peer)
        if self.leaves:
            self._channel.send(peer, Topic.LEAVING, b"")

    def _disconnected(self, peer: int, reason: str) -> None:
        self._since[peer] = self._time()
