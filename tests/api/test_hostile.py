"""Bodies that nobody should send: valid ones with anything in the place of anything. Every answer is a clear one.

`QNODE_TEST_SEED` repeats a run, `QNODE_HOSTILE_STEPS` makes it longer.
"""

import copy
import os
import random
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from tests.api.conftest import Client

STEPS = int(os.environ.get("QNODE_HOSTILE_STEPS", "600"))
SEED = int(os.environ.get("QNODE_TEST_SEED", random.randrange(2**32)))
C = "/collections/hostile"
UUID = "6f0d2d6c-5b4e-4c0e-9a38-1f4ed9a5cf5e"
MAX_U64 = 2**64 - 1

FILTER: dict[str, Any] = {
    "must": [{"key": "a[].b", "match": {"value": "x"}}, {"has_id": [1, UUID]}, {"has_vector": "a"}],
    "should": [
        {"key": "n", "range": {"gt": 1, "lte": 2.5}},
        {"key": "t", "range": {"gte": "2024-01-01T00:00:00Z"}},
        {"key": "k", "match": {"any": ["x", "y"]}},
        {"key": "k", "match": {"except": [1, 2]}},
        {"key": "place", "geo_radius": {"center": {"lon": 1.0, "lat": 2.0}, "radius": 1000.0}},
    ],
    "must_not": [
        {"key": "l", "values_count": {"gte": 2}},
        {"is_null": {"key": "k"}},
        {"is_empty": {"key": "k"}},
        {"nested": {"key": "parts", "filter": {"must": [{"key": "q", "range": {"lt": 3}}]}}},
        {"slice": {"total": 4, "index": 1}},
    ],
    "min_should": {
        "conditions": [{"key": "b", "match": {"value": True}}, {"key": "n", "is_null": False}],
        "min_count": 1,
    },
}
PARAMS = {
    "hnsw_ef": 32,
    "exact": False,
    "indexed_only": False,
    "quantization": {"ignore": False, "rescore": True, "oversampling": 2.0},
}
POINT = {"id": 1, "vector": {"a": [1.0, 2.0], "b": [1.0, 2.0, 3.0]}, "payload": {"k": "x", "l": [1, None, {"b": 2}]}}
QUERY = {
    "query": {"nearest": [1.0, 2.0]},
    "using": "a",
    "filter": FILTER,
    "params": PARAMS,
    "score_threshold": 0.5,
    "limit": 3,
    "offset": 1,
    "with_payload": {"include": ["k", "l[].b"]},
    "with_vector": ["a"],
}
SEARCH = {"vector": {"name": "a", "vector": [1.0, 2.0]}, "limit": 3, "params": PARAMS, "filter": FILTER}
PAYLOAD = {"payload": {"k": "y", "l": None}, "key": "deep[0].er", "filter": FILTER}
VECTORS = {"points": [{"id": 1, "vector": {"a": [1.0, 2.0]}}], "update_filter": FILTER}
OPERATIONS = {
    "operations": [
        {"upsert": {"points": [POINT]}},
        {"delete": {"points": [1]}},
        {"set_payload": PAYLOAD},
        {"update_vectors": VECTORS},
        {"delete_vectors": {"points": [1], "vector": ["a"]}},
        {"clear_payload": {"points": [1]}},
    ]
}
CREATION: dict[str, Any] = {
    "vectors": {
        "a": {
            "size": 2,
            "distance": "Dot",
            "datatype": "uint8",
            "on_disk": True,
            "hnsw_config": {"m": 8, "ef_construct": 10, "on_disk": True, "inline_storage": True},
            "quantization_config": {"scalar": {"type": "int8", "quantile": 0.9, "always_ram": True}},
        }
    },
    "hnsw_config": {
        "m": 16,
        "ef_construct": 100,
        "full_scan_threshold": 100,
        "max_indexing_threads": 1,
        "payload_m": 4,
    },
    "optimizers_config": {
        "deleted_threshold": 0.5,
        "vacuum_min_vector_number": 100,
        "default_segment_number": 2,
        "max_segment_size": 100,
        "memmap_threshold": 100,
        "indexing_threshold": 100,
        "flush_interval_sec": 5,
        "max_optimization_threads": "auto",
    },
    "wal_config": {"wal_capacity_mb": 1, "wal_segments_ahead": 0},
    "quantization_config": {"binary": {"always_ram": True, "encoding": "two_bits", "query_encoding": "scalar4bits"}},
    "shard_number": 2,
    "replication_factor": 1,
    "write_consistency_factor": 1,
    "on_disk_payload": True,
    "sharding_method": "auto",
    "strict_mode_config": {"enabled": False, "max_query_limit": 10},
    "metadata": {"a": {"b": [1, None]}},
}
CHANGE = {
    "vectors": {"a": {"hnsw_config": {"m": 4}, "quantization_config": "Disabled", "on_disk": False}},
    "params": {"replication_factor": 1, "on_disk_payload": True, "read_fan_out_factor": 1},
    **{name: CREATION[name] for name in ("hnsw_config", "optimizers_config", "strict_mode_config", "metadata")},
}
BODIES: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", f"{C}/points/query", QUERY),
    ("POST", f"{C}/points/query", {**QUERY, "query": 1}),
    ("POST", f"{C}/points/query/batch", {"searches": [QUERY, {"limit": 2}]}),
    ("POST", f"{C}/points/search", SEARCH),
    ("POST", f"{C}/points/search/batch", {"searches": [SEARCH]}),
    (
        "POST",
        f"{C}/points/scroll",
        {"offset": 1, "limit": 2, "filter": FILTER, "with_payload": ["k"], "with_vector": True},
    ),
    ("POST", f"{C}/points/count", {"filter": FILTER, "exact": False}),
    ("POST", f"{C}/points", {"ids": [1, UUID], "with_payload": {"exclude": ["k"]}, "with_vector": ["a", "b"]}),
    (
        "PUT",
        f"{C}/points",
        {"points": [POINT, {**POINT, "id": UUID}], "update_filter": FILTER, "update_mode": "upsert"},
    ),
    (
        "PUT",
        f"{C}/points",
        {"batch": {"ids": [1, 2], "vectors": {"a": [[1.0, 2.0], [3.0, 4.0]]}, "payloads": [{"k": 1}, None]}},
    ),
    ("POST", f"{C}/points/delete", {"points": [1, UUID]}),
    ("POST", f"{C}/points/delete", {"filter": FILTER}),
    ("PUT", f"{C}/points/vectors", VECTORS),
    ("POST", f"{C}/points/vectors/delete", {"points": [1], "vector": ["a"]}),
    ("POST", f"{C}/points/payload", PAYLOAD),
    ("PUT", f"{C}/points/payload", PAYLOAD),
    ("POST", f"{C}/points/payload/delete", {"keys": ["k", "l[0].b"], "points": [1]}),
    ("POST", f"{C}/points/payload/clear", {"filter": FILTER}),
    ("POST", f"{C}/points/batch", OPERATIONS),
    ("PUT", f"{C}/index", {"field_name": "n", "field_schema": {"type": "integer", "lookup": True, "range": True}}),
    ("PUT", f"{C}/index", {"field_name": "k", "field_schema": {"type": "keyword", "is_tenant": True, "on_disk": True}}),
    ("PATCH", C, CHANGE),
    ("PUT", "/collections/hostile-new", CREATION),
]
SCRAPS: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 1.5, -0.0, 1e39, -1e308, 1e-320, 2**31, 2**32, 2**53 + 1, 2**63, MAX_U64,
    "", "a", "b", "x", "1", "\0", "\x1f", "é" * 3, "x" * 300, UUID, UUID.upper(), "0x" + "1" * 30, "a..b", "[", "a[-1]",
    "a[18446744073709551616]", '"', "2024-13-01", "9999-12-31T23:59:59+23:59", "0001-01-01T00:00:00+23:59",
    [], [None], [[]], [1, "x"], [1e39], [[1.0, 2.0]], [1.0, 2.0], [0.0, 0.0], [3e38, 3e38], [True, 1.0],
    {}, {"": None}, {"key": None}, {"size": 2}, {"indices": [1], "values": [1.0]}, {"model": "m", "text": "t"},
]  # fmt: skip


