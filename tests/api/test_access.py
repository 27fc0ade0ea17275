"""Who is let in, and to what. Every endpoint that the node has is asked with every kind of key."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import orjson
import pytest

from qnode.api.access import EVERYTHING, LEEWAY_SECONDS, Access, Keys, Level, Need, credential, need_of
from qnode.errors import Forbidden
from tests.api.conftest import Client, serving

FULL = "the full key, which is long enough for tokens of any kind"
OTHER = "the other one, which is long enough for tokens, too"
READING = "only reads"
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A node with keys, and two collections of a point each."""
    with serving(tmp_path_factory.mktemp("guarded"), Keys((FULL, OTHER), READING, accepts_tokens=True)) as client:
        for name in ("mine", "yours"):
            assert status(client, "PUT", f"/collections/{name}", {"vectors": {"size": 2, "distance": "Dot"}}) == 200
            points = {"points": [{"id": 1, "vector": [1.0, 1.0], "payload": {"who": "ada"}}]}
            assert status(client, "PUT", f"/collections/{name}/points?wait=true", points) == 200
        yield client


def ask(client: Client, method: str, path: str, body: Any = None, key: str | None = FULL, bearer: bool = False) -> Any:
    headers: dict[str, bytes | str] = {}
    if key is not None:
        shown = key.encode()
        headers = {"authorization": b"Bearer " + shown} if bearer else {"api-key": shown}
    return client.send(method, path, body, headers={**headers, **JSON})


def status(client: Client, method: str, path: str, body: Any = None, key: str | None = FULL) -> int:
    code: int = ask(client, method, path, body, key).status_code
    return code


def token(key: str = FULL, **claims: Any) -> str:
    return jwt.encode(claims, key, algorithm="HS256")


def refused(client: Client, method: str, path: str, key: str, body: Any = None) -> str:
    response = ask(client, method, path, body, key)
    assert response.status_code == 403, response.text
    text: str = orjson.loads(response.content)["status"]["error"]
    return text


def test_without_a_key_only_version_and_health_are_told(guarded: Client) -> None:
    for path in ("/", "/healthz", "/livez", "/readyz"):
        assert status(guarded, "GET", path, key=None) == 200
    for method, path in (
        ("GET", "/collections"),
        ("POST", "/collections/mine/points/query"),
        ("GET", "/metrics"),
        ("GET", "/x"),
    ):
        response = ask(guarded, method, path, key=None)
        assert (response.status_code, response.text) == (
            401,
            "Must provide an API key or an Authorization bearer token",
        )
        assert response.headers["content-type"].startswith("text/plain")


def test_an_unknown_key_is_refused(guarded: Client) -> None:
    for key in ("", "x", FULL[:-1], FULL + "x", READING + "\0", "ключ"):
        response = ask(guarded, "GET", "/collections", key=key)
        assert (response.status_code, response.text) == (401, "Invalid API key or JWT")


@pytest.mark.parametrize("bearer", [False, True])
@pytest.mark.parametrize("key", [FULL, OTHER])
def test_both_full_keys_may_do_everything(guarded: Client, key: str, bearer: bool) -> None:
    points = {"points": [{"id": 1, "vector": [1.0, 1.0], "payload": {"who": "ada"}}]}
    assert ask(guarded, "PUT", "/collections/mine/points?wait=true", points, key, bearer).status_code == 200
    assert ask(guarded, "GET", "/telemetry", None, key, bearer).status_code == 200


def test_the_read_only_key_reads_and_does_not_write(guarded: Client) -> None:
    assert status(guarded, "POST", "/collections/mine/points/query", {"query": [1.0, 1.0]}, READING) == 200
    assert status(guarded, "GET", "/collections", key=READING) == 200
    assert status(guarded, "GET", "/metrics", key=READING) == 200
    for method, path in (
        ("PUT", "/collections/mine/points"),
        ("POST", "/collections/mine/points/delete"),
        ("POST", "/collections/mine/points/batch"),
        ("PUT", "/collections/new"),
        ("DELETE", "/collections/mine"),
        ("POST", "/collections/mine/snapshots"),
        ("PUT", "/collections/mine/index"),
    ):
        assert refused(guarded, method, path, READING, {}) == "Forbidden: Global manage access is required"
    assert status(guarded, "GET", "/collections/mine") == 200


def test_a_token_gives_what_it_says(guarded: Client) -> None:
    reads = token(access=[{"collection": "mine", "access": "r"}])
    writes = token(access=[{"collection": "mine", "access": "rw"}])
    points_alone = token(access=[{"collection": "mine", "access": "prw"}])
    upsert = {"points": [{"id": 1, "vector": [1.0, 1.0], "payload": {"who": "ada"}}]}
    index = {"field_name": "who", "field_schema": "keyword"}
    for key in (reads, writes, points_alone):
        assert status(guarded, "POST", "/collections/mine/points/scroll", {}, key) == 200
        assert status(guarded, "GET", "/collections/mine", key=key) == 200
        shown = orjson.loads(ask(guarded, "GET", "/collections", key=key).content)
        assert shown["result"]["collections"] == [{"name": "mine"}]
        needed = "Forbidden: Access to collection yours is required"
        assert refused(guarded, "POST", "/collections/yours/points/scroll", key, {}) == needed
        assert refused(guarded, "GET", "/telemetry", key) == "Forbidden: Global access is required"
        assert refused(guarded, "DELETE", "/collections/mine", key) == "Forbidden: Global access is required"
    assert refused(guarded, "PUT", "/collections/mine/points", reads, upsert) == (
        "Forbidden: Write access to collection mine is required"
    )
    assert status(guarded, "PUT", "/collections/mine/points", upsert, writes) == 200
    assert status(guarded, "PUT", "/collections/mine/points", upsert, points_alone) == 200
    assert status(guarded, "PUT", "/collections/mine/index", index, writes) == 200
    only = "Forbidden: Only points access is allowed for collection mine"
    assert refused(guarded, "PUT", "/collections/mine/index", points_alone, index) == only
    assert refused(guarded, "GET", "/collections/mine/snapshots", points_alone) == only


