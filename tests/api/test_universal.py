"""Queries that are trees, through the whole of a node without the port."""

from typing import Any

import pytest

from tests.api.conftest import Client

C = "/collections/universal"
COUNT = 40


@pytest.fixture(scope="module", autouse=True)
def _collections(client: Client) -> None:
    for name, size in (("universal", 2), ("elsewhere", 2), ("larger", 3)):
        vectors = {"a": {"size": size, "distance": "Dot"}, "b": {"size": size, "distance": "Euclid"}}
        client.result("PUT", f"/collections/{name}", {"vectors": vectors, "shard_number": 2})
        points = [
            {
                "id": at,
                "vector": {"a": [1.0] * (size - 1) + [at / COUNT], "b": [float(at)] * size},
                "payload": {"n": at, "third": at % 3},
            }
            for at in range(COUNT)
        ]
        points.append({"id": 1000, "vector": {"b": [0.5] * size}, "payload": {"n": 1000}})
        client.result("PUT", f"/collections/{name}/points?wait=true", {"points": points})
    client.result("PUT", f"{C}/index?wait=true", {"field_name": "n", "field_schema": "integer"})


def found(client: Client, **body: Any) -> list[dict[str, Any]]:
    points: list[dict[str, Any]] = client.result("POST", f"{C}/points/query", body)["points"]
    return points


def ids(client: Client, **body: Any) -> list[int]:
    return [point["id"] for point in found(client, **body)]


BOTH = [{"query": [1.0, 1.0], "using": "a", "limit": 3}, {"query": [3.0, 3.0], "using": "b", "limit": 3}]
NAIVE = {"naive": {"a": 1, "b": 1, "c": 1}}


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (
            {"prefetch": BOTH},
            400,
            "Bad request: A query is needed to merge the prefetches. Can't have prefetches without defining a query.",
        ),
        (
            {"prefetch": {"prefetch": BOTH}, "query": {"fusion": "rrf"}},
            400,
            "Bad request: A query is needed to merge the prefetches. Can't have prefetches without defining a query.",
        ),
        (
            {"score_threshold": 1.0},
            400,
            "Bad request: A query is needed to use the score_threshold. "
            "Can't have score_threshold without defining a query.",
        ),
        (
            {"query": {"order_by": "n"}, "score_threshold": 1.0},
            400,
            "Bad request: Can't use score_threshold with an order_by query.",
        ),
        (
            {"prefetch": BOTH, "query": {"fusion": "dbsf"}, "using": "a"},
            400,
            "Bad request: Fusion queries cannot be combined with the 'using' field.",
        ),
        ({"query": {"fusion": "rrf"}}, 400, "Bad request: cannot apply Fusion without prefetches"),
        ({"query": {"formula": 1}}, 400, "Bad request: cannot apply Formula without prefetches"),
        (
            {"prefetch": BOTH, "query": {"rrf": {"weights": [1.0]}}},
            400,
            "Bad request: RRF weights length (1) does not match number of prefetches (2)",
        ),
        (
            {"query": {"recommend": {"negative": [1]}}, "using": "a"},
            400,
            "Bad request: Positive vectors should not be empty with `average` strategy",
        ),
        ({"query": {"recommend": {"positive": [77]}}, "using": "a"}, 404, "Not found: No point with id 77 found"),
        (
            {"query": {"recommend": {"positive": [1000]}}, "using": "a"},
            404,
            'Not found: Vector with name "a" for point not found',
        ),
        (
            {"query": {"recommend": {"positive": [[1.0, 1.0]]}}},
            400,
            "Wrong input: Not existing vector name error: ",
        ),
        (
            {"query": {"recommend": {"positive": [[1.0]]}}, "using": "a"},
            400,
            "Wrong input: Vector dimension error: expected dim: 2, got 1",
        ),
        (
            {"query": [1.0, 1.0], "using": "a", "lookup_from": {"collection": "nowhere"}},
            404,
            "Not found: Collection nowhere not found",
        ),
        (
            {
                "prefetch": {"query": 1, "using": "a", "lookup_from": {"collection": "nowhere"}},
                "query": {"sample": "random"},
            },
            404,
            "Not found: Collection nowhere not found",
        ),
        (
            {"query": [1.0, 1.0], "using": "a", "lookup_from": {"collection": "elsewhere", "vector": "x"}},
            400,
            "Wrong input: Not existing vector name error: x",
        ),
        (
            {"query": 1, "using": "a", "lookup_from": {"collection": "larger"}},
            400,
            "Wrong input: Vector dimension error: expected dim: 2, got 3",
        ),
        (
            {"query": {"context": []}, "using": "a"},
            400,
            "Bad request: A context query needs at least one pair of examples",
        ),
        (
            {"prefetch": {"query": 77, "using": "a"}},
            404,
            "Not found: No point with id 77 found",
        ),
        (
            {"prefetch": BOTH, "query": {"formula": "missing"}},
            400,
            "Wrong input: Expected number value for missing in the payload and/or in the formula defaults. Error: ",
        ),
    ],
)
def test_a_tree_that_cannot_be_is_refused(client: Client, body: dict[str, Any], status: int, text: str) -> None:
    given_status, given = client.error("POST", f"{C}/points/query", body)
    assert (given_status, given[: len(text)]) == (status, text)
    given_status, given = client.error("POST", f"{C}/points/query/batch", {"searches": [{}, body]})
    assert (given_status, given[: len(text)]) == (status, text)


