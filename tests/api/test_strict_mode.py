"""Strict mode over HTTP: each refusal in its words, and what is allowed beside it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.api.conftest import Client, serving

VECTOR = {"size": 2, "distance": "Dot"}
QUERY = {"query": [1.0, 0.0]}
CITY = {"must": [{"key": "city", "match": {"value": "Berlin"}}]}
POINTS = "/collections/s/points"


def point(number: int, **payload: Any) -> dict[str, Any]:
    return {"id": number, "vector": [float(number), 1.0], "payload": payload}


def upsert(count: int) -> dict[str, Any]:
    return {"points": [point(number, city="Berlin", n=number) for number in range(count)]}


@contextmanager
def collection(client: Client, strict: dict[str, Any], **settings: Any) -> Iterator[None]:
    """A collection of four points that is strict from then on."""
    client.result("PUT", "/collections/s", {"vectors": VECTOR, **settings})
    if "vectors" not in settings:
        client.result("PUT", f"{POINTS}?wait=true", upsert(4))
    client.result("PATCH", "/collections/s", {"strict_mode_config": {"enabled": True, **strict}})
    try:
        yield
    finally:
        client.result("DELETE", "/collections/s")


def refusal(client: Client, method: str, path: str, body: Any) -> str:
    status, text = client.error(method, path, body)
    assert status == 400, text
    begin = "Bad request: "
    assert text.startswith(begin)
    fault, _, remedy = text[len(begin) :].partition(". Help: ")
    assert remedy.endswith(".")
    return fault


BOUNDS = {
    "max_query_limit": 15,
    "max_timeout": 10,
    "search_max_hnsw_ef": 100,
    "search_max_oversampling": 2.0,
    "search_allow_exact": False,
    "upsert_max_batchsize": 3,
    "search_max_batchsize": 2,
    "filter_max_conditions": 2,
    "condition_max_size": 3,
}
WIDE = {"must": [{"key": "city", "match": {"any": ["a", "b", "c", "d"]}}]}
LONG = {"must": [{"must_not": CITY["must"] * 2}], "should": CITY["must"]}
DEEP = {"must": [{"nested": {"key": "a", "filter": {"must": CITY["must"] * 3}}}]}


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A node of its own, whose collection stays."""
    with serving(tmp_path_factory.mktemp("bounded")) as client, collection(client, BOUNDS):
        yield client


@pytest.mark.parametrize(
    ("path", "body", "fault"),
    [
        ("/query", {**QUERY, "limit": 30}, 'Limit exceeded 30 > 15 for "limit"'),
        ("/query", {"prefetch": {**QUERY, "limit": 16}, "query": {"fusion": "rrf"}}, 'Limit exceeded 16 > 15 for "limit"'),
        ("/search", {"vector": [1, 0], "limit": 16}, 'Limit exceeded 16 > 15 for "limit"'),
        ("/scroll", {"limit": 16}, 'Limit exceeded 16 > 15 for "limit"'),
        ("/scroll", {"limit": 16, "order_by": "n"}, 'Limit exceeded 16 > 15 for "limit"'),
        ("/query/groups", {**QUERY, "group_by": "city", "limit": 5, "group_size": 4}, 'Limit exceeded 20 > 15 for "limit"'),
        ("/search/matrix/pairs", {"sample": 10, "limit": 2}, 'Limit exceeded 20 > 15 for "limit"'),
        ("/query?timeout=11", QUERY, 'Limit exceeded 11 > 10 for "timeout"'),
        ("/query", {**QUERY, "params": {"hnsw_ef": 101}}, 'Limit exceeded 101 > 100 for "hnsw_ef"'),
        ("/query", {**QUERY, "params": {"quantization": {"oversampling": 2.5}}}, 'Limit exceeded 2.5 > 2.0 for "oversampling"'),
        ("/query/batch", {"searches": [QUERY] * 3}, 'Limit exceeded 3 > 2 for "search batch size"'),
        ("/query/batch", {"searches": [QUERY, {**QUERY, "limit": 16}]}, 'Limit exceeded 16 > 15 for "limit"'),
        ("/query", {**QUERY, "params": {"exact": True}}, "Exact search disabled!"),
        ("/count", {}, "Exact search disabled!"),
        ("/query", {**QUERY, "filter": LONG}, "Filter condition limit reached (3 > 2)"),
        ("/count", {"exact": False, "filter": DEEP}, "Filter condition limit reached (3 > 2)"),
        ("/scroll", {"filter": WIDE}, "Condition size limit reached (4 > 3)"),
        ("/scroll", {"filter": {"must": [{"has_id": [1, 2, 3, 4]}]}}, "Condition size limit reached (4 > 3)"),
        ("/delete", {"filter": LONG}, "Filter condition limit reached (3 > 2)"),
        ("/payload", {"payload": {}, "filter": WIDE}, "Condition size limit reached (4 > 3)"),
    ],
)  # fmt: skip
def test_what_is_beyond_a_bound_is_refused(bounded: Client, path: str, body: Any, fault: str) -> None:
    assert refusal(bounded, "POST", POINTS + path, body) == fault


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/query?timeout=10", {**QUERY, "limit": 15, "params": {"hnsw_ef": 100, "quantization": {"oversampling": 2.0}}}),
        ("/query/groups", {**QUERY, "group_by": "city", "limit": 5, "group_size": 3}),
        ("/search/matrix/pairs", {"sample": 5, "limit": 3}),
        ("/query/batch", {"searches": [QUERY] * 2}),
        ("/count", {"exact": False, "filter": CITY}),
        ("", {"ids": [1, 2, 3]}),
    ],
)  # fmt: skip
def test_what_is_within_all_bounds_is_answered(bounded: Client, path: str, body: Any) -> None:
    bounded.result("POST", POINTS + path, body)


