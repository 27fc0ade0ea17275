"""Taking shards of this node for an archive: each at one position of its log, while writes and searches go on.

All are held before the first is read, so they are of nearly the same moment. What a shard is held at keeps free pages and
replaced segments from going; nothing is doubled in memory. Who reads at the disk's speed reads what is held; for who may be
slower than that, a copy is made first, of the store and of growing segments: sealed ones are linked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from qnode.errors import Unavailable
from qnode.index.copying import Held, SourceFile, files_in, hold
from qnode.shards.collection import Collection
from qnode.shards.copying import to_its_end
from qnode.shards.local_shard import LocalShard
from qnode.snapshots.archive import first_of, members_of
from qnode.snapshots.manifest import Manifest, ShardPart
from qnode.snapshots.packing import First, Member


@dataclass(frozen=True, slots=True)
class Taken:
    """A shard that is to be put into an archive, and its files."""

    part: ShardPart
    files: Sequence[SourceFile]


def contents(collection: Collection, taken: Sequence[Taken]) -> tuple[First, list[Member]]:
    """Give what an archive of shards consists of (`packing`)."""
    ordered = sorted(taken, key=lambda each: each.part.number)
    manifest = Manifest.of(collection.name, collection.entry, tuple(each.part for each in ordered))
    return first_of(manifest), members_of({each.part.number: each.files for each in ordered})


@asynccontextmanager
async def taken_as_held(collection: Collection, numbers: Sequence[int]) -> AsyncIterator[list[Taken]]:
    """Give shards as they are now, to be read until the block ends. Raises Unavailable, and what holding them raises."""
    known = collection.entry.shards
    async with _held(collection, numbers) as held:
        taken = []
        for number, (state, epoch) in held.items():
            files = await to_its_end(asyncio.to_thread(state.files))
            taken.append(Taken(ShardPart(number, known[number].key, epoch, state.applied_op), files))
        yield taken


async def taken_as_copied(collection: Collection, numbers: Sequence[int], place: Path) -> list[Taken]:
    """Copy shards into `place`/<number>, and let them go on. Raises Unavailable, and what reading and writing them raises."""
    known, taken = collection.entry.shards, []
    async with _held(collection, numbers) as held:
        for number, (state, epoch) in held.items():
            op_num = await to_its_end(asyncio.to_thread(state.write, place / str(number)))
            files = await asyncio.to_thread(files_in, place / str(number))
            taken.append(Taken(ShardPart(number, known[number].key, epoch, op_num), files))
    return taken


@asynccontextmanager
async def _held(collection: Collection, numbers: Sequence[int]) -> AsyncIterator[dict[int, tuple[Held, int]]]:
    """Hold shards, at what they have applied of which epoch, until the block ends; raise Unavailable unless all are in sync."""
    in_sync = set(collection.can_answer(tuple(numbers)))
    for number in numbers:
        if number not in in_sync:
            raise Unavailable(
                f"no replica of shard {number} of {collection.name} is in sync on the node that was asked for it"
            )
    holding = {number: asyncio.ensure_future(_hold(collection.shards[number])) for number in numbers}
    try:
        await to_its_end(_ended(holding.values()))
        yield {number: each.result() for number, each in holding.items()}
    finally:
        await _ended(holding.values())
        for each in holding.values():
            if not each.cancelled() and each.exception() is None:
                each.result()[0].close()


async def _ended(holding: Iterable[asyncio.Future[tuple[Held, int]]]) -> None:
    await asyncio.gather(*holding, return_exceptions=True)


async def _hold(shard: LocalShard) -> tuple[Held, int]:
    held: tuple[Held, int] = await shard.run(lambda: (hold(shard.index), shard.applied_epoch()))
    return held
