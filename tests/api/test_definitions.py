from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from pydantic import TypeAdapter
from qdrant_client.http import models

from tests.api.conftest import Client

DOT = {"size": 2, "distance": "Dot"}


def checked(kind: Any, result: Any) -> Any:
    """The result, read strictly by the client library."""
    return TypeAdapter(kind).validate_json(orjson.dumps(result), strict=True)


@pytest.fixture
def city(client: Client) -> Iterator[str]:
    assert client.result("PUT", "/collections/city", {"vectors": DOT}) is True
    yield "/collections/city"
    client.send("DELETE", "/collections/city")


def test_a_collection_is_made_listed_shown_and_deleted(client: Client) -> None:
    assert client.result("PUT", "/collections/a?timeout=10", {"vectors": {"x": DOT}, "metadata": {"n": 1}}) is True
    assert client.result("GET", "/collections") == {"collections": [{"name": "a"}]}
    assert client.result("GET", "/collections/a/exists") == {"exists": True}
    info = checked(models.CollectionInfo, client.result("GET", "/collections/a"))
    assert info.status == "green"
    assert info.config.metadata == {"n": 1}
    assert client.result("DELETE", "/collections/a") is True
    assert client.result("DELETE", "/collections/a") is False
    assert client.result("GET", "/collections/a/exists") == {"exists": False}


def test_a_missing_collection_is_not_found(client: Client) -> None:
    text = "Not found: Collection `nope` doesn't exist!"
    for method, path, body in (
        ("GET", "/collections/nope", None),
        ("PATCH", "/collections/nope", {}),
        ("PUT", "/collections/nope/index", {"field_name": "a", "field_schema": "keyword"}),
        ("POST", "/collections/nope/points/query", {}),
        ("PUT", "/collections/nope/points", {"points": [{"id": 1, "vector": [1.0]}]}),
        ("GET", "/collections/nope/points/1", None),
    ):
        assert client.error(method, path, body) == (404, text)


def test_a_second_collection_of_a_name_is_a_conflict(client: Client, city: str) -> None:
    assert client.error("PUT", city, {"vectors": DOT}) == (409, "Wrong input: Collection `city` already exists!")


def test_a_patch_changes_what_is_shown(client: Client, city: str) -> None:
    assert client.result("PATCH", city, {"hnsw_config": {"m": 4}, "metadata": {"a": 1}}) is True
    config = client.result("GET", city)["config"]
    assert (config["hnsw_config"]["m"], config["metadata"]) == (4, {"a": 1})
    status, text = client.error("PATCH", city, {"vectors": {"x": {}}})
    assert (status, text) == (400, "Wrong input: Not existing vector name error: x")


def test_a_payload_index_is_made_shown_and_dropped(client: Client, city: str) -> None:
    points = [{"id": i, "vector": [1.0, 0.0], "payload": {"name": f"n{i}"}} for i in range(3)]
    client.result("PUT", f"{city}/points?wait=true", {"points": points})
    index = {"field_name": "name", "field_schema": {"type": "keyword", "is_tenant": True}}
    result = client.result("PUT", f"{city}/index?wait=true", index)
    assert checked(models.UpdateResult, result).status == "completed"
    shown = client.result("GET", city)["payload_schema"]
    assert shown == {"name": {"data_type": "keyword", "params": {"type": "keyword", "is_tenant": True}, "points": 3}}
    assert client.result("DELETE", f"{city}/index/name?wait=true")["status"] == "completed"
    assert client.result("GET", city)["payload_schema"] == {}
    assert client.result("DELETE", f"{city}/index/name")["status"] == "acknowledged"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("PUT", "", b"{", 400, "Format error in JSON body: "),
        ("PUT", "", b"", 400, "Format error in JSON body: "),
        ("PUT", "?timeout=0", {}, 422, "Validation error in query parameters: [timeout: value 0 invalid"),
        ("PUT", "?timeout=x", {}, 400, "Deserialize error in query parameters: invalid digit found in string"),
        ("PUT", "/index?wait=maybe", {}, 400, "Deserialize error in query parameters: provided string was not"),
        ("PUT", "/index?ordering=other", {}, 400, "Deserialize error in query parameters: unknown variant `other`"),
        ("PUT", "/index", {}, 400, "Format error in JSON body: missing field `field_name`"),
        ("PUT", "/index", {"field_name": "a"}, 400, "Bad request: Can't auto-detect field type"),
        ("PUT", "/index", {"field_name": "a[", "field_schema": "bool"}, 400, "Format error in JSON body: "),
    ],
)
def test_wrong_definitions_are_refused(
    client: Client, city: str, method: str, path: str, body: Any, status: int, text: str
) -> None:
    shown_status, shown_text = client.error(method, city + path, body)
    assert shown_status == status
    assert shown_text.startswith(text)


def test_a_forbidden_name_is_refused(client: Client) -> None:
    status, text = client.error("PUT", "/collections/a*b", {})
    assert status == 422
    assert text == 'Validation error in path parameters: [name: collection name cannot contain "*" char]'


@pytest.mark.parametrize("name", ["x" * 256, "a%00b"])
def test_a_name_that_no_collection_has_is_refused_everywhere(client: Client, name: str) -> None:
    for method, rest in (("GET", ""), ("DELETE", ""), ("GET", "/exists"), ("POST", "/points/count"), ("PATCH", "")):
        status, text = client.error(method, f"/collections/{name}{rest}", {})
        assert status == 422
        assert text.startswith("Validation error in path parameters: [name: ")
