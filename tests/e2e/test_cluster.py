"""A cluster of real processes that nothing happens to: every node takes every request, and shows the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import TypeAdapter
from qdrant_client import QdrantClient, models

from tests.support.cluster import ClusterOfProcesses
from tests.support.ledger import everything
from tests.support.node import wait_for

DIM = 4


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterOfProcesses]:
    with ClusterOfProcesses(tmp_path_factory.mktemp("cluster")) as running:
        yield running


def points(ids: range, version: int = 0) -> list[dict[str, Any]]:
    return [{"id": i, "vector": [i, version, 1, 0], "payload": {"version": version}} for i in ids]


def test_all_nodes_show_the_same_members_and_leader(cluster: ClusterOfProcesses) -> None:
    def agreed() -> bool:
        shown = [member.cluster() for member in cluster]
        rafts = [each["raft_info"] for each in shown]
        return (
            all(each["status"] == "enabled" and len(each["peers"]) == 3 for each in shown)
            and all(raft["is_voter"] and raft["leader"] for raft in rafts)
            and len({(raft["term"], raft["commit"], raft["leader"]) for raft in rafts}) == 1
            and sorted(raft["role"] for raft in rafts) == ["Follower", "Follower", "Leader"]
        )

    wait_for(agreed)
    first = cluster[0].cluster()
    assert first["peers"] == {str(member.peer_id): {"uri": member.uri} for member in cluster}
    for member in cluster:
        shown = member.cluster()
        assert shown["peers"] == first["peers"]
        assert shown["peer_id"] == member.peer_id
        assert shown["consensus_thread_status"]["consensus_thread_status"] == "working"
        TypeAdapter(models.ClusterStatus).validate_python(shown)


def test_collection_that_was_made_on_one_node_is_on_all_when_that_is_answered(cluster: ClusterOfProcesses) -> None:
    for number, member in enumerate(cluster):
        name = f"made{number}"
        member.create(name, DIM, replication_factor=3, shard_number=2)
        for other in cluster:
            assert name in [each["name"] for each in other.ask("GET", "/collections")["collections"]]
            shown = other.shards(name)
            TypeAdapter(models.CollectionClusterInfo).validate_python(shown)
            assert shown["shard_count"] == 2
            assert {replica["state"] for replica in shown["local_shards"] + shown["remote_shards"]} == {"Active"}
            assert (len(shown["local_shards"]), len(shown["remote_shards"])) == (2, 4)
    for number in range(len(cluster)):
        cluster[number - 1].ask("DELETE", f"/collections/made{number}")
    wait_for(lambda: all(member.ask("GET", "/collections")["collections"] == [] for member in cluster))


def test_what_is_written_through_any_node_is_read_through_any_node_at_once(cluster: ClusterOfProcesses) -> None:
    cluster[0].create("shared", DIM, replication_factor=3, shard_number=2)
    for version in range(5):
        for number, writer in enumerate(cluster):
            ids = range(number * 100, number * 100 + 20)
            writer.upsert("shared", points(ids, version))
            for reader in cluster:
                found = reader.retrieve("shared", list(ids))
                assert {key: point["payload"]["version"] for key, point in found.items()} == dict.fromkeys(ids, version)
    contents = [everything(address, "shared") for address in cluster.addresses]
    assert len(contents[0]) == 60
    assert contents[1:] == contents[:1] * 2
    assert [member.count("shared") for member in cluster] == [60] * 3
    cluster[1].ask("DELETE", "/collections/shared")


def test_node_that_holds_nothing_of_a_collection_answers_for_it(cluster: ClusterOfProcesses) -> None:
    cluster[0].create("elsewhere", DIM, distance="Euclid", shard_number=1)
    (holder,) = [member for member in cluster if member.shards("elsewhere")["local_shards"]]
    others = [member for member in cluster if member is not holder]
    others[0].upsert("elsewhere", points(range(50)))
    query = {"query": [7.2, 0, 1, 0], "limit": 3, "with_payload": True}
    answers = [member.ask("POST", "/collections/elsewhere/points/query", query) for member in cluster]
    assert [hit["id"] for hit in answers[0]["points"]] == [7, 8, 6]
    assert answers[1:] == answers[:1] * 2
    page = {"limit": 10, "filter": {"must": [{"has_id": list(range(5, 30))}]}}
    pages = [member.ask("POST", "/collections/elsewhere/points/scroll", page) for member in cluster]
    assert [point["id"] for point in pages[0]["points"]] == list(range(5, 15))
    assert pages[1:] == pages[:1] * 2
    others[1].ask("POST", "/collections/elsewhere/points/delete", {"points": [7]}, wait="true")
    assert [member.count("elsewhere") for member in cluster] == [49] * 3
    others[1].ask("DELETE", "/collections/elsewhere")


def test_client_library_works_through_a_node_that_holds_a_part(cluster: ClusterOfProcesses) -> None:
    client = QdrantClient(url=cluster[1].address, check_compatibility=False)
    vectors = models.VectorParams(size=DIM, distance=models.Distance.DOT)
    client.create_collection("parts", vectors, shard_number=6)
    client.upsert("parts", [models.PointStruct(id=i, vector=[i, 1, 0, 0], payload={"n": i}) for i in range(100)])
    found = client.query_points("parts", query=[1.0, 0, 0, 0], limit=5, with_payload=True).points
    assert [(hit.id, hit.payload) for hit in found] == [(i, {"n": i}) for i in range(99, 94, -1)]
    at_least_half = models.Filter(must=[models.FieldCondition(key="n", range=models.Range(gte=50))])
    assert client.count("parts", count_filter=at_least_half).count == 50
    assert client.get_collection("parts").points_count == 100
    client.create_payload_index("parts", "n", models.PayloadSchemaType.INTEGER)
    assert client.count("parts", count_filter=at_least_half).count == 50
    client.delete_collection("parts")
    client.close()


def test_replica_is_copied_moved_and_dropped_in_use(cluster: ClusterOfProcesses) -> None:
    cluster[0].create("moving", DIM, shard_number=1)
    cluster[0].upsert("moving", points(range(500)))
    (source,) = [member for member in cluster if member.shards("moving")["local_shards"]]
    second, third = [member for member in cluster if member is not source]

    copy = {"shard_id": 0, "from_peer_id": source.peer_id, "to_peer_id": second.peer_id}
    assert third.operate("moving", replicate_shard=copy).json()["result"] is True
    cluster.wait_active("moving", 2)
    move = {"shard_id": 0, "from_peer_id": source.peer_id, "to_peer_id": third.peer_id}
    assert source.operate("moving", move_shard=move).json()["result"] is True
    holders = {second.peer_id: "Active", third.peer_id: "Active"}
    wait_for(lambda: all(member.replicas("moving") == {0: holders} for member in cluster))
    third.upsert("moving", points(range(10), version=1))
    contents = [everything(address, "moving") for address in cluster.addresses]
    assert [contents[0][i]["payload"]["version"] for i in (9, 10)] == [1, 0]
    assert contents[1:] == contents[:1] * 2

    drop = {"shard_id": 0, "peer_id": second.peer_id}
    assert source.operate("moving", drop_replica=drop).json()["result"] is True
    wait_for(lambda: all(member.replicas("moving") == {0: {third.peer_id: "Active"}} for member in cluster))
    last = source.operate("moving", drop_replica={"shard_id": 0, "peer_id": third.peer_id})
    assert last.status_code == 400
    assert "must have at least one active replica" in last.json()["status"]["error"]
    assert [member.count("moving") for member in cluster] == [500] * 3
    cluster[0].ask("DELETE", "/collections/moving")


def test_drained_node_gives_everything_away_and_takes_nothing_new(cluster: ClusterOfProcesses) -> None:
    cluster[0].create("drained", DIM, shard_number=3)
    cluster[0].upsert("drained", points(range(100)))
    leaving = next(member for member in cluster if member.shards("drained")["local_shards"])
    asked = next(member for member in cluster if member is not leaving)
    asked.ask("POST", f"/cluster/peer/{leaving.peer_id}/drain")
    wait_for(lambda: leaving.shards("drained")["local_shards"] == [])
    assert [member.count("drained") for member in cluster] == [100] * 3
    asked.create("later", DIM, shard_number=4)
    assert leaving.shards("later")["local_shards"] == []
    asked.ask("DELETE", f"/cluster/peer/{leaving.peer_id}/drain")
    for name in ("drained", "later"):
        asked.ask("DELETE", f"/collections/{name}")


def test_metadata_is_kept_for_all_nodes(cluster: ClusterOfProcesses) -> None:
    value = {"teams": [1, "two", None], "deep": {"er": 1.5}}
    cluster[0].ask("PUT", "/cluster/metadata/keys/mine", value, wait="true")
    wait_for(lambda: all(member.ask("GET", "/cluster/metadata/keys/mine") == value for member in cluster))
    assert cluster[2].ask("GET", "/cluster/metadata/keys") == ["mine"]
    cluster[1].ask("DELETE", "/cluster/metadata/keys/mine", wait="true")
    wait_for(lambda: all(member.ask("GET", "/cluster/metadata/keys/mine") is None for member in cluster))


def test_telemetry_of_any_node_tells_of_all(cluster: ClusterOfProcesses) -> None:
    for member in cluster:
        told = member.ask("GET", "/cluster/telemetry", details_level=2)
        TypeAdapter(models.DistributedTelemetryData).validate_python(told)
        assert told["cluster"]["number_of_peers"] == 3
        assert all(peer["responsive"] for peer in told["cluster"]["peers"].values())
        own = member.ask("GET", "/telemetry", details_level=3)["cluster"]
        assert own["enabled"]
        assert own["peers"].keys() == own["peer_metadata"].keys() == told["cluster"]["peers"].keys()
