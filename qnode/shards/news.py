"""Waiting for the topology to change, without missing a change between a look and the wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class News:
    """Something may have changed; whoever waits looks again. Lives in one event loop."""

    def __init__(self) -> None:
        self._told = asyncio.Event()

    def tell(self) -> None:
        """Wake whoever waits."""
        told, self._told = self._told, asyncio.Event()
        told.set()

    def mark(self) -> asyncio.Event:
        """Take this before a look; give it to `wait`."""
        return self._told

    async def wait(self, mark: asyncio.Event, seconds: float) -> None:
        """Return when there has been news since the mark, or after so long."""
        try:
            async with asyncio.timeout(seconds):
                await mark.wait()
        except TimeoutError:
            return

    async def until(self, holds: Callable[[], bool], seconds: float | None) -> bool:
        """Return True as soon as something holds, or False after so long (None: wait for ever)."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    mark = self._told
                    if holds():
                        return True
                    await mark.wait()
        except TimeoutError:
            return holds()