def test_a_prefetch_of_all_points_changes_nothing(client: Client) -> None:
    for query, using in (([1.0, 1.0], "a"), ([3.0, 3.0], "b"), (5, "b"), ({"recommend": {"positive": [3, 4]}}, "b")):
        asked = {"query": query, "using": using, "limit": 7, "with_payload": True, "with_vector": True}
        assert found(client, prefetch={"limit": 100}, **asked) == found(client, **asked)


def test_points_that_are_examples_anywhere_are_found_nowhere(client: Client) -> None:
    below = {"query": 7, "using": "b", "limit": 5}
    assert ids(client, prefetch=below, query={"recommend": {"positive": [6]}}, using="b") == [5, 4, 8, 9, 10]
    by_vector = {"query": [7.0, 7.0], "using": "b", "limit": 5}
    assert set(ids(client, prefetch=by_vector, query=[6.0, 6.0], using="b")) == {5, 6, 7, 8, 9}
    fused = [{"limit": 5}, {"query": 0, "using": "b", "limit": 1}]
    assert set(ids(client, prefetch=fused, query={"fusion": "rrf"})) == {1, 2, 3, 4, 5, 1000}
    elsewhere = {"query": 7, "using": "b", "lookup_from": {"collection": "elsewhere"}, "limit": 2}
    assert 7 in ids(client, **elsewhere)
    same = {"query": 7, "using": "b", "lookup_from": {"collection": "universal", "vector": "b"}, "limit": 2}
    assert 7 not in ids(client, **same)


def test_an_outer_filter_reaches_every_leaf(client: Client) -> None:
    fused = found(
        client,
        prefetch=[{"prefetch": BOTH, "query": {"fusion": "rrf"}}, {"limit": 3}],
        query={"fusion": "dbsf"},
        filter={"must": [{"key": "third", "match": {"value": 1}}]},
        with_payload=["third"],
    )
    assert fused
    assert {point["payload"]["third"] for point in fused} == {1}
    assert (
        len(ids(client, prefetch={"limit": 3}, query={"sample": "random"}, filter={"must": [{"has_id": [30, 31]}]}))
        == 2
    )


def test_the_offset_applies_last(client: Client) -> None:
    asked = {"prefetch": BOTH, "query": {"rrf": {"weights": [1.0, 0.4]}}}
    whole = ids(client, **asked)
    assert len(whole) == 6
    assert ids(client, **asked, offset=2, limit=3) == whole[2:5]
    assert ids(client, **asked, offset=10) == []


def test_a_threshold_of_combined_scores_lets_equal_ones_pass(client: Client) -> None:
    formula = {"prefetch": {"limit": 6}, "query": {"formula": "n"}}
    assert ids(client, **formula, score_threshold=4.0) == [5, 4]
    fused = found(client, prefetch=BOTH, query={"fusion": "rrf"})
    assert len(found(client, prefetch=BOTH, query={"fusion": "rrf"}, score_threshold=fused[0]["score"])) == 2


