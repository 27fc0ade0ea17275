"""Getting into a cluster, coming back, and leaving."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from qnode.errors import BadRequest, CannotJoin, CannotStart
from qnode.models.topology import ReplicaState, Topology
from qnode.models.topology_commands import CreateCollection
from qnode.raft.topology import apply_command
from tests.cluster.members import FAST, Members, make_in_sync, members, voters, within

CONFIG = {"params": {"shard_number": 3, "replication_factor": 3}}


def test_nodes_that_join_see_the_same_cluster_and_vote(tmp_path: Path) -> None:
    async def claim() -> None:
        async with members(tmp_path) as nodes:
            await nodes.grow(3)
            ids = {nodes[number].me for number in (1, 2, 3)}
            for number in (1, 2, 3):
                status = nodes[number].status()
                assert set(status.peers) == ids
                assert status.peers[nodes[number].me] == nodes.uri(number)
                assert (status.leader, status.is_voter) == (nodes[1].me, True)
                assert status.consensus_thread_status == "working"

    asyncio.run(claim())


def test_writes_wait_for_the_longest_lease_of_all_members_also_of_one_that_was_removed(tmp_path: Path) -> None:
    async def claim() -> None:
        async with members(tmp_path) as nodes:
            await nodes.start(1)
            await nodes.start(2, 1, consensus=replace(FAST, lease_ms=4000))
            await nodes.settle(2)
            leases = [nodes[number].read_lease for number in (1, 2)]
            await within(nodes[1].until(lambda: nodes[1].topology.peers[nodes[2].me].lease_ms == 4000))
            assert [lease.wait_seconds() for lease in leases] == [5.0, 5.0]
            await nodes[1].remove_peer(nodes[2].me)
            assert leases[0].wait_seconds() == 5.0

    asyncio.run(claim())


def test_the_lease_of_a_member_that_went_before_anybody_waited_counts_too(tmp_path: Path) -> None:
    async def claim() -> None:
        async with members(tmp_path) as nodes:
            await nodes.start(1)
            await nodes.start(2, 1, consensus=replace(FAST, lease_ms=4000))
            await nodes.settle(2)
            await within(nodes[1].until(lambda: nodes[1].topology.peers[nodes[2].me].lease_ms == 4000))
            await nodes[1].remove_peer(nodes[2].me)
            assert nodes[1].read_lease.wait_seconds() == 5.0

    asyncio.run(claim())


def test_a_node_reads_under_no_lease_whose_length_the_others_do_not_know(tmp_path: Path) -> None:
    async def claim() -> None:
        async with members(tmp_path) as nodes:
            await nodes.start(1)
            holds = nodes[1].read_lease.holds
            while not holds():
                assert not nodes[1].has_started or nodes[1].topology.peers[nodes[1].me].lease_ms
                await asyncio.sleep(0)
            assert nodes[1].has_started

    asyncio.run(claim())


def test_a_change_made_on_one_node_is_answered_when_it_is_applied_there_and_reaches_all(tmp_path: Path) -> None:
    async def claim() -> None:
        async with members(tmp_path) as nodes:
            await nodes.grow(3)
            assert await nodes[2].log.create("c", CONFIG)
            shards = nodes[2].topology.collections["c"].shards
            assert {shard.primary for shard in shards.values()} == set(nodes[2].topology.peers)
            assert not await nodes[2].log.create("c", CONFIG)
            await within(nodes[3].until(lambda: "c" in nodes[3].topology.collections))
            assert await nodes[3].log.delete("c")
            assert not await nodes[3].log.delete("c")

    asyncio.run(claim())


def test_the_same_change_asked_for_twice_at_once_succeeds_twice(tmp_path: Path) -> None:
    async def claim() -> None:
        async with members(tmp_path) as nodes:
            await nodes.start(1)
            log = nodes[1].log
            assert await asyncio.gather(log.create("c", CONFIG), log.create("c", CONFIG)) == [True, True]
            assert not await log.create("c", CONFIG)

    asyncio.run(claim())


def test_a_change_that_is_too_large_is_refused_in_words(tmp_path: Path) -> None:
    async def claim() -> None:
        async with members(tmp_path) as nodes:
            await nodes.start(1)
            with pytest.raises(BadRequest, match="at most 61439 are possible"):
                await nodes[1].log.create("c", {"params": {}, "metadata": "x" * 70_000})

    asyncio.run(claim())


def test_each_process_of_a_node_begins_new_epochs_of_what_it_is_primary_of(tmp_path: Path) -> None:
    async def claim() -> None:
        async with members(tmp_path) as nodes:
            await nodes.grow(1)
            await nodes[1].log.create("c", CONFIG)
            (before, *_) = nodes[1].topology.collections["c"].shards.values()
            me = nodes[1].me
            await nodes.stop(1)
            await nodes.start(1)
            assert nodes[1].me == me
            assert not nodes[1].has_started
            await within(nodes[1].started.wait())
            (after, *_) = nodes[1].topology.collections["c"].shards.values()
            assert (after.primary, after.epoch) == (me, before.epoch + 1)

    asyncio.run(claim())


def test_a_node_comes_back_on_another_address_and_is_reached_there(tmp_path: Path) -> None:
    async def claim() -> None:
        async with members(tmp_path) as nodes:
            await nodes.grow(3)
            me = nodes[2].me
            await nodes.stop(2)
            del nodes.ports[2]
            await nodes.start(2, 1)
            assert nodes[2].me == me
            for number in (1, 2, 3):
                await within(nodes[number].until(lambda n=number: nodes[n].topology.peers[me].uri == nodes.uri(2)))  # type: ignore[misc]
            await nodes.stop(1)
            await nodes.start(1)
            await within(nodes[1].started.wait())
            await within(nodes[1].channel.wait_connected(me, 10.0))

    asyncio.run(claim())


def test_all_nodes_stopped_and_started_have_what_was_decided(tmp_path: Path) -> None:
    async def claim() -> None:
        async with members(tmp_path) as nodes:
            await nodes.grow(3)
            await nodes[3].log.create("c", CONFIG)
            await nodes.stop(1, 2, 3)
            for number in (3, 1, 2):
                await nodes.start(number, 1)
            for number in (1, 2, 3):
                await within(nodes[number].started.wait())
                assert "c" in nodes[number].topology.collections

    asyncio.run(claim())


def test_a_node_whose_storage_was_wiped_is_refused_while_it_has_shards(tmp_path: Path) -> None:
    async def claim() -> None:
        async with members(tmp_path) as nodes:
            await nodes.grow(2)
            await nodes[1].log.create("c", CONFIG)
            await nodes.start(3, 1)
            await nodes.settle(3)
            peer = nodes[2].me
            await nodes.stop(2)
            with pytest.raises(CannotJoin, match=f"already used by peer {peer} which still has shards"):
                await nodes.start(2, 1, folder="empty")

    asyncio.run(claim())


def test_a_node_without_shards_is_replaced_by_a_new_one_at_its_address(tmp_path: Path) -> None:
    async def claim() -> None:
        async with members(tmp_path) as nodes:
            await nodes.grow(3)
            old = nodes[3].me
            await nodes.stop(3)
            await nodes.start(3, 1, folder="empty")
            assert nodes[3].me != old
            await nodes.settle(3)
            assert old in nodes[1].topology.removed

    asyncio.run(claim())


def test_a_node_under_the_id_of_another_storage_is_refused(tmp_path: Path) -> None:
    async def claim() -> None:
        async with members(tmp_path) as nodes:
            await nodes.start(1)
            await nodes.start(2, 1, peer_id=7)
            await nodes.start(3, 1)
            await nodes.settle(3)
            await nodes.stop(2)
            with pytest.raises(CannotJoin, match="Peer 7 is known with another storage"):
                await nodes.start(2, 1, peer_id=7, folder="empty")

    asyncio.run(claim())


def test_a_removed_node_stops_taking_part_and_is_not_taken_in_again(tmp_path: Path) -> None:
    async def claim() -> None:
        async with members(tmp_path) as nodes:
            await nodes.grow(3)
            await nodes[1].log.create("c", CONFIG)
            await make_in_sync(nodes[1], "c")
            gone = nodes[3].me
            with pytest.raises(BadRequest, match=f"Cannot remove peer {gone} as there are shards on it"):
                await nodes[1].remove_peer(gone)
            await nodes[1].remove_peer(gone, force=True)
            assert gone not in nodes[1].topology.peers
            assert all(gone not in shard.replicas for _, _, shard in nodes[1].topology.shards())
            await within(nodes[3].until(lambda: nodes[3].status().consensus_thread_status == "stopped"))
            await nodes.stop(3)
            with pytest.raises(CannotJoin):
                await nodes.start(3, 1, peer_id=gone, folder="empty")
            await nodes[2].log.create("d", CONFIG)
            assert voters(nodes[2]) == 2

    asyncio.run(claim())


def test_the_leader_can_be_removed(tmp_path: Path) -> None:
    async def claim() -> None:
        async with members(tmp_path) as nodes:
            await nodes.grow(3)
            leader = next(number for number in (1, 2, 3) if nodes[number].leader == nodes[number].me)
            other = next(number for number in (1, 2, 3) if number != leader)
            await nodes[other].remove_peer(nodes[leader].me)
            await within(nodes[leader].until(lambda: nodes[leader].status().stopped is not None))
            assert await nodes[other].log.create("c", CONFIG)

    asyncio.run(claim())


def test_the_first_peer_keeps_what_its_node_held_alone(tmp_path: Path) -> None:
    async def claim() -> None:
        alone, _ = apply_command(Topology(), CreateCollection("c", CONFIG, ((0,), (0,))))
        async with members(tmp_path) as nodes:
            first = await nodes.start(1, standalone=alone)
            await within(first.started.wait())
            for shard in first.topology.collections["c"].shards.values():
                assert (shard.primary, dict(shard.replicas)) == (first.me, {first.me: ReplicaState.ACTIVE})
            with pytest.raises(CannotStart, match="holds collections of a node that ran alone"):
                await nodes.start(2, 1, standalone=alone)

    asyncio.run(claim())


def test_a_bootstrap_peer_that_nobody_answers_for_ends_the_start(tmp_path: Path) -> None:
    async def claim() -> None:
        async with members(tmp_path) as nodes:
            nodes.ports[9] = await _unused(nodes)
            with pytest.raises(CannotStart, match=r"no cluster could be joined through .* within 0.5 s") as raised:
                await nodes.start(1, 9, bootstrap_timeout_seconds=0.5)
            assert not isinstance(raised.value, CannotJoin)

    asyncio.run(claim())


async def _unused(nodes: Members) -> int:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    return port


def test_a_node_that_joins_while_its_bootstrap_peer_is_still_away_waits_for_it(tmp_path: Path) -> None:
    async def claim() -> None:
        async with members(tmp_path) as nodes:
            await nodes.grow(1)
            await nodes.stop(1)
            joining = asyncio.create_task(nodes.start(2, 1))
            await nodes.start(1)
            await within(joining)
            await nodes.settle(2)

    asyncio.run(claim())
