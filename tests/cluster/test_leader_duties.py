"""What the leader does by itself: dead and unwell primaries are replaced, and readiness says what is missing."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from qnode.cluster import supervision
from qnode.models.topology import ReplicaState, Shard
from qnode.shards.placement import ReconcileSettings
from tests.cluster.members import SETTINGS, Members, make_in_sync, members, within

CONFIG = {"params": {"shard_number": 6, "replication_factor": 3}}


async def grown(nodes: Members) -> None:
    await nodes.grow(3)
    await nodes[1].log.create("c", CONFIG)
    await make_in_sync(nodes[1], "c")


def test_when_the_leader_stops_another_leads_and_its_shards_get_new_primaries(tmp_path: Path) -> None:
    async def claim() -> None:
        async with members(tmp_path) as nodes:
            await grown(nodes)
            leader = next(number for number in (1, 2, 3) if nodes[number].leader == nodes[number].me)
            gone, rest = nodes[leader].me, [number for number in (1, 2, 3) if number != leader]
            epochs = {number: shard.epoch for _, number, shard in nodes[leader].topology.shards()}
            led = {number for _, number, shard in nodes[leader].topology.shards() if shard.primary == gone}
            await nodes.stop(leader)
            for other in rest:
                await within(
                    nodes[other].until(
                        lambda n=other: all(shard.primary != gone for _, _, shard in nodes[n].topology.shards())  # type: ignore[misc]
                    )
                )
            longest = max(nodes[other].me for other in rest)
            for _, number, shard in nodes[rest[0]].topology.shards():
                if number in led:
                    assert (shard.primary, shard.epoch) == (longest, epochs[number] + 1)
                    assert shard.replicas[gone] is ReplicaState.DEAD
                else:
                    assert shard.epoch == epochs[number]

    asyncio.run(claim())


def test_a_primary_that_says_twice_that_it_cannot_serve_is_replaced(tmp_path: Path, monkeypatch) -> None:
    async def claim() -> None:
        async with members(tmp_path) as nodes:
            await nodes.grow(3)
            await nodes[1].log.create("c", CONFIG)
            await make_in_sync(nodes[1], "c")
            entry = nodes[1].topology.collections["c"]
            broken = entry.shards[4].primary
            assert broken is not None
            nodes.broken.add((broken, (entry.folder, 4)))
            await within(nodes[1].until(lambda: nodes[1].topology.collections["c"].shards[4].primary != broken))
            shards = nodes[1].topology.collections["c"].shards
            assert shards[4].replicas[broken] is ReplicaState.DEAD
            assert all(shard.epoch == entry.shards[number].epoch for number, shard in shards.items() if number != 4)

    monkeypatch.setattr(supervision, "HEALTH_SECONDS", 0.1)
    asyncio.run(claim())


def test_primaries_that_say_that_they_are_not_well_are_replaced_without_being_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leader's own among them."""

    async def claim() -> None:
        async with members(tmp_path) as nodes:
            await grown(nodes)
            entry = nodes[1].topology.collections["c"]
            unwell = {shard.primary: number for number, shard in entry.shards.items()}
            assert len(unwell) == 3
            for peer, number in unwell.items():
                assert peer is not None
                nodes.ailing.add((peer, (entry.folder, number)))

            def shards() -> Mapping[int, Shard]:
                return nodes[1].topology.collections["c"].shards

            await within(
                nodes[1].until(lambda: all(shards()[number].primary != peer for peer, number in unwell.items()))
            )
            for number, shard in shards().items():
                is_unwell = number in unwell.values()
                assert shard.epoch == entry.shards[number].epoch + is_unwell
                assert list(shard.replicas.values()).count(ReplicaState.DEAD) == is_unwell

    monkeypatch.setattr(supervision, "HEALTH_SECONDS", 1000.0)
    asyncio.run(claim())


def test_a_replica_that_is_dead_is_recovered_when_its_node_is_back(tmp_path: Path) -> None:
    async def claim() -> None:
        async with members(tmp_path) as nodes:
            SOME = {**SETTINGS, "reconcile": ReconcileSettings(spread_primaries=False)}
            for number in (1, 2, 3):
                await nodes.start(number, None if number == 1 else 1, reconcile=SOME["reconcile"])
            await nodes.settle(3)
            await nodes[1].log.create("c", {"params": {"shard_number": 1, "replication_factor": 3}})
            await make_in_sync(nodes[1], "c")
            first = nodes[1].topology.collections["c"].shards[0].primary
            dead = next(number for number in (1, 2, 3) if nodes[number].me == first)
            other = next(number for number in (1, 2, 3) if number != dead)
            await nodes.stop(dead)

            def state() -> ReplicaState:
                return nodes[other].topology.collections["c"].shards[0].replicas[first]

            await within(nodes[other].until(lambda: state() is ReplicaState.DEAD))
            await nodes.start(dead, reconcile=SOME["reconcile"])
            await within(nodes[other].until(lambda: state() is ReplicaState.PARTIAL))
            await within(nodes[dead].started.wait())
            await within(nodes[dead].until(lambda: bool(nodes[dead].topology.collections["c"].transfers)))
            (transfer,) = nodes[dead].topology.collections["c"].transfers
            assert transfer.target == first

    asyncio.run(claim())