def test_large_batches_of_writes_are_refused(bounded: Client) -> None:
    assert refusal(bounded, "PUT", POINTS, upsert(4)) == 'Limit exceeded 4 > 3 for "upsert limit"'
    vectors = {"points": [{"id": number, "vector": [1.0, 2.0]} for number in range(4)]}
    assert refusal(bounded, "PUT", f"{POINTS}/vectors", vectors) == 'Limit exceeded 4 > 3 for "update limit"'
    assert refusal(bounded, "PUT", f"{POINTS}?timeout=11", upsert(1)) == 'Limit exceeded 11 > 10 for "timeout"'
    index = {"field_name": "n", "field_schema": "integer"}
    assert refusal(bounded, "PUT", "/collections/s/index?timeout=11", index) == 'Limit exceeded 11 > 10 for "timeout"'


def test_of_several_writes_none_is_done_if_one_is_forbidden(bounded: Client) -> None:
    operations = {"operations": [{"delete": {"points": [1]}}, {"upsert": upsert(4)}]}
    assert refusal(bounded, "POST", f"{POINTS}/batch", operations) == 'Limit exceeded 4 > 3 for "upsert limit"'
    assert bounded.result("POST", POINTS, {"ids": [1]})


def test_bounds_hold_only_while_strict_mode_is_enabled(client: Client) -> None:
    with collection(client, {"max_query_limit": 3}):
        refusal(client, "POST", f"{POINTS}/query", QUERY)
        client.result("PATCH", "/collections/s", {"strict_mode_config": {"enabled": False}})
        client.result("POST", f"{POINTS}/query", QUERY)


def missing(key: str, types: str) -> str:
    return f'Index required but not found for "{key}" of one of the following types: [{types}]'


def test_filters_without_an_index_are_refused(client: Client) -> None:
    with collection(client, {"unindexed_filtering_retrieve": False, "unindexed_filtering_update": False}):
        fault = missing("city", "keyword")
        body = {**QUERY, "filter": CITY}
        status, text = client.error("POST", f"{POINTS}/query", body)
        assert status == 400
        assert text == f"Bad request: {fault}. Help: Create an index for this key or use a different filter."
        for path in ("/scroll", "/count", "/delete", "/payload/clear"):
            assert refusal(client, "POST", POINTS + path, {"filter": CITY}) == fault
        assert refusal(client, "POST", "/collections/s/facet", {"key": "n", "filter": CITY}) == fault
        nested = {"must": [{"nested": {"key": "a", "filter": CITY}}]}
        assert refusal(client, "POST", f"{POINTS}/scroll", {"filter": nested}) == missing("a[].city", "keyword")
        prefetch = {"prefetch": body, "query": [0.0, 1.0]}
        assert refusal(client, "POST", f"{POINTS}/query", prefetch) == fault
        client.result("PUT", POINTS, {**upsert(1), "update_filter": CITY})
        client.result("PUT", "/collections/s/index?wait=true", {"field_name": "city", "field_schema": "keyword"})
        assert client.result("POST", f"{POINTS}/query", body)["points"]
        client.result("POST", f"{POINTS}/payload/clear", {"filter": CITY})


