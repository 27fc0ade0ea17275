from collections.abc import AsyncIterator, Iterator
from typing import Any

import orjson
import pytest
from pydantic import TypeAdapter
from qdrant_client.http import models

from tests.api.conftest import BODY_LIMIT_BYTES, Client

C = "/collections/points"
UUID = "6f0d2d6c-5b4e-4c0e-9a38-1f4ed9a5cf5e"


def checked(kind: Any, result: Any) -> Any:
    """The result, read strictly by the client library."""
    TypeAdapter(kind).validate_json(orjson.dumps(result), strict=True)
    return result


@pytest.fixture(autouse=True)
def filled(client: Client) -> Iterator[None]:
    """Four points on the line, the last without a payload."""
    client.result("PUT", C, {"vectors": {"size": 2, "distance": "Euclid"}})
    points: list[dict[str, Any]] = [
        {"id": i, "vector": [float(i), 0.1], "payload": {"n": i, "even": i % 2 == 0}} for i in range(3)
    ]
    points.append({"id": UUID, "vector": [3.0, 0.1]})
    result = client.result("PUT", f"{C}/points?wait=true", {"points": points})
    assert checked(models.UpdateResult, result)["status"] == "completed"
    yield
    client.result("DELETE", C)


def ids(points: list[dict[str, Any]]) -> list[Any]:
    return [point["id"] for point in points]


def test_a_query_gives_hits_with_float32_scores_and_nothing_unasked(client: Client) -> None:
    result = client.result("POST", f"{C}/points/query", {"query": [0.1, 0.1], "limit": 2})
    hits = checked(models.QueryResponse, result)["points"]
    assert ids(hits) == [0, 1]
    assert hits[0] == {"id": 0, "version": hits[0]["version"], "score": 0.1}
    response = client.send("POST", f"{C}/points/query", {"query": [0.1, 0.1], "limit": 1})
    assert b'"score":0.1}' in response.content


def test_a_query_by_id_leaves_the_example_out(client: Client) -> None:
    result = client.result("POST", f"{C}/points/query", {"query": UUID, "limit": 10})
    assert ids(result["points"]) == [2, 1, 0]


def test_payloads_and_vectors_come_when_asked_for(client: Client) -> None:
    body = {"query": [3.0, 0.1], "with_payload": ["n"], "with_vector": True, "limit": 2}
    hits = client.result("POST", f"{C}/points/query", body)["points"]
    assert [hit["payload"] for hit in hits] == [{}, {"n": 2}]
    assert [hit["vector"] for hit in hits] == [[3.0, 0.1], [2.0, 0.1]]


def test_older_searches_and_batches_agree_with_queries(client: Client) -> None:
    query = client.result("POST", f"{C}/points/query", {"query": [1.2, 0.0], "filter": {}, "limit": 3})["points"]
    search = {"vector": [1.2, 0.0], "limit": 3}
    found = client.result("POST", f"{C}/points/search", search)
    assert checked(list[models.ScoredPoint], found) == query
    assert client.result("POST", f"{C}/points/search/batch", {"searches": [search] * 2}) == [query] * 2
    queries = {"searches": [{"query": [1.2, 0.0], "limit": 3}] * 2}
    assert client.result("POST", f"{C}/points/query/batch", queries) == [{"points": query}] * 2


def test_a_query_without_a_query_lists_points_with_score_one(client: Client) -> None:
    hits = client.result("POST", f"{C}/points/query", {"offset": 1, "limit": 2})["points"]
    assert (ids(hits), [hit["score"] for hit in hits]) == ([1, 2], [1.0, 1.0])


def test_scrolling_goes_through_all_points_once(client: Client) -> None:
    seen, offset = [], None
    for _ in range(4):
        page = client.result("POST", f"{C}/points/scroll", {"limit": 1, "offset": offset})
        seen += checked(models.ScrollResult, page)["points"]
        offset = page["next_page_offset"]
    assert (ids(seen), offset) == ([0, 1, 2, UUID], None)
    assert seen[3] == {"id": UUID, "payload": {}}


