"""A whole node without the port: the real floors over a temporary folder, spoken to in HTTP."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from qnode.api import number_scan
from qnode.api.access import Keys
from qnode.api.app import build_application
from qnode.index.vectors import warm_up
from qnode.models.collection import CollectionDefaults
from qnode.quotas import Quotas
from qnode.raft import StandaloneLog
from qnode.shards.collections import Collections, CollectionsSettings
from qnode.shards.recall import ProbeSettings, RecallProbe
from qnode.snapshots import Snapshots, SnapshotSettings
from tests.support import contract

BODY_LIMIT_BYTES = 1 << 20


class Client:
    """Sends requests to the application, and holds every answer against the contract; `result` also checks the envelope. `folder`: where the node keeps all it has."""

    def __init__(
        self, runner: asyncio.Runner, http: httpx.AsyncClient, folder: Path, recall: RecallProbe | None = None
    ) -> None:
        self.runner = runner
        self.http = http
        self.folder = folder
        self.recall = recall

    def send(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        if body is not None:
            options["content"] = body if isinstance(body, bytes | AsyncIterator) else orjson.dumps(body)
            options.setdefault("headers", {"content-type": "application/json"})
        response = self.runner.run(self.http.request(method, path, **options))
        contract.check(method, path, response.status_code, response.headers.get("content-type", ""), response.content)
        return response

    def result(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        response = self.send(method, path, body, **options)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "application/json"
        envelope = orjson.loads(response.content)
        assert list(envelope) == ["result", "status", "time"]
        assert envelope["status"] == "ok"
        return envelope["result"]

    def error(self, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, str]:
        response = self.send(method, path, body, **options)
        assert response.headers["content-type"] == "application/json"
        envelope = orjson.loads(response.content)
        assert list(envelope) == ["status", "time"]
        return response.status_code, envelope["status"]["error"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with serving(tmp_path_factory.mktemp("node")) as client:
        yield client


@contextmanager
def serving(path: Path, keys: Keys | None = None) -> Iterator[Client]:
    """Open a node over a folder; `keys`: what its clients must show."""
    (path / "raft").mkdir()
    warm_up()
    number_scan.warm_up()
    with asyncio.Runner() as runner, ThreadPoolExecutor(1) as parsers:
        topology = StandaloneLog(path / "raft")

        async def opened() -> tuple[Collections, Snapshots, RecallProbe, httpx.AsyncClient]:
            collections = Collections(CollectionsSettings(path / "collections"), topology)
            await collections.open()
            settings = SnapshotSettings(path / "snapshots", path / "staging")
            snapshots = Snapshots(settings, collections, topology)
            recall = RecallProbe(collections, ProbeSettings(interval_seconds=0))
            application = build_application(
                collections,
                parsers,
                CollectionDefaults(),
                topology=lambda: topology.current,
                quotas=Quotas(path, lambda: topology.current, topology.propose),
                taken=snapshots,
                recall=recall,
                body_limit_bytes=BODY_LIMIT_BYTES,
                keys=keys,
            )
            transport = httpx.ASGITransport(application, raise_app_exceptions=False)
            return collections, snapshots, recall, httpx.AsyncClient(transport=transport, base_url="http://node")

        collections, snapshots, recall, http = runner.run(opened())
        yield Client(runner, http, path, recall)
        runner.run(http.aclose())
        runner.run(recall.close())
        runner.run(snapshots.close())
        runner.run(collections.close())
        topology.close()
