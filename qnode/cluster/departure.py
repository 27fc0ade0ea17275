"""How a member stops without making others wait: it says so, lets others be primary, and another peer lead.

    says LEAVING to all        nobody chooses it for anything any more
    each shard it is primary of: takes no writes, answers what it took, another in-sync replica follows
    leads consensus: another voter is told to
    … and then its links break: no commit waits for a replica on a peer that has said that it goes

All of it takes a few seconds at most. What was not handed over by then is found by the leader, as after a crash.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from typing import Final

from qnode.cluster.liveness import Liveness
from qnode.cluster.shards import Address, Shards
from qnode.raft.cluster_log import ClusterLog
from qnode.shards.news import News

HAND_OVER_SECONDS: Final = 5.0
"""What is not handed over within this time is left to the leader …"""

LEADERSHIP_SECONDS: Final = 2.0
"""… and leading consensus to an election."""

_LOOK_SECONDS: Final = 0.05
_ASK_AGAIN_SECONDS: Final = 0.5

_log = logging.getLogger(__name__)


class Departure:
    """One peer's; `run` it once. `news` is told of changes of the topology, and of others that leave."""

    def __init__(self, me: int, log: ClusterLog, liveness: Liveness, shards: Shards, news: News) -> None:
        self._me = me
        self._topology_log = log
        self._liveness = liveness
        self._shards = shards
        self._news = news

    async def run(self) -> None:
        """Return when nothing is left that another peer could do instead, or when it takes too long."""
        self._liveness.leave()
        try:
            async with asyncio.timeout(HAND_OVER_SECONDS):
                await self._hand_shards_over()
        except TimeoutError:
            _log.warning("%d shards could not be handed over", len(self._heirs()))
        await self._hand_leadership_over()

    async def _hand_shards_over(self) -> None:
        now = asyncio.get_running_loop().time
        ask_at: defaultdict[tuple[Address, int], float] = defaultdict(float)
        while True:
            heard = self._news.mark()
            if not (wanted := self._heirs()):
                return
            for (address, epoch), heirs in wanted.items():
                if now() >= ask_at[address, epoch]:  # one whose heirs have not answered yet does nothing
                    ask_at[address, epoch] = now() + _ASK_AGAIN_SECONDS
                    self._shards.hand_over(self._me, address, epoch, heirs, HAND_OVER_SECONDS)
            await self._news.wait(heard, _ASK_AGAIN_SECONDS)

    def _heirs(self) -> dict[tuple[Address, int], list[int]]:
        """List the shards whose primary is here, and who can follow: first who would be primary of fewest."""
        topology = self._topology_log.current
        away = self._liveness.absent_since(topology)
        led = Counter(shard.primary for _, _, shard in topology.shards())
        found = {}
        for name, number, shard in topology.shards():
            heirs = [peer for peer in shard.active() if peer != self._me and peer not in away]
            if shard.primary == self._me and heirs:
                heirs.sort(key=lambda peer: (led[peer], peer))
                led[heirs[0]] += 1
                found[(topology.collections[name].folder, number), shard.epoch] = heirs
        return found

    async def _hand_leadership_over(self) -> None:
        consensus = self._topology_log.consensus
        if len(consensus.status().voters) < 2:
            return
        now = asyncio.get_running_loop().time
        ends_at, ask_at = now() + LEADERSHIP_SECONDS, 0.0
        while consensus.is_leader and now() < ends_at:
            if now() >= ask_at:
                consensus.hand_leadership_over()
                ask_at = now() + _ASK_AGAIN_SECONDS
            await asyncio.sleep(_LOOK_SECONDS)