@pytest.fixture(scope="module")
def collection(client: Client) -> Iterator[None]:
    vectors = {"a": {"size": 2, "distance": "Dot"}, "b": {"size": 3, "distance": "Cosine"}}
    client.result("PUT", C, {"vectors": vectors})
    yield
    client.result("DELETE", C)


@pytest.fixture
def filled(client: Client, collection: None) -> None:
    fill(client)


def fill(client: Client) -> None:
    client.result("PUT", f"{C}/points", {"points": [POINT, {**POINT, "id": UUID}]})


def mutated(rng: random.Random, body: dict[str, Any]) -> Any:
    """The body with some of its nodes replaced, removed, doubled or added."""
    changed: Any = {"body": copy.deepcopy(body)}
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = list(places_of(changed))
        where, at = rng.choice(places)
        match rng.randrange(8):
            case 0 if where is not changed:
                del where[at]
            case 1 if isinstance(where, list):
                where.append(copy.deepcopy(where[at]))
            case 1:
                where[rng.choice(("key", "filter", "points", "vector", "must", "zzz", ""))] = copy.deepcopy(where[at])
            case 2:
                where[at] = [where[at]]
            case 3:
                other = rng.choice(places)
                where[at] = copy.deepcopy(other[0][other[1]])
            case _:
                where[at] = copy.deepcopy(rng.choice(SCRAPS))
    return changed.get("body")


