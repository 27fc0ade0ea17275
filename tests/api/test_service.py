import asyncio

import numpy as np
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import TypeAdapter
from qdrant_client.http import models

from qnode.shards import recall
from tests.api.conftest import Client

DOT = {"size": 2, "distance": "Dot"}


def test_the_root_tells_name_and_version_as_clients_expect(client: Client) -> None:
    shown = orjson.loads(client.send("GET", "/").content)
    assert (shown["title"], shown["version"]) == ("qdrant - vector search engine", "1.19.0")
    assert len(shown["commit"]) == 40


def test_health_is_plain_text(client: Client) -> None:
    for path, text in (
        ("/healthz", "healthz check passed"),
        ("/livez", "healthz check passed"),
        ("/readyz", "all shards are ready"),
    ):
        response = client.send("GET", path)
        assert (response.status_code, response.text) == (200, text)
        assert response.headers["content-type"].startswith("text/plain")


def test_metrics_count_answers_and_points(client: Client) -> None:
    client.result("PUT", "/collections/m", {"vectors": {"v": DOT}})
    client.result("PUT", "/collections/m/points?wait=true", {"points": [{"id": 1, "vector": {"v": [1.0, 1.0]}}]})
    for _ in range(3):
        client.result("POST", "/collections/m/points/count", {})
    client.error("POST", "/collections/m/points/count", {"exact": 7})
    text = client.send("GET", "/metrics").text
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    count = ("endpoint", "/collections/{collection_name}/points/count"), ("method", "POST")
    assert samples["rest_responses_total", *count, ("status", "200")] == 3
    assert samples["rest_responses_total", *count, ("status", "400")] == 1
    assert samples["rest_responses_duration_seconds_count", *count, ("status", "200")] == 3
    assert samples["app_info", ("name", "qdrant"), ("version", "1.19.0")] == 1
    assert samples["collection_points", ("id", "m")] == 1
    assert samples["collection_vectors", ("collection", "m"), ("vector", "v")] == 1
    assert samples["collections_total",] == 1
    client.result("DELETE", "/collections/m")


def test_metrics_tell_collections_apart_when_they_are_asked_to(client: Client) -> None:
    for name, times in (("one", 1), ("two", 2)):
        client.result("PUT", f"/collections/{name}", {"vectors": DOT})
        for _ in range(times):
            client.result("POST", f"/collections/{name}/points/scroll", {})
    client.error("POST", "/collections/three/points/scroll", {})

    def counted(path: str) -> dict[tuple[str, str], float]:
        return {
            (sample.labels.get("collection", "all"), sample.labels["status"]): sample.value
            for family in text_string_to_metric_families(client.send("GET", path).text)
            for sample in family.samples
            if sample.name == "rest_responses_total" and sample.labels["endpoint"].endswith("/points/scroll")
        }

    assert counted("/metrics?per_collection=true") == {("one", "200"): 1, ("two", "200"): 2, ("", "404"): 1}
    assert counted("/metrics?per_collection=false") == counted("/metrics") == {("all", "200"): 3, ("all", "404"): 1}
    for name in ("one", "two"):
        client.result("DELETE", f"/collections/{name}")


def test_metrics_show_what_dashboards_of_one_node_ask_for(client: Client) -> None:
    client.result("PUT", "/collections/m", {"vectors": {"v": DOT}})
    samples = {
        sample.name: (sample.value, sample.labels)
        for family in text_string_to_metric_families(client.send("GET", "/metrics").text)
        for sample in family.samples
    }
    assert samples["app_status_recovery_mode"] == (0, {})
    assert samples["collection_running_optimizations"] == (0, {"id": "m"})
    assert samples["system_max_mmaps"][0] > 1000
    for name in ("active", "allocated", "resident"):
        assert samples[f"memory_{name}_bytes"][0] > 1 << 20
    client.result("DELETE", "/collections/m")


