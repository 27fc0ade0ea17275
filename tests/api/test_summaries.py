from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.conftest import Client

C = "/collections/summed"
CITIES = ("Berlin", "Oslo", "Rome")


@pytest.fixture(scope="module", autouse=True)
def _collection(client: Client) -> Iterator[None]:
    for path in (C, "/collections/cities"):
        client.result("PUT", path, {"vectors": {"v": {"size": 2, "distance": "Dot"}}})
    points = [
        {"id": n, "vector": {"v": [float(n), 1.0]}, "payload": {"city": CITIES[n // 100], "n": n, "home": n % 3}}
        for n in range(203)
    ]
    client.result("PUT", f"{C}/points?wait=true", {"points": points})
    known = [{"id": 1, "vector": {}, "payload": {"name": "one"}}]
    client.result("PUT", "/collections/cities/points?wait=true", {"points": known})
    for field, schema in (
        ("city", "keyword"),
        ("n", {"type": "integer", "lookup": False, "range": True}),
        ("home", {"type": "integer", "lookup": True, "range": False}),
    ):
        client.result("PUT", f"{C}/index?wait=true", {"field_name": field, "field_schema": schema})
    yield
    for path in (C, "/collections/cities"):
        client.result("DELETE", path)


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("points/scroll", {"order_by": "city"}, 400, "Wrong input: No range index for `order_by` key: `city`. Please"),
        ("points/scroll", {"order_by": "home"}, 400, "Wrong input: No range index for `order_by` key: `home`. Please"),
        ("points/scroll", {"order_by": "n", "offset": 3}, 400, "Wrong input: Cannot use an `offset` when using"),
        ("points/scroll", {"order_by": {"key": "n", "direction": "up"}}, 400, "Format error in JSON body: unknown"),
        ("points/scroll", {"order_by": {"key": "n", "start_from": "x"}}, 400, "Format error in JSON body: data did"),
        ("points/scroll", {"order_by": {}}, 400, "Format error in JSON body: missing field `key`"),
        ("facet", {"key": "n"}, 400, "Wrong input: No appropriate index for faceting: `n`. Please"),
        ("facet", {"key": "unknown"}, 400, "Wrong input: No appropriate index for faceting: `unknown`. Please"),
        ("facet", {}, 400, "Format error in JSON body: missing field `key`"),
        ("facet", {"key": "city", "limit": 0}, 422, "Validation error in JSON body: [facet_request.limit: value 0 inv"),
        (
            "points/search/matrix/pairs",
            {"sample": 1},
            422,
            "Validation error in JSON body: [search_request.sample: value 1 invalid, must be 2 or larger]",
        ),
        ("points/search/matrix/offsets", {"limit": -1}, 400, "Format error in JSON body: "),
        ("points/search/matrix/pairs", {"using": "x"}, 400, "Wrong input: Not existing vector name error: x"),
        ("points/search/matrix/pairs", {}, 400, "Wrong input: Not existing vector name error: "),
        ("points/query/groups", {}, 400, "Format error in JSON body: missing field `group_by`"),
        (
            "points/query/groups",
            {"group_by": "city", "group_size": 0},
            422,
            "Validation error in JSON body: [search_group_request.group_request.group_size: value 0 invalid, must be 1",
        ),
        (
            "points/query/groups",
            {"group_by": "city", "with_lookup": "nowhere"},
            404,
            "Not found: Collection nowhere not found",
        ),
        (
            "points/search/groups",
            {"vector": [1.0, 0.0], "group_by": "city", "limit": 1},
            400,
            "Format error in JSON body: missing field `group_size`",
        ),
    ],
)
def test_wrong_requests_are_refused(client: Client, path: str, body: Any, status: int, text: str) -> None:
    shown_status, shown_text = client.error("POST", f"{C}/{path}", body)
    assert (shown_status, shown_text[: len(text)]) == (status, text)


def test_groups_are_found_behind_one_that_dominates(client: Client) -> None:
    body = {"query": [-1.0, 0.0], "using": "v", "group_by": "city", "limit": 3, "group_size": 2, "with_payload": ["n"]}
    groups = client.result("POST", f"{C}/points/query/groups", body)["groups"]
    assert [(group["id"], [hit["id"] for hit in group["hits"]]) for group in groups] == [
        ("Berlin", [0, 1]),
        ("Oslo", [100, 101]),
        ("Rome", [200, 201]),
    ]
    assert groups[2]["hits"][1]["payload"] == {"n": 201}
    assert "lookup" not in groups[0]


def test_the_older_search_in_groups_looks_groups_up(client: Client) -> None:
    search = {"vector": {"name": "v", "vector": [1.0, 0.0]}, "group_by": "home", "limit": 2, "group_size": 1}
    groups = client.result("POST", f"{C}/points/search/groups", {**search, "with_lookup": "cities"})["groups"]
    assert [group["id"] for group in groups] == [1, 0]
    assert groups[0]["lookup"] == {"id": 1, "payload": {"name": "one"}}
    assert "lookup" not in groups[1]
    assert groups[0]["hits"][0].keys() == {"id", "version", "score"}
    bare = {**search, "with_lookup": {"collection": "cities", "with_payload": False}}
    assert client.result("POST", f"{C}/points/search/groups", bare)["groups"][0]["lookup"] == {"id": 1}


def test_a_matrix_of_fewer_than_two_points_is_empty(client: Client) -> None:
    body = {"using": "v", "filter": {"must": [{"has_id": [1]}]}}
    assert client.result("POST", f"{C}/points/search/matrix/pairs", body) == {"pairs": []}
    empty: dict[str, list[Any]] = {"offsets_row": [], "offsets_col": [], "scores": [], "ids": []}
    assert client.result("POST", f"{C}/points/search/matrix/offsets", body) == empty


def test_a_matrix_has_a_row_for_each_point_of_the_sample(client: Client) -> None:
    body = {"using": "v", "sample": 20, "limit": 4}
    found = client.result("POST", f"{C}/points/search/matrix/offsets", body)
    assert found["ids"] == sorted(set(found["ids"]))
    assert len(found["ids"]) == 20
    assert found["offsets_row"] == [row for row in range(20) for _ in range(4)]
    assert all(row != col for row, col in zip(found["offsets_row"], found["offsets_col"], strict=True))


def test_optimizations_tell_what_was_built_and_what_is_well(client: Client) -> None:
    shown = client.result("GET", f"{C}/optimizations?with=queued,%20completed,idle_segments&completed_limit=1")
    summary = {"queued_optimizations": 0, "queued_segments": 0, "queued_points": 0, "idle_segments": 1}
    assert shown["summary"] == summary
    assert shown["running"] == shown["queued"] == shown["completed"] == []
    assert [segment["points_count"] for segment in shown["idle_segments"]] == [203]
    assert client.result("GET", f"{C}/optimizations").keys() == {"summary", "running"}
    refused = client.error("GET", f"{C}/optimizations?with=queued,sizes")
    assert refused == (400, "Bad request: Unknown field in 'with' parameter: sizes")
