"""Nodes killed at odd moments: while collections come and go, while a shard moves, while they join or start, and most of them at once."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

import httpx
import pytest

from tests.support.cluster import ClusterOfProcesses
from tests.support.ledger import DIM, Ledger
from tests.support.node import wait_for

ROUNDS = 3
POINTS = [{"id": i, "vector": [i, 1, 1, 1], "payload": {"pad": "x" * 2000}} for i in range(2000)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterOfProcesses]:
    with ClusterOfProcesses(tmp_path_factory.mktemp("kills")) as running:
        yield running


@pytest.fixture
def cluster(shared: ClusterOfProcesses) -> Iterator[ClusterOfProcesses]:
    shared.heal()
    yield shared
    shared.heal()
    for name in names(shared[0].address):
        shared[0].ask("DELETE", f"/collections/{name}")


def names(address: str) -> set[str]:
    answer = httpx.get(f"{address}/collections", timeout=30.0, trust_env=False)
    return {each["name"] for each in answer.json()["result"]["collections"]}


@pytest.mark.soak
def test_collections_that_came_and_went_while_nodes_died_are_the_same_everywhere(cluster: ClusterOfProcesses) -> None:
    stopping = threading.Event()

    def come_and_go(address: str, prefix: str) -> None:
        with httpx.Client(base_url=address, timeout=30.0, trust_env=False) as client:
            number = 0
            while not stopping.is_set():
                number += 1
                body = {"vectors": {"size": DIM, "distance": "Dot"}, "replication_factor": 2, "shard_number": 2}
                try:
                    client.put(f"/collections/{prefix}{number % 3}", json=body)
                    client.delete(f"/collections/{prefix}{(number + 1) % 3}")
                except httpx.HTTPError:
                    stopping.wait(0.05)

    workers = [
        threading.Thread(target=come_and_go, args=(member.address, f"n{at}-")) for at, member in enumerate(cluster)
    ]
    for worker in workers:
        worker.start()
    try:
        for victim in cluster:
            stopping.wait(0.3)
            victim.kill()
            stopping.wait(0.3)
            victim.start()
    finally:
        stopping.set()
        for worker in workers:
            worker.join()
    cluster.heal()
    wait_for(lambda: len({frozenset(names(member.address)) for member in cluster}) == 1)
    for name in names(cluster[0].address):
        cluster.wait_active(name, 2)
        cluster[1].upsert(name, [{"id": 1, "vector": [1, 2, 3, 4]}])
        assert [member.count(name) for member in cluster] == [1] * 3


@pytest.mark.parametrize("victim", [pytest.param("source", marks=pytest.mark.soak), "target"])
def test_shard_whose_move_was_killed_ends_whole_in_one_place(cluster: ClusterOfProcesses, victim: str) -> None:
    cluster[0].create("c", DIM, shard_number=1)
    cluster[0].upsert("c", POINTS)
    (source,) = [member for member in cluster if member.shards("c")["local_shards"]]
    target, third = [member for member in cluster if member is not source]
    move = {"shard_id": 0, "from_peer_id": source.peer_id, "to_peer_id": target.peer_id}
    assert third.operate("c", move_shard=move).status_code == 200
    killed = source if victim == "source" else target
    killed.kill()
    killed.start()
    cluster.heal()
    wait_for(lambda: all(list(member.replicas("c")[0].values()) == ["Active"] for member in cluster), 90.0)
    assert [member.count("c") for member in cluster] == [len(POINTS)] * 3


def test_reads_go_on_with_one_node_of_three_and_writes_when_another_is_back(cluster: ClusterOfProcesses) -> None:
    cluster[0].create("c", DIM, replication_factor=3, shard_number=2)
    cluster[0].upsert("c", POINTS[:100])
    left = random.choice(cluster.members)
    dead = [member for member in cluster if member is not left]
    for member in dead:
        member.kill()
    assert left.count("c") == 100
    refused = left.call("PUT", "/collections/c/points", {"points": POINTS[100:101]}, wait="true", timeout=1)
    assert refused.status_code >= 500 or refused.json()["result"]["status"] == "wait_timeout"
    dead[0].start()
    wait_for(
        lambda: left.call("PUT", "/collections/c/points", {"points": POINTS[101:102]}, wait="true").status_code == 200
    )
    cluster.heal()
    cluster.wait_active("c", 3)
    (count,) = {member.count("c") for member in cluster}
    assert 101 <= count <= 102


@pytest.mark.soak
def test_all_nodes_killed_again_and_again_lose_nothing(cluster: ClusterOfProcesses) -> None:
    cluster[0].create("c", DIM, replication_factor=3, shard_number=2)
    with Ledger(cluster.addresses, "c") as ledger:
        for _ in range(ROUNDS):
            ledger.wait_for_more(30)
            cluster.kill_all()
            for member in cluster:
                member.launch()
        ledger.wait_for_more(30)
        ledger.stop()
        cluster.heal()
        cluster.wait_active("c", 3)
        ledger.check(cluster.addresses)


def test_joiner_that_is_killed_half_way_becomes_a_member_at_its_next_start(cluster: ClusterOfProcesses) -> None:
    joiner = cluster.add()
    wait_for(lambda: (joiner.storage / "raft").exists())
    for _ in range(3):
        joiner.kill()
        joiner.launch()
        wait_for(lambda: "link to peer" in joiner.log.read_text())
    joiner.kill()
    joiner.start()
    wait_for(joiner.is_ready)
    wait_for(lambda: all(len(member.cluster()["peers"]) == 4 for member in cluster))
    wait_for(lambda: joiner.cluster()["raft_info"]["is_voter"])
    left = joiner.peer_id
    cluster[0].ask("DELETE", f"/cluster/peer/{left}", force="true")
    joiner.kill()
    joiner.wipe()
    joiner.start()
    wait_for(joiner.is_ready)
    assert joiner.peer_id != left
    wait_for(lambda: all(len(member.cluster()["peers"]) == 4 for member in cluster))
