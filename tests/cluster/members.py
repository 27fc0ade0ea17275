"""Members of clusters in one event loop: real journals in folders of their own, real links on loopback, no shards.

Nothing is faked but the answer to the question where logs end, which shards would give.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from qnode.channel import Limits, with_key
from qnode.cluster import Cluster, ClusterSettings
from qnode.models.topology import ReplicaState, Topology
from qnode.models.topology_commands import SetReplicaState
from qnode.raft import ConsensusSettings, Timing
from qnode.shards.placement import ReconcileSettings
from qnode.shards.replication.failover import LogEnd
from qnode.shards.replication.view import HandOver
from tests.support.node import free_port

TIMEOUT_SECONDS = 15.0
LIMITS = Limits(
    silence_timeout_seconds=0.5, redial_first_seconds=0.01, redial_longest_seconds=0.1, dial_timeout_seconds=1.0
)
FAST = ConsensusSettings(
    Timing(heartbeat=0.04, election_min=0.2, election_max=0.4, leader_fallback=0.4, resend=0.4), 0.02, 16
)
SETTINGS: dict[str, Any] = {
    "host": "127.0.0.1",
    "credentials": with_key("a key of more than sixteen bytes"),
    "bootstrap_timeout_seconds": 8.0,
    "failover_timeout_seconds": 0.2,
    "consensus": FAST,
    "reconcile": ReconcileSettings(incoming_transfers=0, spread_primaries=False),
    "limits": LIMITS,
}

Address = tuple[str, int]


class Members:
    """Nodes by the number under which they were first started; each keeps its folder and its port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports: dict[int, int] = {}
        self.running: dict[int, Cluster] = {}
        self.broken: set[tuple[int, Address]] = set()
        """Peers and shards that do not serve."""
        self.ailing: set[tuple[int, Address]] = set()
        """Peers and shards that say so themselves, while they are primary."""

    def __getitem__(self, number: int) -> Cluster:
        return self.running[number]

    async def start(
        self,
        number: int,
        through: int | None = None,
        *,
        folder: str | None = None,
        standalone: Topology | None = None,
        **changes: Any,
    ) -> Cluster:
        """Start a node and give it when it is a member."""
        port = self.ports.setdefault(number, free_port())
        bootstrap = None if through is None else self.uri(through)
        settings = ClusterSettings(uri=self.uri(number), port=port, bootstrap=bootstrap, **{**SETTINGS, **changes})
        cluster = Cluster(settings, self.folder / (folder or str(number)), standalone=standalone)
        try:
            await cluster.start(_Shards(self, number))
        except BaseException:
            await cluster.close()
            raise
        self.running[number] = cluster
        return cluster

    async def stop(self, *numbers: int) -> None:
        await asyncio.gather(*(self.running.pop(number).close() for number in numbers))

    async def grow(self, count: int) -> None:
        """Start the first peer and let others join, until all vote and have started."""
        for number in range(1, count + 1):
            await self.start(number, None if number == 1 else 1)
        await self.settle(count)

    async def settle(self, count: int) -> None:
        """Wait until everybody shows so many voters, and has started."""
        for cluster in self.running.values():
            await within(cluster.until(lambda c=cluster: voters(c) == count))  # type: ignore[misc]
            await within(cluster.started.wait())

    def uri(self, number: int) -> str:
        return f"http://127.0.0.1:{self.ports[number]}"

    def by_id(self, peer: int) -> Cluster:
        return next(cluster for cluster in self.running.values() if cluster.me == peer)


class _Shards:
    """The shards of a node that has none: a higher peer id has the longer log, and primaries hand over at once."""

    def __init__(self, nodes: Members, number: int) -> None:
        self._nodes, self._number = nodes, number

    async def log_ends(self, peer: int, addresses: Sequence[Address]) -> Mapping[Address, LogEnd]:
        assert self._nodes[self._number].connected(peer)
        return {address: LogEnd(1, peer) for address in addresses if (peer, address) not in self._nodes.broken}

    def hand_over(self, peer: int, address: Address, epoch: int, heirs: Sequence[int], seconds: float) -> None:
        self._nodes.by_id(peer).replica_states.propose(*address, HandOver(heirs[0], epoch))

    def ailing(self, patience_seconds: float) -> Mapping[tuple[Address, int], str]:
        if self._number not in self._nodes.running:
            return {}
        here = self._nodes[self._number]
        return {
            ((entry.folder, number), entry.shards[number].epoch): "broken"
            for entry in here.topology.collections.values()
            for number in entry.shards
            if (here.me, (entry.folder, number)) in self._nodes.ailing and entry.shards[number].primary == here.me
        }


@asynccontextmanager
async def members(folder: Path) -> AsyncIterator[Members]:
    made = Members(folder)
    try:
        yield made
    finally:
        await made.stop(*made.running)


async def within(awaited: Any) -> Any:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        return await awaited


def voters(cluster: Cluster) -> int:
    return sum(peer.is_voter for peer in cluster.topology.peers.values())


async def make_in_sync(cluster: Cluster, name: str) -> None:
    """Say of all replicas of a collection that they are Active, as their primaries would."""
    for number in cluster.topology.collections[name].shards:
        for peer in cluster.topology.collections[name].shards[number].replicas:
            shard = cluster.topology.collections[name].shards[number]
            await cluster.propose(
                SetReplicaState(name, number, peer, ReplicaState.ACTIVE, shard.epoch, seen=shard.changed)
            )
