"""Beginning anew with one member of a cluster that has lost its majority."""

import asyncio
from pathlib import Path

import pytest

from qnode.errors import CannotStart
from qnode.models.topology import ReplicaState
from tests.cluster.members import make_in_sync, members, within

COPIED = {"params": {"shard_number": 3, "replication_factor": 3}}
SINGLE = {"params": {"shard_number": 3, "replication_factor": 1}}


def test_a_member_goes_on_alone_with_what_it_holds_when_the_majority_is_gone(tmp_path: Path) -> None:
    async def claim() -> None:
        async with members(tmp_path) as nodes:
            await nodes.grow(3)
            await nodes[1].log.create("copied", COPIED)
            await make_in_sync(nodes[1], "copied")
            await nodes[1].log.create("single", SINGLE)
            index = nodes[1].topology.index
            await within(nodes[3].until(lambda: nodes[3].topology.index >= index))
            before = nodes[3].topology
            me = nodes[3].me
            await nodes.stop(1, 2, 3)

            alone = await nodes.start(3, reinit=True)
            assert alone.me == me
            await within(alone.started.wait())
            assert set(alone.topology.peers) == {me}
            assert alone.topology.removed == set(before.peers) - {me}
            for number, shard in alone.topology.collections["copied"].shards.items():
                assert (shard.primary, shard.replicas) == (me, {me: ReplicaState.ACTIVE})
                assert shard.epoch > before.collections["copied"].shards[number].epoch
            held = {number for number, shard in before.collections["single"].shards.items() if me in shard.replicas}
            for number, shard in alone.topology.collections["single"].shards.items():
                assert set(shard.replicas) == ({me} if number in held else set())
            assert await alone.log.create("later", SINGLE)

            gone = await nodes.start(1)
            await within(gone.until(lambda: gone.status().consensus_thread_status != "working"))
            await nodes.stop(1)
            await nodes.start(4, 3)
            await nodes.settle(2)

    asyncio.run(claim())


def test_beginning_anew_twice_changes_nothing_the_second_time(tmp_path: Path) -> None:
    async def claim() -> None:
        async with members(tmp_path) as nodes:
            await nodes.grow(2)
            await nodes.stop(1, 2)
            await nodes.start(2, reinit=True)
            await within(nodes[2].started.wait())
            await nodes[2].log.create("c", SINGLE)
            term = nodes[2].status().term
            await nodes.stop(2)
            await nodes.start(2, reinit=True)
            await within(nodes[2].started.wait())
            assert "c" in nodes[2].topology.collections
            assert nodes[2].status().term <= term + 2

    asyncio.run(claim())


def test_a_node_that_is_no_member_does_not_begin_anew(tmp_path: Path) -> None:
    async def claim() -> None:
        async with members(tmp_path) as nodes:
            with pytest.raises(CannotStart, match="--reinit is for a member"):
                await nodes.start(1, reinit=True)

    asyncio.run(claim())
