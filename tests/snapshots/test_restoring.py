"""Snapshots of a node: what is made side by side, and what is left of a restore that could not be done."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from qnode.errors import CannotStart
from qnode.index.vectors import warm_up
from qnode.models.collection import CollectionConfig
from qnode.models.field_schema import FieldSchema
from qnode.raft import StandaloneLog
from qnode.shards.collections import Collections, CollectionsSettings
from qnode.snapshots import Priority, Snapshots, SnapshotSettings, sha256_of

CONFIG = CollectionConfig.from_request({"vectors": {"size": 4, "distance": "Dot"}})


@asynccontextmanager
async def node(folder: Path) -> AsyncIterator[tuple[StandaloneLog, Collections, Snapshots]]:
    """Open the floors that snapshots stand on."""
    warm_up()
    (folder / "raft").mkdir()
    topology = StandaloneLog(folder / "raft")
    collections = Collections(CollectionsSettings(folder / "collections"), topology)
    await collections.open()
    snapshots = Snapshots(SnapshotSettings(folder / "snapshots", folder / "staging"), collections, topology)
    try:
        yield topology, collections, snapshots
    finally:
        await snapshots.close()
        await collections.close()
        topology.close()


def test_one_snapshot_of_a_shard_is_made_after_the_other(tmp_path: Path) -> None:
    async def run() -> None:
        async with node(tmp_path) as (_, collections, snapshots):
            await collections.create("c", CONFIG)
            making = [snapshots.begin(snapshots.create_of_shard("c", 0)) for _ in range(3)]
            await asyncio.sleep(0)  # each has begun
            assert snapshots.counts.of("c").creating == 1
            made, shelf = await asyncio.gather(*making), snapshots.of_shard("c", 0)
            assert len({description.name for description in made}) == 3
            for description in made:
                assert sha256_of(shelf.find(description.name)) == description.checksum

    asyncio.run(run())


def test_a_collection_that_could_not_be_made_in_full_for_a_restore_is_gone(tmp_path: Path) -> None:
    async def run() -> None:
        async with node(tmp_path) as (topology, collections, snapshots):
            await collections.create("c", CONFIG)
            await collections.create_field_index("c", "city", FieldSchema("keyword"), True)
            made = await snapshots.create("c")
            file = snapshots.of_collection("c").find(made.name)
            restoring = snapshots.begin(snapshots.restore("other", file, Priority.SNAPSHOT))

            def end_before_the_points() -> None:
                entry = topology.current.collections.get("other")
                if entry is not None and entry.fields:
                    restoring.cancel()

            topology.subscribe(end_before_the_points)
            with pytest.raises(asyncio.CancelledError):
                await restoring
            assert "other" not in topology.current.collections

    asyncio.run(run())


def test_nothing_of_a_storage_is_restored_if_one_collection_must_stay(tmp_path: Path) -> None:
    async def run() -> None:
        async with node(tmp_path) as (topology, collections, snapshots):
            for name in ("gone", "there"):
                await collections.create(name, CONFIG)
            made = await snapshots.create_of_storage()
            file = snapshots.of_storage().find(made.name)
            await collections.delete("gone")
            with pytest.raises(CannotStart, match="there"):
                await snapshots.restore_storage(file, replaces=False)
            assert list(topology.current.collections) == ["there"]
            await snapshots.restore_storage(file, replaces=True)
            assert sorted(topology.current.collections) == ["gone", "there"]

    asyncio.run(run())
