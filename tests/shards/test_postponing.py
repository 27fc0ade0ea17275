"""`prevent_unoptimized`: writes wait in the log while rows wait for a graph."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from qnode.errors import NotYetApplied
from qnode.index import BuilderPool
from qnode.models.collection import CollectionStatus
from qnode.models.filter import Filter
from qnode.models.operation import VectorColumn
from qnode.models.point_id import key_of
from qnode.models.vector_params import Distance, IndexParams, VectorParams
from qnode.models.write import DeleteRequest, Selector, UpsertRequest
from qnode.shards import postponing
from qnode.shards.local_reads import info
from qnode.shards.local_shard import LocalShard, ShardSettings
from qnode.shards.replication import ReplicaState, ShardView
from qnode.shards.surroundings import ALONE as NO_PEERS
from qnode.shards.surroundings import Surroundings
from tests.support.node import wait_for

ALONE = ShardView(0, epoch=1, revision=1, replicas={0: ReplicaState.ACTIVE})
PARAMS = IndexParams((VectorParams("", 0, 4, Distance.DOT),), indexing_threshold_kb=1, prevent_unoptimized=True)
FULL = 100  # rows of 16 bytes: more than the threshold


def upsert(*ids: int) -> UpsertRequest:
    values = np.random.default_rng(len(ids)).standard_normal((len(ids), 4), np.float32)
    column = VectorColumn(np.arange(len(ids), dtype=np.int32), values)
    return UpsertRequest([key_of(i) for i in ids], [orjson.dumps({"n": i}) for i in ids], {"": column})


class Peers(type(NO_PEERS)):
    """A node of a cluster whose other nodes hold nothing of the shard: its log is not replayed when it is opened."""


def run(
    path: Path,
    act: Callable[[LocalShard, BuilderPool], Awaitable[None]],
    params: IndexParams = PARAMS,
    surroundings: Surroundings = NO_PEERS,
    view: ShardView = ALONE,
) -> None:
    """Open a shard, act on it, close it."""

    async def running() -> None:
        pool = BuilderPool(1)
        shard = LocalShard.open(path, params, ShardSettings(), pool, surroundings=surroundings)
        shard.start()
        shard.follow(view)
        try:
            await act(shard, pool)
        finally:
            await shard.close()
            await pool.close()

    asyncio.run(running())


def test_writes_are_not_seen_before_rows_in_front_of_them_have_a_graph(tmp_path: Path) -> None:
    async def act(shard: LocalShard, pool: BuilderPool) -> None:
        async with pool.place():  # so nothing is built
            await shard.submit(upsert(*range(FULL)))
            assert await shard.submit(upsert(*range(FULL, FULL + 7)), wait=False) == 2
            seen = asyncio.ensure_future(shard.submit(upsert(FULL + 7)))
            assert await shard.submit(DeleteRequest(Selector((key_of(1),))), wait=False) == 4
            assert (shard.index.points_count, shard.deferred_points_count) == (FULL, 8)
            assert not seen.done()
        assert await seen == 3
        await shard.submit(upsert(1000))
        assert (shard.index.points_count, shard.deferred_points_count) == (FULL + 8, 0)
        assert any(part.is_indexed for space in shard.index.spaces.values() for part in space.parts)

    run(tmp_path, act)


def test_an_upload_comes_to_its_end_with_graphs_for_all_but_the_last(tmp_path: Path) -> None:
    async def act(shard: LocalShard, pool: BuilderPool) -> None:
        uploads = [shard.submit(upsert(*range(at, at + 20)), wait=False) for at in range(0, 2000, 20)]
        await asyncio.gather(*uploads)
        await shard.submit(upsert(0))
        assert shard.index.points_count == 2000
        (space,) = shard.index.spaces.values()
        assert sum(part.rows for part in space.parts if not part.is_sealed) <= 64 + 2 * 20  # a piece more than may wait

    run(tmp_path, act)


def test_what_waits_at_the_end_stays_and_who_waits_is_told_so(tmp_path: Path) -> None:
    async def leave(shard: LocalShard, pool: BuilderPool) -> None:
        async with pool.place():
            await shard.submit(upsert(*range(FULL)))
            await shard.submit(upsert(FULL), wait=False)
            waiting = asyncio.ensure_future(shard.submit(upsert(FULL + 1)))
            await shard.submit(upsert(FULL + 2), wait=False)
            await shard.close()
            with pytest.raises(NotYetApplied, match="durable and will stay"):
                await waiting

    async def look(shard: LocalShard, pool: BuilderPool) -> None:
        assert shard.index.points_count == FULL + 3

    run(tmp_path, leave)
    run(tmp_path, look)


def test_what_waits_after_a_start_beside_peers_is_known(tmp_path: Path) -> None:
    async def leave(shard: LocalShard, pool: BuilderPool) -> None:
        async with pool.place():
            await shard.submit(upsert(*range(FULL)))
            await shard.submit(upsert(*range(FULL, FULL + 7)), wait=False)
            await shard.close()

    async def look(shard: LocalShard, pool: BuilderPool) -> None:
        async with pool.place():
            assert await shard.run(lambda: shard.index.applied_op) == 1
            assert (shard.deferred_points_count, shard.needs_build) == (7, True)
            assert info([shard], shard.index.params.by_name, {}).status is CollectionStatus.YELLOW
        await shard.submit(upsert(FULL + 7))
        assert (shard.deferred_points_count, shard.index.points_count) == (0, FULL + 8)

    run(tmp_path, leave, surroundings=Peers())
    run(tmp_path, look, surroundings=Peers(), view=replace(ALONE, epoch=2, revision=2))


def test_when_too_much_waits_writes_are_not_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postponing, "MOST_BYTES", 1)

    async def act(shard: LocalShard, pool: BuilderPool) -> None:
        async with pool.place():
            await shard.submit(upsert(*range(FULL)))
            assert await shard.submit(upsert(FULL), wait=False) == 2
            late = asyncio.ensure_future(shard.submit(upsert(FULL + 1), wait=False))
            assert await shard.run(lambda: shard.index.applied_op) == 1  # it has been taken from the queue by then
            assert not late.done()
        assert await late == 3

    run(tmp_path, act)


def test_when_it_is_not_wanted_any_more_all_is_seen_at_once(tmp_path: Path) -> None:
    async def act(shard: LocalShard, pool: BuilderPool) -> None:
        async with pool.place():
            await shard.submit(upsert(*range(FULL)))
            seen = asyncio.ensure_future(shard.submit(upsert(FULL)))
            assert await shard.run(lambda: shard.index.applied_op) == 1
            await shard.configure(replace(PARAMS, prevent_unoptimized=False))
            assert await seen == 2

    run(tmp_path, act)


def test_where_nothing_is_ever_built_nothing_waits(tmp_path: Path) -> None:
    async def act(shard: LocalShard, pool: BuilderPool) -> None:
        async with pool.place():
            await shard.submit(upsert(*range(FULL)))
            await shard.submit(upsert(FULL))
            assert shard.index.points_count == FULL + 1
            assert shard._driver.applying.postponed.piece_bytes == postponing.MOST_BYTES

    run(tmp_path, act, replace(PARAMS, indexing_threshold_kb=0))


def test_what_is_held_behind_writes_that_wait_is_done_when_the_shard_is_closed(tmp_path: Path) -> None:
    async def leave(shard: LocalShard, pool: BuilderPool) -> None:
        async with pool.place():
            await shard.submit(upsert(*range(FULL)))
            await shard.submit(upsert(FULL), wait=False)
            held = [
                asyncio.ensure_future(shard.submit(DeleteRequest(Selector(filter=everything)), wait=False)),
                asyncio.ensure_future(shard.submit(upsert(7), wait=False)),
                asyncio.ensure_future(shard.submit(DeleteRequest(Selector(filter=everything)), wait=False)),
                asyncio.ensure_future(shard.submit(upsert(8, 9), wait=False)),
            ]
            await shard.close()
            assert await asyncio.gather(*held) == [3, 4, 5, 6]

    async def look(shard: LocalShard, pool: BuilderPool) -> None:
        assert shard.index.points_count == 2

    everything = Filter()
    run(tmp_path, leave)
    run(tmp_path, look)


def test_while_builds_fail_nothing_waits(tmp_path: Path) -> None:
    async def act(shard: LocalShard, pool: BuilderPool) -> None:
        async with pool.place():
            await shard.submit(upsert(*range(FULL)))
            seen = asyncio.ensure_future(shard.submit(upsert(FULL)))
            assert await shard.run(lambda: shard.index.applied_op) == 1
            (space,) = shard.index.spaces.values()
            shutil.rmtree(space.parts[0].segment.directory)  # the builder cannot read it
        assert await seen == 2
        assert shard.optimizer_error is not None

    run(tmp_path, act)


def test_what_is_applied_when_it_is_not_wanted_any_more_is_looked_at_for_builds(tmp_path: Path) -> None:
    async def act(shard: LocalShard, pool: BuilderPool) -> None:
        async with pool.place():
            await shard.submit(upsert(*range(FULL)))
            for at in range(200):
                await shard.submit(upsert(*range(at * 20, at * 20 + 20)), wait=False)
            await shard.configure(replace(PARAMS, prevent_unoptimized=False, indexing_threshold_kb=50))
        (space,) = shard.index.spaces.values()
        await asyncio.to_thread(wait_for, lambda: any(part.is_indexed for part in space.parts))

    run(tmp_path, act)