def test_formulas_without_an_index_are_refused(client: Client) -> None:
    with collection(client, {"unindexed_filtering_retrieve": False}):
        query = {"prefetch": QUERY, "query": {"formula": {"sum": ["$score", "n"]}}}
        status, text = client.error("POST", f"{POINTS}/query", query)
        remedy = "Create an index for this key or use a different formula expression"
        assert (status, text) == (400, f"Bad request: {missing('n', 'integer, float')}. Help: {remedy}.")
        client.result("PUT", "/collections/s/index?wait=true", {"field_name": "n", "field_schema": "integer"})
        client.result("POST", f"{POINTS}/query", query)


def test_groups_need_an_index_that_matches(client: Client) -> None:
    with collection(client, {"unindexed_filtering_retrieve": False}):
        groups = {**QUERY, "group_by": "city"}
        remedy = "Help: Create an index supporting `match` for this key."
        assert client.error("POST", f"{POINTS}/query/groups", groups) == (
            400, f'Bad request: Index required but not found for "city". {remedy}',
        )  # fmt: skip
        client.result("PUT", "/collections/s/index?wait=true", {"field_name": "city", "field_schema": "geo"})
        assert client.error("POST", f"{POINTS}/query/groups", groups) == (
            400, f'Bad request: Index of type "Geo" found for "city". {remedy}',
        )  # fmt: skip
        client.result("PUT", "/collections/s/index?wait=true", {"field_name": "city", "field_schema": "keyword"})
        client.result("POST", f"{POINTS}/query/groups", groups)


def test_searches_that_could_only_be_exact_are_refused(client: Client) -> None:
    vectors = {"v": VECTOR, "w": {**VECTOR, "hnsw_config": {"m": 16}}}
    settings = {"hnsw_config": {"m": 0, "payload_m": 8}, "sparse_vectors": {"words": {}}}
    with collection(client, {"search_allow_exact": False}, vectors=vectors, **settings):
        fault = "Request is forbidden on 'v' because global vector indexing is disabled (hnsw_config.m = 0)"
        query = {"query": [1.0, 0.0], "using": "v"}
        other = {"query": [1.0, 0.0], "using": "w"}
        assert refusal(client, "POST", f"{POINTS}/query", query) == fault
        assert refusal(client, "POST", f"{POINTS}/query", {**query, "filter": CITY}) == fault
        assert refusal(client, "POST", f"{POINTS}/query", {**other, "prefetch": query}) == fault
        index = {"field_name": "city", "field_schema": {"type": "keyword", "is_tenant": True}}
        client.result("PUT", "/collections/s/index?wait=true", index)
        client.result("POST", f"{POINTS}/query", {**query, "filter": CITY})
        client.result("POST", f"{POINTS}/query", {**other, "prefetch": query, "filter": CITY})
        client.result("POST", f"{POINTS}/query", other)
        client.result("POST", f"{POINTS}/query", {**query, "prefetch": other})
        client.result("POST", f"{POINTS}/query", {"query": {"indices": [1], "values": [1.0]}, "using": "words"})


def test_payload_indexes_are_counted(client: Client) -> None:
    with collection(client, {"max_payload_index_count": 1}):
        client.result("PUT", "/collections/s/index", {"field_name": "city", "field_schema": "keyword"})
        client.result("PUT", "/collections/s/index", {"field_name": "city", "field_schema": "keyword"})
        assert client.error("PUT", "/collections/s/index", {"field_name": "n", "field_schema": "integer"}) == (
            400,
            "Bad request: Collection already has the maximum number of payload indices (1). "
            "Help: Please delete an existing index before creating a new one.",
        )


@pytest.mark.parametrize(
    ("strict", "fault"),
    [
        ({"max_points_count": 4}, "Max points count limit of 4 reached!"),
        ({"max_collection_vector_size_bytes": 32}, "Max vector storage size limit of 0.000030517578MB reached!"),
        ({"max_collection_payload_size_bytes": 1024}, "Max payload storage size limit of 0.0009765625MB reached!"),
    ],
)
def test_collections_that_are_large_enough_take_nothing_more(
    client: Client, strict: dict[str, int], fault: str
) -> None:
    with collection(client, strict):
        assert refusal(client, "PUT", POINTS, upsert(1)) == fault
        client.result("POST", f"{POINTS}/delete", {"points": [1]})


