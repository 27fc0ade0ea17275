"""Copying shards of this node for an archive: each at one position of its log, while writes and searches go on.

All are held before the first is written, so they are of nearly the same moment. What a shard is held at keeps free pages and
replaced segments from going until it is written; nothing is doubled in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from qnode.errors import QnodeError
from qnode.index.copying import Held, hold
from qnode.models.shard_choice import ShardKey
from qnode.shards.copying import to_its_end
from qnode.shards.local_shard import LocalShard
from qnode.snapshots.manifest import ShardPart


async def copy_shards(
    shards: Mapping[int, LocalShard], keys: Mapping[int, ShardKey | None], place: Path
) -> tuple[ShardPart, ...]:
    """Copy shards into `place`/<number>; say where each stands. Raises what reading and writing them raises."""
    return await to_its_end(_copy_shards(shards, keys, place))


async def _copy_shards(
    shards: Mapping[int, LocalShard], keys: Mapping[int, ShardKey | None], place: Path
) -> tuple[ShardPart, ...]:
    holding = {number: asyncio.ensure_future(_hold(shard)) for number, shard in shards.items()}
    await asyncio.wait(holding.values()) if holding else None
    parts = []
    try:
        for number, held in holding.items():
            state, epoch = held.result()
            op_num = await asyncio.to_thread(state.write, place / str(number))
            parts.append(ShardPart(number, keys[number], epoch, op_num))
    finally:
        for held in holding.values():
            with suppress(QnodeError):
                held.result()[0].close()
    return tuple(parts)


async def _hold(shard: LocalShard) -> tuple[Held, int]:
    held: tuple[Held, int] = await shard.run(lambda: (hold(shard.index), shard.applied_epoch()))
    return held
