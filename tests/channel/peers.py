"""Channels in one event loop, each listening on a port of loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import uvloop

from qnode.channel import Channel, Credentials, Limits, with_key

KEY = "a key of more than sixteen bytes"
TIMEOUT_SECONDS = 10.0
ECHO, NOTES, FILES = 1, 2, 3
LIMITS = Limits(
    silence_timeout_seconds=0.4, redial_first_seconds=0.01, redial_longest_seconds=0.1, dial_timeout_seconds=1.0
)


class Peer:
    """A channel, what it has read, and what its watcher was told."""

    def __init__(
        self, me: int, credentials: Credentials | None = None, limits: Limits = LIMITS, **settings: Any
    ) -> None:
        self.me = me
        self.channel = Channel(me, credentials or with_key(KEY), limits=limits, **settings)
        self.notes: list[tuple[int, bytes]] = []
        self.events: list[tuple[str, int]] = []
        self.changed = asyncio.Event()
        self.port = 0
        self.channel.on_message(NOTES, self._note)
        self.channel.on_call(ECHO, self._echo)
        self.channel.watch(lambda peer: self._event("up", peer), lambda peer, reason: self._event("down", peer))

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def listen(self) -> Peer:
        self.port = await self.channel.listen("127.0.0.1", 0)
        return self

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds of what this peer has been told."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not holds():
                self.changed.clear()
                await self.changed.wait()

    async def ask(self, other: Peer, payload: bytes = b"?") -> bytes:
        return await self.channel.call(other.me, ECHO, payload, TIMEOUT_SECONDS)

    async def _echo(self, peer: int, payload: bytes) -> bytes:
        return payload

    def _note(self, peer: int, payload: bytes) -> None:
        self.notes.append((peer, payload))
        self.changed.set()

    def _event(self, what: str, peer: int) -> None:
        self.events.append((what, peer))
        self.changed.set()


@asynccontextmanager
async def peers(count: int = 2, *, linked: bool = True, **settings: Any) -> AsyncIterator[list[Peer]]:
    """Give peers 1, 2, …; linked: each knows all others, and all links stand."""
    made = [await Peer(me, **settings).listen() for me in range(1, count + 1)]
    try:
        if linked:
            introduce(made)
            for peer in made:
                await peer.until(lambda: len(peer.channel.connected_peers()) == count - 1)  # noqa: B023
        yield made
    finally:
        await close(*made)


async def close(*made: Peer) -> None:
    """Close peers after all have stopped dialling.

    A connection that is accepted in the very moment in which asyncio's server closes is left to the garbage collector, with a warning.
    """
    for peer in made:
        for other in range(1, 10):
            peer.channel.remove_peer(other)
    for _ in range(10):
        await asyncio.sleep(0)
    await asyncio.gather(*(peer.channel.close() for peer in made))


def introduce(made: list[Peer]) -> None:
    for peer in made:
        for other in made:
            if other is not peer:
                peer.channel.set_peer(other.me, other.uri)


def on_both_loops(claim: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test on asyncio's own event loop and on the one that nodes run on."""
    asyncio.run(claim())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(claim())


def limits(**changes: Any) -> Limits:
    return replace(LIMITS, **changes)