def places_of(value: Any) -> Iterator[tuple[Any, Any]]:
    for at, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, at
        if isinstance(inner, dict | list):
            yield from places_of(inner)


def check_answer(client: Client, method: str, path: str, content: bytes, **options: Any) -> int:
    """Send it; the envelope is right whatever comes, and nothing is our fault."""
    response = client.send(method, path, content, **options)
    said = f"{method} {path} {content[:3000]!r}: {response.status_code} {response.text[:500]}"
    assert response.headers["content-type"] == "application/json", said
    envelope = orjson.loads(response.content)
    if response.status_code == 200:
        assert list(envelope) == ["result", "status", "time"], said
        assert envelope["status"] == "ok", said
    else:
        assert response.status_code in (400, 404, 405, 409, 422), said
        assert list(envelope) == ["status", "time"], said
        assert list(envelope["status"]) == ["error"], said
    return response.status_code


@pytest.mark.usefixtures("filled")
def test_mutated_bodies_get_an_answer_that_is_no_fault_of_the_node(client: Client) -> None:
    print(f"QNODE_TEST_SEED={SEED}")
    rng = random.Random(SEED)
    statuses = []
    for _ in range(STEPS):
        method, path, body = rng.choice(BODIES)
        wait = rng.choice(("", "?wait=true")) if method != "PATCH" else ""
        statuses.append(check_answer(client, method, path + wait, orjson.dumps(mutated(rng, body))))
        if path == "/collections/hostile-new" and statuses[-1] == 200:
            assert check_answer(client, "GET", path, b"") == 200
            assert client.result("DELETE", path) is True
        if rng.random() < 0.02:
            info = client.result("GET", C)
            assert info["status"] in ("green", "yellow"), info
            fill(client)
    assert 200 in statuses
    assert 400 in statuses


NINES = "9" * 5000


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"{C}/points/count?timeout={NINES}"),
        ("POST", f"{C}/points/count?timeout={MAX_U64 + 1}"),
        ("POST", f"{C}/points/count?timeout="),
        ("POST", f"{C}/points/count?consistency={NINES}"),
        ("PUT", f"{C}/points?timeout={NINES}"),
        ("PATCH", f"{C}?timeout={NINES}"),
        ("GET", f"{C}/points/{NINES}"),
        ("GET", f"{C}/points/{MAX_U64 + 1}"),
        ("GET", f"/telemetry?details_level={NINES}"),
    ],
)
def test_numbers_beyond_64_bits_are_refused_where_they_stand_in_the_address(
    client: Client, method: str, path: str
) -> None:
    assert check_answer(client, method, path, b"{}") == 400


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    "more",
    [
        {"limit": MAX_U64},
        {"limit": MAX_U64, "offset": MAX_U64},
        {"limit": MAX_U64, "filter": {"must": [{"has_id": [1]}]}},
        {"params": {"hnsw_ef": MAX_U64}},
        {"params": {"exact": True}, "limit": MAX_U64},
        {"params": {"quantization": {"oversampling": 1e308}}, "limit": MAX_U64},
        {"score_threshold": 1e308},
        {"score_threshold": -1e308},
    ],
)
def test_numbers_as_large_as_they_may_be_are_answered(client: Client, more: dict[str, Any]) -> None:
    for query in ([1.0, 2.0], [3e38, 3e38], [0.0, 0.0], 1):
        body = {"query": query, "using": "a", **more}
        assert check_answer(client, "POST", f"{C}/points/query", orjson.dumps(body)) == 200


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("depth", [120, 160, 253, 255, 1500, 100_000])
def test_deep_bodies_are_stored_whole_or_refused(client: Client, depth: int) -> None:
    path = b".".join([b"a"] * 100)
    for method, where, body in (
        ("PUT", "/points?wait=true", b'{"points":[{"id":3,"vector":{},"payload":%b}]}' % nested(depth)),
        ("POST", "/points/payload?wait=true", b'{"points":[1],"key":"%b","payload":%b}' % (path, nested(depth))),
        ("PUT", "/points/payload?wait=true", b'{"points":[1],"key":"%b","payload":%b}' % (path, nested(depth))),
        ("POST", "/points/count", b'{"filter":{"must":%b}}' % nested(depth).replace(b"a", b"must")),
        ("PATCH", "", b'{"metadata":%b}' % nested(depth)),
        ("PATCH", "", b'{"strict_mode_config":%b}' % nested(depth)),
    ):
        check_answer(client, method, C + where, body)
        assert check_answer(client, "GET", C, b"") == 200
        assert check_answer(client, "GET", f"{C}/points/1", b"") == 200
    for selector in (["a.b"], {"exclude": ["a.b"]}, True):
        body = orjson.dumps({"with_payload": selector})
        assert check_answer(client, "POST", f"{C}/points/scroll", body) == 200
    assert check_answer(client, "GET", "/telemetry?details_level=10", b"") == 200
    client.result("POST", f"{C}/points/payload/clear?wait=true", {"filter": {}})