def test_what_is_anonymous_holds_no_word_of_the_users(client: Client) -> None:
    settings = {"vectors": {"secretvector": DOT}, "metadata": {"of": "secretowner"}}
    client.result("PUT", "/collections/secretname", settings)
    client.result("POST", "/collections/secretname/points/scroll", {})
    plain = client.send("GET", "/telemetry?details_level=9").text
    for word in ("secretname", "secretvector", "secretowner"):
        assert word in plain
    hidden = client.result("GET", "/telemetry?details_level=9&anonymize=true")
    assert "secret" not in str(hidden)
    (shown,) = hidden["collections"]["collections"]
    (vector,) = shown["config"]["params"]["vectors"]
    assert shown["shards"][0]["local"]["num_vectors_by_name"] == {vector: 0}
    metrics = client.send("GET", "/metrics?anonymize=true&per_collection=true").text
    assert "secret" not in metrics
    assert f'collection_vectors{{collection="{shown["id"]}",vector="{vector}"}} 0.0' in metrics
    client.result("DELETE", "/collections/secretname")


def test_names_within_settings_are_hidden_from_the_anonymous_too(client: Client) -> None:
    settings = {
        "vectors": DOT,
        "sparse_vectors": {"secretwords": {}},
        "strict_mode_config": {"enabled": True, "sparse_config": {"secretwords": {"max_length": 9}}},
    }
    client.result("PUT", "/collections/h", settings)
    client.result("PUT", "/collections/h/points?wait=true", {"points": [{"id": 1, "vector": [1, 1]}]})
    schema = {"type": "text", "stopwords": {"languages": ["english"], "custom": ["secretcustom"]}}
    client.result("PUT", "/collections/h/index?wait=true", {"field_name": "secretfield", "field_schema": schema})
    plain = client.send("GET", "/telemetry?details_level=9").text
    for word in ("secretwords", "secretcustom", "secretfield"):
        assert word in plain
    for level in (1, 2, 9):
        hidden = client.result("GET", f"/telemetry?details_level={level}&anonymize=true")
        assert "secret" not in str(hidden)
    (shown,) = hidden["collections"]["collections"]
    (vector,) = shown["config"]["params"]["sparse_vectors"]
    assert shown["config"]["strict_mode_config"]["sparse_config"] == {vector: {"max_length": 9}}
    client.result("DELETE", "/collections/h")


def test_telemetry_tells_of_shards_from_level_three_on(client: Client) -> None:
    client.result("PUT", "/collections/t", {"vectors": DOT, "shard_number": 2})
    client.result("PUT", "/collections/t/points?wait=true", {"points": [{"id": i, "vector": [i, 1]} for i in range(9)]})
    for level in (2, 3, 4):
        (shown,) = client.result("GET", f"/telemetry?details_level={level}")["collections"]["collections"]
        assert ("shards" in shown, "transfers" in shown, "resharding" in shown) == (level > 2,) * 3
        if level > 2:
            assert [shard["id"] for shard in shown["shards"]] == [0, 1]
            assert sum(shard["local"]["num_points"] for shard in shown["shards"]) == 9
            assert list(shown["shards"][0]["replicate_states"].values()) == ["Active"]
            assert ("indexed_only_excluded_vectors" in shown["shards"][0]["local"]) == (level > 3)
    client.result("DELETE", "/collections/t")


@pytest.mark.parametrize("level", [0, 1, 2, 4])
def test_telemetry_is_what_the_client_library_reads(client: Client, level: int) -> None:
    client.result("PUT", "/collections/t", {"vectors": DOT})
    shown = client.result("GET", f"/telemetry?details_level={level}")
    TypeAdapter(models.RequestsTelemetry).validate_json(orjson.dumps(shown["requests"]), strict=True)
    TypeAdapter(models.AppBuildTelemetry).validate_json(orjson.dumps(shown["app"]), strict=True)
    TypeAdapter(models.CollectionsTelemetry).validate_json(orjson.dumps(shown["collections"]), strict=True)
    assert shown["collections"]["number_of_collections"] == 1
    assert ("memory" in shown) == (level >= 1)
    if level:
        TypeAdapter(models.MemoryTelemetry).validate_json(orjson.dumps(shown["memory"]), strict=True)
    assert shown["requests"]["rest"]["responses"]["PUT /collections/{collection_name}"]["200"]["count"] >= 1
    client.result("DELETE", "/collections/t")


