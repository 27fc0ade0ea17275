"""Networks that are cut between nodes that run: who cannot know does not acknowledge, the others go on, and all heals by itself."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.support.cluster import ClusterOfProcesses, Member
from tests.support.ledger import DIM, Ledger
from tests.support.node import wait_for

POINT = {"points": [{"id": 999_999_999, "vector": [1, 2, 3, 4]}]}
PRIMARY_SECONDS = 3


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterOfProcesses]:
    with ClusterOfProcesses(tmp_path_factory.mktemp("cuts"), cuttable=True) as running:
        yield running


@pytest.fixture
def cluster(shared: ClusterOfProcesses) -> Iterator[ClusterOfProcesses]:
    """Three nodes, all of which hold the collection `c`."""
    with shared.holding("c", DIM, replication_factor=3, shard_number=1):
        yield shared


def others_than(cluster: ClusterOfProcesses, *members: Member) -> list[Member]:
    return [member for member in cluster if member not in members]


def check(cluster: ClusterOfProcesses, ledger: Ledger) -> None:
    cluster.network.heal()
    ledger.wait_for_more()
    ledger.stop()
    cluster.wait_active("c", 3)
    ledger.check(cluster.addresses)


def test_primary_that_is_cut_off_acknowledges_nothing_while_others_go_on(cluster: ClusterOfProcesses) -> None:
    primary = cluster.primary_of("c")
    others = others_than(cluster, primary)
    with Ledger([member.address for member in others], "c") as ledger:
        ledger.wait_for_more()
        cluster.network.isolate(cluster.number(primary))
        with httpx.Client(base_url=primary.address, timeout=30.0, trust_env=False) as client:
            answer = client.put(
                "/collections/c/points", params={"wait": "false", "timeout": PRIMARY_SECONDS}, json=POINT
            )
        assert answer.json()["result"]["status"] == "wait_timeout", answer.text
        ledger.wait_for_more(100)
        ledger.entries.pop(999_999_999, None)
        assert others[0].retrieve("c", [999_999_999]) == {}
        check(cluster, ledger)
    assert [member.retrieve("c", [999_999_999]) for member in cluster] == [{}] * 3


@pytest.mark.parametrize(
    "way",
    [
        "both",
        pytest.param("to the primary", marks=pytest.mark.soak),
        pytest.param("to the replica", marks=pytest.mark.soak),
    ],
)
def test_replica_out_of_the_primarys_reach_leaves_the_set_and_comes_back(cluster: ClusterOfProcesses, way: str) -> None:
    primary = cluster.primary_of("c")
    replica = next(member for member in others_than(cluster, primary) if member is not cluster.leader())
    one, other = cluster.number(primary), cluster.number(replica)
    with Ledger([primary.address], "c") as ledger:
        ledger.wait_for_more()
        if way == "to the primary":
            cluster.network.cut(other, one, one_way=True)
        else:
            cluster.network.cut(one, other, one_way=way != "both")
        ledger.wait_for_more(100)
        wait_for(lambda: primary.replicas("c")[0][replica.peer_id] != "Active")
        check(cluster, ledger)


def test_node_that_is_cut_off_refuses_reads_of_what_others_may_have_changed(cluster: ClusterOfProcesses) -> None:
    cluster[0].create("sole", DIM, shard_number=1)
    (holder,) = [member for member in cluster if member.shards("sole")["local_shards"]]
    holder.upsert("sole", [{"id": 1, "vector": [1, 2, 3, 4]}])
    others = others_than(cluster, holder)
    cluster.network.isolate(cluster.number(holder))
    write = {"points": [{"id": 1, "vector": [1, 2, 3, 4]}]}
    wait_for(lambda: others[0].call("PUT", "/collections/c/points", write, wait="true").status_code == 200)
    answer = holder.call("GET", "/collections/c/points/1")
    assert answer.status_code == 500
    assert "has no active replica" in answer.text
    assert holder.count("sole") == 1
    cluster.network.heal()
    wait_for(lambda: holder.retrieve("c", [1]) != {})
    cluster.wait_active("c", 3)
    others[0].ask("DELETE", "/collections/sole")


def test_leader_that_is_cut_off_is_replaced(cluster: ClusterOfProcesses) -> None:
    leader = cluster.leader()
    others = others_than(cluster, leader)
    with Ledger([member.address for member in others], "c") as ledger:
        ledger.wait_for_more()
        cluster.network.isolate(cluster.number(leader))
        ledger.wait_for_more(100)
        others[0].create("during", DIM)
        check(cluster, ledger)
    wait_for(lambda: leader.call("GET", "/collections/during").status_code == 200)
    others[0].ask("DELETE", "/collections/during")


@pytest.mark.soak
def test_slow_links_slow_writes_down_and_take_nobody_out(cluster: ClusterOfProcesses) -> None:
    with Ledger(cluster.addresses, "c") as ledger:
        ledger.wait_for_more()
        cluster.network.slow_down(range(3), 0.05)
        ledger.wait_for_more(60)
        assert set(cluster[0].replicas("c")[0].values()) == {"Active"}
        check(cluster, ledger)


def test_links_that_break_for_a_moment_cost_reads_and_new_collections_nothing(cluster: ClusterOfProcesses) -> None:
    cluster[0].create("single", DIM, shard_number=1)
    (holder,) = [member for member in cluster if member.shards("single")["local_shards"]]
    holder.upsert("single", [{"id": 1, "vector": [1, 2, 3, 4]}])
    asked = others_than(cluster, holder)[0]
    for number in range(10):
        cluster.network.break_links()
        assert asked.count("single") == 1
        if number % 5 == 0:
            cluster.network.break_links()
            asked.create(f"new{number}", DIM, replication_factor=3)
            assert [member.count(f"new{number}") for member in cluster] == [0] * 3
            asked.ask("DELETE", f"/collections/new{number}")
    asked.ask("DELETE", "/collections/single")
