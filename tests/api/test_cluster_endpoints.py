from typing import Any

import orjson
import pytest
from pydantic import TypeAdapter
from qdrant_client.http import models

from tests.api.conftest import Client

DOT = {"size": 2, "distance": "Dot"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/cluster/recover", None),
        ("DELETE", "/cluster/peer/1", None),
        ("POST", "/cluster/peer/1/drain", None),
        ("DELETE", "/cluster/peer/1/drain", None),
        ("GET", "/cluster/metadata/keys", None),
        ("GET", "/cluster/metadata/keys/k", None),
        ("PUT", "/cluster/metadata/keys/k", 1),
        ("DELETE", "/cluster/metadata/keys/k", None),
        ("POST", "/collections/none/cluster", {"drop_replica": {"shard_id": 0, "peer_id": 1}}),
        ("PUT", "/collections/none/shards", {"shard_key": "k"}),
        ("POST", "/collections/none/shards/delete", {"shard_key": "k"}),
    ],
)
def test_node_that_runs_alone_refuses_what_needs_a_cluster(client: Client, method: str, path: str, body: Any) -> None:
    assert client.error(method, path, body) == (405, "Qdrant is running in standalone mode")


def test_node_that_runs_alone_shows_what_it_holds(client: Client) -> None:
    client.result("PUT", "/collections/alone", {"vectors": DOT, "shard_number": 2})
    points = [{"id": i, "vector": [1, 1]} for i in range(10)]
    client.result("PUT", "/collections/alone/points?wait=true", {"points": points})
    shown = client.result("GET", "/collections/alone/cluster")
    TypeAdapter(models.CollectionClusterInfo).validate_json(orjson.dumps(shown), strict=True)
    assert (shown["peer_id"], shown["shard_count"]) == (0, 2)
    assert [(shard["shard_id"], shard["state"]) for shard in shown["local_shards"]] == [(0, "Active"), (1, "Active")]
    assert sum(shard["points_count"] for shard in shown["local_shards"]) == 10
    assert shown["remote_shards"] == shown["shard_transfers"] == []
    assert client.result("GET", "/collections/alone/shards") == {}
    assert client.error("GET", "/collections/none/cluster") == (404, "Not found: Collection `none` doesn't exist!")
    client.result("DELETE", "/collections/alone")


def test_telemetry_of_the_cluster_is_there_without_one(client: Client) -> None:
    client.result("PUT", "/collections/alone", {"vectors": DOT})
    assert client.result("GET", "/cluster") == {"status": "disabled"}
    brief = client.result("GET", "/cluster/telemetry")
    assert brief == {"collections": {"alone": {"id": "alone"}}, "cluster": {"enabled": False, "peers": {}}}
    shown = client.result("GET", "/cluster/telemetry?details_level=2")
    TypeAdapter(models.DistributedTelemetryData).validate_json(orjson.dumps(shown), strict=True)
    assert shown["collections"]["alone"]["shards"] == [
        {"id": 0, "replicas": [{"peer_id": 0, "state": "Active", "is_primary": True}]}
    ]
    client.result("DELETE", "/collections/alone")
