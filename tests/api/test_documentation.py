from typing import Any

import orjson
import pytest

from qnode.api import documentation
from qnode.api.points import Points
from qnode.api.summaries import Summaries
from tests.api.conftest import Client

C = "/collections/{collection_name}"


@pytest.fixture(scope="module")
def document(client: Client) -> dict[str, Any]:
    shown: dict[str, Any] = orjson.loads(client.send("GET", "/openapi.json").content)
    return shown


def shape(value: object) -> object:
    """The keys of an answer, all the way down; lists by their first element."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value else None


def test_every_endpoint_of_points_has_a_sketch() -> None:
    points = Points(None, None, None, None)  # type: ignore[arg-type]
    assert set(documentation.POINTS) == {*points.routes(), *Summaries(points).routes()}


def test_the_document_shows_hot_and_ordinary_endpoints(document: dict[str, Any]) -> None:
    assert document["paths"][f"{C}/points/query"]["post"]["summary"] == "Query points"
    assert document["paths"][f"{C}/points"].keys() == {"put", "post"}
    assert document["paths"][f"{C}/points/{{id}}"]["get"]["summary"] == "Get point"
    assert document["paths"][C].keys() == {"get", "put", "patch", "delete"}
    assert client_errors(document) == {"4XX"}


def client_errors(document: dict[str, Any]) -> set[str]:
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    return {status for operation in operations for status in operation["responses"] if status.startswith("4")}


def test_the_document_refers_to_nothing_that_it_does_not_hold(client: Client) -> None:
    assert b"$ref" not in client.send("GET", "/openapi.json").content


def test_the_examples_of_the_document_are_answered_as_it_says(client: Client, document: dict[str, Any]) -> None:
    """In the order of the document: what defines comes first, what deletes comes last."""
    routes = [*documentation.DEFINITIONS, *((method, f"{C}/{rest}") for method, rest in documentation.POINTS)]
    for method, route in routes:
        operation = document["paths"][route][method.lower()]
        body = operation["requestBody"]["content"]["application/json"]["example"]
        path = route.replace("{collection_name}", "documented")
        result = client.result(method, f"{path}?wait=true", body)
        shown = operation["responses"]["200"]["content"]["application/json"].get("example")
        if shown is not None:
            assert shape(result) == shape(shown["result"]), f"{method} {route}"
    client.result("DELETE", "/collections/documented")


def test_the_page_that_shows_the_document_is_there(client: Client) -> None:
    assert "swagger" in client.send("GET", "/docs").text.lower()
