"""A node on a disk that is full: it refuses writes, says so, goes on reading, loses nothing, and recovers by itself.

The disk is a limit on the size of files (RLIMIT_FSIZE) that the test lowers and raises while the node runs; and, where
mounting is permitted, a small file system of its own.
"""

from __future__ import annotations

import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.node import Node

DIM = 32
UNLIMITED = resource.RLIM_INFINITY


def limit_file_size(node: Node, limit_bytes: int) -> None:
    resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (limit_bytes, UNLIMITED))


def ignore_the_signal() -> None:
    """Without this the kernel would end the process that writes beyond the limit."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def batch(first: int, count: int = 100) -> dict[str, Any]:
    points = [
        {"id": i, "vector": [i] * DIM, "payload": {"n": i, "pad": "x" * 200}} for i in range(first, first + count)
    ]
    return {"points": points}


def write(node: Node, first: int, count: int = 100) -> int:
    answer = node.call("PUT", "/collections/c/points", batch(first, count), wait="true")
    if answer.status_code != 200:
        assert answer.status_code == 507, answer.text
        assert "space" in answer.json()["status"]["error"] or "large" in answer.json()["status"]["error"]
    return answer.status_code


def check(node: Node, acknowledged: list[int]) -> None:
    """What was acknowledged is there, and nothing that was refused."""
    assert node.count("c") == len(acknowledged)
    for start in range(0, len(acknowledged), 500):
        ids = acknowledged[start : start + 500]
        found = node.retrieve("c", ids)
        assert all(found[i]["payload"]["n"] == i and found[i]["vector"] == [i] * DIM for i in ids)
    if acknowledged:
        i = acknowledged[-1]
        body = {"query": [1.0] * DIM, "filter": {"must": [{"key": "n", "match": {"value": i}}]}}
        assert [hit["id"] for hit in node.ask("POST", "/collections/c/points/query", body)["points"]] == [i]


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Node]:
    with Node(tmp_path, preexec=ignore_the_signal) as node:
        node.create("c", DIM, optimizers_config={"indexing_threshold": 0})
        yield node


@pytest.mark.parametrize("room_bytes", [0, 10_000, 100_001, 300_000])
def test_a_full_disk_refuses_writes_and_goes_on_when_there_is_room(limited: Node, room_bytes: int) -> None:
    node = limited
    acknowledged: list[int] = []
    for first in range(0, 500, 100):
        assert write(node, first) == 200
        acknowledged += range(first, first + 100)
    largest = max(path.stat().st_size for path in node.storage.glob("collections/*/*/*/*") if path.is_file())
    limit_file_size(node, largest + room_bytes)
    refused = 0
    for first in range(500, 5000, 100):
        if write(node, first) == 200:
            acknowledged += range(first, first + 100)
        else:
            refused += 1
            if refused == 3:
                break
    assert refused == 3
    check(node, acknowledged)
    limit_file_size(node, UNLIMITED)
    for first in range(10_000, 10_500, 100):
        assert write(node, first) == 200
        acknowledged += range(first, first + 100)
    check(node, acknowledged)
    node.wait_until_ready()
    node.restart()
    check(node, acknowledged)


def test_a_payload_index_and_a_collection_are_refused_on_a_full_disk_and_made_later(limited: Node) -> None:
    node = limited
    for first in range(0, 3000, 100):
        assert write(node, first) == 200
    limit_file_size(node, 4096)
    index = {"field_name": "n", "field_schema": "integer"}
    assert node.call("PUT", "/collections/c/index", index, wait="true").status_code == 507
    assert node.call("PUT", "/collections/d", {"vectors": {"size": 2, "distance": "Dot"}}).status_code == 507
    assert node.count("c") == 3000
    limit_file_size(node, UNLIMITED)
    node.create("d", 2)
    node.ask("PUT", "/collections/c/index", index, wait="true")
    assert node.info("c")["payload_schema"]["n"]["points"] == 3000
    check(node, list(range(3000)))


def test_a_graph_that_finds_no_room_is_built_later(tmp_path: Path) -> None:
    with Node(tmp_path, preexec=ignore_the_signal) as node:
        node.create("c", DIM, optimizers_config={"indexing_threshold": 0})
        for first in range(0, 1000, 100):
            assert write(node, first) == 200
        limit_file_size(node, 50_000)
        # What the builder inherits is the node's limit, so its vectors do not fit.
        assert node.call("PATCH", "/collections/c", {"optimizers_config": {"indexing_threshold": 20}}).status_code in (
            200,
            507,
        )
        node.wait_for(lambda: node.info("c")["optimizer_status"] != "ok" or write(node, 5000) == 507)
        check(node, list(range(1000)))
        limit_file_size(node, UNLIMITED)
        node.ask("PATCH", "/collections/c", {"optimizers_config": {"indexing_threshold": 20}})
        node.wait_for(lambda: node.info("c")["indexed_vectors_count"] == 1000)
        node.wait_until_green("c")
        check(node, list(range(1000)))


@pytest.fixture
def small_mount(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "mount"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(
            f"a file system of its own needs the right to mount (limits of files, above, are tested everywhere): "
            f"{mounted.stderr.decode().strip()}"
        )
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_file_system_that_is_full_refuses_writes_and_goes_on_when_there_is_room(small_mount: Path) -> None:
    ballast = small_mount / "ballast"
    with Node(small_mount) as node:
        node.create("c", DIM, optimizers_config={"indexing_threshold": 0})
        ballast.write_bytes(b"\0" * (3 << 20))
        acknowledged: list[int] = []
        for first in range(0, 50_000, 100):
            if write(node, first) != 200:
                break
            acknowledged += range(first, first + 100)
        assert write(node, 90_000, 1000) == 507
        check(node, acknowledged)
        ballast.unlink()
        assert write(node, 100_000) == 200
        acknowledged += range(100_000, 100_100)
        check(node, acknowledged)
        node.restart()
        check(node, acknowledged)


def kinds_of(i: int) -> dict[str, Any]:
    """Vectors of the other kinds, by a number."""
    sparse = {"indices": [i, 4_000_000_000], "values": [float(i + 1), 1.0]}
    return {"many": [[i, 1.0], [1.0, i]] * (1 + i % 3), "sparse": sparse}


def write_kinds(node: Node, first: int) -> int:
    points = [
        {"id": i, "vector": kinds_of(i), "payload": {"words": f"word{i} " * 20}} for i in range(first, first + 100)
    ]
    answer = node.call("PUT", "/collections/k/points", {"points": points}, wait="true")
    assert answer.status_code in (200, 507), answer.text
    return answer.status_code


def check_kinds(node: Node, acknowledged: list[int]) -> None:
    """Points, searches and texts are those that were acknowledged, and no others."""
    assert node.count("k") == len(acknowledged)
    found = node.retrieve("k", acknowledged)
    assert all(found[i]["vector"] == kinds_of(i) for i in acknowledged)
    query = "/collections/k/points/query"
    limit = len(acknowledged) + 1
    common = {"indices": [4_000_000_000], "values": [1.0]}
    hits = node.ask("POST", query, {"query": common, "using": "sparse", "limit": limit})["points"]
    assert {hit["id"] for hit in hits} == set(acknowledged)
    hits = node.ask("POST", query, {"query": [[1.0, 0.0]], "using": "many", "limit": limit})["points"]
    assert {hit["id"]: hit["score"] for hit in hits} == {i: max(i, 1) for i in acknowledged}
    i = acknowledged[-1]
    texts = {"filter": {"must": [{"key": "words", "match": {"text": f"word{i}"}}]}}
    assert [point["id"] for point in node.ask("POST", "/collections/k/points/scroll", texts)["points"]] == [i]


def test_vectors_of_all_kinds_and_texts_outlast_a_full_disk(tmp_path: Path) -> None:
    with Node(tmp_path, preexec=ignore_the_signal) as node:
        many = {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}
        settings = {"vectors": {"many": many}, "sparse_vectors": {"sparse": {}}}
        node.ask("PUT", "/collections/k", {**settings, "optimizers_config": {"indexing_threshold": 5}})
        node.ask("PUT", "/collections/k/index", {"field_name": "words", "field_schema": "text"}, wait="true")
        acknowledged: list[int] = []
        for first in range(0, 300, 100):
            assert write_kinds(node, first) == 200
            acknowledged += range(first, first + 100)
        largest = max(path.stat().st_size for path in node.storage.glob("collections/*/*/wal/*") if path.is_file())
        limit_file_size(node, largest + 5000)
        for first in range(1000, 3000, 100):
            if write_kinds(node, first) != 200:
                break
            acknowledged += range(first, first + 100)
        else:
            pytest.fail("the disk was never full")
        added = node.call("PUT", "/collections/k/vectors/late", {"sparse": {}})
        assert added.status_code in (200, 507), added.text
        check_kinds(node, acknowledged)
        limit_file_size(node, UNLIMITED)
        assert write_kinds(node, 5000) == 200
        acknowledged += range(5000, 5100)
        check_kinds(node, acknowledged)
        node.restart()
        check_kinds(node, acknowledged)
