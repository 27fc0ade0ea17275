"""The endpoints of a node that is in a cluster: it alone votes, and knows of others that never answer."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from pydantic import TypeAdapter
from qdrant_client.http import models

from qnode.api import number_scan
from qnode.api.app import build_application
from qnode.channel import with_key
from qnode.cluster import Cluster, ClusterSettings
from qnode.index.vectors import warm_up
from qnode.models.collection import CollectionDefaults
from qnode.models.topology_commands import AddPeer
from qnode.quotas import Quotas
from qnode.shards.collections import Collections, CollectionsSettings
from qnode.shards.replicas import Replicas
from tests.api.conftest import BODY_LIMIT_BYTES, Client
from tests.support.node import free_port

ME, SEVEN, EIGHT, NOBODY = 5, 7, 8, 99
DOT = {"size": 2, "distance": "Dot"}
C = "/collections/c"


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    path: Path = tmp_path_factory.mktemp("member")
    warm_up()
    number_scan.warm_up()
    port = free_port()
    key = with_key("a key of more than sixteen bytes")
    with asyncio.Runner() as runner, ThreadPoolExecutor(1) as parsers:

        async def opened() -> tuple[Cluster, Collections, httpx.AsyncClient]:
            settings = ClusterSettings(f"http://127.0.0.1:{port}", "127.0.0.1", port, key, peer_id=ME)
            cluster = Cluster(settings, path / "raft")
            collections = Collections(
                CollectionsSettings(path / "collections"), cluster.log, me=cluster.me, channel=cluster.channel
            )
            await cluster.start(Replicas(cluster.channel, cluster.replica_states.propose))
            await collections.open()
            await cluster.started.wait()
            await collections.release_views()
            for peer in (SEVEN, EIGHT):
                await cluster.propose(AddPeer(peer, f"http://127.0.0.1:{free_port()}", "incarnation", version="0.1"))
            application = build_application(
                collections,
                parsers,
                CollectionDefaults(),
                topology=lambda: cluster.topology,
                quotas=Quotas(path, lambda: cluster.topology, cluster.log.propose),
                cluster=cluster,
                body_limit_bytes=BODY_LIMIT_BYTES,
            )
            transport = httpx.ASGITransport(application, raise_app_exceptions=False)
            return cluster, collections, httpx.AsyncClient(transport=transport, base_url="http://node")

        cluster, collections, http = runner.run(opened())
        yield Client(runner, http, path)
        runner.run(http.aclose())
        runner.run(collections.close())
        runner.run(cluster.close())


@pytest.fixture
def c(member: Client) -> Iterator[Client]:
    """The node, with a collection `c` of one shard, which it holds alone."""
    member.result("PUT", C, {"vectors": DOT, "shard_number": 1})
    yield member
    member.result("DELETE", C)


def ends(source: int, target: int, **more: Any) -> dict[str, Any]:
    return {"shard_id": 0, "from_peer_id": source, "to_peer_id": target, **more}


def operate(client: Client, **operation: Any) -> None:
    assert client.result("POST", f"{C}/cluster", operation) is True


def refusal(client: Client, **operation: Any) -> tuple[int, str]:
    return client.error("POST", f"{C}/cluster?timeout=5", operation)


def test_status_is_what_the_client_library_reads(member: Client) -> None:
    shown = member.result("GET", "/cluster")
    TypeAdapter(models.ClusterStatus).validate_json(orjson.dumps(shown), strict=True)
    assert (shown["status"], shown["peer_id"]) == ("enabled", ME)
    assert shown["peers"].keys() == {str(peer) for peer in (ME, SEVEN, EIGHT)}
    raft = shown["raft_info"]
    assert (raft["leader"], raft["role"], raft["is_voter"], raft["pending_operations"]) == (ME, "Leader", True, 0)
    assert shown["consensus_thread_status"]["consensus_thread_status"] == "working"


def test_telemetry_tells_of_peers_that_do_not_answer(c: Client) -> None:
    shown = c.result("GET", "/cluster/telemetry?details_level=2&timeout=1")
    TypeAdapter(models.DistributedTelemetryData).validate_json(orjson.dumps(shown), strict=True)
    peers = shown["cluster"]["peers"]
    assert {peer: told["responsive"] for peer, told in peers.items()} == {"5": True, "7": False, "8": False}
    assert peers["5"]["details"]["role"] == "Leader"
    assert shown["collections"]["c"]["shards"][0]["replicas"][0]["is_primary"]
    own = c.result("GET", "/telemetry?details_level=3")["cluster"]
    assert own["peer_metadata"]["7"] == {"version": "0.1"}
    assert own["status"]["number_of_peers"] == 3
    samples = c.send("GET", "/metrics").text.splitlines()
    assert {"cluster_enabled 1.0", "cluster_peers_total 3.0", "cluster_voter 1.0"} <= set(samples)


def test_transfer_is_shown_restarted_and_given_up(c: Client) -> None:
    operate(c, replicate_shard=ends(ME, SEVEN))
    shown = c.result("GET", f"{C}/cluster")
    TypeAdapter(models.CollectionClusterInfo).validate_json(orjson.dumps(shown), strict=True)
    assert shown["local_shards"] == [{"shard_id": 0, "points_count": 0, "state": "Active"}]
    assert shown["remote_shards"] == [{"shard_id": 0, "peer_id": SEVEN, "state": "Recovery"}]
    assert shown["shard_transfers"] == [{"shard_id": 0, "from": ME, "to": SEVEN, "sync": True, "method": "snapshot"}]
    involved = f"Bad request: Shard 0 is already involved in transfer {ME} -> {SEVEN}"
    assert refusal(c, move_shard=ends(ME, EIGHT)) == (400, involved)
    unchanged = "Bad request: Cannot restart transfer for shard 0, its configuration did not change"
    assert refusal(c, restart_transfer=ends(ME, SEVEN, method="snapshot")) == (400, unchanged)
    operate(c, restart_transfer=ends(ME, SEVEN, method="stream_records"))
    assert c.result("GET", f"{C}/cluster")["shard_transfers"][0]["method"] == "stream_records"
    operate(c, abort_transfer=ends(ME, SEVEN))
    shown = c.result("GET", f"{C}/cluster")
    assert (shown["shard_transfers"], shown["remote_shards"][0]["state"]) == ([], "Dead")
    missing = f"Not found: Shard transfer {ME} -> {SEVEN} for collection c:0 does not exist"
    assert refusal(c, abort_transfer=ends(ME, SEVEN)) == (404, missing)
    operate(c, drop_replica={"shard_id": 0, "peer_id": SEVEN})
    assert c.result("GET", f"{C}/cluster")["remote_shards"] == []


def test_copying_of_points_is_shown_as_a_transfer_to_another_shard_until_it_is_given_up(member: Client) -> None:
    keyed = "/collections/keyed"
    member.result("PUT", keyed, {"vectors": DOT, "sharding_method": "custom", "shard_number": 1})
    for key in ("all", "x"):
        member.result("PUT", f"{keyed}/shards", {"shard_key": key, "placement": [ME], "initial_state": "Partial"})
    wanted = {"replicate_points": {"from_shard_key": "all", "to_shard_key": "x", "filter": {"must": {"has_id": [1]}}}}
    text = 'Bad request: Sharding key "all" is not active'
    assert member.error("POST", f"{keyed}/cluster", wanted) == (400, text)
    member.result("POST", f"{keyed}/shards/delete", {"shard_key": "all"})
    member.result("PUT", f"{keyed}/shards", {"shard_key": "all", "placement": [ME], "initial_state": "Active"})
    assert member.result("POST", f"{keyed}/cluster", wanted) is True
    shown = member.result("GET", f"{keyed}/cluster")
    TypeAdapter(models.CollectionClusterInfo).validate_python(shown)
    ends = {"shard_id": 3, "to_shard_id": 2, "from": ME, "to": ME}
    assert shown["shard_transfers"] == [{**ends, "sync": True, "method": "stream_records"}]
    states = {each["shard_key"]: each["state"] for each in shown["local_shards"]}
    assert states == {"all": "Active", "x": "Partial"}
    text = 'Bad request: Points are already being copied from "all" to "x"'
    assert member.error("POST", f"{keyed}/cluster", wanted) == (400, text)
    given_up = {"shard_id": 3, "to_shard_id": 2, "from_peer_id": ME, "to_peer_id": ME}
    member.result("POST", f"{keyed}/cluster", {"abort_transfer": given_up})
    assert member.result("GET", f"{keyed}/cluster")["shard_transfers"] == []
    text = "Not found: Shard transfer 3 -> 2 for collection keyed does not exist"
    assert member.error("POST", f"{keyed}/cluster", {"abort_transfer": given_up}) == (404, text)
    member.result("DELETE", keyed)


@pytest.mark.parametrize(
    ("operation", "status", "text"),
    [
        ({"move_shard": ends(ME, NOBODY)}, 400, "Bad request: Peer 99 does not exist"),
        ({"replicate_shard": ends(NOBODY, ME)}, 400, "Bad request: Peer 99 does not exist"),
        ({"move_shard": ends(ME, SEVEN) | {"shard_id": 3}}, 400, "Bad request: Shard 3 of c does not exist"),
        ({"move_shard": ends(SEVEN, EIGHT)}, 400, "Bad request: Shard 0 is not active on peer 7"),
        ({"drop_replica": {"shard_id": 0, "peer_id": NOBODY}}, 400, "Bad request: Peer 99 does not exist"),
        ({"drop_replica": {"shard_id": 3, "peer_id": SEVEN}}, 400, "Bad request: Shard 3 of c does not exist"),
        (
            {"drop_replica": {"shard_id": 0, "peer_id": SEVEN}},
            400,
            "Bad request: Peer 7 has no replica of shard 0",
        ),
        (
            {"drop_replica": {"shard_id": 0, "peer_id": ME}},
            400,
            "Bad request: Shard 0 must have at least one active replica after removing 5",
        ),
        (
            {"create_sharding_key": {"shard_key": "k"}},
            400,
            "Bad request: Shard Key cannot be created with Auto sharding method",
        ),
        (
            {"drop_sharding_key": {"shard_key": "k"}},
            400,
            'Bad request: Sharding key "k" does not exist for collection c',
        ),
        (
            {"create_sharding_key": {"shard_key": "k", "placement": [NOBODY]}},
            400,
            "Bad request: Peer 99 does not exist",
        ),
        ({"start_resharding": {}}, 400, "Bad request: resharding is only supported in Qdrant Cloud"),
    ],
)
def test_operation_that_cannot_be_is_refused(c: Client, operation: dict[str, Any], status: int, text: str) -> None:
    assert refusal(c, **operation) == (status, text)


def test_operation_on_no_collection_is_not_found(member: Client) -> None:
    text = "Not found: Collection `c` doesn't exist!"
    assert refusal(member, drop_replica={"shard_id": 0, "peer_id": ME}) == (404, text)
    assert member.error("PUT", f"{C}/shards", {"shard_key": "k"}) == (404, text)
    assert member.error("GET", f"{C}/shards") == (404, text)


def test_timeout_of_nothing_is_refused(c: Client) -> None:
    status, text = c.error("POST", f"{C}/cluster?timeout=0", {"move_shard": ends(ME, SEVEN)})
    assert (status, "timeout" in text) == (422, True)


def test_peer_with_shards_is_kept_unless_it_is_forced_out(c: Client) -> None:
    operate(c, replicate_shard=ends(ME, EIGHT))
    kept = (400, "Bad request: Cannot remove peer 8 as there are shards on it")
    assert c.error("DELETE", "/cluster/peer/8") == kept
    assert c.error("DELETE", "/cluster/peer/8?force=false") == kept
    assert c.error("DELETE", f"/cluster/peer/{NOBODY}") == (400, "Bad request: Peer 99 does not exist")
    assert c.error("DELETE", "/cluster/peer/me") == (400, "Bad request: `me` is not the id of a peer")
    assert c.result("DELETE", "/cluster/peer/8?force=true") is True
    assert "8" not in c.result("GET", "/cluster")["peers"]
    assert c.result("GET", f"{C}/cluster")["shard_transfers"] == []


def test_peer_that_holds_a_last_copy_that_nobody_can_take_is_not_drained(c: Client) -> None:
    status, text = c.error("POST", f"/cluster/peer/{ME}/drain")
    assert status == 400
    assert text.startswith("Bad request: Cannot drain peer 5: it holds the last copy of shard 0 of c")
    assert c.error("POST", f"/cluster/peer/{NOBODY}/drain") == (400, "Bad request: Peer 99 does not exist")
    assert c.result("POST", f"/cluster/peer/{SEVEN}/drain") is True
    assert c.result("DELETE", f"/cluster/peer/{SEVEN}/drain") is True


def test_metadata_is_any_json_and_null_takes_it_away(member: Client) -> None:
    keys = "/cluster/metadata/keys"
    assert member.result("GET", keys) == []
    for value in ({"a": [1, None]}, 1, "text", False):
        assert member.result("PUT", f"{keys}/k?wait=true", value) is True
        assert member.result("GET", f"{keys}/k") == value
    assert member.result("GET", keys) == ["k"]
    assert member.result("PUT", f"{keys}/k", b"null") is True
    assert member.result("GET", f"{keys}/k") is None
    assert member.result("PUT", f"{keys}/k", 1) is True
    assert member.result("DELETE", f"{keys}/k") is True
    assert member.result("GET", keys) == []


def test_recovery_of_consensus_is_a_matter_of_course(member: Client) -> None:
    assert member.result("POST", "/cluster/recover") is True


def test_node_that_was_ready_stays_so_whoever_else_does_not_answer(member: Client) -> None:
    assert member.send("GET", "/readyz").text == "all shards are ready"