@pytest.mark.usefixtures("filled")
def test_large_filters_are_answered(client: Client) -> None:
    many = [{"key": "n", "match": {"value": i}} for i in range(2000)]
    for clause in ("must", "should", "must_not"):
        assert client.result("POST", f"{C}/points/count", {"filter": {clause: many}})["count"] >= 0
    assert client.result("POST", f"{C}/points/count", {"filter": {"must": [{"has_id": list(range(50_000))}]}})
    any_of = {"must_not": [{"key": "n", "match": {"any": list(range(50_000))}}]}
    assert client.result("POST", f"{C}/points/count", {"filter": any_of})


def test_a_vector_of_the_largest_size_is_stored_and_found(client: Client) -> None:
    client.result("PUT", "/collections/long", {"vectors": {"size": 65_536, "distance": "Dot"}})
    client.result("PUT", "/collections/long/points?wait=true", {"points": [{"id": 1, "vector": [0.5] * 65_536}]})
    found = client.result("POST", "/collections/long/points/query", {"query": [0.5] * 65_536})["points"]
    assert found == [{"id": 1, "version": found[0]["version"], "score": 16_384.0}]
    assert client.error("POST", "/collections/long/points/query", {"query": [0.5] * 65_537})[0] == 400
    client.result("DELETE", "/collections/long")


def test_more_shards_than_a_node_can_hold_are_refused(client: Client) -> None:
    for count in (129, 2**32 - 1):
        status, text = client.error("PUT", "/collections/split", {"shard_number": count})
        assert (status, text) == (
            422,
            f"Validation error in JSON body: [shard_number: value {count} invalid, must be from 1 to 128]",
        )


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    "shown",
    [
        "0x345678123456781234567812345678ab",
        "1_345678123456781234567812345678_b",
        "12345678-1234-5678-1234-56781234567８",
        "1-2345678-1234-5678-1234567812345678",
        " 2345678123456781234567812345678",
        "{12345678123456781234567812345678}",
        "12345678-1234-5678-1234-567812345678\n",
        -1,
        1.0,
        True,
        None,
        [1],
    ],
)
def test_what_is_no_id_is_refused(client: Client, shown: Any) -> None:
    body = {"points": [{"id": shown, "vector": {}}]}
    status, text = client.error("PUT", f"{C}/points", body)
    assert status == 400
    expected = f"Format error in JSON body: value {orjson.dumps(shown).decode()} is not a valid point ID"
    assert text.startswith(expected) or isinstance(shown, str)


@pytest.mark.usefixtures("filled")
def test_every_spelling_of_a_uuid_is_one_id(client: Client) -> None:
    spellings = [UUID.upper(), UUID.replace("-", ""), f"{{{UUID}}}", f"urn:uuid:{UUID}"]
    assert client.result("POST", f"{C}/points", {"ids": spellings}) == [{"id": UUID}]


@pytest.mark.usefixtures("filled")
def test_a_filter_that_no_point_passes_updates_no_vector(client: Client) -> None:
    nobody = {"must": [{"has_id": []}]}
    body = {"points": [{"id": 1, "vector": {"a": [9.0, 9.0]}}], "update_filter": nobody}
    assert client.result("PUT", f"{C}/points/vectors?wait=true", body)["status"] == "completed"


@pytest.mark.usefixtures("filled")
def test_a_timeout_ends_waiting_and_nothing_else(client: Client) -> None:
    body = {"points": [{"id": 1, "vector": {}}]}
    assert client.result("PUT", f"{C}/points?timeout=0", body)["status"] == "acknowledged"
    assert client.result("PUT", f"{C}/points?timeout=0&wait=true", body)["status"] in ("wait_timeout", "completed")
    assert client.result("POST", f"{C}/points/count?timeout={MAX_U64}", {})["count"] >= 1
