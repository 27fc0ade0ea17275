"""Members that stop in order: others do what they did, before their links break."""

import asyncio
from pathlib import Path

from qnode.models.topology import ReplicaState
from tests.cluster.members import Members, make_in_sync, members, within


async def grown(nodes: Members) -> None:
    await nodes.grow(3)
    await nodes[1].log.create("c", {"params": {"shard_number": 6, "replication_factor": 3}})
    await make_in_sync(nodes[1], "c")


def test_who_leaves_is_primary_of_nothing_and_does_not_lead_and_nobody_is_called_dead(tmp_path: Path) -> None:
    async def claim() -> None:
        async with members(tmp_path) as nodes:
            await grown(nodes)
            leaving = next(number for number in (1, 2, 3) if nodes[number].leader == nodes[number].me)
            gone, other = nodes[leaving].me, nodes[leaving % 3 + 1]
            before = nodes[leaving].topology.collections["c"].shards
            await within(nodes[leaving].leave())
            assert nodes[leaving].reason_not_ready() == "this node is being stopped"
            assert nodes[leaving].leader != gone
            after = nodes[leaving].topology.collections["c"].shards
            for number, shard in before.items():
                assert after[number].primary != gone
                assert after[number].epoch == shard.epoch + (shard.primary == gone)
                assert set(after[number].replicas.values()) == {ReplicaState.ACTIVE}
            heirs = [after[number].primary for number, shard in before.items() if shard.primary == gone]
            assert len(set(heirs)) == min(2, len(heirs))
            await nodes.stop(leaving)
            await within(other.until(lambda: not other.connected(gone)))
            assert other.has_left(gone)

    asyncio.run(claim())


def test_who_leaves_gets_no_replica_of_a_collection_that_is_made_meanwhile(tmp_path: Path) -> None:
    async def claim() -> None:
        async with members(tmp_path) as nodes:
            await nodes.grow(3)
            await within(nodes[3].leave())
            await within(nodes[1].until(lambda: nodes[1].has_left(nodes[3].me)))
            await nodes[1].log.create("c", {"params": {"shard_number": 2, "replication_factor": 2}})
            for _, _, shard in nodes[1].topology.shards():
                assert nodes[3].me not in shard.replicas

    asyncio.run(claim())


def test_when_all_leave_at_once_nobody_waits_for_another(tmp_path: Path) -> None:
    async def claim() -> None:
        async with members(tmp_path) as nodes:
            await grown(nodes)
            await within(asyncio.gather(*(node.leave() for node in nodes.running.values())))

    asyncio.run(claim())
