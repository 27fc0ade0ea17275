"""What the endpoints of the cluster do: show the topology as this node has applied it, and propose changes of it.

An operation becomes a command, which the rules of the topology accept or refuse in a client's words; it is done when it is
applied here. A node that runs alone shows what it holds, and refuses the operations as Qdrant does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from qnode.api import cluster_answers, number_scan
from qnode.api.cluster_json import NewShardKey, Operation
from qnode.errors import BadRequest, NeedsCluster, NotFound, QnodeError
from qnode.models.topology import STANDALONE_PEER, CollectionEntry, KeyState, Topology, Transfer
from qnode.models.topology_commands import (
    CreateShardKey,
    DropReplica,
    Placement,
    SetPeerDraining,
)
from qnode.shards.placement import place, plan_drain

if TYPE_CHECKING:
    from qnode.cluster import Cluster, ClusterStatus, PeerStatus
    from qnode.shards.collections import Collections
    from qnode.shards.replicas import Replicas


class ClusterSurface:
    """The cluster as clients see it, or the node that runs alone."""

    def __init__(
        self,
        collections: Collections,
        topology: Callable[[], Topology],
        cluster: Cluster | None,
        replicas: Replicas | None,
    ) -> None:
        self._collections = collections
        self._topology = topology
        self._cluster = cluster
        self._replicas = replicas

    @property
    def cluster(self) -> Cluster:
        """The cluster; raise NeedsCluster on a node that runs alone."""
        if self._cluster is None:
            raise NeedsCluster
        return self._cluster

    def check_is_clustered(self) -> None:
        """Raise NeedsCluster on a node that runs alone."""
        if self._cluster is None:
            raise NeedsCluster

    @property
    def me(self) -> int:
        """The id of this node."""
        return STANDALONE_PEER if self._cluster is None else self._cluster.me

    def standing(self) -> ClusterStatus | None:
        """Tell how consensus stands here; None on a node that runs alone."""
        return None if self._cluster is None else self._cluster.status()

    def reason_not_ready(self) -> str | None:
        """Say what this node still waits for before it does its full part; None if nothing."""
        if not self._collections.all_served or not number_scan.is_warm():
            return "a collection is not served yet, or searches are still being compiled"
        return None if self._cluster is None else self._cluster.reason_not_ready()

    def show_status(self) -> object:
        """Show who is in the cluster, and how consensus stands."""
        standing = self.standing()
        return {"status": "disabled"} if standing is None else cluster_answers.status(standing)

    def show_for_node_telemetry(self, level: int) -> object:
        """Show what a node's own telemetry says of the cluster."""
        return cluster_answers.node_telemetry(self.standing(), self._topology(), level)

    def show_collection(self, name: str) -> object:
        """Show where the shards of a collection are."""
        name, entry = self._found(name)
        return cluster_answers.collection(entry, self.me, partial(self._points_count, name), self._comment)

    def show_transfers(self, entry: CollectionEntry) -> object:
        """Show which shards of a collection are being copied."""
        return cluster_answers.transfers(entry, self._comment)

    def show_shard_keys(self, name: str) -> object:
        """Show the shard keys of a collection."""
        return cluster_answers.shard_keys(self._found(name)[1])

    async def show_telemetry(self, level: int, timeout_seconds: float) -> object:
        """Show the cluster as all of its nodes tell it."""
        topology, told = self._topology(), None
        if self._cluster is not None:
            peers = list(topology.peers)
            statuses = await asyncio.gather(*(self._ask(self._cluster, peer, timeout_seconds) for peer in peers))
            told = dict(zip(peers, statuses, strict=True))
        return cluster_answers.telemetry(topology, level, told, self._comment)

    async def _ask(self, cluster: Cluster, peer: int, timeout_seconds: float) -> PeerStatus | None:
        try:
            return await cluster.ask_status(peer, timeout_seconds)
        except QnodeError:
            return None

    async def operate(self, name: str, operation: Operation, timeout_seconds: float) -> None:
        """Carry out an operation on a collection."""
        if isinstance(operation, NewShardKey):
            await self._create_shard_key(name, operation, timeout_seconds)
            return
        if isinstance(operation, DropReplica):
            self._check_peer(operation.peer)
        await self.cluster.propose(operation, timeout_seconds)

    async def _create_shard_key(self, name: str, wanted: NewShardKey, timeout_seconds: float) -> None:
        """Make a shard key; without an initial state, return when its shards can be read on all of their peers."""
        entry = self._found(name)[1]
        for peer in wanted.peers or ():
            self._check_peer(peer)
        replicas = wanted.replication_factor or (entry.replication_factor if wanted.state is None else 1)
        placement: Placement = ()
        if wanted.peers != ():
            count = wanted.shards or int(entry.config["params"].get("shard_number") or 1)
            placement = place(self._topology(), count, replicas, silent=self._silent(), only=wanted.peers or ())
        state = wanted.state or KeyState.ACTIVE
        command = CreateShardKey(name, wanted.key, placement, wanted.replication_factor, wanted.peers or (), state)
        await self.cluster.propose(command, timeout_seconds)
        if wanted.state is None:
            await self._collections.wait_everywhere(name)

    async def drain(self, peer: int, timeout_seconds: float) -> None:
        """Begin to move everything off a peer; raise BadRequest if a last copy has nowhere to go to."""
        cluster = self.cluster
        plan_drain(self._topology(), peer, self._silent())
        await cluster.propose(SetPeerDraining(peer, True), timeout_seconds)

    def metadata_keys(self) -> list[str]:
        """List the keys under which users of the cluster keep something."""
        self.check_is_clustered()
        return sorted(self._topology().metadata)

    def metadata(self, key: str) -> Any:
        """Give what is kept under a key; None if there is nothing."""
        self.check_is_clustered()
        return self._topology().metadata.get(key)

    def resolved(self, name: str) -> str:
        """Give the collection that a name or an alias stands for; raise NotFound."""
        return self._found(name)[0]

    def _found(self, name: str) -> tuple[str, CollectionEntry]:
        topology = self._topology()
        resolved = topology.collection_named(name)
        if resolved is None:
            raise NotFound(f"Collection `{name}` doesn't exist!")
        return resolved, topology.collections[resolved]

    def _points_count(self, name: str, shard: int) -> int:
        """Count the points of a local replica; one that is not open, or damaged, shows none."""
        try:
            replica = self._collections.get(name).shards.get(shard)
        except QnodeError:
            return 0
        return 0 if replica is None else replica.index.points_count

    def _comment(self, entry: CollectionEntry, transfer: Transfer) -> str | None:
        """Say how far a transfer is that this node takes part in: its target, or the shard's primary, which sends."""
        if self._replicas is None or self._cluster is None:
            return None
        for copy in self._replicas.copies(entry.folder, transfer.shard):
            if transfer.target in (copy.peer, self._cluster.me):
                return cluster_answers.comment(copy)
        return None

    def _check_peer(self, peer: int) -> None:
        if peer not in self._topology().peers:
            raise BadRequest(f"Peer {peer} does not exist")

    def _silent(self) -> list[int]:
        cluster = self.cluster
        return [peer for peer in self._topology().peers if not cluster.connected(peer)]
