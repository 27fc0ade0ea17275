"""Small searches of other nodes without a task: as the ordinary ones, or not at all."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qnode.channel import Unreached
from qnode.errors import BadInput, InternalError
from qnode.models import wire
from qnode.models.point_id import key_of
from qnode.models.query import ALL_PAYLOAD, Nearest, Point, QueryRequest, SearchParams
from qnode.models.shard_choice import ShardChoice, ShardKey
from qnode.models.topology_commands import ChangePrimary, CreateShardKey, DropReplica
from qnode.shards.collection import Collection
from qnode.shards.remote import Remote
from qnode.shards.topics import Topic
from tests.channel.peers import peers
from tests.shards.nodes import TIMEOUT_SECONDS, Group, ids, nodes, upsert

SECONDS = 5.0


def run(folder: Path, count: int, act: Callable[[Group], Awaitable[None]]) -> None:
    async def running() -> None:
        async with asyncio.timeout(30), nodes(folder, count) as group:
            await act(group)

    asyncio.run(running())


def query(**options: Any) -> QueryRequest:
    return QueryRequest(Nearest(np.array([1.0, 0, 0, 0], np.float32)), **options)


def begin(collection: Collection, request: QueryRequest) -> asyncio.Future[Sequence[Point] | None]:
    found: asyncio.Future[Sequence[Point] | None] = asyncio.get_running_loop().create_future()
    assert collection.query_soon(request, SECONDS, found.set_result) is not None
    assert not found.done()
    return found


async def soon(collection: Collection, request: QueryRequest) -> Sequence[Point] | None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        return await begin(collection, request)


def shown(points: Sequence[Point] | None) -> list[tuple[Any, ...]]:
    assert points is not None
    return [(point.key, point.version, point.score, point.payload, point.shard_key) for point in points]


def test_it_finds_what_the_ordinary_search_finds(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await group.create(((1,), (2,), (3, 2)))
        await group[1].collections.get("c").write(upsert(*range(60)), wait=True)
        for peer in (1, 2, 3, 4):
            collection = group[peer].collections.get("c")
            for request in (
                query(),
                query(limit=4, offset=3),
                query(limit=100, with_payload=ALL_PAYLOAD),
                query(score_threshold=55.5),
                query(params=SearchParams(hnsw_ef=20)),
            ):
                assert shown(await soon(collection, request)) == shown(await collection.query(request))

    run(tmp_path, 4, act)


def test_custom_shards_are_searched_too(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await group.create((), sharding_method="custom", shard_number=1, replication_factor=1)
        keys: list[ShardKey] = ["a", 5]
        for at, key in enumerate(keys):
            assert group.apply(CreateShardKey("c", key, ((at + 1,),))) is None
        while not all(node.collections.is_settled for node in group.nodes.values()):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        collection = group[3].collections.get("c")
        for at, key in enumerate(keys):
            written = upsert(at, 100 + at)
            written = type(written)(written.keys, written.payloads, written.vectors, shards=ShardChoice((key,)))
            await collection.write(written, wait=True)
        assert shown(await soon(collection, query())) == shown(await collection.query(query()))
        assert collection.query_soon(query(shards=ShardChoice(("a",))), SECONDS, lambda found: None) is None

    run(tmp_path, 3, act)


def test_what_is_no_small_search_is_not_begun(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await group.create(((2,),))
        collection = group[1].collections.get("c")
        await collection.write(upsert(1), wait=True)
        for request in (
            QueryRequest(None),
            QueryRequest(Nearest(example=key_of(1))),
            query(params=SearchParams(exact=True)),
            query(limit=5000),
        ):
            assert collection.query_soon(request, SECONDS, lambda found: None) is None
        with pytest.raises(BadInput, match="expected dim: 4, got 2"):
            collection.query_soon(QueryRequest(Nearest(np.zeros(2, np.float32))), SECONDS, lambda found: None)
        await group.nodes.pop(2).stop()
        with pytest.raises(InternalError, match="no active replica"):
            collection.query_soon(query(), SECONDS, lambda found: None)

    run(tmp_path, 2, act)


def test_any_replica_that_can_be_reached_is_asked(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await group.create(((2, 3),))
        collection = group[1].collections.get("c")
        await collection.write(upsert(*range(9)), wait=True)
        for peer in (2, 3):
            group[1].channel.break_link(peer, "only the other one is to be asked")
            assert ids(await soon(collection, query(limit=1)) or []) == [8]
            await group[1].channel.wait_connected(peer, TIMEOUT_SECONDS)
            await group[peer].channel.wait_connected(1, TIMEOUT_SECONDS)

    run(tmp_path, 3, act)


def test_a_peer_that_goes_in_the_middle_ends_it_without_a_result(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await group.create(((2,), (3,), (1,)))
        collection = group[1].collections.get("c")
        await collection.write(upsert(*range(9)), wait=True)
        found = begin(collection, query())
        group[1].channel.break_link(3, "the test says so")
        async with asyncio.timeout(TIMEOUT_SECONDS):
            assert await found is None
        with pytest.raises(InternalError, match="no active replica"):
            collection.query_soon(query(), SECONDS, lambda found: None)
        await group[1].channel.wait_connected(3, TIMEOUT_SECONDS)
        assert ids(await soon(collection, query(limit=2)) or []) == [8, 7]

    run(tmp_path, 3, act)


def test_what_was_withdrawn_finds_nothing_any_more(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await group.create(((2,), (1,)))
        collection = group[1].collections.get("c")
        found: list[object] = []
        withdraw = collection.query_soon(query(), SECONDS, found.append)
        assert withdraw is not None
        withdraw()
        withdraw()
        assert len(await collection.query(query())) == 0
        assert found == []

    run(tmp_path, 2, act)


def test_a_shard_that_has_left_the_peer_ends_it_without_a_result(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await group.create(((2, 3),))
        collection = group[1].collections.get("c")
        await collection.write(upsert(*range(9)), wait=True)
        waiting = [begin(collection, query(limit=1)) for _ in range(2)]
        shard = group.topology.collections["c"].shards[0]
        assert group.apply(ChangePrimary("c", 0, 3, shard.epoch)) is None
        assert group.apply(DropReplica("c", 0, 2)) is None
        async with asyncio.timeout(TIMEOUT_SECONDS):
            outcomes = await asyncio.gather(*waiting)
        assert sorted(outcome is None for outcome in outcomes) == [False, True]
        for _ in range(3):
            assert ids(await soon(collection, query(limit=1)) or []) == [8]

    run(tmp_path, 3, act)


def test_answers_that_are_none_end_it_without_a_result() -> None:
    answers = [b"", b"\0", b"\1\x93", b"\2", b"\0" + wire.encode(7), b"\0" + wire.encode([1, 2])]

    async def answering() -> None:
        async with peers(2) as (a, b):
            left = iter(answers)
            b.channel.on_call(Topic.SEARCH, lambda peer, content: asyncio.sleep(0, next(left)))
            remote = Remote(a.channel)
            for _ in answers:
                found: asyncio.Future[object] = asyncio.get_running_loop().create_future()
                remote.search(2, "c-1", (0,), query(), SECONDS, found.set_result)
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    assert await found is None
            b.channel.remove_peer(1)
            await a.until(lambda: ("down", 2) in a.events)
            a.channel.remove_peer(2)
            with pytest.raises(Unreached):
                remote.search(2, "c-1", (0,), query(), SECONDS, lambda points: None)

    asyncio.run(answering())
