"""When the probe of the recall works, and when it leaves the node alone."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from qnode.models.collection import CollectionConfig
from qnode.models.operation import VectorColumn
from qnode.models.point_id import key_of
from qnode.models.write import UpsertRequest
from qnode.raft import StandaloneLog
from qnode.shards import Collections, CollectionsSettings, recall
from qnode.shards.recall import ProbeSettings, RecallProbe

POINTS, DIM = 600, 8
CONFIG = CollectionConfig.from_request(
    {"vectors": {"size": DIM, "distance": "Euclid"}, "optimizers_config": {"indexing_threshold": 1}}
)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A node's files, with one collection whose vectors are in a graph."""
    path = tmp_path_factory.mktemp("node")

    async def build(collections: Collections) -> None:
        await collections.create("c", CONFIG)
        vectors = np.random.default_rng(5).standard_normal((POINTS, DIM)).astype(np.float32)
        column = VectorColumn(np.arange(POINTS, dtype=np.int32), vectors)
        request = UpsertRequest([key_of(number) for number in range(POINTS)], [b"{}"] * POINTS, {"": column})
        await collections.get("c").write(request, wait=True)
        while collections.get("c").local_info().indexed_vectors_count < POINTS:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    run(path, build)
    return path


def run(path: Path, act: Callable[[Collections], Awaitable[None]]) -> None:
    """Open a node's collections, act on them, close them."""

    async def running() -> None:
        topology = StandaloneLog(path)
        collections = Collections(CollectionsSettings(path / "collections"), topology)
        await collections.open()
        try:
            async with asyncio.timeout(60):
                await act(collections)
        finally:
            await collections.close()
            topology.close()

    asyncio.run(running())


def test_a_probe_waits_while_the_node_is_busy(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "BUSY_REST_SECONDS", 0.01)
    monkeypatch.setattr(recall, "REST_FACTOR", 0)
    monkeypatch.setattr(recall, "BUSY_SHARE", -1.0)  # whatever is used is too much

    async def act(collections: Collections) -> None:
        probe = RecallProbe(collections, ProbeSettings(interval_seconds=0))
        await asyncio.sleep(0.02)  # longer than a look at how busy the node is holds
        probing = asyncio.create_task(probe.probe_all())
        _, pending = await asyncio.wait([probing], timeout=0.2)
        assert pending
        assert probe.readings("c") == {}
        monkeypatch.setattr(recall, "BUSY_SHARE", 1000.0)
        await probing
        (reading,) = probe.readings("c").values()
        assert (reading.neighbours, reading.scanned) == (80, 1)
        assert reading.recall > 0.9

    run(storage, act)


def test_readings_come_by_themselves_and_join_the_last_probes(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("BUSY_REST_SECONDS", 0.01), ("REST_FACTOR", 0), ("BUSY_SHARE", 1000.0)):
        monkeypatch.setattr(recall, name, value)

    async def act(collections: Collections) -> None:
        probe = RecallProbe(collections, ProbeSettings(interval_seconds=1.0, queries=2))
        probe.start()
        while not probe.readings("c"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        (first,) = probe.readings("c").values()
        await probe.probe_all()
        (second,) = probe.readings("c").values()
        assert second.neighbours >= first.neighbours + 20
        await probe.close()

    run(storage, act)


def test_a_probe_that_is_closed_ends_in_the_middle_of_its_work(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "SHORTEST_REST_SECONDS", 600.0)

    async def act(collections: Collections) -> None:
        probe = RecallProbe(collections, ProbeSettings(interval_seconds=0))
        probing = asyncio.create_task(probe.probe_all())
        await asyncio.sleep(0)
        await probe.close()
        await probing
        assert probe.readings("c") == {}

    run(storage, act)