def samples_of(client: Client, path: str = "/metrics") -> dict[str, dict[tuple[str, ...], float]]:
    """Read metrics: name, values of labels, value."""
    read: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(client.send("GET", path).text):
        for sample in family.samples:
            read.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return read


def test_metrics_show_replicas_queues_and_snapshots_of_each_collection(client: Client) -> None:
    client.result("PUT", "/collections/m", {"vectors": DOT, "shard_number": 2})
    client.result("POST", "/collections/m/snapshots")
    samples = samples_of(client)
    for name, value in (
        ("collection_active_replicas_min", 1),
        ("collection_active_replicas_max", 1),
        ("collection_dead_replicas", 0),
        ("collection_shard_transfer_incoming", 0),
        ("collection_shard_transfer_outgoing", 0),
        ("collection_update_queue_length", 0),
        ("collection_update_queue_deferred_points", 0),
        ("snapshot_creation_running", 0),
        ("snapshot_recovery_running", 0),
        ("snapshot_created_total", 1),
    ):
        assert samples[name] == {("m",): value}, name
    assert samples["cluster_enabled"] == {(): 0}
    counted = client.result("GET", "/telemetry?details_level=1")["collections"]["snapshots"]
    assert counted == [
        {"id": "m", "running_snapshots": 0, "running_snapshot_recovery": 0, "total_snapshot_creations": 1}
    ]
    client.result("DELETE", "/collections/m")


def test_telemetry_counts_answers_by_collection_when_it_is_asked_to(client: Client) -> None:
    client.result("PUT", "/collections/t", {"vectors": DOT})
    client.result("POST", "/collections/t/points/scroll", {})
    assert "per_collection_responses" not in client.result("GET", "/telemetry")["requests"]["rest"]
    counted = client.result("GET", "/telemetry?per_collection=true")["requests"]["rest"]["per_collection_responses"]
    assert counted["t"]["POST /collections/{collection_name}/points/scroll"]["200"]["count"] == 1
    client.result("DELETE", "/collections/t")


def test_telemetry_describes_the_machine_from_level_one_on(client: Client) -> None:
    assert "features" not in client.result("GET", "/telemetry")["app"]
    shown = client.result("GET", "/telemetry?details_level=1")
    system = shown["app"]["system"]
    assert system["cores"] >= 1
    assert system["ram_size"] > 1 << 10
    assert shown["search_pool"]["high_cpu_threads"] > 0
    TypeAdapter(models.RunningEnvironmentTelemetry).validate_json(orjson.dumps(system), strict=True)


