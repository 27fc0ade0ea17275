"""Reads and writes of several nodes, one of which hears of the topology no more, or is without a lease."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qnode.errors import QnodeError, Unavailable
from qnode.models.point_id import key_of
from qnode.models.query import Agreement, CountRequest, Nearest, QueryRequest
from qnode.models.topology import ReplicaState
from qnode.models.topology_commands import AddReplica, ChangePrimary, DropReplica, SetReplicaState
from qnode.models.write import Selector, SetPayloadRequest, UpdateStatus
from qnode.shards import delivery, scatter
from qnode.shards.freshness import Freshness, ReadLease
from tests.shards.nodes import Group, nodes, upsert

WAIT_SECONDS = 30.0


class Lent:
    """Whether each node holds a lease."""

    def __init__(self) -> None:
        self.nodes: dict[int, bool] = {}

    def of(self, peer: int) -> ReadLease:
        self.nodes[peer] = True
        return ReadLease(lambda: self.nodes[peer], lambda: WAIT_SECONDS)


def run(folder: Path, count: int, act: Callable[[Group, Lent], Awaitable[None]]) -> None:
    async def scenario() -> None:
        lent = Lent()
        async with nodes(folder, count, lease=lent.of) as group, asyncio.timeout(25):
            await act(group, lent)

    asyncio.run(scenario())


def collection(group: Group, peer: int) -> Any:
    return group[peer].collections.get("c")


def test_a_node_without_a_lease_lets_others_answer(tmp_path: Path) -> None:
    async def act(group: Group, lent: Lent) -> None:
        await group.create(((1, 2),))
        await collection(group, 1).write(upsert(1), wait=True)
        query = QueryRequest(Nearest(np.ones(4, np.float32)))
        assert collection(group, 2).query_now(query) is not None
        lent.nodes[2] = False
        assert collection(group, 2).query_now(query) is None
        assert await collection(group, 2).count(CountRequest()) == 1
        assert list(collection(group, 2).can_answer((0,))) == []
        lent.nodes[2] = True
        assert list(collection(group, 2).can_answer((0,))) == [0]

    run(tmp_path, 2, act)


def test_a_read_that_nobody_can_answer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scatter, "LEASE_PATIENCE_SECONDS", 0.1)

    async def act(group: Group, lent: Lent) -> None:
        await group.create(((1, 2),))
        lent.nodes[1] = lent.nodes[2] = False
        for peer in (1, 2, 3):
            with pytest.raises(QnodeError, match=r"replica set for shard 0 on peer [123] has no active replica"):
                await collection(group, peer).count(CountRequest())

    run(tmp_path, 3, act)


def test_a_read_waits_for_the_lease_that_an_election_has_interrupted(tmp_path: Path) -> None:
    async def act(group: Group, lent: Lent) -> None:
        await group.create(((1, 2),))
        lent.nodes[1] = lent.nodes[2] = False
        reads = [asyncio.create_task(collection(group, peer).count(CountRequest())) for peer in (1, 2, 3)]
        await asyncio.sleep(0)
        lent.nodes[1] = lent.nodes[2] = True
        assert await asyncio.gather(*reads) == [0, 0, 0]

    run(tmp_path, 3, act)


@pytest.mark.parametrize("through", [1, 3])
def test_a_read_of_several_replicas_waits_for_their_leases_too(tmp_path: Path, through: int) -> None:
    async def act() -> None:
        looks = {1: 0, 2: 0, 3: 0}

        def lease(peer: int) -> ReadLease:
            def holds() -> bool:
                looks[peer] -= 1
                return looks[peer] < 0

            return ReadLease(holds, lambda: WAIT_SECONDS)

        async with nodes(tmp_path, 3, lease=lease) as group, asyncio.timeout(25):
            await group.create(((1, 2),))
            await collection(group, 1).write(upsert(1), wait=True)
            looks.update({1: 4, 2: 4, 3: 4})  # so often each has none
            assert await collection(group, through).count(CountRequest(), Agreement.ALL) == 1

    asyncio.run(act())


def test_payload_indexes_of_a_peer_without_a_lease_are_waited_for_too(tmp_path: Path) -> None:
    async def act(group: Group, lent: Lent) -> None:
        await group.create(((1, 2),))
        lent.nodes[2] = False
        began, goes_on = threading.Event(), threading.Event()

        def build() -> None:
            began.set()
            goes_on.wait()

        building = asyncio.create_task(collection(group, 2).shards[0].run(build))
        await asyncio.to_thread(began.wait)
        waiting = asyncio.create_task(collection(group, 1).wait_for_fields(None))
        early, _ = await asyncio.wait({waiting}, timeout=0.2)
        goes_on.set()
        await asyncio.gather(building, waiting)
        assert not early

    run(tmp_path, 2, act)


def test_a_shard_of_a_single_replica_needs_no_lease(tmp_path: Path) -> None:
    async def act(group: Group, lent: Lent) -> None:
        await group.create(((1,),))
        lent.nodes[1] = False
        await collection(group, 1).write(upsert(1), wait=True)
        assert await collection(group, 1).count(CountRequest()) == 1
        assert await collection(group, 2).count(CountRequest()) == 1

    run(tmp_path, 2, act)


@pytest.mark.parametrize("through", [1, 3])
def test_a_write_is_completed_when_the_replica_that_was_taken_out_obeys_it(tmp_path: Path, through: int) -> None:
    async def act(group: Group, lent: Lent) -> None:
        await group.create(((1, 2),))
        shard = group.topology.collections["c"].shards[0]
        group.deaf.add(2)
        assert group.apply(SetReplicaState("c", 0, 2, ReplicaState.DEAD, shard.epoch, seen=shard.changed)) is None
        written = await collection(group, through).write(upsert(1), wait=True, timeout_seconds=0.3)
        assert written.status is UpdateStatus.WAIT_TIMEOUT
        assert (await collection(group, through).write(upsert(2), wait=False)).status is UpdateStatus.ACKNOWLEDGED
        late = asyncio.create_task(collection(group, through).write(upsert(3), wait=True))
        group.deaf.clear()
        group[2].log.became(group.topology)
        assert (await late).status is UpdateStatus.COMPLETED

    run(tmp_path, 3, act)


def test_a_new_primary_completes_nothing_while_the_old_one_may_be_read(tmp_path: Path) -> None:
    async def act(group: Group, lent: Lent) -> None:
        await group.create(((1, 2),))
        group.deaf.add(1)
        shard = group.topology.collections["c"].shards[0]
        assert group.apply(ChangePrimary("c", 0, 2, shard.epoch)) is None
        written = await collection(group, 2).write(upsert(1), wait=True, timeout_seconds=0.3)
        assert written.status is UpdateStatus.WAIT_TIMEOUT
        group.deaf.clear()
        group[1].log.became(group.topology)
        assert (await collection(group, 2).write(upsert(2), wait=True)).status is UpdateStatus.COMPLETED

    run(tmp_path, 2, act)


def test_a_peer_that_says_nothing_is_waited_for_as_long_as_its_lease_may_last(tmp_path: Path) -> None:
    async def act(group: Group, lent: Lent) -> None:
        await group.create(((1, 2),))
        before = group.topology.collections["c"]
        shard = before.shards[0]
        remote = collection(group, 1)._place.remote
        freshness = Freshness(ReadLease(lambda: True, lambda: 0.2), remote)
        freshness.follow(before)
        assert await freshness.settled(before.folder, 0, None)
        group.deaf.add(2)
        assert group.apply(DropReplica("c", 0, 2, shard.epoch)) is None
        freshness.follow(group.topology.collections["c"])
        assert not await freshness.settled(before.folder, 0, 0.0)
        assert await freshness.settled(before.folder, 0, None)
        await freshness.close()

    run(tmp_path, 2, act)


def test_a_node_that_has_just_started_does_not_know_who_was_taken_out(tmp_path: Path) -> None:
    async def act(group: Group, lent: Lent) -> None:
        await group.create(((1,),))
        untouched = group.topology.collections["c"]
        assert group.apply(AddReplica("c", 0, 2)) is None
        assert group.apply(DropReplica("c", 0, 2, untouched.shards[0].epoch)) is None
        for entry, is_settled in ((untouched, True), (group.topology.collections["c"], False)):
            freshness = Freshness(ReadLease(lambda: True, lambda: WAIT_SECONDS), collection(group, 1)._place.remote)
            freshness.follow(entry)
            assert await freshness.settled(entry.folder, 0, 0.0) is is_settled
            await freshness.close()

    run(tmp_path, 2, act)


@pytest.mark.parametrize("through", [1, 3])
def test_a_primary_that_may_be_none_any_more_does_not_say_what_it_lacks(tmp_path: Path, through: int) -> None:
    async def act(group: Group, lent: Lent) -> None:
        await group.create(((1, 2),))
        group.deaf |= {1, 3}
        shard = group.topology.collections["c"].shards[0]
        assert group.apply(ChangePrimary("c", 0, 2, shard.epoch)) is None
        await collection(group, 2).write(upsert(1), wait=True, timeout_seconds=0.2)
        change = SetPayloadRequest(Selector(keys=(key_of(1),)), b'{"n": 2}')
        lent.nodes[1] = False
        late = asyncio.create_task(collection(group, through).write(change, wait=False))
        refused, _ = await asyncio.wait({late}, timeout=0.3)
        assert not refused
        group.deaf.clear()
        for peer in (1, 3):
            group[peer].log.became(group.topology)
        assert (await late).status is UpdateStatus.ACKNOWLEDGED

    run(tmp_path, 3, act)


def test_a_write_that_was_refused_to_the_end_of_its_time_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "RETRY_SECONDS", 5.0)

    async def act(group: Group, lent: Lent) -> None:
        await group.create(((1, 2),))
        lent.nodes[1] = False
        change = SetPayloadRequest(Selector(keys=(key_of(1),)), b'{"n": 2}')
        with pytest.raises(Unavailable, match=r"did not take the write.*No point with id 1 found"):
            await collection(group, 1).write(change, wait=False, timeout_seconds=1.0)

    run(tmp_path, 2, act)
