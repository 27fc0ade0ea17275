"""Links between nodes: in order, delayed, breaking as a whole. Cuts and one-way cuts are chance's.

A link is one connection. A cut makes it lose everything that is under way and everything that is sent later, in one direction or
both; after a while both ends are told, each at its own time. Only then a new connection is made.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

Timer = Callable[[float, Callable[[], None]], None]

SLOWEST_SECONDS = 0.3
KEEPALIVE_SECONDS = 0.6
RECONNECT_SECONDS = 0.15


class End(Protocol):
    """What a link tells a node."""

    is_up: bool

    def link_changed(self, peer: int, is_up: bool) -> None: ...

    def deliver(self, peer: int, data: bytes) -> None: ...


class _Link:
    def __init__(self) -> None:
        self.connection = 0
        self.is_whole = False
        self.deaf: set[int] = set()  # receivers that nothing reaches any more
        self.told: dict[int, bool] = {}
        self.arrives_at: dict[int, float] = {}


class Network:
    """All links of a cluster, between peers 1..n."""

    def __init__(self, chance: random.Random, at: Timer, clock: Callable[[], float], slowest_seconds: float) -> None:
        self._chance, self._at, self._clock = chance, at, clock
        self._slowest_seconds = slowest_seconds
        self._ends: dict[int, End] = {}
        self._links: dict[tuple[int, int], _Link] = {}
        self.cut_pairs: set[tuple[int, int]] = set()

    def add(self, peer: int, end: End) -> None:
        for other in self._ends:
            self._links[(other, peer)] = _Link()
        self._ends[peer] = end

    def start(self) -> None:
        for pair in self._links:
            self._try_later(pair)

    def send(self, sender: int, receiver: int, data: bytes) -> None:
        """Send on the connection that the sender sees."""
        link = self._links[_pair(sender, receiver)]
        if not (link.is_whole and link.told.get(sender) and receiver not in link.deaf):
            return
        connection = link.connection
        arrives_at = max(
            link.arrives_at.get(receiver, 0.0), self._clock() + self._chance.uniform(0.001, self._slowness())
        )
        link.arrives_at[receiver] = arrives_at

        def arrive() -> None:
            if (
                link.connection == connection
                and link.is_whole
                and receiver not in link.deaf
                and link.told.get(receiver)
            ):
                self._ends[receiver].deliver(sender, data)

        self._at(arrives_at - self._clock(), arrive)

    def is_connected(self, one: int, other: int) -> bool:
        return one != other and self._links[_pair(one, other)].told.get(one, False)

    def connection(self, one: int, other: int) -> int | None:
        """Name the connection that `one` sees; None if it sees none."""
        link = self._links[_pair(one, other)]
        return link.connection if link.told.get(one) else None

    def cut(self, one: int, other: int, seconds: float) -> None:
        """Let nothing through between two nodes for a while."""
        pair = _pair(one, other)
        self.cut_pairs.add(pair)
        self._break(pair)
        self._at(seconds, lambda: self.cut_pairs.discard(pair))

    def cut_one_way(self, receiver: int, sender: int) -> None:
        """Let nothing reach the receiver any more, until both notice."""
        pair = _pair(receiver, sender)
        link = self._links[pair]
        link.deaf.add(receiver)
        connection = link.connection

        def notice() -> None:
            if link.connection == connection:
                self._break(pair)

        self._at(self._chance.uniform(0.1, KEEPALIVE_SECONDS), notice)

    def node_died(self, peer: int) -> None:
        for pair in self._links:
            if peer in pair:
                self._links[pair].told.pop(peer, None)
                self._break(pair)

    def heal(self) -> None:
        """End all cuts, and be fast, so that a cluster settles soon."""
        self._slowest_seconds = 0.005
        self.cut_pairs.clear()

    def _slowness(self) -> float:
        return SLOWEST_SECONDS if self._chance.random() < 0.05 else self._slowest_seconds

    def _break(self, pair: tuple[int, int]) -> None:
        link = self._links[pair]
        if not link.is_whole:
            return
        link.is_whole = False
        connection = link.connection
        for peer, other in (pair, pair[::-1]):
            self._at(
                self._chance.uniform(0.0, KEEPALIVE_SECONDS), lambda p=peer, o=other: self._tell_down(p, o, connection)
            )  # type: ignore[misc]
        self._at(KEEPALIVE_SECONDS, lambda: self._try(pair))

    def _tell_down(self, peer: int, other: int, connection: int) -> None:
        link = self._links[_pair(peer, other)]
        if link.connection == connection and link.told.pop(peer, False):
            self._ends[peer].link_changed(other, False)

    def _try_later(self, pair: tuple[int, int]) -> None:
        self._at(self._chance.uniform(0.01, RECONNECT_SECONDS), lambda: self._try(pair))

    def _try(self, pair: tuple[int, int]) -> None:
        link = self._links[pair]
        if link.is_whole:
            return
        if pair in self.cut_pairs or any(link.told.get(peer) or not self._ends[peer].is_up for peer in pair):
            self._try_later(pair)
            return
        link.connection += 1
        link.is_whole, link.deaf, link.arrives_at = True, set(), {}
        connection = link.connection
        for peer, other in (pair, pair[::-1]):
            delay = self._chance.uniform(0.0, 0.02)
            link.arrives_at[peer] = self._clock() + delay
            self._at(delay, lambda p=peer, o=other: self._tell_up(p, o, connection))  # type: ignore[misc]

    def _tell_up(self, peer: int, other: int, connection: int) -> None:
        link = self._links[_pair(peer, other)]
        if link.connection == connection and link.is_whole and self._ends[peer].is_up:
            link.told[peer] = True
            self._ends[peer].link_changed(other, True)


def _pair(one: int, other: int) -> tuple[int, int]:
    return (one, other) if one < other else (other, one)
