"""Whether a node that has started is as far as the others, so that a client finds on it what it found elsewhere.

It is ready, and stays so, when it has told of its start, has applied the highest commit that the others reported, and none of
its replicas is being recovered that was when it got so far. Until then `reason` says what is missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from qnode.cluster.status import PeerStatus
from qnode.errors import QnodeError
from qnode.models.topology import ReplicaState, Topology

_ASK_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 0.2
_WHOLE: Final = (ReplicaState.ACTIVE, ReplicaState.MANUAL_RECOVERY)


class Readiness:
    """What is missing until this node is ready; `run` it once."""

    def __init__(
        self,
        me: int,
        topology: Callable[[], Topology],
        applied: Callable[[], int],
        ask_status: Callable[[int, float], Awaitable[PeerStatus]],
    ) -> None:
        self.reason: str | None = "the node has not told its cluster of its start yet"
        self._me = me
        self._topology = topology
        self._applied = applied
        self._ask_status = ask_status

    async def run(self, started: asyncio.Event) -> None:
        """Look until there is no reason left."""
        await started.wait()
        target = await self._target()
        while self._applied() < target:
            self.reason = f"the node has applied {self._applied()} of {target} changes of the cluster"
            await asyncio.sleep(_PAUSE_SECONDS)
        awaited = self._unwell()
        while awaited := awaited & self._unwell():
            name, number = min(awaited)
            more = f" and {len(awaited) - 1} more" if len(awaited) > 1 else ""
            self.reason = f"shard {number} of {name}{more} is being recovered on this node"
            await asyncio.sleep(_PAUSE_SECONDS)
        self.reason = None

    async def _target(self) -> int:
        """Learn the highest commit, once at least half of the other members have told theirs."""
        while True:
            others = [peer for peer in self._topology().peers if peer != self._me]
            answers = await asyncio.gather(*(self._commit_of(peer) for peer in others))
            commits = [commit for commit in answers if commit is not None]
            if 2 * len(commits) >= len(others):
                return max(commits, default=0)
            self.reason = f"only {len(commits)} of {len(others)} other peers answer"
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _commit_of(self, peer: int) -> int | None:
        try:
            return (await self._ask_status(peer, _ASK_SECONDS)).commit
        except QnodeError:
            return None

    def _unwell(self) -> set[tuple[str, int]]:
        return {
            (name, number)
            for name, number, shard in self._topology().shards_on(self._me)
            if shard.replicas[self._me] not in _WHOLE
        }
