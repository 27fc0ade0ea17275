"""Who gets into a cluster, who is refused, and how a lost one is given up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import ClusterOfProcesses
from tests.support.node import wait_for

DIM = 4


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ClusterOfProcesses]:
    with ClusterOfProcesses(tmp_path) as running:
        yield running


def test_node_whose_storage_was_wiped_is_refused_and_its_lost_shards_are_healed_elsewhere(
    cluster: ClusterOfProcesses,
) -> None:
    first, second, third = cluster
    first.create("c", DIM, replication_factor=2, shard_number=3)
    first.upsert("c", [{"id": i, "vector": [i, 0, 0, 1]} for i in range(100)])
    lost = third.peer_id
    third.kill()
    third.wipe()
    assert third.launch().wait(60) == 101
    assert f"already used by peer {lost} which still has shards" in third.log.read_text()

    refused = first.call("DELETE", f"/cluster/peer/{lost}")
    assert refused.status_code == 400
    assert refused.json()["status"]["error"] == f"Bad request: Cannot remove peer {lost} as there are shards on it"
    first.ask("DELETE", f"/cluster/peer/{lost}", force="true")
    wait_for(lambda: all(str(lost) not in member.cluster()["peers"] for member in (first, second)))
    assert [member.count("c") for member in (first, second)] == [100] * 2

    third.start()
    wait_for(third.is_ready)
    assert third.peer_id != lost
    cluster.wait_active("c", 2)
    assert [member.count("c") for member in cluster] == [100] * 3


def test_removed_node_keeps_answering_and_shows_that_it_takes_part_no_more(cluster: ClusterOfProcesses) -> None:
    first, second, third = cluster
    first.ask("DELETE", f"/cluster/peer/{third.peer_id}")
    stopped = "stopped"
    wait_for(lambda: third.cluster()["consensus_thread_status"]["consensus_thread_status"] == stopped)
    assert first.cluster()["peers"].keys() == {str(member.peer_id) for member in (first, second)}
    first.create("after", DIM, replication_factor=2)


def test_node_comes_back_on_another_address_with_its_shards(cluster: ClusterOfProcesses) -> None:
    first, second, third = cluster
    first.create("c", DIM, replication_factor=3)
    first.upsert("c", [{"id": i, "vector": [i, 0, 0, 1]} for i in range(100)])
    peer = third.peer_id
    third.kill()
    third.move()
    third.start()
    wait_for(lambda: first.cluster()["peers"][str(peer)]["uri"] == third.uri)
    cluster.wait_ready()
    cluster.wait_active("c", 3)
    third.upsert("c", [{"id": 100, "vector": [1, 2, 3, 4]}])
    assert [member.count("c") for member in cluster] == [101] * 3
    assert third.cluster()["peer_id"] == peer
    assert second.cluster()["peers"] == first.cluster()["peers"]