def test_segments_builds_and_recall_of_an_indexed_collection_are_told(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recall, "REST_FACTOR", 0)
    monkeypatch.setattr(recall, "BUSY_SHARE", 1000.0)
    settings = {"vectors": {"size": 16, "distance": "Dot"}, "optimizers_config": {"indexing_threshold": 1}}
    client.result("PUT", "/collections/t", settings)
    client.result("PUT", "/collections/t/index?wait=true", {"field_name": "n", "field_schema": "integer"})
    random = np.random.default_rng(7)
    points = [{"id": i, "vector": random.standard_normal(16).tolist(), "payload": {"n": i}} for i in range(2000)]
    client.result("PUT", "/collections/t/points?wait=true", {"points": points})
    while client.result("GET", "/collections/t")["status"] != "green":
        client.runner.run(asyncio.sleep(0.02))
    info = client.result("GET", "/collections/t")
    assert (info["indexed_vectors_count"], info["optimizer_status"]) == (2000, "ok")
    assert client.recall is not None
    client.runner.run(client.recall.probe_all())

    shown = client.result("GET", "/telemetry?details_level=4")
    (reading,) = shown["estimated_recall"]["t"].values()
    assert 0.9 < reading["recall"] <= 1
    assert (reading["k"], reading["found"], reading["scanned"]) == (10, 80, 1)
    (collection,) = shown["collections"]["collections"]
    local = collection["shards"][0]["local"]
    TypeAdapter(models.LocalShardTelemetry).validate_json(orjson.dumps(local), strict=True)
    assert local["total_optimized_points"] == 2000
    assert local["optimizations"]["optimizations"]["count"] == len(local["optimizations"]["log"]) == 1
    (segment,) = local["segments"]
    assert (segment["info"]["segment_type"], segment["info"]["num_indexed_vectors"]) == ("indexed", 2000)
    assert segment["info"]["index_schema"]["n"]["points"] == 2000
    assert segment["config"]["vector_data"][""]["index"]["type"] == "hnsw"
    samples = samples_of(client)
    assert samples["collection_estimated_recall"] == {("t", ""): reading["recall"]}
    assert samples["collection_estimated_recall_sample"] == {("t", ""): 80}
    assert samples["collection_segments"] == {("t",): 1}
    client.result("DELETE", "/collections/t")
    client.runner.run(client.recall.probe_all())
    assert client.recall.readings("t") == {}


def test_there_are_no_issues(client: Client) -> None:
    assert client.result("GET", "/issues") == {"issues": []}
    assert client.result("DELETE", "/issues") is True


def test_stacks_of_threads_and_slow_requests_are_told(client: Client) -> None:
    threads = client.result("GET", "/stacktrace")["threads"]
    assert any("_threads" in frame for thread in threads for frame in thread["frames"])
    client.result("PUT", "/collections/slow", {"vectors": DOT})
    slow = client.result("GET", "/profiler/slow_requests?limit=5")["requests"]
    assert len(slow) <= 5
    assert [one["duration"] for one in slow] == sorted((one["duration"] for one in slow), reverse=True)
    client.result("DELETE", "/collections/slow")


def test_the_log_level_can_be_changed_and_not_to_anything(client: Client) -> None:
    before = client.result("GET", "/logger")
    try:
        assert client.result("POST", "/logger", {"log_level": "error"}) is True
        assert client.result("GET", "/logger") == {"log_level": "ERROR"}
        assert client.error("POST", "/logger", {"log_level": "loud"})[0] == 400
        assert client.result("GET", "/logger") == {"log_level": "ERROR"}
    finally:
        client.result("POST", "/logger", before)


def test_unknown_routes_and_methods_get_the_envelope(client: Client) -> None:
    assert client.error("GET", "/nothing/here") == (404, "Not found: there is nothing at /nothing/here")
    assert client.error("DELETE", "/metrics") == (405, "DELETE is not allowed at /metrics")
    assert client.error("POST", "/collections/a/b/c/d", {})[0] == 404


def test_pages_of_any_origin_may_call(client: Client) -> None:
    origin = {"origin": "http://page"}
    for path in ("/collections", "/collections/x/points/1"):
        assert client.send("GET", path, headers=origin).headers["access-control-allow-origin"] == "*"
    headers = {**origin, "content-type": "application/json"}
    hot = client.send("POST", "/collections/x/points/query", b"{}", headers=headers)
    assert hot.headers["access-control-allow-origin"] == "*"
    asked = {**origin, "access-control-request-method": "PUT", "access-control-request-headers": "api-key"}
    preflight = client.send("OPTIONS", "/collections/x/points", headers=asked)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-methods"] == "PUT"
    assert preflight.headers["access-control-allow-headers"] == "api-key"
    assert "access-control-allow-origin" not in client.send("GET", "/collections").headers
