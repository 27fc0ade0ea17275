"""The writes of a collection that are under way from this node: whoever must know that all are over that were routed before waits.

Lives on the event loop. A write counts from before it is routed until nothing of it can reach a shard any more, as far as this
node has a say in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Flights:
    """Those that have begun and are not over."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Future[Any]] = set()

    def add(self, flight: asyncio.Future[Any]) -> None:
        """Count what is over when this is done."""
        self._under_way.add(flight)
        flight.add_done_callback(self._under_way.discard)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count what is done within."""
        flight: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.add(flight)
        try:
            yield
        finally:
            flight.set_result(None)

    async def over(self) -> None:
        """Return when all are over that are under way now."""
        if self._under_way:
            await asyncio.wait(set(self._under_way))
