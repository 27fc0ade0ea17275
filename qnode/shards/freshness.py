"""Reading here only what is new, and completing writes only when nobody can read what is old.

A `wait=true` write promises that a read through any node sees it, and every in-sync replica has applied it. That leaves
replicas that were in sync and whose nodes do not know yet that they are not: cut off, or halted and resumed. Two halves:

- A node reads its own replicas only while it holds the lease of consensus (`ReadLease.holds`): then it has applied all that anybody
  had applied one length of the lease ago.
- A primary completes a write only when each peer that was taken out of the shard's set has said that it obeys that, or after
  `wait_seconds`, longer than the lease, have passed since the change was applied **here**.

So: a removal was applied here at x, and a write without that replica completed at y, x <= y. Its node was asked and said so, or
y >= x + `wait_seconds`, and by then no lease is left that was granted without the removal: how long a process holds leases is
told in the topology, before it holds the first one, so whoever has applied a removal knows all lengths that are older. A read counts as done when the
lease was looked at: what is read afterwards is that state or a newer one. No clocks of two machines are compared; that they run
equally fast, nearly, is assumed.

A shard of a single replica is nobody else's, and is read without a lease. What this process has not seen happen is taken to
have happened when it first sees the shard. Left out: a replica that came into the set and went between two views of this
node, which takes that this node was away for all that time and is made primary by the same view.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from qnode.errors import QnodeError
from qnode.models.topology import CollectionEntry, ReplicaState, Shard
from qnode.shards.news import News
from qnode.shards.remote import Remote

_SOMEBODY: Final = 0
"""Stands for peers of which nothing is known; none has this id."""

_LOOK_SECONDS: Final = 0.02

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class ReadLease:
    """Whether this node may read its replicas now, and how long after a change that is applied here nobody reads by what was before."""

    holds: Callable[[], bool]
    wait_seconds: Callable[[], float]


UNBOUNDED: Final = ReadLease(lambda: True, lambda: 0.0)
"""Of a node that runs alone, or whose operator prefers an old answer to none."""


class Freshness:
    """One node's part in it; lives in its event loop."""

    def __init__(self, lease: ReadLease, remote: Remote) -> None:
        self.holds = lease.holds
        self._wait_seconds = lease.wait_seconds
        self._remote = remote
        self._seen: dict[Address, Shard] = {}
        self._former: dict[
            Address, dict[int, tuple[int, float]]
        ] = {}  # by peer: index of the change, when it is long ago
        self._asking: dict[int, asyncio.Task[None]] = {}
        self._news = News()

    @property
    def is_bounded(self) -> bool:
        """Whether any node may be without a lease."""
        return self._wait_seconds() > 0

    async def until_holds(self, seconds: float) -> bool:
        """Wait for the lease, but not longer than this; say whether it is held."""
        ends = asyncio.get_running_loop().time() + seconds
        while not self.holds():
            if asyncio.get_running_loop().time() >= ends:
                return False
            await asyncio.sleep(_LOOK_SECONDS)
        return True

    def follow(self, entry: CollectionEntry) -> None:
        """Note who was taken out of which sets. Before any shard hears of the entry."""
        seconds = self._wait_seconds()
        if not seconds:
            return
        ends = asyncio.get_running_loop().time() + seconds
        for number, shard in entry.shards.items():
            address = (entry.folder, number)
            before = self._seen.get(address)
            if before is shard:
                continue
            self._seen[address] = shard
            for peer in _taken_out(before, shard):
                self._former.setdefault(address, {})[peer] = (shard.changed, ends)

    def forget(self, folder: str) -> None:
        """Forget a collection that is gone."""
        for address in [address for address in self._seen if address[0] == folder]:
            del self._seen[address]
            self._former.pop(address, None)

    async def settled(self, folder: str, number: int, seconds: float | None) -> bool:
        """Wait until nobody can read a shard by an older set of replicas; False if that takes longer. May be cancelled."""
        loop = asyncio.get_running_loop()
        give_up = None if seconds is None else loop.time() + seconds
        while former := self._left((folder, number)):
            for peer, (index, _) in former.items():
                if peer != _SOMEBODY and peer not in self._asking:
                    self._asking[peer] = loop.create_task(self._ask(peer, index))
            mark, until = self._news.mark(), max(ends for _, ends in former.values())
            if give_up is not None and give_up <= loop.time():
                return False
            await self._news.wait(mark, (until if give_up is None else min(until, give_up)) - loop.time())
        return True

    def _left(self, address: Address) -> dict[int, tuple[int, float]]:
        former = self._former.get(address)
        if not former:
            return {}
        now = asyncio.get_running_loop().time()
        for peer in [peer for peer, (_, ends) in former.items() if ends <= now]:
            del former[peer]
        if not former:
            del self._former[address]
        return former

    async def _ask(self, peer: int, index: int) -> None:
        """Let a peer say that it obeys the topology of an index; without an answer, time will do."""
        try:
            await self._remote.reached(peer, index, self._wait_seconds())
        except QnodeError:
            await asyncio.sleep(_LOOK_SECONDS)  # not to ask a peer without a link in a circle
        else:
            for former in self._former.values():
                if peer in former and former[peer][0] <= index:
                    del former[peer]
        finally:
            del self._asking[peer]
            self._news.tell()

    async def close(self) -> None:
        """Ask nobody any more."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


def _taken_out(before: Shard | None, shard: Shard) -> Iterable[int]:
    """Name the peers that may have been in sync before a change and are not behind it."""
    if before is None:
        is_untouched = shard.epoch == shard.changed and set(shard.added.values()) == {shard.changed}
        return () if is_untouched else (_SOMEBODY,)
    now = set(shard.active())
    gone = {peer for peer, state in before.replicas.items() if state is ReplicaState.ACTIVE and peer not in now}
    # One that was being copied may have come into the set on its way out of it, between two views.
    dead = {peer for peer, state in shard.replicas.items() if state is ReplicaState.DEAD}
    dropped = before.replicas.keys() - shard.replicas.keys()
    was_dead = {peer for peer, state in before.replicas.items() if state is ReplicaState.DEAD}
    return gone | (dead | dropped) - was_dead
