"""A shard that was restored goes on behind all that was logged, so that no replica can take the old history for the new."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from qnode.errors import Unavailable
from qnode.index import reading
from qnode.index.copying import hold
from qnode.models.query import ScrollRequest
from qnode.models.topology import ReplicaState
from qnode.models.topology_commands import ForcePrimary, SetReplicaState
from qnode.shards.collection import Collection
from qnode.shards.local_shard import LocalShard
from tests.shards.nodes import TIMEOUT_SECONDS, Group, ids, nodes, upsert

Act = Callable[[Group, Collection, LocalShard], Awaitable[None]]


def in_group(folder: Path, act: Act) -> None:
    """Run a group of three nodes with a shard on each, whose primary is node 1."""

    async def running() -> None:
        async with asyncio.timeout(60), nodes(folder, 3) as group:
            await group.create(((1, 2, 3),))
            collection = group[1].collections.get("c")
            await collection.write(upsert(*range(20)), wait=True)
            await act(group, collection, collection.shards[0])

    asyncio.run(running())


async def copied(shard: LocalShard, folder: Path) -> Path:
    with closing(await shard.run(lambda: hold(shard.index))) as held:
        await asyncio.to_thread(held.write, folder)
    return folder


def epoch_of(group: Group) -> int:
    return group.topology.collections["c"].shards[0].epoch


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not holds():  # noqa: ASYNC110 - of what the writer threads do there are no events
            await asyncio.sleep(0.005)


def beginning(group: Group, shard: LocalShard) -> Callable[[], Awaitable[int]]:
    async def begin_epoch() -> int:
        assert group.apply(ForcePrimary("c", 0, 1, epoch_of(group))) is None
        await until(lambda: shard.view is not None and shard.view.epoch == epoch_of(group))
        return epoch_of(group)

    return begin_epoch


def held_by(group: Group, peer: int) -> list[Any]:
    index = group[peer].collections.get("c").shards[0].index
    return ids(reading.scroll(index, ScrollRequest(limit=1000)))


def test_the_restored_shard_goes_on_in_numbers_that_were_never_given(tmp_path: Path) -> None:
    async def act(group: Group, collection: Collection, shard: LocalShard) -> None:
        copy = await copied(shard, tmp_path / "copy")
        for _ in range(5):
            await collection.write(upsert(*range(20, 40)), wait=True)
        before = shard.last_op
        await shard.restore(copy, beginning(group, shard))
        assert shard.last_op == before + 1
        assert held_by(group, 1) == list(range(20))
        assert shard.log_end is not None
        assert (shard.log_end.last_epoch, shard.log_end.last_op) == (epoch_of(group), before + 1)

    in_group(tmp_path / "group", act)


def test_nobody_becomes_active_with_what_was_there_before(tmp_path: Path) -> None:
    async def act(group: Group, collection: Collection, shard: LocalShard) -> None:
        copy = await copied(shard, tmp_path / "copy")
        await collection.write(upsert(*range(20, 40)), wait=True)
        begin = beginning(group, shard)

        async def begin_and_let_replicas_catch_up() -> int:
            epoch = await begin()
            for peer in (2, 3):
                group.apply(SetReplicaState("c", 0, peer, ReplicaState.PARTIAL, epoch))
            await asyncio.sleep(0.2)  # so long they could have become Active, were it not for the restoring
            states = group.topology.collections["c"].shards[0].replicas
            assert [states[peer] for peer in (2, 3)] == [ReplicaState.PARTIAL] * 2
            return epoch

        await shard.restore(copy, begin_and_let_replicas_catch_up)
        await until(lambda: len(group.topology.collections["c"].shards[0].active()) == 3)
        assert [held_by(group, peer) for peer in (1, 2, 3)] == [list(range(20))] * 3
        await collection.write(upsert(99), wait=True)
        assert [held_by(group, peer) for peer in (1, 2, 3)] == [[*range(20), 99]] * 3

    in_group(tmp_path / "group", act)


def test_an_epoch_that_has_passed_leaves_the_shard_as_it_was(tmp_path: Path) -> None:
    async def act(group: Group, collection: Collection, shard: LocalShard) -> None:
        copy = await copied(shard, tmp_path / "copy")
        await collection.write(upsert(*range(20, 40)), wait=True)

        async def begin_nothing() -> int:
            return epoch_of(group) + 1

        with pytest.raises(Unavailable):
            await shard.restore(copy, begin_nothing)
        assert held_by(group, 1) == list(range(40))
        await collection.write(upsert(99), wait=True)

    in_group(tmp_path / "group", act)
