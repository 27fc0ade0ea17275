"""Snapshots in a cluster of real processes: of one node, of all, and restored where other replicas hold something else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.cluster import ClusterOfProcesses, Member
from tests.support.node import Node, wait_for

DIM = 4


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterOfProcesses]:
    with ClusterOfProcesses(tmp_path_factory.mktemp("cluster")) as running:
        yield running


def points(ids: range, version: int = 0) -> list[dict[str, Any]]:
    return [{"id": i, "vector": [i, version, 1, 0], "payload": {"version": version}} for i in ids]


def everything(node: Node, name: str) -> list[Any]:
    body = {"limit": 10_000, "with_payload": True, "with_vector": True}
    found: list[Any] = node.ask("POST", f"/collections/{name}/points/scroll", body)["points"]
    return found


def replicas_agree(cluster: ClusterOfProcesses, name: str, expected: list[Any]) -> None:
    """Every node gives the same, and so do all replicas when each is asked."""
    for member in cluster:
        assert everything(member, name) == expected
    body = {"limit": 10_000, "with_payload": True, "with_vector": True}
    agreed = cluster[0].ask("POST", f"/collections/{name}/points/scroll", body, consistency="all")["points"]
    assert agreed == expected


def downloaded(node: Node, name: str, **params: Any) -> bytes:
    described = node.ask("POST", f"/collections/{name}/snapshots", **params)
    answer = node.call("GET", f"/collections/{name}/snapshots/{described['name']}")
    assert answer.status_code == 200
    assert len(answer.content) == described["size"]
    return answer.content


def upload(node: Node, name: str, content: bytes, **params: Any) -> None:
    answer = node.client.post(f"/collections/{name}/snapshots/upload", params=params, files={"snapshot": content})
    assert answer.status_code == (202 if params.get("wait") == "false" else 200), answer.text


def other_than_primary(cluster: ClusterOfProcesses, name: str) -> Member:
    primary = cluster.primary_of(name)
    return next(member for member in cluster if member is not primary)


def test_a_restored_shard_replaces_what_all_its_replicas_hold(cluster: ClusterOfProcesses) -> None:
    first = cluster[0]
    first.create("restored", DIM, replication_factor=3)
    first.upsert("restored", points(range(50)))
    expected = everything(first, "restored")
    content = downloaded(first, "restored")
    first.upsert("restored", points(range(25, 200), version=2))
    first.ask("POST", "/collections/restored/points/delete", {"points": [1, 2, 3]}, wait="true")
    upload(other_than_primary(cluster, "restored"), "restored", content)
    cluster.wait_active("restored", 3)
    replicas_agree(cluster, "restored", expected)
    cluster[1].upsert("restored", points(range(40, 60), version=3))
    wait_for(lambda: all(member.count("restored") == 60 for member in cluster))
    replicas_agree(cluster, "restored", everything(cluster[2], "restored"))


def test_one_call_snapshots_all_shards_and_any_number_of_nodes_takes_them(
    cluster: ClusterOfProcesses, tmp_path: Path
) -> None:
    cluster[0].create("whole", DIM, shard_number=5, replication_factor=1)
    cluster[0].ask("PUT", "/collections/whole/index", {"field_name": "version", "field_schema": "integer"}, wait="true")
    cluster[0].upsert("whole", points(range(300)))
    expected = everything(cluster[0], "whole")
    content = downloaded(cluster[1], "whole", cluster="true")
    upload(cluster[2], "copied", content)
    assert everything(cluster[0], "copied") == expected
    assert cluster[1].shards("copied")["shard_count"] == 5
    with Node(tmp_path) as alone:
        upload(alone, "alone", content)
        assert everything(alone, "alone") == expected
        assert alone.ask("GET", "/collections/alone")["payload_schema"]["version"]["points"] == 300
        assert alone.call("POST", "/collections/alone/snapshots", cluster="true").status_code == 405
        again = downloaded(alone, "alone")
    cluster[0].upsert("whole", points(range(200, 400), version=9))
    upload(cluster[0], "whole", again)
    replicas_agree(cluster, "whole", expected)
    assert [list(member.storage.glob("staging/*")) for member in cluster] == [[], [], []]


def test_a_restore_that_cannot_reach_a_primary_changes_no_shard(cluster: ClusterOfProcesses) -> None:
    cluster[0].create("partly", DIM, shard_number=6, replication_factor=1)
    cluster[0].upsert("partly", points(range(100)))
    content = downloaded(cluster[0], "partly", cluster="true")
    cluster[0].upsert("partly", points(range(200), version=1))
    expected = everything(cluster[0], "partly")
    away = cluster[2]
    away.kill()
    try:
        answer = cluster[0].client.post(
            "/collections/partly/snapshots/upload", files={"snapshot": ("any", content)}, timeout=60.0
        )
        assert answer.status_code == 503, answer.text
    finally:
        away.start()
        cluster.wait_ready()
    replicas_agree(cluster, "partly", expected)
    assert [list(member.storage.glob("staging/*")) for member in cluster] == [[], [], []]


def test_shard_keys_are_restored_with_their_shards(cluster: ClusterOfProcesses) -> None:
    first = cluster[0]
    first.create("keyed", DIM, sharding_method="custom", replication_factor=2)
    for key in ("north", 7):
        first.ask("PUT", "/collections/keyed/shards", {"shard_key": key, "shards_number": 2})
        body = {"points": points(range(40), version=len(str(key))), "shard_key": key}
        first.ask("PUT", "/collections/keyed/points", body, wait="true")
    content = downloaded(first, "keyed", cluster="true")
    upload(cluster[1], "keyed-again", content)
    keys = cluster[2].ask("GET", "/collections/keyed-again/shards")["shard_keys"]
    assert sorted(str(each["key"]) for each in keys) == ["7", "north"]
    for key in ("north", 7):
        body = {"limit": 100, "with_payload": True, "shard_key": key}
        found = cluster[2].ask("POST", "/collections/keyed-again/points/scroll", body)["points"]
        assert [point["payload"]["version"] for point in found] == [len(str(key))] * 40


def test_replicas_count_where_they_are_to(cluster: ClusterOfProcesses) -> None:
    first = cluster[0]
    first.create("kept", DIM, replication_factor=3)
    first.upsert("kept", points(range(10)))
    content = downloaded(first, "kept")
    first.upsert("kept", points(range(10), version=1))
    expected = everything(first, "kept")
    upload(first, "kept", content, priority="replica")
    replicas_agree(cluster, "kept", expected)


class Writing:
    """A writer that upserts 0, 1, 2, … through one node, each waited for; `acknowledged`: how many were."""

    def __init__(self, address: str, name: str) -> None:
        self._client = httpx.Client(base_url=address, timeout=30.0, trust_env=False)
        self._path = f"/collections/{name}/points"
        self._is_over = threading.Event()
        self.begun = self.acknowledged = 0
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._is_over.is_set():
            body = {"points": points(range(self.begun, self.begun + 1), version=self.begun)}
            self.begun += 1
            try:
                answer = self._client.put(self._path, json=body, params={"wait": "true"})
            except httpx.HTTPError:
                continue
            self.acknowledged += answer.status_code == 200

    @contextmanager
    def under_way(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            self._thread.join()
            self._client.close()


def test_a_snapshot_under_writes_holds_all_that_was_acknowledged_and_no_gap(cluster: ClusterOfProcesses) -> None:
    cluster[0].create("busy", DIM, replication_factor=3)
    writing = Writing(cluster[1].address, "busy")
    with writing.under_way():
        wait_for(lambda: writing.acknowledged >= 50)
        acknowledged = writing.acknowledged
        content = downloaded(cluster[2], "busy", cluster="true")
        begun = writing.begun
    upload(cluster[0], "busy-again", content)
    held = [point["id"] for point in everything(cluster[1], "busy-again")]
    assert held == list(range(len(held)))
    assert acknowledged <= len(held) <= begun


def test_restoring_under_writes_leaves_replicas_identical_also_when_the_primary_dies(
    cluster: ClusterOfProcesses,
) -> None:
    cluster[0].create("torn", DIM, replication_factor=3)
    cluster[0].upsert("torn", points(range(100_000, 100_200)))
    content = downloaded(cluster[0], "torn")
    writing = Writing(cluster[1].address, "torn")
    with writing.under_way():
        wait_for(lambda: writing.acknowledged >= 20)
        upload(cluster[2], "torn", content)
        wait_for(lambda: cluster[0].count("torn") > 205)
        upload(cluster[0], "torn", content, wait="false")
        primary = cluster.primary_of("torn")
        primary.kill()
        wait_for(lambda: primary.process.poll() is not None)
        primary.start()
        cluster.wait_ready()
    cluster.wait_active("torn", 3)
    expected = everything(cluster[0], "torn")
    assert [point["id"] for point in expected[-200:]] == list(range(100_000, 100_200))
    replicas_agree(cluster, "torn", expected)
    cluster[0].upsert("torn", points(range(5), version=-1))
    replicas_agree(cluster, "torn", everything(cluster[1], "torn"))
