"""A node whose files of a shard are gone says so, whatever it was doing when they were, and begins nothing anew that others count on."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from qnode.errors import Corruption
from qnode.models.collection import CollectionConfig
from qnode.models.query import CountRequest
from qnode.models.topology import ReplicaState
from qnode.models.topology_commands import SetReplicaState
from qnode.raft import StandaloneLog
from qnode.shards import Collections, CollectionsSettings
from qnode.shards.held import HeldShards
from tests.shards.nodes import Group, Node, nodes, upsert

CONFIG = CollectionConfig.from_request({"vectors": {"size": 4, "distance": "Dot"}, "shard_number": 2})
ALL = CountRequest(None, exact=True)


async def alone(folder: Path, act: Callable[[Collections], Awaitable[None]]) -> None:
    """Run a node that is alone."""
    topology = StandaloneLog(folder)
    collections = Collections(CollectionsSettings(folder / "collections", build_threads=1), topology)
    try:
        await collections.open()
        await act(collections)
    finally:
        await collections.close()
        topology.close()


async def filled(collections: Collections) -> None:
    await collections.create("c", CONFIG)
    await collections.get("c").write(upsert(1, 2, 3), wait=True)


async def is_refused(collections: Collections) -> None:
    with pytest.raises(Corruption, match="it is missing"):
        collections.get("c")


async def is_whole(collections: Collections) -> None:
    assert await collections.get("c").count(ALL) == 3


@pytest.mark.parametrize("lost", ["collections/*/1", "collections/*/1/store", "collections/*/0/wal", "collections"])
def test_a_collection_whose_files_are_lost_is_not_served_empty(tmp_path: Path, lost: str) -> None:
    asyncio.run(alone(tmp_path, filled))
    asyncio.run(alone(tmp_path, is_whole))
    for folder in tmp_path.glob(lost):
        shutil.rmtree(folder)
    asyncio.run(alone(tmp_path, is_refused))
    asyncio.run(alone(tmp_path, is_refused))


def test_a_storage_that_is_older_than_the_marks_is_opened_and_marked(tmp_path: Path) -> None:
    asyncio.run(alone(tmp_path, filled))
    shutil.rmtree(tmp_path / "collections.held")
    asyncio.run(alone(tmp_path, is_whole))
    shutil.rmtree(next(tmp_path.glob("collections/*/0")))
    asyncio.run(alone(tmp_path, is_refused))


@pytest.mark.parametrize("left", ["nothing", "a shard without its mark"])
def test_a_node_that_was_killed_while_a_collection_was_made_makes_it(tmp_path: Path, left: str) -> None:
    async def create(collections: Collections) -> None:
        await collections.create("c", CONFIG)

    async def use(collections: Collections) -> None:
        await collections.get("c").write(upsert(1, 2, 3), wait=True)
        await is_whole(collections)

    asyncio.run(alone(tmp_path, create))
    shutil.rmtree(tmp_path / "collections.held")
    if left == "nothing":
        shutil.rmtree(tmp_path / "collections")
    asyncio.run(alone(tmp_path, use))


def test_the_marks_go_with_the_collection(tmp_path: Path) -> None:
    async def remove(collections: Collections) -> None:
        await collections.delete("c")

    asyncio.run(alone(tmp_path, filled))
    assert len(list(tmp_path.glob("collections.held/*"))) == 2
    asyncio.run(alone(tmp_path, remove))
    assert list(tmp_path.glob("collections.held/*")) == []


async def restart(group: Group, peer: int, lost: Path) -> None:
    """Stop a node, lose its files, and start it."""
    for other in group.nodes.values():
        if other.peer != peer:
            other.channel.remove_peer(peer)
    await group[peer].stop()
    shutil.rmtree(lost)
    group.nodes[peer] = Node(group, peer)
    await group[peer].start()
    await group.introduce()
    await group[peer].collections.release_views()


def test_an_active_replica_that_is_lost_is_copied_from_another_one(tmp_path: Path) -> None:
    async def running() -> None:
        async with asyncio.timeout(30), nodes(tmp_path, 2) as group:
            await group.create(((1, 2),))
            await group[1].collections.get("c").write(upsert(*range(100)), wait=True)
            entry = group.topology.collections["c"]
            assert entry.shards[0].replicas[2] is ReplicaState.ACTIVE
            group.takes_proposals = False  # it stays Active in the topology while it is away
            await restart(group, 2, tmp_path / "2" / entry.folder)
            group.takes_proposals = True
            shard = group[2].collections.get("c").shards[0]
            assert shard.fault is not None
            while group.topology.collections["c"].shards[0].replicas[2] is ReplicaState.ACTIVE:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            group.apply(
                SetReplicaState("c", 0, 2, ReplicaState.PARTIAL, group.topology.collections["c"].shards[0].epoch)
            )
            while group.topology.collections["c"].shards[0].replicas[2] is not ReplicaState.ACTIVE:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert await group[2].collections.get("c").count(ALL) == 100

    asyncio.run(running())


def test_a_sole_replica_that_is_lost_is_not_served(tmp_path: Path) -> None:
    async def running() -> None:
        async with asyncio.timeout(30), nodes(tmp_path, 2) as group:
            await group.create(((2,),))
            folder = group.topology.collections["c"].folder
            await restart(group, 2, tmp_path / "2" / folder)
            assert group[2].collections.get("c").shards == {}
            assert not group[2].collections.all_served
            assert not (tmp_path / "2" / folder).exists()
            assert HeldShards(tmp_path / "2").is_lost(folder, 0)

    asyncio.run(running())
