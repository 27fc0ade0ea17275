"""Named vectors added to a live collection and taken away, over REST."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.conftest import Client

C = "/collections/named"
DOT = {"size": 2, "distance": "Dot"}
MULTI = {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}, "datatype": "float16"}


@pytest.fixture
def named(client: Client) -> Iterator[Client]:
    client.result("PUT", C, {"vectors": {"a": DOT}})
    client.result("PUT", f"{C}/points?wait=true", {"points": [{"id": 1, "vector": {"a": [1.0, 2.0]}}]})
    yield client
    client.send("DELETE", C)


def vectors(client: Client) -> Any:
    return client.result("GET", f"{C}/points/1")["vector"]


def test_an_added_vector_is_shown_written_and_searched_and_then_taken_away(named: Client) -> None:
    result = named.result("PUT", f"{C}/vectors/b?wait=true", {"dense": MULTI})
    assert result["status"] == "completed"
    assert named.result("GET", C)["config"]["params"]["vectors"] == {"a": DOT, "b": MULTI}
    assert vectors(named) == {"a": [1.0, 2.0]}
    rows = [[1.0, 0.0], [0.0, 4.0]]
    named.result("PUT", f"{C}/points/vectors?wait=true", {"points": [{"id": 1, "vector": {"b": rows}}]})
    assert vectors(named) == {"a": [1.0, 2.0], "b": rows}
    query = {"query": [[1.0, 1.0], [2.0, 0.0]], "using": "b"}
    assert [(hit["id"], hit["score"]) for hit in named.result("POST", f"{C}/points/query", query)["points"]] == [
        (1, 6.0)
    ]
    for _ in range(2):
        assert named.result("DELETE", f"{C}/vectors/b")["status"] == "completed"
    assert vectors(named) == {"a": [1.0, 2.0]}
    text = "Wrong input: Not existing vector name error: b"
    assert named.error("POST", f"{C}/points/query", query) == (400, text)
    body = {"points": [{"id": 1, "vector": {"b": rows}}]}
    assert named.error("PUT", f"{C}/points/vectors?wait=true", body) == (400, text)
    named.result("PUT", f"{C}/vectors/b", {"dense": {"size": 3, "distance": "Cosine"}})
    assert vectors(named) == {"a": [1.0, 2.0]}
    assert named.result("POST", f"{C}/points/count", {"filter": {"must": [{"has_vector": "b"}]}})["count"] == 0


def test_a_vector_is_added_beside_an_unnamed_one(client: Client) -> None:
    client.result("PUT", C, {"vectors": DOT})
    client.result("PUT", f"{C}/points?wait=true", {"points": [{"id": 1, "vector": [1.0, 2.0]}]})
    client.result("PUT", f"{C}/vectors/b", {"dense": DOT})
    client.result("PUT", f"{C}/points?wait=true", {"points": [{"id": 2, "vector": {"": [1.0, 1.0], "b": [3.0, 4.0]}}]})
    assert vectors(client) == [1.0, 2.0]
    assert client.result("GET", f"{C}/points/2")["vector"] == {"": [1.0, 1.0], "b": [3.0, 4.0]}
    client.send("DELETE", C)


@pytest.mark.parametrize(
    ("name", "body", "status", "text"),
    [
        (
            "a",
            {"dense": {"size": 3, "distance": "Dot"}},
            400,
            "Vector `a` already exists with a different configuration",
        ),
        ("a", {"dense": {**DOT, "datatype": "uint8"}}, 400, "Vector `a` already exists with a different configuration"),
        ("b", {"dense": {"size": 0, "distance": "Dot"}}, 422, "[dense.size: value 0 invalid, must be from 1 to 65536]"),
        (
            "b",
            {"dense": {"size": 65537, "distance": "Dot"}},
            422,
            "[dense.size: value 65537 invalid, must be from 1 to",
        ),
        ("b", {"dense": {"size": 3}}, 400, "missing field `distance`"),
        ("b", {}, 400, "did not match any variant of untagged enum VectorNameConfig"),
        ("b%3Cc", {"dense": DOT}, 400, 'vector name cannot contain "<" char'),
    ],
)
def test_a_wrong_addition_is_refused(named: Client, name: str, body: Any, status: int, text: str) -> None:
    answered, error = named.error("PUT", f"{C}/vectors/{name}", body)
    assert answered == status
    assert text in error


def test_the_same_again_is_no_change(named: Client) -> None:
    assert named.result("PUT", f"{C}/vectors/a", {"dense": DOT})["status"] == "completed"
    assert named.error("PUT", "/collections/nope/vectors/a", {"dense": DOT})[0] == 404
    assert named.error("DELETE", "/collections/nope/vectors/a")[0] == 404


def test_a_snapshot_of_a_collection_whose_vectors_have_changed_is_restored(named: Client) -> None:
    for method, name in (("PUT", "b"), ("DELETE", "b"), ("PUT", "c")):
        named.result(method, f"{C}/vectors/{name}", {"dense": MULTI} if method == "PUT" else None)
    rows = [[1.0, 0.0], [0.0, 4.0]]
    named.result("PUT", f"{C}/points/vectors?wait=true", {"points": [{"id": 1, "vector": {"c": rows}}]})
    made = named.result("POST", f"{C}/snapshots")
    named.result("DELETE", C)
    location = (named.folder / "snapshots" / "named" / made["name"]).as_uri()
    assert named.result("PUT", f"{C}/snapshots/recover", {"location": location}) is True
    assert vectors(named) == {"a": [1.0, 2.0], "c": rows}
    named.result("PUT", f"{C}/vectors/b", {"dense": MULTI})
    assert vectors(named) == {"a": [1.0, 2.0], "c": rows}
