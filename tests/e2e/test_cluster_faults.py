"""Nodes that are killed and stopped under load: writes go on, what was acknowledged stays, and all heals by itself.

The tests share a cluster; each leaves it with all nodes running, and begins when they are ready.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import httpx
import pytest

from tests.support.cluster import ClusterOfProcesses
from tests.support.ledger import DIM, Ledger
from tests.support.node import wait_for

SHARDS = 2


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterOfProcesses]:
    with ClusterOfProcesses(tmp_path_factory.mktemp("faults")) as running:
        yield running


@pytest.fixture
def cluster(shared: ClusterOfProcesses) -> Iterator[ClusterOfProcesses]:
    """Three nodes, all of which hold all of the collection `c`."""
    with shared.holding("c", DIM, replication_factor=3, shard_number=SHARDS):
        yield shared


def check(cluster: ClusterOfProcesses, ledger: Ledger) -> None:
    """All nodes are there again and hold the same, which is what the ledger says."""
    ledger.stop()
    cluster.wait_ready()
    cluster.wait_active("c", 3)
    ledger.check(cluster.addresses)


def test_killed_primary_is_replaced_and_loses_nothing_and_comes_back(cluster: ClusterOfProcesses) -> None:
    primary = cluster.primary_of("c")
    others = [member.address for member in cluster if member is not primary]
    with Ledger(others, "c") as ledger:
        ledger.wait_for_more()
        primary.kill()
        ledger.wait_for_more(100)
        primary.start()
        ledger.wait_for_more(100)
        check(cluster, ledger)


def test_stopped_replica_holds_writes_up_for_a_short_time_only(cluster: ClusterOfProcesses) -> None:
    primary = cluster.primary_of("c")
    replica = next(member for member in cluster if member is not primary)
    others = [member.address for member in cluster if member is not replica]
    with Ledger(others, "c") as ledger:
        ledger.wait_for_more()
        replica.pause()
        ledger.wait_for_more(100)
        replica.resume()
        ledger.wait_for_more(100)
        check(cluster, ledger)


def test_stopped_leader_is_replaced_and_follows_when_it_goes_on(cluster: ClusterOfProcesses) -> None:
    leader = cluster.leader()
    others = [member for member in cluster if member is not leader]
    with Ledger([member.address for member in others], "c") as ledger:
        ledger.wait_for_more()
        leader.pause()
        follower = cluster.leader()
        assert follower is not leader
        ledger.wait_for_more(100)
        others[0].create("during", DIM)
        leader.resume()
        wait_for(lambda: leader.cluster()["raft_info"]["leader"] == cluster.leader().peer_id)
        wait_for(lambda: leader.call("GET", "/collections/during").status_code == 200)
        ledger.wait_for_more(100)
        check(cluster, ledger)
    leader.ask("DELETE", "/collections/during")


def test_nodes_that_are_stopped_in_order_hand_over_and_no_write_fails(cluster: ClusterOfProcesses) -> None:
    """The writers are at the nodes that stay; a leader that replaces a primary because it is dead logs so."""
    logged_before = {member.peer_id: len(member.log.read_text()) for member in cluster}
    for stopped in cluster:
        others = [member for member in cluster if member is not stopped]
        with Ledger([member.address for member in others], "c") as ledger:
            ledger.wait_for_more(100)
            assert stopped.stop() == 0
            assert all(cluster.primary_of("c", shard) is not stopped for shard in range(SHARDS))
            ledger.wait_for_more(100)
            stopped.start()
            wait_for(stopped.is_ready)
            check(cluster, ledger)
        assert dict(ledger.faults) == {}
        others[0].ask("POST", "/collections/c/points/delete", {"filter": {}}, wait="true")
    for peer, size in logged_before.items():
        assert "get another primary" not in cluster.by_id(peer).log.read_text()[size:]


def test_all_nodes_killed_at_once_come_back_with_all_that_was_acknowledged(cluster: ClusterOfProcesses) -> None:
    with Ledger(cluster.addresses, "c") as ledger:
        ledger.wait_for_more(100)
        cluster.kill_all()
        ledger.stop()
        cluster.heal()
        check(cluster, ledger)


def test_reads_go_on_while_a_node_is_dead(cluster: ClusterOfProcesses) -> None:
    dead = cluster.primary_of("c")
    others = [member for member in cluster if member is not dead]
    points = [{"id": i, "vector": [i, 1, 1, 1]} for i in range(100)]
    others[0].upsert("c", points)
    failed: list[str] = []
    stopping = threading.Event()

    def read(address: str) -> None:
        with httpx.Client(base_url=address, timeout=10.0, trust_env=False) as client:
            while not stopping.wait(0.01):
                answer = client.post("/collections/c/points/query", json={"query": [1, 0, 0, 0], "limit": 3})
                if answer.status_code != 200 or [hit["id"] for hit in answer.json()["result"]["points"]] != [
                    99,
                    98,
                    97,
                ]:
                    failed.append(answer.text)

    readers = [threading.Thread(target=read, args=(member.address,)) for member in others]
    for reader in readers:
        reader.start()
    try:
        dead.kill()
        wait_for(lambda: cluster.leader() is not dead)
        others[1].upsert("c", points[:1])
        dead.start()
        wait_for(dead.is_ready)
    finally:
        stopping.set()
        for reader in readers:
            reader.join()
    assert failed == []
