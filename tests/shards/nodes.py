"""Several nodes in one event loop: real collections, shards and links; a topology that all see at once, decided by one object."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from qnode.channel import Channel, Limits, with_key
from qnode.index.vectors import warm_up
from qnode.models.collection import CollectionConfig
from qnode.models.operation import VectorColumn
from qnode.models.point_id import id_of, key_of
from qnode.models.query import Point
from qnode.models.topology import Peer, Topology
from qnode.models.topology_commands import Command, Placement, SetReplicaState
from qnode.models.write import UpsertRequest
from qnode.raft.topology import Rejected, apply_command
from qnode.raft.topology_log import TopologyLog
from qnode.shards import Collections, CollectionsSettings
from qnode.shards.freshness import UNBOUNDED, ReadLease
from qnode.shards.local_shard import ShardSettings
from qnode.shards.replicas import Replicas
from qnode.shards.replication import Settings
from qnode.shards.replication.view import SetState

TIMEOUT_SECONDS = 10.0
LIMITS = Limits(
    silence_timeout_seconds=0.5, redial_first_seconds=0.01, redial_longest_seconds=0.1, dial_timeout_seconds=1.0
)
QUICK = Settings(link_timeout_seconds=0.1, stall_timeout_seconds=5.0, retry_seconds=0.01, longest_retry_seconds=0.05)
VECTORS = {"size": 4, "distance": "Dot"}


class Log(TopologyLog):
    """The topology as one node hears of it."""

    def __init__(self, group: Group) -> None:
        super().__init__(group.topology)
        self._group = group

    async def propose(self, command: Command, timeout_seconds: float = 10.0) -> Rejected | None:
        return self._group.apply(command)

    def _placement(self, config: Mapping[str, Any]) -> Placement:
        return self._group.placement

    def close(self) -> None:
        pass

    def became(self, topology: Topology) -> None:
        self._became(topology)


class Node:
    """One peer."""

    def __init__(self, group: Group, peer: int) -> None:
        self.peer = peer
        self.group = group
        self.channel = Channel(peer, with_key("a key of more than sixteen bytes"), limits=LIMITS)
        self.log = Log(group)
        settings = CollectionsSettings(group.folder / str(peer), ShardSettings(replication=QUICK), build_threads=1)
        self.replicas = Replicas(self.channel, self.proposed)
        self.collections = Collections(
            settings, self.log, me=peer, replicas=self.replicas, channel=self.channel, lease=group.lease(peer)
        )

    def proposed(self, folder: str, number: int, command: SetState) -> None:
        if self.group.takes_proposals:
            for name, entry in self.group.topology.collections.items():
                if entry.folder == folder:
                    self.group.apply(
                        SetReplicaState(name, number, command.peer, command.state, command.epoch, seen=command.revision)
                    )

    async def start(self, port: int = 0) -> None:
        self.group.ports[self.peer] = await self.channel.listen("127.0.0.1", port)
        await self.collections.open()

    async def stop(self) -> None:
        await self.channel.close()
        await self.replicas.close()
        await self.collections.close()


class Group:
    """Nodes 1, 2, … `placement`: who holds the shards of the next collection that is made."""

    def __init__(self, folder: Path, count: int, lease: Callable[[int], ReadLease]) -> None:
        warm_up()
        self.folder = folder
        self.topology = Topology(
            10, {peer: Peer(f"http://n{peer}", str(peer), is_voter=True) for peer in range(1, count + 1)}
        )
        self.placement: Placement = ((1,),)
        self.takes_proposals = True
        self.lease = lease
        self.deaf: set[int] = set()  # the nodes that hear of no change
        self.ports: dict[int, int] = {}
        self.nodes: dict[int, Node] = {}

    def __getitem__(self, peer: int) -> Node:
        return self.nodes[peer]

    def apply(self, command: Command) -> Rejected | None:
        self.topology, rejected = apply_command(self.topology, command)
        for peer, node in self.nodes.items():
            if peer not in self.deaf:
                node.log.became(self.topology)
        return rejected

    async def create(self, placement: Placement, through: int = 1, **params: Any) -> None:
        self.placement = placement
        factor = max(map(len, placement), default=1)
        body = {"vectors": VECTORS, "shard_number": len(placement), "replication_factor": factor, **params}
        await self[through].collections.create("c", CollectionConfig.from_request(body))

    async def introduce(self) -> None:
        for node in self.nodes.values():
            for peer, port in self.ports.items():
                if peer != node.peer:
                    node.channel.set_peer(peer, f"http://127.0.0.1:{port}")
        for node in self.nodes.values():
            for peer in self.nodes:
                if peer != node.peer:
                    await node.channel.wait_connected(peer, TIMEOUT_SECONDS)


@asynccontextmanager
async def nodes(
    folder: Path, count: int, *, released: bool = True, lease: Callable[[int], ReadLease] = lambda peer: UNBOUNDED
) -> AsyncIterator[Group]:
    """Give a group whose nodes are all linked."""
    group = Group(folder, count, lease)
    for peer in range(1, count + 1):
        group.nodes[peer] = Node(group, peer)
        await group[peer].start()
    await group.introduce()
    if released:
        for node in group.nodes.values():
            await node.collections.release_views()
    try:
        yield group
    finally:
        for node in group.nodes.values():
            for peer in group.ports:
                node.channel.remove_peer(peer)
        await asyncio.sleep(0)
        await asyncio.gather(*(node.stop() for node in group.nodes.values()))


def upsert(*ids: int, **payload: Any) -> UpsertRequest:
    """Points whose vector is (id, 1, 0, 0)."""
    values = np.zeros((len(ids), 4), np.float32)
    values[:, 0], values[:, 1] = ids, 1.0
    column = VectorColumn(np.arange(len(ids), dtype=np.int32), values)
    payloads = [orjson.dumps({"n": i, **payload}) for i in ids]
    return UpsertRequest([key_of(i) for i in ids], payloads, {"": column})


def ids(points: Any) -> list[Any]:
    return [id_of(point.key) for point in points if isinstance(point, Point)]
