"""Snapshots as programs that were written for Qdrant use them: through its client library, and from URLs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from qdrant_client import QdrantClient, models

from tests.support.node import Node, wait_for

POINTS = [models.PointStruct(id=i, vector=[i, 1.0, 0.5, 0.0], payload={"n": i}) for i in range(60)]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with Node(tmp_path) as running:
        yield running


def filled(node: Node) -> QdrantClient:
    client = QdrantClient(node.address, check_compatibility=False)
    vectors = models.VectorParams(size=4, distance=models.Distance.DOT)
    client.create_collection("c", vectors, shard_number=2)
    client.upsert("c", POINTS, wait=True)
    return client


def test_the_client_library_makes_lists_recovers_and_deletes(node: Node) -> None:
    client = filled(node)
    made = client.create_snapshot("c")
    assert made is not None
    assert client.list_snapshots("c") == [made]
    client.delete("c", [1, 2, 3], wait=True)
    location = f"{node.address}/collections/c/snapshots/{made.name}"
    recovering = {"checksum": made.checksum, "priority": models.SnapshotPriority.SNAPSHOT, "wait": True}
    assert client.recover_snapshot("c", location, **recovering) is True
    assert client.count("c").count == 60
    assert client.recover_snapshot("other", location, **recovering) is True
    before, after = (client.scroll(name, limit=100, with_vectors=True)[0] for name in ("c", "other"))
    assert before == after
    of_shard = client.create_shard_snapshot("c", 1)
    assert of_shard is not None
    assert client.list_shard_snapshots("c", 1) == [of_shard]
    location = f"{node.address}/collections/c/shards/1/snapshots/{of_shard.name}"
    assert client.recover_shard_snapshot("c", 1, location, wait=True) is True
    assert client.delete_shard_snapshot("c", 1, of_shard.name) is True
    of_all = client.create_full_snapshot()
    assert of_all is not None
    assert client.list_full_snapshots() == [of_all]
    assert client.delete_full_snapshot(of_all.name) is True
    assert client.delete_snapshot("c", made.name) is True
    assert client.list_snapshots("c") == []


def test_urls_are_not_fetched_where_that_is_disabled(tmp_path: Path) -> None:
    with Node(tmp_path, environment={"QNODE__SERVICE__ENABLE_SNAPSHOT_URL_RECOVERY": "false"}) as node:
        for path in ("/collections/c/snapshots/recover", "/collections/c/shards/0/snapshots/recover"):
            node.create("c")
            answer = node.call("PUT", path, {"location": f"{node.address}/snapshots/x"})
            text = "Forbidden: Snapshot recovery from remote URLs is disabled in the configuration"
            assert (answer.status_code, answer.json()["status"]["error"]) == (403, text)
            node.ask("DELETE", "/collections/c")


def test_a_node_killed_while_it_restores_serves_the_one_or_the_other(node: Node) -> None:
    client = filled(node)
    made = client.create_snapshot("c")
    assert made is not None
    location = (node.storage.parent / "snapshots" / "c" / made.name).as_uri()
    client.delete("c", list(range(30)), wait=True)
    staging = node.storage / "staging"
    recovering = node.call("PUT", "/collections/c/snapshots/recover", {"location": location}, wait="false")
    assert recovering.status_code == 202
    wait_for(lambda: node.count("c") != 30)
    node.restart()
    assert node.count("c") in range(30, 61)
    assert list(staging.iterdir()) == []
    assert client.recover_snapshot("c", location, wait=True) is True
    assert node.count("c") == 60
