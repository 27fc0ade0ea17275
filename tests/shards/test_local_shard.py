"""A shard's writer between its log and its index: what it promises when writes never pause, and when applying fails."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import orjson
import pytest

from qnode.errors import BadInput, Corruption, InternalError, NotPrimary, OutOfSpace
from qnode.index import BuilderPool, Index
from qnode.models.field_schema import FieldSchema
from qnode.models.operation import VectorColumn
from qnode.models.point_id import key_of
from qnode.models.vector_params import Distance, IndexParams, VectorParams
from qnode.models.write import UpsertRequest
from qnode.shards.local_shard import LocalShard, ShardSettings
from qnode.shards.replication import ReplicaState, ShardView
from qnode.wal import Log
from tests.support.node import wait_for

ALONE = ShardView(0, epoch=1, revision=1, replicas={0: ReplicaState.ACTIVE})
PARAMS = IndexParams((VectorParams("", 0, 4, Distance.DOT),))


def upsert(*ids: int) -> UpsertRequest:
    column = VectorColumn(np.arange(len(ids), dtype=np.int32), np.ones((len(ids), 4), np.float32))
    return UpsertRequest([key_of(i) for i in ids], [orjson.dumps({"n": i}) for i in ids], {"": column})


def opened(path: Path) -> LocalShard:
    return LocalShard.open(path, PARAMS, ShardSettings(), BuilderPool(1))


def run(path: Path, act: Callable[[LocalShard], Awaitable[None]]) -> None:
    """Open a shard, act on it, close it."""

    async def running() -> None:
        shard = opened(path)
        shard.start()
        shard.follow(ALONE)
        try:
            await act(shard)
        finally:
            await shard.close()

    asyncio.run(running())


def test_a_payload_index_is_built_while_the_queue_is_never_empty(tmp_path):
    async def act(shard: LocalShard) -> None:
        await shard.submit(upsert(*range(4500)))
        built = False

        async def write_until_built() -> None:
            for _ in range(20):
                if built:
                    return
                await shard.submit(upsert(1))
            raise AssertionError("the index was not built beside 20 writes of each writer")

        writers = [asyncio.create_task(write_until_built()) for _ in range(160)]
        await shard.create_field_index("n", FieldSchema("integer"))
        while not shard.index.fields.ready("n"):
            await asyncio.sleep(0)
            assert not any(writer.done() for writer in writers)
        built = True
        await asyncio.gather(*writers)

    run(tmp_path, act)


def test_what_was_committed_stays_in_the_log_when_showing_it_fails(tmp_path):
    async def fail(shard: LocalShard) -> None:
        await shard.submit(upsert(1))
        shard.index.population._journal = None  # type: ignore[assignment]  # what is done after the commit will raise
        with pytest.raises(InternalError):
            await shard.submit(upsert(2))
        with pytest.raises(InternalError):
            await shard.submit(upsert(3))

    async def go_on(shard: LocalShard) -> None:
        assert shard.last_op == 2
        assert shard.index.points_count == 2
        assert await shard.submit(upsert(3)) == 3

    run(tmp_path, fail)
    run(tmp_path, go_on)


def test_a_group_that_cannot_be_applied_is_nowhere_and_its_numbers_are_given_again(tmp_path, monkeypatch):
    apply = Index.apply

    def fails(index: Index, operations: object) -> None:
        raise OutOfSpace("no space left on the disk")

    async def act(shard: LocalShard) -> None:
        await shard.submit(upsert(1))
        monkeypatch.setattr(Index, "apply", fails)
        refused = await asyncio.gather(*(shard.submit(upsert(i)) for i in range(2, 20)), return_exceptions=True)
        assert all(isinstance(refusal, OutOfSpace) for refusal in refused)
        monkeypatch.setattr(Index, "apply", apply)
        assert shard.fault is None

    async def go_on(shard: LocalShard) -> None:
        assert shard.index.points_count == 1
        assert await shard.submit(upsert(30), wait=False) == 2

    run(tmp_path, act)
    run(tmp_path, go_on)


def test_a_shard_takes_no_writes_before_its_first_view(tmp_path):
    async def act() -> None:
        shard = opened(tmp_path)
        shard.start()
        with pytest.raises(NotPrimary):
            await shard.submit(upsert(1))
        shard.follow(ALONE)
        assert await shard.submit(upsert(1)) == 1
        await shard.close()

    asyncio.run(act())


def test_a_log_that_begins_behind_what_was_applied_is_damage(tmp_path):
    Log.open(tmp_path / "wal", next_op=10).close()
    with pytest.raises(Corruption, match="operations 1 to 9"):
        opened(tmp_path)


def test_a_write_for_a_vector_that_was_replaced_since_it_was_checked_is_refused(tmp_path):
    async def act(shard: LocalShard) -> None:
        await shard.submit(upsert(1))
        # The vector went, and another one of its name and of more dimensions came, while the write was on its way.
        await shard.configure(IndexParams((VectorParams("", 1, 8, Distance.DOT),), next_slot=2))
        with pytest.raises(BadInput, match="expected dim: 8, got 4"):
            await shard.submit(upsert(2))
        assert shard.fault is None

    run(tmp_path, act)


def test_files_are_let_go_of_when_a_shard_is_closed_without_a_collection_of_garbage(tmp_path: Path) -> None:
    async def used() -> weakref.ref[object]:
        shard = opened(tmp_path)
        shard.start()
        shard.follow(ALONE)
        await shard.submit(upsert(1))
        (space,) = shard.index.spaces.values()
        segment = weakref.ref(space.parts[0].segment)
        await shard.close()
        return segment

    async def look() -> None:
        segment = await used()
        await asyncio.to_thread(wait_for, lambda: segment() is None, 10)

    gc.disable()
    try:
        asyncio.run(look())
    finally:
        gc.enable()
