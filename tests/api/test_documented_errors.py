"""The texts of errors that programs match on, each made by a request: status and text as Qdrant 1.19 words them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.conftest import Client

C = "/collections/c"
P = f"{C}/points"
V = [0.1, 0.2, 0.3, 0.4]
NAMED = "/collections/named"
LONG = "x" * 256
BODY = "Validation error in JSON body: "
DEPTH_TOO_MUCH = 65

Case = tuple[str, str, Any, int, str]

COLLECTIONS: list[Case] = [
    ("GET", "/collections/none", None, 404, "Not found: Collection `none` doesn't exist!"),
    ("PUT", C, {"vectors": {"size": 4, "distance": "Dot"}}, 409, "Wrong input: Collection `c` already exists!"),
    ("PUT", "/collections/alias", {}, 400, "Alias with the same name already exists"),
    (
        "PUT", "/collections/x", {"vectors": {"size": 65537, "distance": "Dot"}}, 422,
        BODY + "[vectors.size: value 65537 invalid, must be from 1 to 65536]",
    ),
    ("PUT", "/collections/x", {"vectors": {"size": 0, "distance": "Dot"}}, 400, "Format error in JSON body: "),
    ("PUT", "/collections/x", {"vectors": {"size": 4}}, 400, "Format error in JSON body: "),
    (
        "PUT", "/collections/x", {"vectors": {"size": 4, "distance": "Dot", "memory": "pinned"}}, 422, "Validation error in JSON body: ",
    ),
    ("PUT", "/collections/x", {"replication_factor": 0}, 422, "[replication_factor: value 0 invalid, must be 1 or larger]"),
    ("PUT", "/collections/x", {"replication_factor": -1}, 400, "Format error in JSON body: "),
    ("PATCH", C, {"params": {"replication_factor": 0}}, 400, "Format error in JSON body: "),
    ("PUT", "/collections/x?timeout=0", {}, 422, "Validation error in query parameters: "),
    ("PUT", f"/collections/{LONG}", {}, 422, "Validation error in path parameters: "),
    ("PATCH", C, {"vectors": {"X": {}}}, 400, "Wrong input: Not existing vector name error: X"),
    ("GET", f"{C}/optimizations?with=x", None, 400, "Unknown field in 'with' parameter: x"),
    (
        "PUT", f"{NAMED}/vectors/a", {"dense": {"size": 5, "distance": "Dot"}}, 400,
        "Vector `a` already exists with a different configuration",
    ),
    ("POST", "/collections/aliases", {"actions": [{"rename_alias": {"old_alias_name": "X", "new_alias_name": "Y"}}]}, 404, "Alias X does not exists!"),
    (
        "POST", "/collections/aliases", {"actions": [{"create_alias": {"collection_name": "none", "alias_name": "y"}}]}, 404,
        "Not found: Collection `none` doesn't exist!",
    ),
    (
        "POST", "/collections/aliases", {"actions": [{"create_alias": {"collection_name": "c", "alias_name": "named"}}]}, 409,
        "Wrong input: Collection `named` already exists!",
    ),
    ("PUT", f"{C}/index", {"field_name": "f"}, 400, "Can't auto-detect field type, please specify `field_schema` in the request"),
    (
        "PUT", f"{C}/index", {"field_name": "f", "field_schema": {"type": "integer", "lookup": False, "range": False}}, 422,
        "Validation error: the 'lookup' and 'range' capabilities can't be both disabled [{}]",
    ),
]  # fmt: skip

POINTS: list[Case] = [
    ("GET", f"{P}/x", None, 400, 'Can not recognize "x" as point id'),
    ("GET", f"{P}/5", None, 404, "Point with id 5 does not exists!"),
    ("PUT", P, {"points": [{"id": 1, "vector": [1, 2, 3]}]}, 400, "Wrong input: Vector dimension error: expected dim: 4, got 3"),
    (
        "PUT", f"{NAMED}/points", {"points": [{"id": 1, "vector": {"a": [1, 2]}}]}, 400,
        "Wrong input: Vector dimension error: expected dim: 4, got 2 for vector 'a'",
    ),
    ("PUT", P, {"points": [{"id": 1, "vector": {"X": V}}]}, 400, "Not existing vector name error: X"),
    ("PUT", P, {"points": [{"id": 1, "vector": [1, None, 3, 4]}]}, 400, "Format error in JSON body: "),
    ("PUT", P, {"points": [{"id": -1, "vector": V}]}, 400, "Format error in JSON body: "),
    ("PUT", P, {"points": [{"id": 1, "vector": {"": [[1, 2], [1, 2, 3]]}}]}, 422, "all vectors must have the same dimension, found vector with dimension 3"),
    ("PUT", P, {"points": [{"id": 1, "vector": {"": [[]]}}]}, 422, "[points[0].vector.?.data: all vectors must be non-empty]"),
    ("PUT", P, {"batch": {"ids": [1, 2], "vectors": [V, V, V]}}, 422, "number of ids and vectors must be equal (2 != 3)"),
    ("PUT", f"{P}/vectors", {"points": [{"id": 1, "vector": {}}]}, 422, "[points[0].vector: must specify vectors to update for point]"),
    ("PUT", f"{P}/vectors", {"points": []}, 422, "must specify points to update"),
    ("PUT", f"{P}/vectors", {"points": [{"id": 77, "vector": V}]}, 404, "Not found: No point with id 77 found"),
    ("POST", f"{P}/vectors/delete", {"points": [1], "vector": []}, 422, "must specify vector names to delete"),
    ("POST", f"{P}/vectors/delete", {"points": [1], "vector": ["X"]}, 400, "Not existing vector name error: X"),
    ("POST", f"{P}/vectors/delete", {"vector": [""]}, 400, "No filter or points provided"),
    ("POST", f"{P}/payload", {"payload": {"a": 1}}, 400, "Either list of point ids or filter must be provided"),
    ("POST", f"{P}/payload", {"payload": {"a": 1}, "points": [77]}, 404, "Not found: No point with id 77 found"),
    ("POST", f"{P}/payload/clear", {"points": [77]}, 404, "Not found: No point with id 77 found"),
]  # fmt: skip

READS: list[Case] = [
    ("POST", f"{P}/query", {"query": V, "limit": 0}, 422, BODY + "[internal.limit: value 0 invalid, must be 1 or larger]"),
    ("POST", f"{P}/query", {"prefetch": {"query": V}}, 400, "Bad request: A query is needed to merge the prefetches. Can't have prefetches without defining a query."),
    (
        "POST", f"{P}/query", {"score_threshold": 1}, 400,
        "Bad request: A query is needed to use the score_threshold. Can't have score_threshold without defining a query.",
    ),
    ("POST", f"{P}/query", {"query": {"order_by": "n"}, "score_threshold": 1}, 400, "Bad request: Can't use score_threshold with an order_by query."),
    (
        "POST", f"{P}/query", {"query": {"fusion": "rrf"}, "using": "a", "prefetch": {"query": V}}, 400,
        "Bad request: Fusion queries cannot be combined with the 'using' field.",
    ),
    ("POST", f"{P}/query", {"query": {"fusion": "rrf"}}, 400, "cannot apply Fusion without prefetches"),
    ("POST", f"{P}/query", {"query": {"formula": 1.0}}, 400, "cannot apply Formula without prefetches"),
    (
        "POST", f"{P}/query", {"query": {"rrf": {"weights": [1.0]}}, "prefetch": [{"query": V}, {"query": V}]}, 400,
        "RRF weights length (1) does not match number of prefetches (2)",
    ),
    ("POST", f"{P}/query", {"query": V, "using": "X"}, 400, "Not existing vector name error: X"),
    ("POST", f"{NAMED}/points/query", {"query": V}, 400, "Not existing vector name error: "),
    ("POST", f"{P}/query", {"query": 3}, 404, "No point with id 3 found"),
    ("POST", f"{NAMED}/points/query", {"query": 2, "using": "a"}, 404, 'Vector with name "a" for point not found'),
    ("POST", f"{P}/query", {"query": V, "lookup_from": {"collection": "none"}}, 404, "Not found: Collection none not found"),
    ("POST", f"{P}/query/groups", {"query": V, "group_by": "n", "with_lookup": "none"}, 404, "Not found: Collection none not found"),
    ("POST", f"{P}/query/groups", {"query": V, "group_by": "n", "limit": 0}, 422, "[search_group_request.group_request.limit: value 0 invalid, must be 1 or larger]"),
    ("POST", f"{P}/query", {"query": {"recommend": {"negative": [1]}}}, 400, "Positive vectors should not be empty with `average` strategy"),
    ("POST", f"{P}/query", {"query": {"recommend": {}}}, 422, "Validation error in JSON body: "),
    (
        "POST", f"{P}/query", {"query": {"relevance_feedback": {"target": V, "feedback": [], "strategy": {"naive": {"a": 1, "b": 1, "c": 1}}}}}, 422,
        "feedback elements must be non-empty",
    ),
    (
        "POST", f"{P}/query",
        {"query": {"relevance_feedback": {"target": V, "feedback": [{"example": V, "score": 1}], "strategy": {"naive": {"a": 1, "b": -1, "c": 1}}}}}, 422,
        BODY + "[internal.query.relevance_feedback.strategy.naive.b: value -1.0 invalid, must be 0.0 or larger]",
    ),
    ("POST", f"{P}/query", {"query": {"nearest": V, "mmr": {"diversity": 2}}}, 422, "must be from 0.0 to 1.0"),
    ("POST", f"{P}/query", {"query": V, "params": {"hnsw_ef": 0}}, 422, "hnsw_ef: value 0 invalid, must be 1 or larger"),
    ("POST", f"{P}/query", {"query": V, "params": {"quantization": {"oversampling": 0.5}}}, 422, "value 0.5 invalid, must be 1.0 or larger"),
    ("POST", f"{P}/query", {"query": V, "params": {"idf": "global"}}, 400, "search param `idf` requires a sparse vector with the `idf` modifier"),
    (
        "POST", f"{P}/query", {"query": {"formula": {"ln": -1.0}}, "prefetch": {"query": V}}, 400, "produced a non-finite number",
    ),
    (
        "POST", f"{P}/query", {"query": {"formula": "none"}, "prefetch": {"query": V}}, 400,
        "Expected number value for none in the payload and/or in the formula defaults. Error: ",
    ),
    ("POST", f"{P}/query/batch", {"searches": [{"query": V, "limit": 0}]}, 422, "[searches[0].internal.limit: value 0 invalid, must be 1 or larger]"),
    ("POST", f"{P}/query?timeout=0", {"query": V}, 400, "Deserialize error in query parameters: "),
    ("POST", f"{P}/scroll", {"limit": 0}, 422, "[scroll_request.limit: value 0 invalid, must be 1 or larger]"),
    ("POST", f"{P}/scroll", {"order_by": "x"}, 400, "No range index for `order_by` key: `x`. "),
    ("POST", f"{P}/scroll", {"order_by": "n", "offset": 1}, 400, "Cannot use an `offset` when using `order_by`."),
    ("POST", f"{C}/facet", {"key": "x"}, 400, "No appropriate index for faceting: `x`."),
    ("POST", f"{C}/facet", {"key": "n", "limit": 0}, 422, "[facet_request.limit: value 0 invalid, must be 1 or larger]"),
    ("POST", f"{P}/search/matrix/pairs", {"sample": 1}, 422, "[search_request.sample: value 1 invalid, must be 2 or larger]"),
    ("POST", f"{P}/search", {"vector": V, "limit": 0}, 422, "[search_request.limit: value 0 invalid, must be 1 or larger]"),
]  # fmt: skip


def with_filter(condition: Any, status: int, text: str) -> Case:
    return "POST", f"{P}/count", {"filter": {"must": [condition]}}, status, text


FILTERS: list[Case] = [
    with_filter({"key": 5, "match": {"value": 1}}, 400, "Filter condition 'key' must be a string"),
    with_filter({"key": "n"}, 422, "At least one field condition must be specified"),
    with_filter(
        {"key": "n", "range": {"gt": "x"}}, 400,
        "'x' does not match accepted datetime format (RFC3339). Example: 2014-01-01T00:00:00Z",
    ),
    with_filter({"slice": {"total": 2, "index": 2}}, 422, "Validation error in JSON body: [count_request.filter"),
    with_filter({"slice": {"total": 0, "index": 0}}, 400, "Format error in JSON body: "),
    with_filter({"unknown": 1}, 400, "Format error in JSON body: "),
    (
        "POST", f"{P}/count", {"filter": {"min_should": {"conditions": [{"has_id": [1]}], "min_count": 0}}}, 422,
        "min_count must be greater than 0",
    ),
]  # fmt: skip

AROUND: list[Case] = [
    (
        "PUT",
        f"{C}/snapshots/recover",
        {"location": "file:relative"},
        400,
        "Bad request: Invalid snapshot URI, file path must be absolute or on localhost",
    ),
    (
        "PUT",
        f"{C}/snapshots/recover",
        {"location": "file:///x.snapshot"},
        400,
        'Bad request: Snapshot file "/x.snapshot" does not exist',
    ),
    (
        "PUT",
        f"{C}/snapshots/recover",
        {"location": "file:///etc/hostname"},
        403,
        "Forbidden: Snapshot file path must be inside the snapshots directory",
    ),
    ("PUT", f"{C}/snapshots/recover", {"location": "file:///x", "checksum": "ab"}, 422, "invalid_sha256_hash"),
    ("GET", f"{C}/snapshots/..%2Fx", None, 404, "Not found: "),
    ("PUT", "/collections/none/shards/0/snapshots/recover", {"location": "file:///x"}, 404, "Not found: "),
    ("POST", "/cluster/recover", None, 405, "Qdrant is running in standalone mode"),
    ("DELETE", "/cluster/peer/1", None, 405, "Qdrant is running in standalone mode"),
]


@pytest.fixture(scope="module", autouse=True)
def _collections(client: Client) -> Iterator[None]:
    client.result("PUT", C, {"vectors": {"size": 4, "distance": "Dot"}})
    client.result("PUT", NAMED, {"vectors": {name: {"size": 4, "distance": "Dot"} for name in "ab"}})
    client.result("PUT", f"{C}/index?wait=true", {"field_name": "n", "field_schema": "integer"})
    client.result("PUT", f"{P}?wait=true", {"points": [{"id": 1, "vector": V, "payload": {"n": 1}}]})
    client.result("PUT", f"{NAMED}/points?wait=true", {"points": [{"id": 2, "vector": {"b": V}}]})
    action = {"create_alias": {"collection_name": "c", "alias_name": "alias"}}
    client.result("POST", "/collections/aliases", {"actions": [action]})
    yield
    for path in (C, NAMED):
        client.send("DELETE", path)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"), [*COLLECTIONS, *POINTS, *READS, *FILTERS, *AROUND],
    ids=lambda value: value[:60] if isinstance(value, str) else "",
)  # fmt: skip
def test_error_is_worded_as_qdrants(client: Client, method: str, path: str, body: Any, status: int, text: str) -> None:
    found, said = client.error(method, path, body)
    assert (found, text in said) == (status, True), f"{found}: {said}"
