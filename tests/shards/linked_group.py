"""Replicas of one shard on nodes that are joined by real channels on loopback, and a topology that decides at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from qnode.channel import Channel, with_key
from qnode.index import BuilderPool
from qnode.shards.copying import CopyProgress, CopySettings
from qnode.shards.local_shard import LocalShard, ShardSettings
from qnode.shards.replicas import Replicas
from qnode.shards.replication import ReplicaState, ShardView
from qnode.shards.replication.view import SetState
from tests.channel.peers import KEY, LIMITS, close, introduce
from tests.shards.shard_group import PARAMS, QUICK, content
from tests.simulation.topology import Command, Started, Topology

FOLDER, NUMBER = "7", 3
ADDRESS = (FOLDER, NUMBER)
SETTINGS = CopySettings(retry_seconds=0.01, longest_retry_seconds=0.1)


class End:
    """The channel of a node, and what became of its links."""

    def __init__(self, me: int) -> None:
        self.me = me
        self.channel = Channel(me, with_key(KEY), limits=LIMITS)
        self.events: list[str] = []
        self.changed = asyncio.Event()
        self.channel.watch(lambda peer: self._note("up"), lambda peer, reason: self._note("down"))

    async def listen(self) -> End:
        self.uri = f"http://127.0.0.1:{await self.channel.listen('127.0.0.1', 0)}"
        return self

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():
                self.changed.clear()
                await self.changed.wait()

    def _note(self, what: str) -> None:
        self.events.append(what)
        self.changed.set()


class Node:
    """A channel, and the shard that lives behind it."""

    def __init__(self, group: LinkedGroup, peer: int, directory: Path) -> None:
        self.group, self.peer = group, peer
        self.path = directory / FOLDER / str(NUMBER)
        self.life = 0
        self.shard: LocalShard | None = None

    async def listen(self) -> None:
        self.end = await End(self.peer).listen()
        self.replicas = Replicas(self.end.channel, self._propose, self.group.copy_settings)
        self.life += 1

    def _propose(self, folder: str, number: int, command: SetState) -> None:
        assert (folder, number) == ADDRESS
        self.group.apply(command)

    async def open(self) -> LocalShard:
        around = self.replicas.surroundings(FOLDER, NUMBER)
        settings = ShardSettings(self.group.keep_log_bytes, replication=QUICK)
        shard = await asyncio.to_thread(
            LocalShard.open, self.path, PARAMS, settings, self.group.pool, me=self.peer, surroundings=around
        )
        shard.start()
        self.replicas.add(FOLDER, NUMBER, shard)
        self.shard = shard
        self.group.apply(Started(self.peer, self.life))
        self.group.show()
        return shard

    async def stop(self) -> None:
        """Close the shard, and break the links for good."""
        self.replicas.remove(FOLDER, NUMBER)
        await self.replicas.close()
        shard, self.shard = self.shard, None
        if shard is not None:
            await shard.close()


class LinkedGroup:
    """`peers` hold the shard, the first of them is its primary."""

    def __init__(self, directory: Path, peers: int, keep_log_bytes: int, copy_settings: CopySettings) -> None:
        self.keep_log_bytes, self.copy_settings = keep_log_bytes, copy_settings
        self.pool = BuilderPool(1)
        self.nodes = {peer: Node(self, peer, directory / str(peer)) for peer in range(1, peers + 1)}
        self.topology = Topology(dict.fromkeys(self.nodes, ReplicaState.ACTIVE), 1)
        self.seen: list[CopyProgress] = []

    def shard(self, peer: int) -> LocalShard:
        shard = self.nodes[peer].shard
        assert shard is not None
        return shard

    @property
    def view(self) -> ShardView:
        return self.topology.head.view

    def apply(self, command: Command | Started) -> None:
        if self.topology.apply(command):
            self.show()

    def set_state(self, peer: int, state: ReplicaState) -> None:
        self.apply(SetState(peer, state, self.view.epoch, self.view.revision))

    def show(self) -> None:
        for node in self.nodes.values():
            if node.shard is not None and node.shard.view != self.view:
                node.shard.follow(self.view)
                node.replicas.followed(*ADDRESS)

    async def stop(self, peer: int) -> None:
        """Stop a node; it is out of sync from then on."""
        node = self.nodes[peer]
        await node.stop()
        for other in self.nodes.values():
            if other is not node:
                other.end.channel.remove_peer(peer)
        await close(node.end)
        self.set_state(peer, ReplicaState.DEAD)

    async def start(self, peer: int) -> None:
        """Start a stopped node again; it has to catch up."""
        node = self.nodes[peer]
        await node.listen()
        introduce([node.end for node in self.nodes.values()])  # type: ignore[misc]
        await node.open()
        self.set_state(peer, ReplicaState.PARTIAL)

    def break_link(self, one: int, other: int) -> None:
        """Break a link, which comes up again."""
        channel = self.nodes[one].end.channel
        channel.remove_peer(other)
        channel.set_peer(other, self.nodes[other].end.uri)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when a condition holds, noting all copies that are seen meanwhile."""
        async with asyncio.timeout(15):
            while not condition():
                for node in self.nodes.values():
                    if node.shard is not None:
                        self.seen += node.replicas.copies(*ADDRESS)
                        await node.shard.run(lambda: None)

    async def until_active(self, *peers: int) -> None:
        await self.until(lambda: all(self.view.replicas[peer] is ReplicaState.ACTIVE for peer in peers))

    async def until_tidy(self) -> None:
        """Return when nothing of any copy is left beside the shards."""
        folders = [node.path for node in self.nodes.values()]
        await self.until(lambda: all([path.name for path in folder.parent.iterdir()] == ["3"] for folder in folders))

    async def assert_same_content(self) -> None:
        shards = [node.shard for node in self.nodes.values() if node.shard is not None]
        await self.until(lambda: len({(shard.last_op, shard.log_end) for shard in shards}) == 1)
        assert all(content(shard) == content(shards[0]) for shard in shards[1:])


@asynccontextmanager
async def linked(
    directory: Path, peers: int, *, keep_log_bytes: int = 32 << 20, copy_settings: CopySettings = SETTINGS
) -> AsyncIterator[LinkedGroup]:
    """Run nodes whose links all stand, and whose replicas are in sync; at the end all is closed."""
    group = LinkedGroup(directory, peers, keep_log_bytes, copy_settings)
    nodes = list(group.nodes.values())
    try:
        await asyncio.gather(*(node.listen() for node in nodes))
        introduce([node.end for node in nodes])
        for node in nodes:
            await node.end.until(lambda: len(node.end.channel.connected_peers()) == peers - 1)  # noqa: B023
        for node in nodes:
            await node.open()
        yield group
    finally:
        await asyncio.gather(*(node.stop() for node in nodes))
        await close(*(node.end for node in nodes))
        await group.pool.close()
