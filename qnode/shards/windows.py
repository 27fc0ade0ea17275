"""How much may be under way to each peer, of all shards together: a link that is given more than it takes would break.

    window = windows.of(wake)           # of one shard; on its writer thread from then on
    if window.take(peer, size_bytes): send …, and `give` it back when the peer has answered
    else: `wake(peer)` is called, on any thread, when its turn has come: `take` again

A shard that got nothing waits in a line, and room that is made is kept for the first in it; so all get on, however much one
of them has to send. Two go past the line: what is sent when nothing else is under way to the peer, for anything must go
some time; and a small message of a shard that has nothing else under way, which would wait behind the catching up of others.

Safe to use on many threads.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from qnode.shards.replication.view import PeerId

PEER_WINDOW_BYTES: Final = 64 << 20
"""So much may be under way to a peer; a single message may be larger, and then goes alone."""

SMALL_BYTES: Final = 64 << 10
"""A message up to this is small."""


class Windows:
    """What is under way to all peers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: defaultdict[PeerId, _Line] = defaultdict(_Line)

    def of(self, wake: Callable[[PeerId], None]) -> ShardWindow:
        """Give a shard its part."""
        return ShardWindow(self, wake)

    def take(self, window: ShardWindow, peer: PeerId, size_bytes: int) -> bool:
        with self._lock:
            return self._lines[peer].take(window, size_bytes)

    def give(self, window: ShardWindow, peer: PeerId, size_bytes: int | None) -> None:
        """Give bytes back; None: all, and the place in the line."""
        with self._lock:
            woken = self._lines[peer].give(window, size_bytes)
        for other in woken:
            other.wake(peer)


@dataclass(frozen=True, slots=True, eq=False)
class ShardWindow:
    """One shard's part in the windows of its node."""

    windows: Windows
    wake: Callable[[PeerId], None]

    def take(self, peer: PeerId, size_bytes: int) -> bool:
        """Take room for a message; False: wait to be woken."""
        return self.windows.take(self, peer, size_bytes)

    def give(self, peer: PeerId, size_bytes: int) -> None:
        """Give back what was taken, for the peer has answered."""
        self.windows.give(self, peer, size_bytes)

    def leave(self, peer: PeerId) -> None:
        """Give everything back, and wait no longer."""
        self.windows.give(self, peer, None)


@dataclass(slots=True)
class _Line:
    """What is under way to one peer, and who waits, with what, in order. `kept`: room for those whose turn has come."""

    under_way: dict[ShardWindow, int] = field(default_factory=dict)
    waiting: dict[ShardWindow, int] = field(default_factory=dict)
    kept: dict[ShardWindow, int] = field(default_factory=dict)
    used_bytes: int = 0

    def take(self, window: ShardWindow, size_bytes: int) -> bool:
        self.used_bytes -= (kept := self.kept.pop(window, 0))
        is_small = size_bytes <= SMALL_BYTES and window not in self.under_way
        if kept or is_small or (not self.waiting and self._fits(size_bytes)):
            self.under_way[window] = self.under_way.get(window, 0) + size_bytes
            self.used_bytes += size_bytes
            return True
        self.waiting[window] = size_bytes
        return False

    def give(self, window: ShardWindow, size_bytes: int | None) -> list[ShardWindow]:
        """Give bytes back; tell whose turn has come."""
        taken_bytes = self.under_way.pop(window, 0)
        if size_bytes is None:
            self.waiting.pop(window, None)
            self.used_bytes -= taken_bytes + self.kept.pop(window, 0)
        else:
            assert size_bytes <= taken_bytes
            self.used_bytes -= size_bytes
            if taken_bytes > size_bytes:
                self.under_way[window] = taken_bytes - size_bytes
        woken = []
        while self.waiting and self._fits(next(iter(self.waiting.values()))):
            first = next(iter(self.waiting))
            self.kept[first] = self.waiting.pop(first)
            self.used_bytes += self.kept[first]
            woken.append(first)
        return woken

    def _fits(self, size_bytes: int) -> bool:
        return self.used_bytes == 0 or self.used_bytes + size_bytes <= PEER_WINDOW_BYTES
