from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.conftest import Client

POINTS = {"points": [{"id": 1, "vector": [1.0, 0.0], "payload": {"city": "Oslo"}}]}


def create(alias: str, collection: str) -> dict[str, Any]:
    return {"create_alias": {"alias_name": alias, "collection_name": collection}}


def delete(alias: str) -> dict[str, Any]:
    return {"delete_alias": {"alias_name": alias}}


def rename(old: str, new: str) -> dict[str, Any]:
    return {"rename_alias": {"old_alias_name": old, "new_alias_name": new}}


@pytest.fixture(autouse=True)
def _collections(client: Client) -> Iterator[None]:
    for name in ("first", "second"):
        client.result("PUT", f"/collections/{name}", {"vectors": {"size": 2, "distance": "Dot"}})
    yield
    for name in ("first", "second"):
        client.result("DELETE", f"/collections/{name}")


def change(client: Client, *actions: dict[str, Any]) -> None:
    assert client.result("POST", "/collections/aliases", {"actions": list(actions)}) is True


def aliases(client: Client, path: str = "/aliases") -> dict[str, str]:
    return {entry["alias_name"]: entry["collection_name"] for entry in client.result("GET", path)["aliases"]}


def test_an_alias_is_good_wherever_a_path_names_a_collection(client: Client) -> None:
    change(client, create("now", "first"))
    client.result("PUT", "/collections/now/points?wait=true", POINTS)
    client.result("PUT", "/collections/now/index?wait=true", {"field_name": "city", "field_schema": "keyword"})
    client.result("PATCH", "/collections/now", {"optimizers_config": {"indexing_threshold": 5}})
    assert client.result("POST", "/collections/now/facet", {"key": "city"}) == {"hits": [{"value": "Oslo", "count": 1}]}
    assert client.result("POST", "/collections/now/points/query", {"query": [1.0, 0.0]})["points"][0]["id"] == 1
    assert client.result("GET", "/collections/now/points/1")["payload"] == {"city": "Oslo"}
    assert client.result("GET", "/collections/now/exists") == {"exists": True}
    shown = client.result("GET", "/collections/first")
    assert shown["config"]["optimizer_config"]["indexing_threshold"] == 5
    assert shown == client.result("GET", "/collections/now")
    assert client.result("DELETE", "/collections/now/index/city")["status"] == "acknowledged"


def test_aliases_are_listed(client: Client) -> None:
    change(client, create("b", "second"), create("a", "first"), create("c", "first"))
    assert aliases(client) == {"a": "first", "b": "second", "c": "first"}
    assert aliases(client, "/collections/first/aliases") == {"a": "first", "c": "first"}
    assert aliases(client, "/collections/nowhere/aliases") == {}


def test_an_alias_is_moved_and_renamed_in_one_batch(client: Client) -> None:
    change(client, create("now", "first"))
    change(client, delete("now"), create("now", "second"), rename("now", "then"), delete("unknown"))
    assert aliases(client) == {"then": "second"}
    change(client, create("then", "first"))
    assert aliases(client) == {"then": "first"}


def test_deleting_a_collection_takes_its_aliases_along_and_its_own_name_alone(client: Client) -> None:
    change(client, create("now", "first"))
    assert client.result("DELETE", "/collections/now") is False
    assert client.result("DELETE", "/collections/first") is True
    assert aliases(client) == {}
    assert client.error("GET", "/collections/now") == (404, "Not found: Collection `now` doesn't exist!")


@pytest.mark.parametrize(
    ("action", "status", "text"),
    [
        (create("x", "nowhere"), 404, "Not found: Collection `nowhere` doesn't exist!"),
        (create("second", "first"), 409, "Wrong input: Collection `second` already exists!"),
        (rename("unknown", "x"), 404, "Not found: Alias unknown does not exists!"),
        (create("a/b", "first"), 422, "Validation error in JSON body: [actions[1].create_alias.alias_name: collection"),
        ({"make_alias": {}}, 400, "Format error in JSON body: data did not match any variant"),
        ({"create_alias": {"alias_name": "x"}}, 400, "Format error in JSON body: missing field `collection_name`"),
    ],
)
def test_what_comes_before_a_refused_change_stays(
    client: Client, action: dict[str, Any], status: int, text: str
) -> None:
    body = {"actions": [create("before", "first"), action, create("behind", "first")]}
    shown_status, shown_text = client.error("POST", "/collections/aliases", body)
    assert (shown_status, shown_text[: len(text)]) == (status, text)
    assert aliases(client) == ({"before": "first"} if text[:5] in ("Not f", "Wrong") else {})


def test_no_collection_takes_the_name_of_an_alias(client: Client) -> None:
    change(client, create("now", "first"))
    status, text = client.error("PUT", "/collections/now", {"vectors": {"size": 2, "distance": "Dot"}})
    assert status == 400
    assert text.endswith("Alias with the same name already exists")