def test_retrieve_keeps_the_order_and_skips_what_is_not_there(client: Client) -> None:
    found = client.result("POST", f"{C}/points", {"ids": [2, 99, 0, 2]})
    assert checked(list[models.Record], found) == [{"id": 2}, {"id": 0}]


def test_one_point_is_given_whole(client: Client) -> None:
    assert client.result("GET", f"{C}/points/{UUID}") == {"id": UUID, "payload": {}, "vector": [3.0, 0.1]}
    assert client.error("GET", f"{C}/points/5") == (404, "Not found: Point with id 5 does not exists!")
    assert client.error("GET", f"{C}/points/x") == (400, 'Wrong input: Can not recognize "x" as point id')


def test_count_counts_what_passes(client: Client) -> None:
    even = {"must": [{"key": "even", "match": {"value": True}}]}
    assert client.result("POST", f"{C}/points/count", {}) == {"count": 4}
    assert client.result("POST", f"{C}/points/count", {"filter": even}) == {"count": 2}


def test_payload_operations_change_payloads(client: Client) -> None:
    def payload(of: int) -> Any:
        return client.result("GET", f"{C}/points/{of}")["payload"]

    wait = "?wait=true"
    client.result("POST", f"{C}/points/payload{wait}", {"points": [0], "payload": {"x": 1, "n": None}})
    assert payload(0) == {"even": True, "x": 1}
    client.result("PUT", f"{C}/points/payload{wait}", {"points": [0], "payload": {"y": None}})
    assert payload(0) == {"y": None}
    client.result("POST", f"{C}/points/payload/delete{wait}", {"filter": {}, "keys": ["even"]})
    assert payload(1) == {"n": 1}
    client.result("POST", f"{C}/points/payload/clear{wait}", {"points": [1]})
    assert payload(1) == {}


def test_vectors_are_replaced_and_deleted(client: Client) -> None:
    body = {"points": [{"id": 0, "vector": [9.0, 9.0]}]}
    client.result("PUT", f"{C}/points/vectors?wait=true", body)
    assert client.result("GET", f"{C}/points/0")["vector"] == [9.0, 9.0]
    client.result("POST", f"{C}/points/vectors/delete?wait=true", {"points": [0], "vector": [""]})
    assert client.result("GET", f"{C}/points/0")["vector"] == {}


def test_vectors_of_listed_points_and_of_those_that_pass_the_filter_are_deleted(client: Client) -> None:
    even = {"must": {"key": "even", "match": {"value": True}}}
    body = {"points": [1], "filter": even, "vector": [""]}
    client.result("POST", f"{C}/points/vectors/delete?wait=true", body)
    left = client.result("POST", f"{C}/points/scroll", {"filter": {"must": {"has_vector": ""}}})["points"]
    assert ids(left) == [UUID]


def test_a_batch_of_operations_runs_in_order_and_stops_at_the_first_error(client: Client) -> None:
    upsert = {"upsert": {"points": [{"id": 7, "vector": [1.0, 1.0]}]}}
    results = client.result(
        "POST", f"{C}/points/batch?wait=true", {"operations": [upsert, {"delete": {"points": [7, 0]}}]}
    )
    assert [result["status"] for result in checked(list[models.UpdateResult], results)] == ["completed"] * 2
    assert client.result("POST", f"{C}/points/count", {}) == {"count": 3}
    wrong = {"upsert": {"points": [{"id": 8, "vector": [1.0]}]}}
    status, text = client.error("POST", f"{C}/points/batch?wait=true", {"operations": [upsert, wrong, upsert]})
    assert (status, text) == (400, "Wrong input: Vector dimension error: expected dim: 2, got 1")
    assert client.result("POST", f"{C}/points/count", {}) == {"count": 4}


def test_a_write_without_wait_is_acknowledged_and_read_back(client: Client) -> None:
    result = client.result("PUT", f"{C}/points", {"points": [{"id": 8, "vector": [1.0, 1.0]}]})
    assert checked(models.UpdateResult, result)["status"] == "acknowledged"
    assert ids(client.result("POST", f"{C}/points", {"ids": [8]})) == [8]


