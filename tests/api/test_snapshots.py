"""Snapshots over HTTP: what is answered, and that what was restored is what was there."""

import hashlib
import io
import tarfile
from typing import Any

import jsonschema
import orjson
import pytest

from tests.api.conftest import Client

DOT = {"size": 2, "distance": "Dot"}
C = "/collections/s"
DESCRIPTION = {
    "type": "object",
    "required": ["name", "size", "creation_time", "checksum"],
    "properties": {
        "name": {"type": "string", "pattern": r"\.snapshot$"},
        "creation_time": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$"},
        "size": {"type": "integer", "minimum": 1},
        "checksum": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    },
    "additionalProperties": False,
}


def everything(client: Client, name: str) -> list[dict[str, Any]]:
    body = {"limit": 10_000, "with_payload": True, "with_vector": True}
    points: list[dict[str, Any]] = client.result("POST", f"/collections/{name}/points/scroll", body)["points"]
    return points


def fill(client: Client, name: str, ids: range, **payload: Any) -> None:
    points = [{"id": i, "vector": [i, 1], "payload": {"n": i, **payload}} for i in ids]
    client.result("PUT", f"/collections/{name}/points?wait=true", {"points": points})


@pytest.fixture
def collection(client: Client) -> Any:
    client.result("PUT", C, {"vectors": DOT, "shard_number": 2})
    client.result("PUT", f"{C}/index?wait=true", {"field_name": "n", "field_schema": "integer"})
    fill(client, "s", range(100))
    yield "s"
    for name in ("s", "other"):
        client.result("DELETE", f"/collections/{name}")


def made(client: Client, path: str = f"{C}/snapshots") -> dict[str, Any]:
    described: dict[str, Any] = client.result("POST", path)
    jsonschema.validate(described, DESCRIPTION)
    return described


