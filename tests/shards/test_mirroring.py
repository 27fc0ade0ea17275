"""Points that are copied from shard key to shard key while both are written, over real nodes."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qnode.models.point_id import id_of, key_of
from qnode.models.query import ALL_PAYLOAD, ALL_VECTORS, CountRequest, Point, ScrollRequest
from qnode.models.shard_choice import ShardChoice
from qnode.models.topology import KeyState, ReplicaState
from qnode.models.topology_commands import (
    AbortMirroring,
    ChangePrimary,
    CreateShardKey,
    Placement,
    SetReplicaState,
    StartMirroring,
)
from qnode.models.write import DeleteRequest, Selector, SetPayloadRequest, UpdateStatus, WriteRequest
from qnode.shards import Collection, mirror
from qnode.shards.placement import ReconcileSettings, reconcile
from tests.shards.nodes import LIMITS, Group, ids, nodes, upsert

TENANT = {"must": [{"key": "tenant", "match": {"value": "x"}}]}
PAGE = 10


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "PAGE_POINTS", PAGE)


def run(folder: Path, act: Callable[[Group], Awaitable[None]]) -> None:
    async def running() -> None:
        async with asyncio.timeout(30), nodes(folder, 3) as group:
            await group.create((), sharding_method="custom", shard_number=1, replication_factor=1)
            await act(group)

    asyncio.run(running())


async def make_key(group: Group, key: str, placement: Placement, state: KeyState = KeyState.ACTIVE) -> None:
    assert group.apply(CreateShardKey("c", key, placement, state=state)) is None
    while not all(node.collections.is_settled for node in group.nodes.values()):  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.001)
    for number in group.topology.collections["c"].keys[key].shards:
        shard = group.topology.collections["c"].shards
        while set(shard[number].replicas.values()) != {ReplicaState.ACTIVE}:
            await asyncio.sleep(0.001)
            shard = group.topology.collections["c"].shards


async def over(group: Group) -> None:
    while group.topology.collections["c"].mirrorings:  # noqa: ASYNC110 - of a topology that is a plain value nobody is told
        await asyncio.sleep(0.001)


def state(group: Group, key: str) -> KeyState:
    return group.topology.collections["c"].keys[key].state


def under(request: Any, key: str, fallback: str | None = None) -> Any:
    return replace(request, shards=ShardChoice((key,), fallback))


async def contents(collection: Collection, *keys: str) -> dict[Any, tuple[bytes | None, list[float]]]:
    request = ScrollRequest(None, 10_000, None, ALL_PAYLOAD, ALL_VECTORS, ShardChoice(keys))
    points, _ = await collection.scroll(request)
    return {id_of(point.key): (point.payload, first_of(point)) for point in points}


def first_of(point: Point) -> list[float]:
    assert point.vectors is not None
    vector = point.vectors[""]
    assert isinstance(vector, np.ndarray)
    return [float(value) for value in vector]


def test_points_that_pass_the_filter_are_copied_and_the_key_becomes_active(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await make_key(group, "all", ((1, 2), (2, 3)))
        await make_key(group, "x", ((3,), (1, 3)), KeyState.PARTIAL)
        collection = group[2].collections.get("c")
        await collection.write(under(upsert(*range(40), tenant="x"), "all"), wait=True)
        await collection.write(under(upsert(*range(100, 140), tenant="y"), "all"), wait=True)
        assert group.apply(StartMirroring("c", "all", "x", TENANT)) is None
        assert ids((await collection.scroll(ScrollRequest(shards=ShardChoice(("x",), "all"), limit=3)))[0]) == [0, 1, 2]
        await over(group)
        assert state(group, "x") is KeyState.ACTIVE
        for node in group.nodes.values():
            there = await contents(node.collections.get("c"), "x")
            everything = await contents(node.collections.get("c"), "all")
            assert there == {number: everything[number] for number in range(40)}
            assert len(everything) == 80

    run(tmp_path, act)


def test_what_is_written_meanwhile_is_under_the_target_however_it_was_routed(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    dice = random.Random(seed)

    async def act(group: Group) -> None:
        await make_key(group, "all", ((1, 2), (2,)))
        await make_key(group, "x", ((3, 1),), KeyState.PARTIAL)
        first = group[1].collections.get("c")
        await first.write(under(upsert(*range(120), tenant="x", turn=0), "all"), wait=True)
        expected: dict[int, int | None] = dict.fromkeys(range(120), 0)
        is_over = asyncio.Event()

        async def write(mine: range) -> None:
            """Write points that nobody else does, each write after the answer to the one before, and read it back."""
            turn = 0
            while not is_over.is_set():
                turn += 1
                collection = group[dice.choice((1, 2, 3))].collections.get("c")
                number = dice.choice(mine)
                request: WriteRequest
                if expected[number] is None or dice.random() < 0.4:
                    request, expected[number] = upsert(number, tenant="x", turn=turn), turn
                elif dice.random() < 0.3:
                    request, expected[number] = DeleteRequest(Selector(keys=(key_of(number),))), None
                else:
                    chosen = Selector(keys=(key_of(number),))
                    request, expected[number] = SetPayloadRequest(chosen, b'{"turn":%d}' % turn), turn
                answer = await collection.write(under(request, "x", "all"), wait=True)
                assert answer.status is UpdateStatus.COMPLETED
                seen = ScrollRequest(key_of(number), 1, shards=ShardChoice(("x",), "all"))
                found, _ = await group[dice.choice((1, 2, 3))].collections.get("c").scroll(seen)
                payload = found[0].payload if ids(found) == [number] else None
                wanted = expected[number]
                assert (payload is None) == (wanted is None), (number, wanted, payload, state(group, "x"))
                assert wanted is None or b'"turn":%d' % wanted in (payload or b""), (number, wanted, payload)

        async with asyncio.TaskGroup() as tasks:
            for begin in range(0, 120, 30):
                tasks.create_task(write(range(begin, begin + 30)))
            await asyncio.sleep(0.05)
            assert group.apply(StartMirroring("c", "all", "x", TENANT)) is None
            await over(group)
            await asyncio.sleep(0.05)
            is_over.set()
        assert state(group, "x") is KeyState.ACTIVE
        there = await contents(first, "x")
        turns = {number: payload for number, (payload, _) in there.items()}
        assert set(turns) == {number for number, turn in expected.items() if turn is not None}
        assert all(b'"turn":%d' % (expected[number] or 0) in (payload or b"") for number, payload in turns.items())

    run(tmp_path, act)


def test_a_newer_point_of_the_target_is_not_replaced_and_an_older_one_is(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await make_key(group, "all", ((1,),))
        await make_key(group, "x", ((3,),))
        collection = group[2].collections.get("c")
        await collection.write(under(upsert(*range(200), of="all"), "all"), wait=True)
        await collection.write(under(upsert(0, 199, 1000, of="x, old"), "x"), wait=True)
        assert group.apply(StartMirroring("c", "all", "x", None)) is None
        while not group[1].collections.get("c").shards[1].mirrors:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        await collection.write(under(upsert(198, of="x, new"), "x"), wait=True)
        await over(group)
        there = await contents(collection, "x")
        assert len(there) == 201
        assert there[0][0] == b'{"n":0,"of":"all"}'
        assert there[199][0] == b'{"n":199,"of":"all"}'
        assert there[198][0] == b'{"n":198,"of":"x, new"}'
        assert there[1000][0] == b'{"n":1000,"of":"x, old"}'

    run(tmp_path, act)


def test_a_point_that_leaves_the_selection_leaves_the_target(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await make_key(group, "all", ((1,),))
        await make_key(group, "x", ((2,),), KeyState.PARTIAL)
        group.deaf.add(3)  # it says nothing, so the copying does not end
        collection = group[1].collections.get("c")
        await collection.write(under(upsert(*range(30), tenant="x"), "all"), wait=True)
        assert group.apply(StartMirroring("c", "all", "x", TENANT)) is None
        while state(group, "x") is not KeyState.ACTIVE_READ:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        leaves = SetPayloadRequest(Selector(keys=(key_of(4),)), b'{"tenant":"y"}')
        await collection.write(under(leaves, "all"), wait=True)
        await collection.write(under(DeleteRequest(Selector(keys=(key_of(5),))), "all"), wait=True)
        await collection.write(under(upsert(100, tenant="x"), "all"), wait=True)
        assert set(await contents(collection, "x")) == {*range(30), 100} - {4, 5}
        group.deaf.clear()
        group[3].log.became(group.topology)
        await over(group)
        assert state(group, "x") is KeyState.ACTIVE

    run(tmp_path, act)


def test_it_is_given_up_in_another_epoch_of_the_source_and_may_begin_anew(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await make_key(group, "all", ((1, 2),))
        await make_key(group, "x", ((3,),), KeyState.PARTIAL)
        group.deaf.add(3)
        collection = group[1].collections.get("c")
        await collection.write(under(upsert(*range(50), tenant="x"), "all"), wait=True)
        assert group.apply(StartMirroring("c", "all", "x", TENANT)) is None
        while state(group, "x") is not KeyState.ACTIVE_READ:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        epoch = group.topology.collections["c"].shards[1].epoch
        assert group.apply(ChangePrimary("c", 1, 2, epoch, hands_over=True)) is None
        (torn,) = reconcile(group.topology, {}, 0.0, ReconcileSettings())
        assert torn == AbortMirroring("c", 1, 2, group.topology.collections["c"].mirrorings[0].started)
        assert group.apply(torn) is None
        assert state(group, "x") is KeyState.PARTIAL
        while collection.entry is not group.topology.collections["c"]:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        assert not collection.shards[1].mirrors
        group.deaf.clear()
        group[3].log.became(group.topology)
        await collection.write(under(upsert(7, tenant="x", again=True), "x", "all"), wait=True)
        assert group.apply(StartMirroring("c", "all", "x", TENANT)) is None
        await over(group)
        assert state(group, "x") is KeyState.ACTIVE
        assert (await contents(collection, "x"))[7][0] == b'{"n":7,"tenant":"x","again":true}'
        assert await collection.count(CountRequest(shards=ShardChoice(("x",)))) == 50

    run(tmp_path, act)


def test_the_target_may_get_another_primary_meanwhile(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await make_key(group, "all", ((1,),))
        await make_key(group, "x", ((2, 3),), KeyState.PARTIAL)
        collection = group[1].collections.get("c")
        await collection.write(under(upsert(*range(500), tenant="x"), "all"), wait=True)
        assert group.apply(StartMirroring("c", "all", "x", TENANT)) is None
        while not collection.shards[1].mirrors:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        epoch = group.topology.collections["c"].shards[2].epoch
        assert group.apply(ChangePrimary("c", 2, 3, epoch, hands_over=True)) is None
        await over(group)
        assert state(group, "x") is KeyState.ACTIVE
        assert len(await contents(collection, "x")) == 500

    run(tmp_path, act)


def test_a_target_that_takes_no_writes_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "WRITE_SECONDS", 0.05)
    monkeypatch.setattr(mirror, "RETRY_SECONDS", 0.01)

    async def act(group: Group) -> None:
        await make_key(group, "all", ((1,),))
        await make_key(group, "x", ((2, 3),), KeyState.PARTIAL)
        collection = group[1].collections.get("c")
        await collection.write(under(upsert(*range(20), tenant="x"), "all"), wait=True)
        shard = group.topology.collections["c"].shards[2]
        dead = SetReplicaState("c", 2, 3, ReplicaState.DEAD, shard.epoch)
        assert group.apply(dead) is None
        group[2].channel.remove_peer(1)
        group[1].channel.remove_peer(2)
        assert group.apply(StartMirroring("c", "all", "x", TENANT)) is None
        await over(group)
        assert state(group, "x") is KeyState.PARTIAL
        assert not collection.shards[1].mirrors
        assert (await collection.write(under(upsert(3), "all"), wait=True)).status is UpdateStatus.COMPLETED

    run(tmp_path, act)


def test_points_that_are_too_large_together_are_passed_on_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = replace(LIMITS, max_message_bytes=64 << 10, max_backlog_bytes=1 << 20)
    monkeypatch.setattr("tests.shards.nodes.LIMITS", limits)

    async def act(group: Group) -> None:
        await make_key(group, "all", ((1,),))
        await make_key(group, "x", ((2,),))
        collection = group[1].collections.get("c")
        for number in range(20):
            await collection.write(under(upsert(number, text="x" * 10_000), "all"), wait=True)
        assert group.apply(StartMirroring("c", "all", "x", None)) is None
        await over(group)
        assert set(await contents(group[2].collections.get("c"), "x")) == set(range(20))

    run(tmp_path, act)
