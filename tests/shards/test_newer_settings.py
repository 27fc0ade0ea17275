"""Replicas of one shard of which not all have heard yet that the collection has another vector."""

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np

from qnode.models.operation import VectorColumn
from qnode.models.point_id import key_of
from qnode.models.vector_params import Distance, VectorParams
from qnode.models.write import UpdateVectorsRequest
from tests.shards.shard_group import PARAMS, content, running, upsert

NEWER = replace(PARAMS, vectors=(*PARAMS.vectors, VectorParams("b", 1, 2, Distance.DOT)), next_slot=2)


def test_a_replica_that_waits_for_settings_stays_in_sync_and_goes_on_with_them(tmp_path: Path) -> None:
    async def act() -> None:
        async with asyncio.timeout(30), running(tmp_path, 3) as group:
            await group.shard(1).submit(upsert([1]))
            await group.shard(1).configure(NEWER)
            column = VectorColumn(np.zeros(1, np.int32), np.array([[1, 2]], np.float32))
            written = group.shard(1).submit(UpdateVectorsRequest([key_of(1)], {"b": column}))
            await group.until(lambda: group.shard(1).last_op == 2)
            for peer in (2, 3):
                assert not written.done()
                await group.shard(peer).configure(NEWER)
            assert await written == 2
            assert group.proposals == []
            await group.assert_same_content()
            [(*_, vectors)] = content(group.shard(3))
            assert vectors == {"": [1.0] * 4, "b": [1.0, 2.0]}

    asyncio.run(act())