def test_a_body_over_64_kilobytes_is_read_as_a_small_one(client: Client) -> None:
    points = [{"id": i, "vector": [i + 0.5, 0.25], "payload": {"text": "x" * 100}} for i in range(1000, 1600)]
    assert client.result("PUT", f"{C}/points?wait=true", {"points": points})["status"] == "completed"
    assert client.result("POST", f"{C}/points/count", {}) == {"count": 604}
    points[-1]["vector"] = [None, 1.0]
    assert client.error("PUT", f"{C}/points", {"points": points})[0] == 400


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("points/query", {"query": [1.0]}, 400, "Wrong input: Vector dimension error: expected dim: 2, got 1"),
        ("points/query", {"query": [1.0, 1.0], "using": "x"}, 400, "Wrong input: Not existing vector name error: x"),
        ("points/query", {"query": 99}, 404, "Not found: No point with id 99 found"),
        ("points/query?timeout=0", {}, 400, "Deserialize error in query parameters: timeout: value 0 invalid"),
        ("points/query?consistency=x", {}, 400, "Deserialize error in query parameters: failed to parse read"),
        ("points/query", b"[[[[", 400, "Format error in JSON body: "),
        ("points/query", b'{"query":[NaN]}', 400, "Format error in JSON body: "),
        ("points/query", b'{"a":' * 100_000, 400, "Format error in JSON body: "),
        ("points/query/groups", {}, 400, "Format error in JSON body: missing field `group_by`"),
        ("points/recommend", {"limit": 1}, 422, "Validation error in JSON body: [recommend_request: "),
        ("points/recommend", {"positive": [1]}, 400, "Format error in JSON body: missing field `limit`"),
    ],
)
def test_wrong_reads_are_refused(client: Client, path: str, body: Any, status: int, text: str) -> None:
    shown_status, shown_text = client.error("POST", f"{C}/{path}", body)
    assert (shown_status, shown_text[: len(text)]) == (status, text)


@pytest.mark.parametrize("vector", [[1.0], [1.0, 2.0, 3.0], {"x": [1.0, 2.0]}])
@pytest.mark.parametrize("wait", ["true", "false"])
def test_a_wrong_vector_is_refused_before_it_is_acknowledged(client: Client, vector: Any, wait: str) -> None:
    points = [{"id": 50, "vector": [1.0, 1.0]}, {"id": 51, "vector": vector}]
    assert client.error("PUT", f"{C}/points?wait={wait}", {"points": points})[0] == 400
    assert client.result("POST", f"{C}/points/count", {}) == {"count": 4}


def test_json_must_be_declared_as_such(client: Client) -> None:
    for kind in ("text/plain", "application/jsonp"):
        headers = {"content-type": kind}
        assert client.error("POST", f"{C}/points/count", b"{}", headers=headers) == (400, "Content type error")
    assert client.error("POST", f"{C}/points/count", content=b"{}") == (400, "Content type error")
    for kind in ("Application/JSON", "application/json; charset=utf-8"):
        assert client.result("POST", f"{C}/points/count", b"{}", headers={"content-type": kind}) == {"count": 4}


def test_a_body_over_the_limit_is_refused_declared_or_in_chunks(client: Client) -> None:
    too_large = b" " * (BODY_LIMIT_BYTES + 1)
    status, text = client.error("POST", f"{C}/points/count", too_large)
    assert status == 400
    assert text.startswith(f"JSON payload ({BODY_LIMIT_BYTES + 1} bytes) is larger than allowed")

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b" " * (BODY_LIMIT_BYTES // 2)

    status, text = client.error("POST", f"{C}/points/count", chunks())
    assert (status, text) == (400, f"JSON payload has exceeded limit ({BODY_LIMIT_BYTES} bytes).")


def test_a_body_in_chunks_is_put_together(client: Client) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for piece in (b'{"ex', b'act"', b":true}"):
            yield piece

    assert client.result("POST", f"{C}/points/count", chunks()) == {"count": 4}


def test_a_trailing_slash_makes_no_difference(client: Client) -> None:
    assert client.result("POST", f"{C}/points/count/", {}) == {"count": 4}
    assert client.result("GET", f"{C}/")["points_count"] == 4
