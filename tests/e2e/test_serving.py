"""What a node does for its clients while it is busy: indexing, dropping, stopping, and after much was rewritten."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import orjson

from tests.support.node import Node, wait_for

DIM = 32
Vectors = npt.NDArray[np.float32]


def clustered(rows: int, seed: int) -> Vectors:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(64, DIM))
    return (centres[rng.integers(64, size=rows)] + 0.6 * rng.normal(size=(rows, DIM))).astype(np.float32)


def upload(node: Node, name: str, vectors: Vectors, first: int = 0, batch: int = 1000) -> None:
    for start in range(0, len(vectors), batch):
        part = vectors[start : start + batch]
        ids = list(range(first + start, first + start + len(part)))
        body = {"batch": {"ids": ids, "vectors": part.tolist(), "payloads": [{"n": i} for i in ids]}}
        node.ask("PUT", f"/collections/{name}/points", body, wait="true")


def found_ids(node: Node, name: str, query: list[float], limit: int = 10, **params: Any) -> list[int]:
    body = {"query": query, "limit": limit, "params": params}
    return [hit["id"] for hit in node.ask("POST", f"/collections/{name}/points/query", body)["points"]]


@contextmanager
def searching(node: Node, name: str, query: list[float], expected: int) -> Iterator[list[str]]:
    """Search all the while from another connection; gives the list of what went wrong."""
    faults: list[str] = []
    over = threading.Event()
    began = threading.Event()

    def run() -> None:
        with httpx.Client(base_url=node.address, timeout=60.0, trust_env=False) as client:
            while not over.is_set():
                answer = client.post(f"/collections/{name}/points/query", json={"query": query, "limit": 1})
                if answer.status_code != 200 or [p["id"] for p in answer.json()["result"]["points"]] != [expected]:
                    faults.append(answer.text[:300])
                began.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert began.wait(30)
        yield faults
    finally:
        over.set()
        thread.join()


def test_every_acknowledged_point_is_found_at_once_while_graphs_are_built(node: Node) -> None:
    node.create("c", DIM, "Euclid", optimizers_config={"indexing_threshold": 50})
    upload(node, "c", clustered(600, seed=1))
    steady = [20.0] * DIM
    node.upsert("c", [{"id": 0, "vector": steady}])
    rng = np.random.default_rng(2)
    states = set()
    with searching(node, "c", steady, expected=0) as faults:
        for round_ in range(10_000):
            first = 1 + 30 * int(rng.integers(80))  # new points and old ones
            part = clustered(30, seed=1000 + round_)
            upload(node, "c", part, first)
            for row in rng.integers(len(part), size=3).tolist():
                assert found_ids(node, "c", part[row].tolist(), limit=1) == [first + row]
            info = node.info("c")
            states.add((info["indexed_vectors_count"], info["segments_count"]))
            if len(states) > 8 and round_ > 60:
                break
    assert faults == []


def test_dropping_a_collection_does_not_hurt_searches_of_another(node: Node) -> None:
    node.create("stays", DIM)
    vectors = clustered(10_000, seed=3)
    node.upsert("stays", [{"id": 7, "vector": vectors[0].tolist()}])
    with searching(node, "stays", vectors[0].tolist(), expected=7) as faults:
        for name in ("one", "two"):
            node.create(name, DIM, optimizers_config={"indexing_threshold": 100})
            upload(node, name, vectors[:5000])
            node.ask("DELETE", f"/collections/{name}")
            assert node.call("GET", f"/collections/{name}").status_code == 404
        wait_for(lambda: len(list((node.storage / "collections").iterdir())) == 1)
    assert faults == []


def test_an_interrupt_lets_a_request_that_is_under_way_finish(node: Node) -> None:
    node.create("c", 2)
    body = orjson.dumps({"points": [{"id": i, "vector": [i, 1.5]} for i in range(2000)]})
    head = (
        f"PUT /collections/c/points?wait=true HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", node.port), timeout=30) as connection:
        connection.sendall(head.encode() + body[:1000])
        node.ask("GET", "/collections")  # when this is answered, the first part has been taken
        node.client.close()
        node.process.send_signal(signal.SIGINT)
        wait_for(lambda: is_refused(node.port))
        connection.sendall(body[1000:])
        answer = connection.makefile("rb").readline()
    assert b" 200 " in answer
    assert node.process.wait(30) == 0
    assert "Traceback" not in node.log.read_text()
    node.client = httpx.Client(base_url=node.address, timeout=60.0, trust_env=False)
    node.start()
    assert node.count("c") == 2000


def is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


def test_recall_and_disk_use_survive_six_rewrites_and_deleting_gives_space_back(tmp_path: Path) -> None:
    rows, queries = 3000, clustered(300, seed=99)
    with Node(tmp_path, environment={"QNODE__STORAGE__WAL__WAL_CAPACITY_MB": "1"}) as node:
        settings = {"indexing_threshold": 100, "vacuum_min_vector_number": 100}
        node.create("churned", DIM, "Euclid", optimizers_config=settings)
        for version in range(6):
            upload(node, "churned", clustered(rows, seed=version), batch=500)
        upload(node, "churned", final := clustered(rows, seed=6), batch=500)
        node.create("fresh", DIM, "Euclid", optimizers_config=settings)
        upload(node, "fresh", final, batch=500)
        for name in ("churned", "fresh"):
            node.wait_until_green(name, 120)
        true = np.argsort(((queries[:, None] - final[None]) ** 2).sum(2), axis=1)[:, :10]
        recall = {name: recall_of(node, name, queries, true) for name in ("churned", "fresh")}
        assert recall["churned"] > recall["fresh"] - 0.002, recall
        folders = dict(zip(("churned", "fresh"), sorted((node.storage / "collections").iterdir()), strict=True))
        # The log is left out: how much of it is kept is a setting, and more than these few points take.

        def used(name: str) -> int:
            return disk_use(folders[name] / "0/segments") + disk_use(folders[name] / "0/store")

        # Files of a segment go a moment after it: once no search holds it, in the background.
        wait_for(lambda: used("churned") < 1.5 * used("fresh"))

        keep = list(range(0, rows, 10))
        node.ask(
            "POST", "/collections/churned/points/delete", {"filter": {"must_not": [{"has_id": keep}]}}, wait="true"
        )
        node.wait_until_green("churned", 120)
        wait_for(lambda: disk_use(folders["churned"] / "0/segments") < 0.3 * disk_use(folders["fresh"] / "0/segments"))
        assert found_ids(node, "churned", final[40].tolist(), limit=1) == [40]
        assert node.count("churned") == len(keep)


def test_deleting_points_gives_back_the_space_of_their_payloads(tmp_path: Path) -> None:
    with Node(tmp_path, environment={"QNODE__STORAGE__WAL__WAL_CAPACITY_MB": "1"}) as node:
        node.create("c", 2)
        pad = "x" * 20_000
        for first in range(0, 3000, 500):
            node.upsert("c", [{"id": i, "vector": [i, 1], "payload": {"pad": pad}} for i in range(first, first + 500)])
        (folder,) = (node.storage / "collections").iterdir()
        full = disk_use(folder / "0/store")  # without the log, which keeps its last writes, large as they are here
        keep = list(range(0, 3000, 10))
        node.ask("POST", "/collections/c/points/delete", {"filter": {"must_not": [{"has_id": keep}]}}, wait="true")
        wait_for(lambda: disk_use(folder / "0/store") < 0.2 * full)
        assert node.count("c") == len(keep)
        assert node.retrieve("c", [10])[10]["payload"] == {"pad": pad}
        node.restart()
        assert node.count("c") == len(keep)


def recall_of(node: Node, name: str, queries: Vectors, true: npt.NDArray[np.int64]) -> float:
    hits = sum(
        len(set(found_ids(node, name, query.tolist(), hnsw_ef=64)) & set(wanted))
        for query, wanted in zip(queries, true.tolist(), strict=True)
    )
    return hits / true.size


def disk_use(folder: Path) -> int:
    """What the files of a folder take on the disk, in bytes."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
