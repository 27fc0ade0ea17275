"""A node killed with SIGKILL in the middle of what it does: everything acknowledged is there when it starts again."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.node import Node, is_running, wait_for

DIM = 64
SMALL = {"optimizers_config": {"indexing_threshold": 50}}
"""About 200 vectors of 64 dimensions make a segment: sealing, building and merging never end."""


def points_of(ids: range | list[int], version: int = 0) -> list[dict[str, Any]]:
    return [{"id": i, "vector": vector_of(i, version), "payload": {"n": i, "version": version}} for i in ids]


def vector_of(i: int, version: int = 0) -> list[float]:
    rng = random.Random(i * 1000 + version)
    return [round(rng.uniform(-1, 1), 3) for _ in range(DIM)]


class Ledger:
    """Writers over connections of their own that note what was acknowledged, until the node goes away."""

    def __init__(self, node: Node, name: str, writers: int, batch: int) -> None:
        self._node, self._name, self._batch = node, name, batch
        self.acknowledged: dict[int, int] = {}
        self.attempted: dict[int, int] = {}
        self.batches = 0
        self.refused: list[str] = []
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(writers)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()
        assert not self.refused

    def _write(self, writer: int) -> None:
        rng = random.Random(writer)
        with httpx.Client(base_url=self._node.address, timeout=60.0, trust_env=False) as client:
            for version in range(1, 100_000):
                ids = [writer * 100_000 + rng.randrange(2000) for _ in range(self._batch)]
                ids = list(dict.fromkeys(ids))
                self.attempted.update(dict.fromkeys(ids, version))
                try:
                    answer = client.put(
                        f"/collections/{self._name}/points",
                        json={"points": points_of(ids, version)},
                        params={"wait": "true"},
                    )
                except httpx.HTTPError:
                    return
                if answer.status_code != 200:
                    self.refused.append(answer.text)
                    return
                self.acknowledged.update(dict.fromkeys(ids, version))
                self.batches += 1

    def check(self, node: Node) -> None:
        """Every point shows its last acknowledged version, or the one in flight; never anything else, never half."""
        found: dict[int, dict[str, Any]] = {}
        ids = list(self.attempted)
        for start in range(0, len(ids), 1000):
            found.update(node.retrieve(self._name, ids[start : start + 1000]))
        for i, tried in self.attempted.items():
            acknowledged = self.acknowledged.get(i)
            if i not in found:
                assert acknowledged is None, f"point {i}, version {acknowledged}, is lost"
                continue
            version = found[i]["payload"]["version"]
            assert version in (acknowledged, tried), f"point {i}: {version}, not {acknowledged} or {tried}"
            assert found[i]["vector"] == pytest.approx(vector_of(i, version))
        assert node.count(self._name) == len(found)


def segment_folders(node: Node) -> list[str]:
    return [str(path.relative_to(node.storage)) for path in node.storage.glob("collections/*/*/segments/[0-9]*")]


def strays(node: Node) -> list[str]:
    """What no running node should have left: trash, and what belongs to builds that do not run."""
    return [
        str(path.relative_to(node.storage))
        for path in node.storage.rglob("*")
        if path.name.startswith(".trash") or path.suffix in (".job", ".building", ".tmp")
    ]


def test_acknowledged_upserts_of_several_connections_survive_a_kill(node: Node) -> None:
    node.create("c", DIM, **SMALL)
    for round_ in range(2):
        ledger = Ledger(node, "c", writers=3, batch=50)
        ledger.start()
        enough = 30 + 13 * round_
        wait_for(lambda ledger=ledger, enough=enough: ledger.batches >= enough)
        node.kill()
        ledger.join()
        node.start()
        ledger.check(node)
        node.ask("POST", "/collections/c/points/delete", {"filter": {}}, wait="true")
    node.wait_until_green("c")
    wait_for(lambda: strays(node) == [])


@pytest.mark.parametrize("moment", ["job", "building", "sealed", "merged"])
def test_a_kill_at_any_moment_of_a_build_loses_nothing(node: Node, moment: str) -> None:
    node.create("c", DIM, **SMALL)
    ledger = Ledger(node, "c", writers=1, batch=100)
    ledger.start()
    reached: dict[str, Callable[[], Any]] = {
        "job": lambda: any(name.endswith(".job") for name in segment_folders(node)),
        "building": lambda: any(name.endswith(".building") for name in segment_folders(node)),
        "sealed": lambda: list(node.storage.glob("collections/*/*/segments/[0-9]*/links.bin")),
        "merged": lambda: any(name.rpartition("/")[2] == "6" for name in segment_folders(node)),
    }
    wait_for(reached[moment])
    node.kill()
    ledger.join()
    node.start()
    ledger.check(node)
    node.wait_until_green("c")
    ledger.check(node)
    wait_for(lambda: strays(node) == [])


def test_builders_die_with_the_node(node: Node) -> None:
    node.create("c", DIM, **SMALL)
    node.upsert("c", points_of(range(2000)))
    builders = wait_for(node.builders)
    node.kill()
    wait_for(lambda: not any(map(is_running, builders)), 10.0)


def test_a_killed_builder_is_started_again_and_leaves_nothing(node: Node) -> None:
    node.create("c", DIM, **SMALL)
    node.upsert("c", points_of(range(2000)))
    for builder in wait_for(node.builders):
        os.kill(builder, signal.SIGKILL)
    wait_for(lambda: node.info("c")["indexed_vectors_count"] == 2000, 180.0)
    node.wait_until_green("c")
    assert node.info("c")["optimizer_status"] == "ok"
    assert node.count("c") == 2000
    wait_for(lambda: strays(node) == [])


def test_a_payload_index_that_was_being_built_is_finished_after_a_kill(node: Node) -> None:
    node.create("c", 2)
    total = 20_000
    for start in range(0, total, 5000):
        node.upsert("c", [{"id": i, "vector": [i, 1], "payload": {"n": i % 100}} for i in range(start, start + 5000)])
    node.ask("PUT", "/collections/c/index", {"field_name": "n", "field_schema": "integer"}, wait="false")
    node.restart()
    wait_for(lambda: node.info("c")["payload_schema"]["n"]["points"] == total)
    chosen = {"filter": {"must": [{"key": "n", "range": {"lt": 10}}]}}
    assert node.ask("POST", "/collections/c/points/count", chosen)["count"] == total // 10


def test_a_collection_is_there_or_gone_when_its_creation_or_deletion_is_killed(node: Node) -> None:
    """Creations and deletions run in a thread; the kill comes at a random moment."""
    rng = random.Random(7)
    node.create("stays", 4)
    node.upsert("stays", [{"id": 1, "vector": [1, 2, 3, 4]}])
    existing: set[str] = set()
    for round_ in range(3):
        began = threading.Event()
        in_flight = churn(node, f"r{round_}", existing, began)
        assert began.wait(30)
        wait = rng.uniform(0.0, 0.3)
        in_flight.join(wait)
        node.kill()
        in_flight.join()
        node.start()
        names = {entry["name"] for entry in node.ask("GET", "/collections")["collections"]} - {"stays"}
        assert names ^ existing <= {in_flight.name}, f"after {wait} s"
        existing.symmetric_difference_update(names ^ existing)
        for name in names:
            assert node.count(name) in (0, 1)
            node.upsert(name, [{"id": 1, "vector": [0, 0, 0, 1]}])
        assert node.retrieve("stays", [1])[1]["vector"] == [1, 2, 3, 4]
        folders = node.storage / "collections"
        wait_for(lambda folders=folders, names=names: len(list(folders.iterdir())) == len(names) + 1)


def churn(node: Node, prefix: str, existing: set[str], began: threading.Event) -> threading.Thread:
    """Create and delete collections until the node goes away; the thread's name is the one in flight."""

    def run() -> None:
        with httpx.Client(base_url=node.address, timeout=60.0, trust_env=False) as client:
            for number in range(1000):
                name = f"{prefix}-{number // 2}"
                thread.name = name
                if number == 2:
                    began.set()
                try:
                    if number % 2 == 0:
                        client.put(f"/collections/{name}", json={"vectors": {"size": 4, "distance": "Dot"}})
                        existing.add(name)
                        client.put(f"/collections/{name}/points", json={"points": [{"id": 1, "vector": [0, 0, 0, 1]}]})
                    else:
                        client.delete(f"/collections/{name}")
                        existing.discard(name)
                except httpx.HTTPError:
                    return

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_second_node_on_the_same_storage_refuses_to_start(node: Node, tmp_path: Path) -> None:
    second = Node(tmp_path)
    second.log = tmp_path / "second.log"
    process = second.launch()
    assert process.wait(30) == 1
    assert "is in use by another node" in second.log.read_text()
    second.client.close()
    node.wait_until_ready()
