"""Reads of a node from which shards go while the reads wait for a thread."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qnode.models.collection import CollectionConfig
from qnode.models.query import Nearest, Point, QueryRequest
from qnode.models.topology import ReplicaState
from qnode.models.topology_commands import SetReplicaState
from tests.shards.nodes import VECTORS, Node, ids, nodes, upsert

QUERY = QueryRequest(Nearest(np.ones(4, np.float32)))

Read = Callable[[Any], Awaitable[Sequence[Point]]]


async def _second_of_two(collection: Any) -> Sequence[Point]:
    found: list[Sequence[Point]] = await collection.query_several([QUERY, QUERY])
    return found[1]


@pytest.mark.parametrize(
    "read",
    [
        lambda collection: collection.query(QUERY),
        _second_of_two,
    ],
    ids=["query", "several queries"],
)
def test_a_read_that_waits_for_a_thread_misses_nothing_when_its_replicas_are_taken_out(
    tmp_path: Path, read: Read
) -> None:
    async def scenario() -> None:
        async with nodes(tmp_path, 2) as group, asyncio.timeout(20):
            await group.create(((1, 2), (1, 2)))
            collection = group[2].collections.get("c")
            await collection.write(upsert(1, 2, 3), wait=True)
            go_on = threading.Event()
            threads = ThreadPoolExecutor(1)
            asyncio.get_running_loop().set_default_executor(threads)
            threads.submit(go_on.wait)
            reading = asyncio.ensure_future(read(collection))
            await asyncio.sleep(0)
            group.takes_proposals = False
            for number, shard in group.topology.collections["c"].shards.items():
                dead = SetReplicaState("c", number, 2, ReplicaState.DEAD, shard.epoch, seen=shard.changed)
                assert group.apply(dead) is None
            await asyncio.sleep(0.01)
            assert list(collection.can_answer((0, 1))) == []
            go_on.set()
            assert sorted(ids(await reading)) == [1, 2, 3]

    asyncio.run(scenario())


def test_a_node_that_opens_many_collections_reads_none_by_what_was_true_when_it_began(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with nodes(tmp_path, 2) as group, asyncio.timeout(20):
            many = {"vectors": VECTORS, "shard_number": 4, "replication_factor": 2}
            group.placement = ((1, 2),) * 4
            for name in ("first", "c"):
                await group[1].collections.create(name, CollectionConfig.from_request(many))
            await group.nodes.pop(2).stop()
            node = group.nodes[2] = Node(group, 2)
            starting = asyncio.create_task(node.start())
            while not node.collections.open_collections():  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0)
            assert [each.name for each in node.collections.open_collections()] == ["first"]
            shard = group.topology.collections["c"].shards[0]
            assert group.apply(SetReplicaState("c", 0, 2, ReplicaState.DEAD, shard.epoch, seen=shard.changed)) is None
            served: set[int] = set()
            while not starting.done():
                await asyncio.sleep(0)
                for each in node.collections.open_collections():
                    if each.name == "c":
                        served |= {number for number in range(4) if list(each.can_answer((number,)))}
            await starting
            assert served == {1, 2, 3}

    asyncio.run(scenario())