def downloaded(client: Client, path: str) -> bytes:
    answer = client.send("GET", path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    return answer.content


def names_in(archive: bytes) -> list[str]:
    """What is in an archive, as any reader of tar tells it."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return opened.getnames()


def uploaded(client: Client, path: str, content: bytes, **params: str) -> Any:
    answer = client.send("POST", path, params=params, files={"snapshot": ("any", content)})
    return answer.status_code, orjson.loads(answer.content)


def test_a_snapshot_is_made_listed_downloaded_and_deleted(client: Client, collection: str) -> None:
    described = made(client)
    assert described["name"].startswith("s-0-")
    assert described in client.result("GET", f"{C}/snapshots")
    content = downloaded(client, f"{C}/snapshots/{described['name']}")
    assert len(content) == described["size"]
    assert hashlib.sha256(content).hexdigest() == described["checksum"]
    assert client.result("DELETE", f"{C}/snapshots/{described['name']}") is True
    assert described not in client.result("GET", f"{C}/snapshots")
    for method in ("GET", "DELETE"):
        status, text = client.error(method, f"{C}/snapshots/{described['name']}")
        assert (status, text) == (404, f"Not found: Snapshot {described['name']} not found")


def test_two_snapshots_within_a_second_have_two_names(client: Client, collection: str) -> None:
    assert made(client)["name"] != made(client)["name"]


def test_an_upload_makes_a_collection_with_its_points_and_payload_indexes(client: Client, collection: str) -> None:
    content = downloaded(client, f"{C}/snapshots/{made(client)['name']}")
    assert uploaded(client, "/collections/other/snapshots/upload", content)[0] == 200
    assert everything(client, "other") == everything(client, "s")
    info, before = client.result("GET", "/collections/other"), client.result("GET", C)
    assert info["config"] == before["config"]
    assert info["payload_schema"] == before["payload_schema"]
    fill(client, "other", range(100, 110))
    assert len(everything(client, "other")) == 110


def test_an_upload_replaces_what_a_collection_holds(client: Client, collection: str) -> None:
    before = everything(client, "s")
    content = downloaded(client, f"{C}/snapshots/{made(client)['name']}")
    fill(client, "s", range(50, 200), later=True)
    client.result("POST", f"{C}/points/delete?wait=true", {"points": [1, 2, 3]})
    assert uploaded(client, f"{C}/snapshots/upload", content)[1]["result"] is True
    assert everything(client, "s") == before
    found = client.result("POST", f"{C}/points/count", {"filter": {"must": [{"key": "n", "range": {"gte": 90}}]}})
    assert found["count"] == 10
    fill(client, "s", range(3), again=True)
    assert everything(client, "s")[0]["payload"] == {"n": 0, "again": True}


def test_a_file_in_the_snapshots_folder_is_recovered(client: Client, collection: str) -> None:
    name, before = made(client)["name"], everything(client, "s")
    fill(client, "s", range(7), later=True)
    location = (client.folder / "snapshots" / "s" / name).as_uri()
    body = {"location": location, "priority": "snapshot", "wait": True}
    assert client.result("PUT", f"{C}/snapshots/recover", body) is True
    assert everything(client, "s") == before


def test_a_shard_is_restored_alone(client: Client, collection: str) -> None:
    before, path = everything(client, "s"), f"{C}/shards/1/snapshots"
    described = made(client, path)
    assert described["name"].startswith("s-shard-1-")
    assert client.result("GET", path) == [described]
    content = downloaded(client, f"{path}/{described['name']}")
    streamed = downloaded(client, f"{C}/shards/1/snapshot")
    assert names_in(streamed) == names_in(content)
    for way in ("name", "upload", "stream"):
        fill(client, "s", range(100), later=way)
        if way == "name":
            assert client.result("PUT", f"{path}/recover", {"location": described["name"]}) is True
        else:
            assert uploaded(client, f"{path}/upload", content if way == "upload" else streamed)[0] == 200
        after = everything(client, "s")
        restored = [point for point in after if "later" not in point["payload"]]
        assert 30 < len(restored) < 70
        assert all(point in before for point in restored)
    assert client.error("GET", f"{C}/shards/9/snapshots")[0] == 404
    assert client.error("POST", "/collections/nobody/shards/0/snapshots")[0] == 404
    assert client.result("DELETE", f"{path}/{described['name']}") is True


def test_nothing_is_left_of_a_stream_whose_client_goes_before_it_begins(client: Client, collection: str) -> None:
    transport: Any = client.http._transport
    path = f"{C}/shards/0/snapshot"
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
    }
    places: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect" if places else "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        places.append(len(list((client.folder / "staging").iterdir())))
        raise OSError("the client is gone")

    client.runner.run(transport.app({**scope, "asgi": {"spec_version": "2.4"}}, receive, send))
    assert places[0] == 1
    assert list((client.folder / "staging").iterdir()) == []


def test_who_does_not_wait_is_told_at_once(client: Client, collection: str) -> None:
    answer = client.send("POST", f"{C}/snapshots?wait=false")
    assert answer.status_code == 202
    told = orjson.loads(answer.content)
    assert list(told) == ["status", "time"]
    assert told["status"] == "accepted"
    content = downloaded(client, f"{C}/snapshots/{made(client)['name']}")
    assert uploaded(client, f"{C}/snapshots/upload", content, wait="false")[0] == 202
    assert client.error("POST", f"{C}/snapshots?wait=maybe")[0] == 400
    assert client.error("POST", "/collections/nobody/snapshots?wait=false")[0] == 404


def test_everything_is_in_a_snapshot_of_the_storage(client: Client, collection: str) -> None:
    described = made(client, "/snapshots")
    assert described["name"].startswith("full-snapshot-")
    assert client.result("GET", "/snapshots") == [described]
    content = downloaded(client, f"/snapshots/{described['name']}")
    assert hashlib.sha256(content).hexdigest() == described["checksum"]
    assert client.result("DELETE", f"/snapshots/{described['name']}") is True
    assert client.result("GET", "/snapshots") == []


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({}, 400, "Format error in JSON body: missing field `location`"),
        ({"location": 7}, 400, "Format error in JSON body: "),
        ({"location": "file:///x.snapshot"}, 400, 'Bad request: Snapshot file "/x.snapshot" does not exist'),
        ({"location": "file:///etc/passwd"}, 403, "Forbidden: Snapshot file path must be inside the snapshots directory"),
        ({"location": "file://elsewhere/x"}, 400, "Bad request: Invalid snapshot URI, file path must be absolute or on localhost"),
        ({"location": "ftp://h/x"}, 400, "Bad request: Invalid snapshot URI"),
        ({"location": "x.snapshot"}, 400, "Bad request: Invalid snapshot URI"),
        ({"location": "http://127.0.0.1:9/x"}, 400, "Bad request: Failed to download snapshot"),
        ({"location": "file:///x", "priority": "mine"}, 400, "Format error in JSON body: unknown variant `mine`"),
    ],
)  # fmt: skip
def test_what_cannot_be_recovered_is_refused(client: Client, body: Any, status: int, text: str) -> None:
    told = client.error("PUT", "/collections/new/snapshots/recover", body)
    assert (told[0], told[1][: len(text)]) == (status, text)
    assert client.result("GET", "/collections/new/exists") == {"exists": False}


def test_a_wrong_checksum_is_told_and_nothing_is_made(client: Client, collection: str) -> None:
    described = made(client)
    location = (client.folder / "snapshots" / "s" / described["name"]).as_uri()
    body = {"location": location, "checksum": "0" * 64}
    status, text = client.error("PUT", "/collections/new/snapshots/recover", body)
    assert (status, text) == (
        400,
        f"Wrong input: Snapshot checksum mismatch: expected {'0' * 64}, got {described['checksum']}",
    )
    content = downloaded(client, f"{C}/snapshots/{described['name']}")
    status, told = uploaded(client, "/collections/new/snapshots/upload", content, checksum="1" * 64)
    assert (status, told["status"]["error"]) == (
        400,
        f"Checksum mismatch: expected {'1' * 64}, actual {described['checksum']}",
    )
    assert client.result("GET", "/collections/new/exists") == {"exists": False}
    body["checksum"] = described["checksum"].upper()
    assert client.result("PUT", "/collections/other/snapshots/recover", body) is True


def test_another_kind_of_collection_takes_no_snapshot(client: Client, collection: str) -> None:
    content = downloaded(client, f"{C}/snapshots/{made(client)['name']}")
    for settings in ({"vectors": {"size": 3, "distance": "Dot"}, "shard_number": 2}, {"vectors": DOT}):
        client.result("PUT", "/collections/other", settings)
        status, told = uploaded(client, "/collections/other/snapshots/upload", content)
        assert status == 400
        text = "Wrong input: Snapshot is not compatible with existing collection: "
        assert told["status"]["error"].startswith(text)
        client.result("DELETE", "/collections/other")


def test_names_lead_nowhere_else(client: Client, collection: str) -> None:
    for name in (
        "..%2F..%2Fraft%2Fdata.mdb",
        "%2e%2e",
        "data.mdb",
        ".hidden.snapshot",
        "shards",
        "x" * 300 + ".snapshot",
    ):
        for method in ("GET", "DELETE"):
            assert client.error(method, f"{C}/snapshots/{name}")[0] == 404


def test_an_upload_is_judged_before_it_is_read(client: Client, collection: str) -> None:
    read: list[bytes] = []

    async def body() -> Any:
        read.append(b"")
        yield b"never"

    headers = {"content-type": "multipart/form-data; boundary=b"}
    assert client.error("POST", f"{C}/snapshots/upload?priority=mine", body(), headers=headers)[0] == 400
    assert client.error("POST", f"{C}/snapshots/upload?wait=mine", body(), headers=headers)[0] == 400
    assert client.error("POST", f"{C}/shards/9/snapshots/upload", body(), headers=headers)[0] == 404
    assert client.error("POST", f"{C}/snapshots/upload", body(), headers={"content-type": "text/plain"})[0] == 400
    assert read == []
    for torn in (b"", b"--b\r\n", b'--b\r\nContent-Disposition: form-data; name="snapshot"\r\n\r\nabc', b"--b--\r\n"):
        assert client.error("POST", f"{C}/snapshots/upload", torn, headers=headers)[0] == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "create"), ("GET", "manifest"), ("POST", "recover"), ("POST", "recover_from")],
)
def test_partial_snapshots_are_refused_by_name(client: Client, collection: str, method: str, path: str) -> None:
    status, text = client.error(method, f"{C}/shards/0/snapshot/partial/{path}", None if method == "GET" else {})
    assert status == 400
    assert text.startswith("Bad request: ")
    assert text.endswith(f"/snapshot/partial/{path} is not supported yet")


def test_a_shard_is_recovered_only_where_there_is_one(client: Client, collection: str) -> None:
    body = {"location": "x.snapshot"}
    for path in ("/collections/nobody/shards/0", f"{C}/shards/9", f"{C}/shards/x"):
        assert client.error("PUT", f"{path}/snapshots/recover", body)[0] == 404
        assert client.error("GET", f"{path}/snapshot")[0] == 404
    status, text = client.error("PUT", f"{C}/shards/0/snapshots/recover", body)
    assert (status, text.endswith('x.snapshot" does not exist')) == (400, True)


@pytest.mark.parametrize("priority", ["no_sync", "replica"])
def test_every_priority_restores_what_has_no_other_replica(client: Client, collection: str, priority: str) -> None:
    name, before = made(client)["name"], everything(client, "s")
    fill(client, "s", range(7), later=True)
    location = (client.folder / "snapshots" / "s" / name).as_uri()
    assert client.result("PUT", f"{C}/snapshots/recover", {"location": location, "priority": priority}) is True
    assert everything(client, "s") == before


def test_all_kinds_of_vectors_are_restored(client: Client, collection: str) -> None:
    settings = {
        "vectors": {"one": DOT, "many": {**DOT, "multivector_config": {"comparator": "max_sim"}}},
        "sparse_vectors": {"words": {"modifier": "idf"}},
    }
    points = [
        {"id": i, "vector": {"one": [i, 1], "many": [[i, 1], [1, i]], "words": {"indices": [i, 99], "values": [1, 2]}}}
        for i in range(30)
    ]
    try:
        client.result("PUT", "/collections/kinds", settings)
        client.result("PUT", "/collections/kinds/points?wait=true", {"points": points})
        before = everything(client, "kinds")
        described = made(client, "/collections/kinds/snapshots")
        content = downloaded(client, f"/collections/kinds/snapshots/{described['name']}")
        assert uploaded(client, "/collections/other/snapshots/upload", content)[0] == 200
        assert everything(client, "other") == before
    finally:
        client.result("DELETE", "/collections/kinds")
