"""Vectors that are added and taken away through any node, on every replica, and vectors of other kinds between peers."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from qnode.errors import BadInput
from qnode.models.collection_vectors import read_added
from qnode.models.columns import column_of
from qnode.models.point_id import key_of
from qnode.models.query import ALL_VECTORS, Nearest, QueryRequest, RetrieveRequest, Vector
from qnode.models.write import UpdateStatus, UpdateVectorsRequest
from tests.shards.nodes import Group, ids, nodes, upsert

ROWS: list[Vector] = [np.array([[at, 1], [0, at]], np.float32) for at in range(1, 9)]
NUMBERS = tuple(range(1, 9))


async def add(group: Group, through: int) -> None:
    settings = {"dense": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}}
    dense, sparse = read_added(settings, "m")
    result = await group[through].collections.change_vectors("c", lambda config: config.with_vector("m", dense, sparse))
    assert result.status is UpdateStatus.COMPLETED


def test_a_multivector_that_is_added_is_written_and_read_through_any_node(tmp_path: Path) -> None:
    async def act() -> None:
        async with asyncio.timeout(30), nodes(tmp_path, 3) as group:
            await group.create(((1, 2), (2, 1)))
            await group[1].collections.get("c").write(upsert(*NUMBERS), wait=True)
            await add(group, through=3)
            keys = [key_of(number) for number in NUMBERS]
            write = UpdateVectorsRequest(keys, {"m": column_of(np.arange(8, dtype=np.int32), ROWS)})
            await group[3].collections.get("c").write(write, wait=True)
            query = np.array([[1, 0], [0, 1]], np.float32)
            for peer in (1, 2, 3):
                collection = group[peer].collections.get("c")
                request = RetrieveRequest(tuple(keys), with_vector=ALL_VECTORS)
                for point, rows in zip(await collection.retrieve(request), ROWS, strict=True):
                    assert point.vectors is not None
                    assert np.array_equal(point.vectors["m"], rows)
                found = await collection.query(QueryRequest(Nearest(query), "m", limit=3))
                assert (ids(found), [float(point.score or 0) for point in found]) == ([8, 7, 6], [16.0, 14.0, 12.0])
                like = await collection.query(QueryRequest(Nearest(example=key_of(8)), "m", limit=2))
                assert ids(like) == [7, 6]
            assert (await group[3].collections.get("c").info()).vectors_count_by_name == {"": 8, "m": 8}
            await group[2].collections.change_vectors("c", lambda config: config.without_vector("m"))
            for peer in (1, 2, 3):
                with pytest.raises(BadInput, match="Not existing vector name error: m"):
                    await group[peer].collections.get("c").query(QueryRequest(Nearest(query), "m"))
            for peer in (1, 2):
                for shard in group[peer].collections.get("c").shards.values():
                    assert set(shard.index.spaces) == {0}
            await add(group, through=1)
            await group[1].collections.get("c").write(write, wait=True)
            assert {shard.index.slots["m"] for shard in group[2].collections.get("c").shards.values()} == {2}

    asyncio.run(act())
