import asyncio
from pathlib import Path

import pytest

from qnode.errors import Corruption, OutOfSpace, QnodeError
from qnode.models.collection import CollectionConfig, CollectionDiff
from qnode.models.vector_params import IndexParams
from qnode.raft import StandaloneLog
from qnode.shards import Collections, CollectionsSettings
from qnode.shards import collections as module
from qnode.shards.local_shard import LocalShard

CONFIG = CollectionConfig.from_request({"vectors": {"size": 2, "distance": "Dot"}})


def test_a_collection_that_found_no_room_for_its_settings_takes_them_over_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OPEN_RETRY_SECONDS", 0.001)
    topology = StandaloneLog(tmp_path)

    async def run() -> None:
        collections = Collections(CollectionsSettings(tmp_path / "collections"), topology)
        await collections.open()
        await collections.create("c", CONFIG)
        has_room = False
        configure = LocalShard.configure

        async def configured(shard: LocalShard, params: IndexParams) -> None:
            if not has_room:
                raise OutOfSpace("no space left")
            await configure(shard, params)

        monkeypatch.setattr(LocalShard, "configure", configured)
        diff = CollectionDiff.from_request({"hnsw_config": {"m": 24}})
        with pytest.raises(OutOfSpace):
            await collections.update("c", diff)
        has_room = True
        while collections.get("c").config.to_json() != topology.current.collections["c"].config:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await collections.close()

    async def bounded() -> None:
        async with asyncio.timeout(10):
            await run()

    asyncio.run(bounded())
    topology.close()


def test_a_collection_that_found_no_room_is_opened_later_and_a_damaged_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OPEN_RETRY_SECONDS", 0.001)
    refusals: dict[str, QnodeError] = {}
    attempts: list[str] = []
    open_shard = LocalShard.open

    def opened(path: Path, *given: object) -> LocalShard:
        folder = path.parent.name
        attempts.append(folder)
        if folder in refusals:
            raise refusals[folder]
        return open_shard(path, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(LocalShard, "open", opened)
    topology = StandaloneLog(tmp_path)

    async def run() -> None:
        collections = Collections(CollectionsSettings(tmp_path / "collections"), topology)
        await collections.open()
        for name in ("full", "bad", "good"):
            await collections.create(name, CONFIG)
        await collections.close()
        folders = {name: record.folder for name, record in topology.current.collections.items()}
        refusals[folders["full"]] = OutOfSpace("no space left")
        refusals[folders["bad"]] = Corruption("file", "it is missing", "Restore it")
        attempts.clear()

        again = Collections(CollectionsSettings(tmp_path / "collections"), topology)
        await again.open()
        assert again.get("good").name == "good"
        with pytest.raises(OutOfSpace):
            again.get("full")
        while attempts.count(folders["full"]) < 3:  # noqa: ASYNC110 - nothing tells of a failed attempt
            await asyncio.sleep(0.001)
        del refusals[folders["full"]]
        while "full" not in [collection.name for collection in again.open_collections()]:  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.001)
        assert attempts.count(folders["bad"]) == 1
        with pytest.raises(Corruption):
            again.get("bad")
        await again.close()
        assert again.open_collections() == []

    asyncio.run(run())
    topology.close()
