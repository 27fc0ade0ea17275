"""States of replicas that primaries ask for."""

import asyncio
from pathlib import Path

from qnode.models.topology import ReplicaState
from qnode.shards.replication.view import SetState
from tests.cluster.members import members, within

SHARDS = 60


def test_what_many_shards_ask_for_at_once_takes_few_entries_of_the_log(tmp_path: Path) -> None:
    async def claim() -> None:
        async with members(tmp_path) as nodes:
            await nodes.grow(2)
            one = nodes[1]
            await one.log.create("c", {"params": {"shard_number": SHARDS, "replication_factor": 2}})
            entry, before = one.topology.collections["c"], one.status().commit
            for number, shard in entry.shards.items():
                (follower,) = [peer for peer in shard.replicas if peer != shard.primary]
                command = SetState(follower, ReplicaState.ACTIVE, shard.epoch, shard.changed)
                one.replica_states.propose(entry.folder, number, command)
            one.replica_states.propose("no such folder", 0, command)

            def all_active() -> bool:
                shards = one.topology.collections["c"].shards.values()
                return all(state is ReplicaState.ACTIVE for shard in shards for state in shard.replicas.values())

            await within(one.until(all_active))
            assert one.status().commit - before <= 3

    asyncio.run(claim())


def test_a_state_that_was_decided_on_another_sight_of_the_shard_changes_nothing(tmp_path: Path) -> None:
    async def claim() -> None:
        async with members(tmp_path) as nodes:
            await nodes.grow(2)
            one = nodes[1]
            await one.log.create("c", {"params": {"shard_number": 1, "replication_factor": 2}})
            entry = one.topology.collections["c"]
            (follower,) = [peer for peer in entry.shards[0].replicas if peer != entry.shards[0].primary]
            late = SetState(follower, ReplicaState.ACTIVE, entry.shards[0].epoch, entry.shards[0].changed - 1)
            index = one.topology.index
            one.replica_states.propose(entry.folder, 0, late)
            await within(one.until(lambda: one.topology.index > index))
            assert one.topology.collections["c"].shards == entry.shards

    asyncio.run(claim())