def test_a_token_for_everything_reads_or_manages(guarded: Client) -> None:
    assert status(guarded, "GET", "/telemetry", key=token(access="r")) == 200
    assert status(guarded, "PUT", "/collections/other", {"vectors": {}}, token(access="m")) == 200
    assert status(guarded, "DELETE", "/collections/other", key=token(OTHER)) == 200, "without `access`: everything"
    assert refused(guarded, "PUT", "/collections/other", token(access="r"), {}) == (
        "Forbidden: Global manage access is required"
    )


def test_a_token_is_not_taken_beyond_its_end_or_with_another_signature(guarded: Client) -> None:
    now = datetime.now(UTC)
    late, later = now - timedelta(seconds=LEEWAY_SECONDS / 2), now - timedelta(seconds=2 * LEEWAY_SECONDS)
    assert status(guarded, "GET", "/collections", key=token(exp=late)) == 200
    for key, text in ((token(exp=later), "ExpiredSignature"), (token("x" * 40, access="m"), "InvalidSignature")):
        response = ask(guarded, "GET", "/collections", key=key)
        assert (response.status_code, response.text) == (403, text)
    unsigned = jwt.encode({"access": "m"}, None, algorithm="none")
    assert ask(guarded, "GET", "/collections", key=unsigned).status_code == 401
    signed_otherwise = jwt.encode({"access": "m"}, FULL, algorithm="HS384")
    assert ask(guarded, "GET", "/collections", key=signed_otherwise).status_code == 401


@pytest.mark.parametrize(
    "access", ["rw", 7, [{"collection": "mine"}], [{"collection": "mine", "access": "m"}], ["mine"], [7]]
)
def test_a_token_with_claims_that_make_no_sense_gives_nothing(guarded: Client, access: object) -> None:
    assert ask(guarded, "GET", "/collections", key=token(access=access)).status_code == 403


def test_a_token_may_hold_only_as_long_as_a_point_is_there(guarded: Client) -> None:
    def shown(who: str) -> str:
        return token(value_exists={"collection": "mine", "matches": [{"key": "who", "value": who}]})

    assert status(guarded, "GET", "/collections", key=shown("ada")) == 200
    response = ask(guarded, "GET", "/collections", key=shown("bob"))
    assert (response.status_code, response.text) == (401, "Invalid JWT, stateful validation failed")


@pytest.mark.parametrize(
    "condition",
    [
        {"collection": "mine", "matches": [{"key": "who", "value": ["ada"]}]},
        {"collection": "mine", "matches": [{"key": "a[", "value": "ada"}]},
        {"collection": ["mine"], "matches": [{"key": "who", "value": "ada"}]},
        {"collection": "mine"},
    ],
)
def test_a_token_whose_condition_makes_no_sense_gives_nothing(guarded: Client, condition: object) -> None:
    response = ask(guarded, "GET", "/collections", key=token(value_exists=condition))
    assert (response.status_code, response.text) == (403, "Invalid JWT: its claims cannot be read")


def test_a_browser_may_ask_first_what_it_may_ask_for(guarded: Client) -> None:
    headers = {
        "origin": "http://page",
        "access-control-request-method": "POST",
        "access-control-request-headers": "api-key",
    }
    response = guarded.send("OPTIONS", "/collections/mine/points/query", headers=headers)
    assert (response.status_code, response.headers["access-control-allow-headers"]) == (200, "api-key")
    response = guarded.send("POST", "/collections/mine/points/query", headers={"origin": "http://page"})
    assert (response.status_code, response.headers["access-control-allow-origin"]) == (401, "*")


def test_every_endpoint_but_those_that_are_open_needs_a_key(guarded: Client) -> None:
    document = orjson.loads(ask(guarded, "GET", "/openapi.json").content)
    for path, operations in document["paths"].items():
        for method in operations:
            code = status(guarded, method.upper(), path.replace("{", "").replace("}", ""), key=None)
            assert code == (200 if path in ("/", "/healthz", "/livez", "/readyz") else 401), (method, path)


def test_what_a_request_needs_follows_from_method_and_path() -> None:
    read, points, write = (Need(level, "c") for level in (Level.READ, Level.POINTS, Level.WRITE))
    assert need_of("POST", "/collections/c/points") == read
    assert need_of("PUT", "/collections/c/points") == points
    assert need_of("POST", "/collections/c/points/payload") == points
    assert need_of("POST", "/collections/c/facet") == read
    assert need_of("DELETE", "/collections/c/index/a/snapshot") == write
    assert need_of("PUT", "/collections/c/snapshots/recover") == Need(Level.MANAGE)
    assert need_of("POST", "/collections/c/shards/0/snapshots/upload") == Need(Level.MANAGE)
    assert need_of("POST", "/collections/aliases") == Need(Level.MANAGE)
    assert need_of("GET", "/cluster") == Need(Level.READ)
    assert need_of("POST", "/nobody/knows") == Need(Level.MANAGE)
    with pytest.raises(Forbidden, match="Access to collection other is required"):
        Access(None, (("c", Level.WRITE),)).check_collection("other")
    EVERYTHING.check(Need(Level.MANAGE))


def test_a_key_of_the_header_goes_before_a_bearer() -> None:
    bearer = (b"authorization", b"bearer two")
    assert credential([bearer, (b"api-key", b"one")]) == "one"
    assert credential([bearer]) == "two"
    assert credential([(b"authorization", b"Basic x")]) is None
