"""Replicas of one shard in one process: real logs and indexes, links that can be cut, and a topology that decides at once."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import orjson

from qnode.disk import REAL, Disk
from qnode.errors import QnodeError, Unavailable
from qnode.index import BuilderPool, reading
from qnode.models.operation import VectorColumn
from qnode.models.point_id import key_of
from qnode.models.query import ALL_PAYLOAD, ScrollRequest, VectorSelector
from qnode.models.vector_params import Distance, IndexParams, VectorParams
from qnode.models.write import UpsertRequest
from qnode.shards.local_shard import LocalShard, ShardSettings
from qnode.shards.replication import ReplicaState, Settings, ShardView
from qnode.shards.replication.view import HandOver, SetState
from qnode.shards.windows import Windows
from tests.simulation.topology import ChangePrimary, Command, Started, Topology

PARAMS = IndexParams((VectorParams("", 0, 4, Distance.DOT),))
QUICK = Settings(link_timeout_seconds=0.05, stall_timeout_seconds=5.0, retry_seconds=0.01, longest_retry_seconds=0.05)


def upsert(ids: Iterable[int], value: int = 1, pad: str = "") -> UpsertRequest:
    ids = list(ids)
    column = VectorColumn(np.arange(len(ids), dtype=np.int32), np.full((len(ids), 4), value, np.float32))
    payloads = [orjson.dumps({"n": i, "value": value, "pad": pad}) for i in ids]
    return UpsertRequest([key_of(i) for i in ids], payloads, {"": column})


def content(shard: LocalShard) -> list[tuple[object, ...]]:
    """All that a shard shows."""
    page = ScrollRequest(limit=1_000_000, with_payload=ALL_PAYLOAD, with_vector=VectorSelector(True))
    return [
        (point.key, point.version, point.payload, {name: list(v) for name, v in (point.vectors or {}).items()})
        for point in reading.scroll(shard.index, page)
    ]


@dataclass
class Node:
    path: Path
    shard: LocalShard | None = None
    life: int = 0
    disk: Disk = REAL
    sees_topology: bool = True
    waits_for_view: bool = False
    windows: Windows = field(default_factory=Windows)
    links: dict[int, object] = field(default_factory=dict)
    """A token for each link that is up, the same at both ends: what was sent over another one is lost."""


class Around:
    """The surroundings of one replica."""

    max_record_bytes = 1 << 20

    def __init__(self, group: Group, peer: int) -> None:
        self._group, self._peer = group, peer
        self.window = group.nodes[peer].windows.of(lambda other: group.later(lambda: group.shard(peer).has_room(other)))

    def send(self, peer: int, data: bytes) -> None:
        link = self._group.nodes[self._peer].links.get(peer)
        if link is not None:
            self._group.later(lambda: self._group.deliver(self._peer, peer, link, data))

    def propose(self, command: SetState | HandOver) -> None:
        self._group.later(lambda: self._group.proposed(self._peer, command))

    def copy_needed(self, peer: int) -> None:
        self._group.later(lambda: self._group.copies_asked.append((self._peer, peer)))


class Group:
    """`peers` hold the shard, the first of them is its primary."""

    def __init__(
        self,
        directory: Path,
        peers: int,
        settings: Settings = QUICK,
        keep_log_bytes: int = 32 << 20,
        floor: int = 1,
    ) -> None:
        self._settings = ShardSettings(keep_log_bytes, replication=settings)
        self._pool = BuilderPool(1)
        self._loop = asyncio.get_running_loop()
        self.nodes = {peer: Node(directory / str(peer)) for peer in range(1, peers + 1)}
        self.topology = Topology(dict.fromkeys(self.nodes, ReplicaState.ACTIVE), 1, floor)
        self.proposals: list[SetState | HandOver] = []
        self.copies_asked: list[tuple[int, int]] = []
        self.sent_bytes = 0
        self.on_proposal: Callable[[SetState | HandOver], bool] = lambda command: True

    def later(self, work: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(work)

    def shard(self, peer: int) -> LocalShard:
        shard = self.nodes[peer].shard
        assert shard is not None
        return shard

    @property
    def view(self) -> ShardView:
        return self.topology.head.view

    # Nodes

    async def start(self, peer: int, *, linked: bool = True) -> None:
        """Start a node; it gets its first view when the topology has seen its start."""
        node = self.nodes[peer]
        settings = replace(self._settings, disk=node.disk)
        node.shard = await asyncio.to_thread(
            LocalShard.open, node.path, PARAMS, settings, self._pool, me=peer, surroundings=Around(self, peer)
        )
        node.shard.start()
        node.life += 1
        self.topology.apply(Started(peer, node.life))
        self.show()
        for other in self.nodes:
            if linked and other != peer and self.nodes[other].shard is not None:
                self.connect(peer, other)

    async def stop(self, peer: int) -> None:
        node = self.nodes[peer]
        for other in list(node.links):
            self.cut(peer, other)
        shard, node.shard = self.shard(peer), None
        await shard.close()

    async def close(self) -> None:
        for peer, node in self.nodes.items():
            if node.shard is not None:
                await self.stop(peer)
        await self._pool.close()

    # Links

    def connect(self, one: int, other: int) -> None:
        link = object()
        for here, there in ((one, other), (other, one)):
            self.nodes[here].links[there] = link
            self.shard(here).link_changed(there, True)

    def cut(self, one: int, other: int) -> None:
        for here, there in ((one, other), (other, one)):
            if self.nodes[here].links.pop(there, None) is not None and self.nodes[here].shard is not None:
                self.shard(here).link_changed(there, False)

    def deliver(self, sender: int, peer: int, link: object, data: bytes) -> None:
        node = self.nodes[peer]
        if node.links.get(sender) is link and node.shard is not None:
            self.sent_bytes += len(data)
            node.shard.received(sender, data)

    def isolate(self, peer: int) -> None:
        """Cut a node off from its peers, and from the topology."""
        self.nodes[peer].sees_topology = False
        for other in list(self.nodes[peer].links):
            self.cut(peer, other)

    def rejoin(self, peer: int) -> None:
        self.nodes[peer].sees_topology = True
        self.show()
        for other, node in self.nodes.items():
            if other != peer and node.shard is not None:
                self.connect(peer, other)

    # Topology

    def proposed(self, peer: int, command: SetState | HandOver) -> None:
        self.proposals.append(command)
        if self.nodes[peer].sees_topology and self.on_proposal(command):
            self.apply(command)

    def apply(self, command: Command) -> None:
        if self.topology.apply(command):
            self.show()

    def set_state(self, peer: int, state: ReplicaState) -> None:
        self.apply(SetState(peer, state, self.view.epoch, self.view.revision))

    def make_primary(self, peer: int) -> None:
        self.apply(ChangePrimary(peer, self.view.epoch))

    def show(self) -> None:
        for node in self.nodes.values():
            if node.shard is not None and node.sees_topology and node.shard.view != self.view:
                node.shard.follow(self.view)

    # Waiting

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when a condition holds; the writer threads are waited for, turn by turn."""
        async with asyncio.timeout(20):
            while not condition():
                for node in self.nodes.values():
                    if node.shard is not None:
                        with contextlib.suppress(QnodeError):  # a shard that is broken takes no work
                            await node.shard.run(lambda: None)
                await asyncio.sleep(0)  # where all of them are

    async def until_active(self, *peers: int) -> None:
        await self.until(lambda: all(self.view.replicas[peer] is ReplicaState.ACTIVE for peer in peers))

    async def assert_same_content(self) -> None:
        """All running replicas show the same, when all has been applied."""
        shards = [node.shard for node in self.nodes.values() if node.shard is not None]

        def is_all_applied() -> bool:
            ends = {shard.log_end for shard in shards}
            return len(ends) == 1 and all(end is not None and end.last_op == s.last_op for end in ends for s in shards)

        await self.until(is_all_applied)
        first = content(shards[0])
        assert all(content(shard) == first for shard in shards[1:])

    async def copy_of(self, source: int, folder: Path) -> tuple[int, int]:
        """Copy the files of a replica; give the operation that they are as of, and its epoch."""
        shard = self.shard(source)

        def copy() -> tuple[int, int]:
            (folder / "store").mkdir(parents=True)
            shard.index.store.env.copy(str(folder / "store"))
            shutil.copytree(shard.path / "segments", folder / "segments")
            return shard.last_op, shard.applied_epoch()

        applied_op, epoch = await shard.run(copy)
        return applied_op, epoch

    async def awaits_copy(self, peer: int, source: int) -> bool:
        """Whether a primary says that a replica waits for its copy; one that is broken, or does not run, says nothing."""
        shard = self.nodes[source].shard
        if shard is not None:
            with contextlib.suppress(QnodeError):
                return await shard.run(lambda: shard.copying_epoch(peer)) is not None
        return False

    async def copy_to(self, peer: int, folder: Path) -> None:
        """Give a replica the copy that its primary says it needs; nothing happens if that has become untrue."""
        primary = self.view.primary
        assert primary is not None
        link = self.nodes[primary].links.get(peer)
        epoch = self.view.epoch
        applied_op, applied_epoch = await self.copy_of(primary, folder)
        is_wanted = await self.awaits_copy(peer, primary) and self.view.epoch == epoch
        target, source = self.nodes[peer].shard, self.nodes[primary].shard
        if target is None or not is_wanted or link is None or self.nodes[primary].links.get(peer) is not link:
            return
        if target.view is None or target.view.epoch != epoch or peer in target.view.active:
            return
        with contextlib.suppress(Unavailable):
            await target.install(folder, applied_op, applied_epoch)
            if source is self.nodes[primary].shard and self.nodes[primary].links.get(peer) is link:
                self.shard(primary).copied(peer, applied_op)


@asynccontextmanager
async def running(directory: Path, peers: int, **options: object) -> AsyncIterator[Group]:
    """Run all replicas, all of them in-sync; at the end all that runs is closed."""
    group = Group(directory, peers, **options)  # type: ignore[arg-type]
    try:
        for peer in group.nodes:
            await group.start(peer)
        yield group
    finally:
        await group.close()