def test_what_is_asked_for_is_returned_of_combined_points(client: Client) -> None:
    hit = found(client, prefetch=BOTH, query={"fusion": "rrf"}, limit=1, with_payload=["n"], with_vector=["b"])[0]
    assert list(hit) == ["id", "version", "score", "payload", "vector"]
    assert hit["payload"] == {"n": hit["id"]}
    assert hit["vector"] == {"b": [float(hit["id"])] * 2}
    bare = found(client, prefetch=BOTH, query={"fusion": "rrf"}, limit=1)[0]
    assert list(bare) == ["id", "version", "score"]
    diverse = found(client, query={"nearest": [3.0, 3.0], "mmr": {}}, using="b", limit=3)
    assert all(list(point) == ["id", "version", "score"] for point in diverse)


def test_diverse_points_are_chosen_from_the_nearest(client: Client) -> None:
    query = {"nearest": [5.0, 5.0], "mmr": {"diversity": 1.0, "candidates_limit": 7}}
    assert ids(client, query=query, using="b", limit=2)[0] == 5
    assert ids(client, query=query, using="b", limit=2)[1] in (2, 8)
    plain = {"nearest": [5.0, 5.0], "mmr": {"diversity": 0.0}}
    assert set(ids(client, query=plain, using="b", limit=3)) == {4, 5, 6}


def test_order_and_chance_can_be_asked_of_what_was_found(client: Client) -> None:
    below = {"query": [5.0, 5.0], "using": "b", "limit": 3}
    ordered = found(client, prefetch=below, query={"order_by": {"key": "n", "direction": "desc"}})
    assert [(point["id"], point["score"], point["order_value"]) for point in ordered] == [
        (6, 1.0, 6),
        (5, 1.0, 5),
        (4, 1.0, 4),
    ]
    assert ids(client, query={"order_by": {"key": "n", "start_from": 38}}) == [38, 39, 1000]
    sampled = found(client, prefetch=below, query={"sample": "random"})
    assert {(point["id"], point["score"]) for point in sampled} == {(4, 1.0), (5, 1.0), (6, 1.0)}
    assert len(ids(client, query={"sample": "random"}, limit=5, offset=39)) == 5


def test_a_batch_gives_what_its_queries_give_alone(client: Client) -> None:
    asked: list[dict[str, Any]] = [
        {"prefetch": BOTH, "query": {"rrf": {"weights": [1.0, 0.4]}}},
        {"query": [1.0, 1.0], "using": "a"},
        {"prefetch": {"limit": 9}, "query": {"formula": {"sum": ["n", "$score"]}}},
        {"query": {"recommend": {"positive": [3]}}, "using": "b"},
    ]
    several = asked * 6
    batch = client.result("POST", f"{C}/points/query/batch", {"searches": several})
    assert [each["points"] for each in batch] == [found(client, **body) for body in asked] * 6


def test_the_older_forms_give_the_same(client: Client) -> None:
    old = {"positive": [3], "negative": [20], "using": "b", "limit": 4}
    new = {"query": {"recommend": {"positive": [3], "negative": [20]}}, "using": "b", "limit": 4}
    assert client.result("POST", f"{C}/points/recommend", old) == found(client, **new)
    assert client.result("POST", f"{C}/points/recommend/batch", {"searches": [old, old]}) == [found(client, **new)] * 2


def test_any_query_can_be_grouped(client: Client) -> None:
    body = {"prefetch": {"limit": 12}, "query": {"formula": "n"}, "group_by": "third", "limit": 3, "group_size": 2}
    groups = client.result("POST", f"{C}/points/query/groups", body)["groups"]
    assert [(group["id"], [hit["id"] for hit in group["hits"]]) for group in groups] == [
        (2, [11, 8]),
        (1, [10, 7]),
        (0, [9, 6]),
    ]
    old = {"positive": [3], "using": "b", "limit": 1, "group_by": "third", "group_size": 2}
    assert client.result("POST", f"{C}/points/recommend/groups", old)["groups"]


def test_a_formula_sees_payloads_vectors_and_the_scores_of_all_prefetches(client: Client) -> None:
    formula = {
        "sum": [
            {"mult": [100, "$score[1]"]},
            {"mult": [10, {"has_vector": "a"}]},
            {"mult": [-0.001, "n"]},
        ]
    }
    prefetch = [{"filter": {"must": [{"has_id": [3, 1000]}]}}, {"filter": {"must": [{"has_id": [4]}]}}]
    hits = found(client, prefetch=prefetch, query={"formula": formula, "defaults": {"$score[1]": 0.5}})
    assert [(hit["id"], hit["score"]) for hit in hits] == [(4, 109.996), (3, 59.997), (1000, 49.0)]
