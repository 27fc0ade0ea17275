"""Several nodes in one event loop: real collections, shards and links; a topology that all see at once, decided by one object."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Mapping
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
from qnode.models.topology import Peer, ReplicaState, Topology
from qnode.models.topology_commands import Command, Placement, SetReplicaState
from qnode.models.write import UpsertRequest
from qnode.raft.topology import Rejected, apply_command
from qnode.raft.topology_log import TopologyLog
from qnode.shards import Collections, CollectionsSettings
from qnode.shards.local_shard import LocalShard, ShardSettings
from qnode.shards.replication import Settings
from qnode.shards.replication.messages import Append, Reason, Refused, decode, encode
from qnode.shards.replication.view import SetState
from qnode.shards.surroundings import Surroundings
from qnode.shards.topics import Topic

TIMEOUT_SECONDS = 10.0
LIMITS = Limits(
    silence_timeout_seconds=0.5, redial_first_seconds=0.01, redial_longest_seconds=0.1, dial_timeout_seconds=1.0
)
QUICK = Settings(link_timeout_seconds=0.1, stall_timeout_seconds=5.0, retry_seconds=0.01, longest_retry_seconds=0.05)
VECTORS = {"size": 4, "distance": "Dot"}

_ADDRESS = struct.Struct("<8sI")


class Log(TopologyLog):
    """The topology as one node hears of it."""

    def __init__(self, group: Group) -> None:
        super().__init__(group.topology)
        self._group = group

    async def propose(self, command: Command, timeout_seconds: float = 10.0) -> Rejected | None:
        return self._group.apply(command)

    def _placement(self, config: Mapping[str, Any]) -> Placement:
        return self._group.placement

    def became(self, topology: Topology) -> None:
        self._became(topology)


class Links:
    """Carries what replicas tell each other, as long as there are links; copies are never made."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._loop = asyncio.get_running_loop()
        self._shards: dict[bytes, LocalShard] = {}
        node.channel.on_message(Topic.REPLICATION, self._received)
        node.channel.watch(lambda peer: self._changed(peer, True), lambda peer, reason: self._changed(peer, False))

    def surroundings(self, folder: str, number: int) -> Surroundings:
        return Around(self._node, self._loop, folder, number)

    def add(self, folder: str, number: int, shard: LocalShard) -> None:
        self._shards[_ADDRESS.pack(folder.encode(), number)] = shard
        for peer in self._node.channel.connected_peers():
            shard.link_changed(peer, True)

    def remove(self, folder: str, number: int) -> None:
        self._shards.pop(_ADDRESS.pack(folder.encode(), number), None)

    def _received(self, peer: int, message: bytes) -> None:
        shard = self._shards.get(message[: _ADDRESS.size])
        if shard is not None:
            shard.received(peer, message[_ADDRESS.size :])
            return
        append = decode(message[_ADDRESS.size :])
        if isinstance(append, Append):
            refused = encode(Refused(append.epoch, Reason.NOT_HERE, append.prev_op, 0, 0, 0))
            self._node.channel.send(peer, Topic.REPLICATION, message[: _ADDRESS.size] + refused)

    def _changed(self, peer: int, is_up: bool) -> None:
        for shard in self._shards.values():
            shard.link_changed(peer, is_up)


class Around:
    """The surroundings of one replica."""

    def __init__(self, node: Node, loop: asyncio.AbstractEventLoop, folder: str, number: int) -> None:
        self._node, self._loop = node, loop
        self._folder, self._number = folder, number

    def send(self, peer: int, data: bytes) -> None:
        message = _ADDRESS.pack(self._folder.encode(), self._number) + data
        self._later(self._node.channel.send, peer, Topic.REPLICATION, message)

    def propose(self, command: SetState) -> None:
        self._later(self._node.proposed, self._folder, self._number, command)

    def copy_needed(self, peer: int) -> None:
        pass

    def _later(self, *call: Any) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(*call)


class Node:
    """One peer."""

    def __init__(self, group: Group, peer: int) -> None:
        self.peer = peer
        self.group = group
        self.channel = Channel(peer, with_key("a key of more than sixteen bytes"), limits=LIMITS)
        self.log = Log(group)
        settings = CollectionsSettings(group.folder / str(peer), ShardSettings(replication=QUICK), build_threads=1)
        self.collections = Collections(settings, self.log, me=peer, replicas=Links(self), channel=self.channel)

    def proposed(self, folder: str, number: int, command: SetState) -> None:
        if self.group.takes_proposals:
            for name, entry in self.group.topology.collections.items():
                if entry.folder == folder:
                    state = ReplicaState(command.state.value)
                    self.group.apply(
                        SetReplicaState(name, number, command.peer, state, command.epoch, seen=command.revision)
                    )

    async def start(self, port: int = 0) -> None:
        self.group.ports[self.peer] = await self.channel.listen("127.0.0.1", port)
        await self.collections.open()

    async def stop(self) -> None:
        await self.channel.close()
        await self.collections.close()


class Group:
    """Nodes 1, 2, … `placement`: who holds the shards of the next collection that is made."""

    def __init__(self, folder: Path, count: int) -> None:
        warm_up()
        self.folder = folder
        self.topology = Topology(
            10, {peer: Peer(f"http://n{peer}", str(peer), is_voter=True) for peer in range(1, count + 1)}
        )
        self.placement: Placement = ((1,),)
        self.takes_proposals = True
        self.ports: dict[int, int] = {}
        self.nodes: dict[int, Node] = {}

    def __getitem__(self, peer: int) -> Node:
        return self.nodes[peer]

    def apply(self, command: Command) -> Rejected | None:
        self.topology, rejected = apply_command(self.topology, command)
        for node in self.nodes.values():
            node.log.became(self.topology)
        return rejected

    async def create(self, placement: Placement, through: int = 1, **params: Any) -> None:
        self.placement = placement
        factor = max(map(len, placement))
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
async def nodes(folder: Path, count: int, *, released: bool = True) -> AsyncIterator[Group]:
    """Give a group whose nodes are all linked."""
    group = Group(folder, count)
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
