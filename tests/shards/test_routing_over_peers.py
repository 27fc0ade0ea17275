"""Collections whose shards are on several nodes: any node takes any request."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qnode import deadline
from qnode.errors import BadInput, InternalError, NotFound, QnodeError, TimedOut, Unavailable, UnknownOutcome
from qnode.models.field_schema import FieldSchema
from qnode.models.filter_json import parse_filter
from qnode.models.point_id import id_of, key_of
from qnode.models.query import (
    ALL_PAYLOAD,
    ALL_VECTORS,
    Agreement,
    CountRequest,
    Nearest,
    QueryRequest,
    RetrieveRequest,
    ScrollRequest,
)
from qnode.models.shard_choice import ShardChoice, ShardKey
from qnode.models.topology import KeyState
from qnode.models.topology_commands import AddReplica, ChangePrimary, Command, CreateShardKey, DropReplica
from qnode.models.write import (
    ClearPayloadRequest,
    DeleteRequest,
    DeleteVectorsRequest,
    OverwritePayloadRequest,
    Selector,
    SetPayloadRequest,
    UpdateStatus,
    UpdateVectorsRequest,
    UpsertRequest,
)
from qnode.raft.topology import Rejected
from qnode.shards import delivery
from tests.shards.nodes import Group, Node, ids, nodes, upsert

EVEN = parse_filter({"must": [{"key": "even", "match": {"value": True}}]})
ODD = parse_filter({"must": [{"key": "even", "match": {"value": False}}]})
SPREAD = ((1,), (2,), (3,))


def run(folder: Path, count: int, act: Callable[[Group], Awaitable[None]]) -> None:
    async def running() -> None:
        async with asyncio.timeout(30), nodes(folder, count) as group:
            await act(group)

    asyncio.run(running())


def test_a_write_without_a_time_that_nobody_can_commit_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "WRITE_SECONDS", 0.3)

    async def act(group: Group) -> None:
        await group.create(((1, 2),))
        group.takes_proposals = False
        group[1].channel.remove_peer(2)
        group[2].channel.remove_peer(1)
        for through, wait in ((1, True), (1, False), (3, True), (3, False)):
            with pytest.raises(UnknownOutcome, match="may stay or not"):
                await group[through].collections.get("c").write(upsert(through), wait=wait)
        answer = await group[3].collections.get("c").write(upsert(9), wait=True, timeout_seconds=0.1)
        assert answer.status is UpdateStatus.WAIT_TIMEOUT

    run(tmp_path, 3, act)


def query(value: float = 1.0, **options: Any) -> QueryRequest:
    return QueryRequest(Nearest(np.array([value, 0, 0, 0], np.float32)), **options)


def test_any_node_reads_what_any_node_wrote(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await group.create(SPREAD)
        for peer in (1, 2, 3, 4):
            collection = group[peer].collections.get("c")
            written = upsert(*range(100 * peer, 100 * peer + 30), even=peer % 2 == 0)
            assert (await collection.write(written, wait=True)).status is UpdateStatus.COMPLETED
        for peer in (1, 2, 3, 4):
            collection = group[peer].collections.get("c")
            found = await collection.query(query(limit=4, offset=1, with_payload=ALL_PAYLOAD, with_vector=ALL_VECTORS))
            assert ids(found) == [428, 427, 426, 425]
            assert found[0].payload == b'{"n":428,"even":true}'
            assert found[0].vectors is not None
            assert found[0].vectors[""].tolist() == [428, 1, 0, 0]
            assert ids(await collection.query(query(limit=2))) == [429, 428]
            assert ids(await collection.query(query(limit=2, filter=EVEN, offset=29))) == [400, 229]
            example = QueryRequest(Nearest(example=key_of(429)), limit=2)
            assert ids(await collection.query(example)) == [428, 427]
            assert ids(await collection.query(QueryRequest(None, limit=3))) == [100, 101, 102]
            page, following = await collection.scroll(ScrollRequest(key_of(128), 3))
            assert (ids(page), following) == ([128, 129, 200], key_of(201))
            wanted = RetrieveRequest(tuple(map(key_of, (429, 5, 100, 201))), ALL_PAYLOAD)
            assert ids(await collection.retrieve(wanted)) == [429, 100, 201]
            assert await collection.count(CountRequest()) == 120
            assert await collection.count(CountRequest(EVEN)) == 60
            info = await collection.info()
            assert (info.points_count, info.segments_count) == (120, 3)

    run(tmp_path, 4, act)


def test_a_write_by_filter_reaches_every_shard(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await group.create(SPREAD)
        collection = group[1].collections.get("c")
        await collection.write(upsert(*range(50), even=True), wait=True)
        await collection.write(SetPayloadRequest(Selector(filter=EVEN), b'{"even":false}'), wait=True)
        assert await group[2].collections.get("c").count(CountRequest(EVEN)) == 0
        await collection.write(DeleteRequest(Selector(keys=tuple(map(key_of, range(40))))), wait=False)
        await collection.write(upsert(1), wait=True)  # behind it in each queue that it is in
        with pytest.raises(NotFound):
            await collection.write(SetPayloadRequest(Selector(keys=(key_of(7777),)), b"{}"), wait=True)

    run(tmp_path, 3, act)


def test_vectors_of_keys_and_of_those_that_pass_a_filter_go_from_every_shard(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await group.create(SPREAD)
        collection = group[1].collections.get("c")
        await collection.write(upsert(*range(30), even=False), wait=True)
        await collection.write(upsert(*range(30, 50), even=True), wait=True)
        await collection.write(DeleteVectorsRequest(Selector((key_of(7),), EVEN), ("",)), wait=True)
        with_vector = parse_filter({"must": [{"has_vector": ""}]})
        assert await group[2].collections.get("c").count(CountRequest(with_vector)) == 29

    run(tmp_path, 3, act)


def test_a_write_that_names_an_unknown_point_changes_no_shard(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await group.create(((1,), (1,), (1,)))
        collection = group[1].collections.get("c")
        await collection.write(upsert(*range(20), even=False), wait=False)
        everybody, one_more = (tuple(map(key_of, range(count))) for count in (20, 21))
        vectors = upsert(*reversed(range(21)))
        for refused in (
            SetPayloadRequest(Selector(keys=one_more), b'{"even":true}'),
            OverwritePayloadRequest(Selector(keys=one_more), b'{"even":true}'),
            ClearPayloadRequest(Selector(keys=one_more)),
            UpdateVectorsRequest(vectors.keys, vectors.vectors),
        ):
            with pytest.raises(NotFound) as told:
                await collection.write(refused, wait=True)
            assert str(told.value) == "Not found: No point with id 20 found"
        assert await collection.count(CountRequest(EVEN)) == 0
        assert await collection.count(CountRequest(ODD)) == 20
        await collection.write(SetPayloadRequest(Selector(keys=everybody), b'{"even":true}'), wait=True)
        assert await collection.count(CountRequest(EVEN)) == 20

    run(tmp_path, 1, act)


def test_a_point_that_is_still_to_be_written_is_no_unknown_one(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await group.create(((1,), (1,), (1,)))
        collection = group[1].collections.get("c")
        points = tuple(map(key_of, range(20)))
        waiting = []
        for _ in range(20):
            waiting.append(asyncio.create_task(collection.write(DeleteRequest(Selector(keys=points)), wait=True)))
            waiting.append(asyncio.create_task(collection.write(upsert(*range(20)), wait=True)))
            await asyncio.sleep(0)  # both have been queued
            await collection.write(SetPayloadRequest(Selector(keys=points), b'{"even":true}'), wait=True)
        await asyncio.gather(*waiting)

    run(tmp_path, 1, act)


def test_faults_of_a_request_are_told_as_if_the_shard_were_here(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await group.create(((2,),))
        collection = group[1].collections.get("c")
        with pytest.raises(BadInput, match="expected dim: 4, got 2"):
            await collection.query(QueryRequest(Nearest(np.zeros(2, np.float32))))
        with pytest.raises(NotFound, match="No point with id 5 found"):
            await collection.query(QueryRequest(Nearest(example=key_of(5))))
        with pytest.raises(BadInput, match="Not existing vector name"):
            await collection.query(query(using="other"))
        with pytest.raises(TimedOut), deadline.within(0.0):
            await collection.query(query(filter=EVEN))

    run(tmp_path, 2, act)


def test_a_read_goes_to_the_next_replica_when_one_is_gone(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await group.create(((2, 3), (3, 2)))
        collection = group[1].collections.get("c")
        await collection.write(upsert(*range(20)), wait=True)
        reading = [asyncio.create_task(collection.query(query(limit=1))) for _ in range(20)]
        await group.nodes.pop(3).stop()
        reading += [asyncio.create_task(collection.query(query(limit=1))) for _ in range(20)]
        for found in await asyncio.gather(*reading):
            assert ids(found) == [19]
        await group.nodes.pop(2).stop()
        with pytest.raises(InternalError, match="replica set for shard 0 on peer 1 has no active replica"):
            await collection.query(query())

    run(tmp_path, 3, act)


def test_writes_wait_for_the_primary_that_takes_over(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await group.create(((2, 3),))
        collection = group[1].collections.get("c")
        await collection.write(upsert(1), wait=True)
        await group.nodes.pop(2).stop()
        writing = asyncio.create_task(collection.write(upsert(2), wait=True))
        with pytest.raises(Unavailable, match="peer 2, the primary of shard 0"):
            await collection.write(upsert(3), wait=True, timeout_seconds=0.2)
        shard = group.topology.collections["c"].shards[0]
        assert group.apply(ChangePrimary("c", 0, 3, shard.epoch)) is None
        assert (await writing).status is UpdateStatus.COMPLETED
        assert await collection.count(CountRequest()) == 2

    run(tmp_path, 3, act)


def test_a_write_whose_answer_is_lost_is_not_sent_again(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await group.create(((2, 3),))
        collection = group[1].collections.get("c")
        group.takes_proposals = False
        await group.nodes.pop(3).stop()  # now nothing is committed, and nobody says so
        writing = asyncio.create_task(collection.write(upsert(1), wait=True))
        held = group[2].collections.get("c").shards[0]
        while (held.log_end is None) or held.log_end.last_op < 1:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        group[1].channel.remove_peer(2)
        with pytest.raises(UnknownOutcome):
            await writing

    run(tmp_path, 3, act)


def test_reads_that_ask_several_replicas_give_what_they_agree_on(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await group.create(((1, 2, 3),))
        collection = group[1].collections.get("c")
        await collection.write(upsert(*range(5)), wait=True)
        for consistency in (Agreement.ALL, Agreement.MAJORITY, Agreement.QUORUM, 1, 2, 9):
            assert ids(await collection.query(query(limit=2), consistency)) == [4, 3]
            page, _ = await collection.scroll(ScrollRequest(limit=2), consistency)
            assert ids(page) == [0, 1]
            assert await collection.count(CountRequest(), consistency) == 5
            assert ids(await collection.retrieve(RetrieveRequest((key_of(3),)), consistency)) == [3]
        group.takes_proposals = False
        await group.nodes.pop(3).stop()
        for consistency in (Agreement.ALL, Agreement.MAJORITY, 3):
            with pytest.raises(InternalError, match="does not have enough active replicas"):
                await collection.query(query(), consistency)
        assert ids(await collection.query(query(limit=1), Agreement.QUORUM)) == [4]

    run(tmp_path, 3, act)


def test_a_collection_can_be_used_through_any_node_when_its_creation_is_answered(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await group.create(((1, 2), (2, 3)), through=3)
        for node in group.nodes.values():
            assert await node.collections.names() == ["c"]
            assert await node.collections.get("c").count(CountRequest()) == 0
        assert {len(shard.active()) for shard in group.topology.collections["c"].shards.values()} == {2}

    run(tmp_path, 3, act)


def test_a_payload_index_is_built_on_all_nodes_when_it_is_answered(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await group.create(SPREAD)
        await group[1].collections.get("c").write(upsert(*range(3000)), wait=True)
        await group[2].collections.create_field_index("c", "n", FieldSchema("integer"), wait=True)
        for node in group.nodes.values():
            for shard in node.collections.get("c").shards.values():
                assert shard.index.fields.ready("n")
            assert (await node.collections.get("c").info()).payload_schema["n"][1] == 3000

    run(tmp_path, 3, act)


def test_a_replica_that_goes_takes_its_files_along_and_one_that_comes_begins_anew(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await group.create(((1, 2),))
        collection = group[2].collections.get("c")
        await collection.write(upsert(1), wait=True)
        path = tmp_path / "2" / collection.folder / "0"
        assert path.exists()
        assert group.apply(DropReplica("c", 0, 2)) is None
        while path.exists():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        assert collection.shards == {}
        assert await collection.count(CountRequest()) == 1
        assert group.apply(AddReplica("c", 0, 2)) is None
        while group.topology.collections["c"].shards[0].active() != [1, 2]:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        assert await collection.count(CountRequest()) == 1
        assert collection.shards[0].index.points_count == 1
        assert await group[1].collections.delete("c")
        while any((tmp_path / "2").iterdir()) or any((tmp_path / "1").iterdir()):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)

    run(tmp_path, 2, act)


def test_a_deleted_collection_ends_the_writes_that_wait_for_a_primary(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await group.create(((2,),))
        collection = group[1].collections.get("c")
        await group.nodes.pop(2).stop()
        writing = asyncio.create_task(collection.write(upsert(1), wait=True))
        await asyncio.sleep(0)
        await group[1].collections.delete("c")
        with pytest.raises(QnodeError, match="deleted"):
            await writing

    run(tmp_path, 2, act)


def test_shard_keys_route_writes_and_reads(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await group.create((), sharding_method="custom", shard_number=1, replication_factor=1)
        collection = group[3].collections.get("c")
        with pytest.raises(BadInput, match="Shard key not specified"):
            await collection.write(upsert(1), wait=True)
        assert ids(await collection.query(query())) == []
        for key, placement in (("a", ((1,),)), (5, ((2,), (1,))), ("5", ((2,),))):
            assert group.apply(CreateShardKey("c", key, placement)) is None
        assert group.apply(CreateShardKey("c", "new", ((1,),), state=KeyState.PARTIAL)) is None
        while not all(node.collections.is_settled for node in group.nodes.values()):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        for at, key in enumerate(("a", 5, "5")):
            await collection.write(keyed(upsert(at, 100 + at), key), wait=True)
        with pytest.raises(BadInput, match='Shard key "b" not found'):
            await collection.write(keyed(upsert(1), "b"), wait=True)
        for node in group.nodes.values():
            asked = node.collections.get("c")
            found = await asked.query(query(limit=10))
            assert [(point.shard_key, id_of(point.key)) for point in found[:3]] == [("5", 102), (5, 101), ("a", 100)]
            assert ids(await asked.query(query(shards=ShardChoice((5, "a"))))) == [101, 100, 1, 0]
            assert ids(await asked.query(query(shards=ShardChoice(("new",), "a")))) == [100, 0]
            assert await asked.count(CountRequest(shards=ShardChoice(("5",)))) == 2
            assert ids(await asked.retrieve(RetrieveRequest((key_of(101), key_of(2))))) == [101, 2]
        await collection.write(keyed(upsert(7), "new", "a"), wait=True)
        assert await collection.count(CountRequest(shards=ShardChoice(("a",)))) == 3
        with pytest.raises(NotFound):
            await collection.write(keyed(upsert(7), "x", "y"), wait=True)

    run(tmp_path, 3, act)


def keyed(request: UpsertRequest, key: ShardKey, fallback: ShardKey | None = None) -> UpsertRequest:
    return replace(request, shards=ShardChoice((key,), fallback))


def test_a_node_that_starts_removes_nothing_before_its_topology_is_current(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await group.create(((1, 2),))
        await group[1].collections.get("c").write(upsert(1), wait=True)
        path = tmp_path / "2" / group.topology.collections["c"].folder / "0"
        await group.nodes.pop(2).stop()
        assert group.apply(DropReplica("c", 0, 2)) is None
        node = group.nodes[2] = Node(group, 2)
        await node.start()
        assert path.exists()
        await node.collections.release_views()
        assert not path.exists()

    run(tmp_path, 2, act)


def test_a_replica_that_comes_back_before_it_was_closed_keeps_what_it_holds(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await group.create(((1, 2), (1, 2)))
        collection = group[2].collections.get("c")
        await collection.write(upsert(*range(20)), wait=True)
        first, second = collection.shards[0], collection.shards[1]
        points = second.index.points_count
        go_on = threading.Event()
        held = asyncio.create_task(first.run(go_on.wait))
        await asyncio.sleep(0)
        for number in (0, 1):
            assert group.apply(DropReplica("c", number, 2)) is None
        while 0 in collection.shards:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        assert group.apply(AddReplica("c", 1, 2)) is None  # while the first shard is being closed
        await asyncio.sleep(0)
        go_on.set()
        await held
        while not group[2].collections.is_settled:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        assert collection.shards == {1: second}
        assert second.index.points_count == points > 0

    run(tmp_path, 2, act)


def test_what_copies_left_beside_a_shard_that_went_is_removed_at_the_next_start(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await group.create(((1, 2),))
        folder = tmp_path / "2" / group.topology.collections["c"].folder
        await group.nodes.pop(2).stop()
        left = [folder / "0.incoming-00", folder / "7.outgoing-00", folder / ".trash-00"]
        for path in left:
            path.mkdir()
        assert group.apply(DropReplica("c", 0, 2)) is None
        node = group.nodes[2] = Node(group, 2)
        await node.start()
        await node.collections.release_views()
        assert not any(path.exists() for path in left)

    run(tmp_path, 2, act)


def test_a_node_that_stops_opens_nothing_any_more(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await group.create(((1, 2),))
        node = group.nodes.pop(2)
        reached, go_on = asyncio.Event(), asyncio.Event()
        propose = node.log.propose

        async def late(command: Command, timeout_seconds: float = 10.0) -> Rejected | None:
            reached.set()
            await go_on.wait()
            return await propose(command, timeout_seconds)

        node.log.propose = late  # type: ignore[method-assign]
        deleting = asyncio.create_task(node.collections.delete("no such collection"))
        await reached.wait()
        stopping = asyncio.create_task(node.stop())
        while node.collections.open_collections():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        go_on.set()
        await stopping
        with pytest.raises(Unavailable, match="stopped"):
            await deleting
        assert node.collections.open_collections() == []

    run(tmp_path, 2, act)


def test_a_shard_that_lost_replicas_for_good_is_written_with_those_that_are_left(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        await group.create(((1, 2, 3),))
        for peer in (2, 3):
            assert group.apply(DropReplica("c", 0, peer)) is None
        result = await group[1].collections.get("c").write(upsert(1), wait=True)
        assert result.status is UpdateStatus.COMPLETED

    run(tmp_path, 3, act)