def test_a_collection_takes_points_again_when_some_were_deleted(client: Client) -> None:
    with collection(client, {"max_points_count": 4}):
        refusal(client, "PUT", POINTS, upsert(1))
        client.result("POST", f"{POINTS}/delete?wait=true", {"points": [1]})
        client.result("PUT", f"{POINTS}?wait=true", upsert(1))


def test_sizes_are_measured_every_32_writes(client: Client) -> None:
    with collection(client, {"max_points_count": 5}):
        for number in range(32):
            client.result("PUT", f"{POINTS}?wait=true", {"points": [point(number)]})
        assert refusal(client, "PUT", POINTS, upsert(1)) == "Max points count limit of 5 reached!"


def test_long_multivectors_are_refused(client: Client) -> None:
    vectors = {"m": {**VECTOR, "multivector_config": {"comparator": "max_sim"}}}
    with collection(client, {"multivector_config": {"m": {"max_vectors": 5}}}, vectors=vectors):
        points = {"points": [{"id": 1, "vector": {"m": [[1.0, 2.0]] * 6}}]}
        fault = "Multivector 'm' has a limit of 5 vectors, but 6 were provided!"
        assert refusal(client, "PUT", POINTS, points) == fault
        assert refusal(client, "PUT", f"{POINTS}/vectors", points) == fault
        client.result("PUT", POINTS, {"points": [{"id": 1, "vector": {"m": [[1.0, 2.0]] * 5}}]})


def test_long_sparse_vectors_are_refused(client: Client) -> None:
    settings = {"vectors": {}, "sparse_vectors": {"s": {}}}
    with collection(client, {"sparse_config": {"s": {"max_length": 4}}}, **settings):

        def words(count: int) -> dict[str, Any]:
            return {"points": [{"id": 1, "vector": {"s": {"indices": list(range(count)), "values": [1.0] * count}}}]}

        fault = "Sparse vector 's' has a limit of 4 indices, but 5 were provided!"
        assert refusal(client, "PUT", POINTS, words(5)) == fault
        client.result("PUT", POINTS, words(4))


def test_reads_beyond_their_rate_are_refused_until_later(client: Client) -> None:
    with collection(client, {"read_rate_limit": 5}):
        client.result("POST", POINTS, {"ids": [1, 2, 3, 4, 5]})
        response = client.send("POST", POINTS, {"ids": [1, 2, 3, 4, 5]})
        assert response.status_code == 429
        text = response.json()["status"]["error"]
        begin = "Rate limiting exceeded: Read rate limit exceeded: Operation requires 5 tokens but only "
        assert text.startswith(begin)
        assert text.endswith("s")
        assert 50 <= int(response.headers["retry-after"]) <= 60
        assert f"Retry after {response.headers['retry-after']}s" in text
        client.result("PATCH", "/collections/s", {"strict_mode_config": {"max_timeout": 7}})
        client.result("POST", f"{POINTS}/scroll", {"filter": {"must": CITY["must"] * 4}})


def test_a_request_that_no_waiting_would_help_says_so(client: Client) -> None:
    with collection(client, {"read_rate_limit": 3, "write_rate_limit": 3}):
        text = "request larger than rate limiter capacity, please try to split your request"
        for method, body, kind in (("POST", {"ids": [1, 2, 3, 4]}, "Read"), ("PUT", upsert(4), "Write")):
            response = client.send(method, POINTS, body)
            error = response.json()["status"]["error"]
            assert (response.status_code, error) == (429, f"Rate limiting exceeded: {kind} rate limit exceeded, {text}")
            assert "retry-after" not in response.headers


def test_writes_cost_the_points_that_they_are_about(client: Client) -> None:
    with collection(client, {"write_rate_limit": 6}):
        client.result("PUT", f"{POINTS}?wait=true", upsert(4))
        client.result("POST", f"{POINTS}/payload", {"payload": {"a": 1}, "filter": CITY})  # half of four points
        assert client.error("POST", f"{POINTS}/delete", {"points": [1]})[0] == 429
