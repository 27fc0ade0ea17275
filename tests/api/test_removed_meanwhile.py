"""A collection that is deleted and made again while it is read and written: it is there, or it is not."""

import asyncio
from typing import Any

import httpx
import orjson

from tests.api.conftest import Client

C = "/collections/comes-and-goes"
ROUNDS = 12
FEW = {"must": [{"key": "n", "range": {"gte": 3}}]}
REQUESTS: list[tuple[str, str, Any]] = [
    ("POST", f"{C}/points/query", {"query": [1.0, 2.0], "with_vector": True}),
    ("POST", f"{C}/points/query", {"query": [1.0, 2.0], "filter": FEW}),
    ("POST", f"{C}/points/query/batch", {"searches": [{"query": [1.0, 2.0]}] * 40}),
    ("POST", f"{C}/points/scroll", {"filter": FEW, "with_vector": True}),
    ("POST", f"{C}/points/count", {"filter": FEW}),
    ("POST", f"{C}/points", {"ids": list(range(300))}),
    ("GET", f"{C}/points/1", None),
    ("GET", C, None),
    ("PUT", f"{C}/points?wait=true", {"points": [{"id": i, "vector": [i, 1], "payload": {"n": i}} for i in range(9)]}),
    ("PUT", f"{C}/points/vectors", {"points": [{"id": 1, "vector": [1.0, 1.0]}]}),
    ("POST", f"{C}/points/delete", {"filter": FEW}),
    ("PUT", f"{C}/index?wait=true", {"field_name": "n", "field_schema": "integer"}),
    ("DELETE", f"{C}/index/n?wait=true", None),
    ("PATCH", C, {"optimizers_config": {"indexing_threshold": 1}}),
]


def test_requests_that_meet_a_deletion_find_the_collection_or_find_none(client: Client) -> None:
    going, statuses = True, set()

    async def send(method: str, path: str, body: Any) -> httpx.Response:
        content = None if body is None else orjson.dumps(body)
        return await client.http.request(method, path, content=content, headers={"content-type": "application/json"})

    async def repeat(method: str, path: str, body: Any) -> None:
        while going:
            response = await send(method, path, body)
            assert response.status_code in (200, 404), f"{method} {path}: {response.text}"
            statuses.add(response.status_code)
            await asyncio.sleep(0)

    async def come_and_go() -> None:
        nonlocal going
        for _ in range(ROUNDS):
            assert (await send("PUT", C, {"vectors": {"size": 2, "distance": "Dot"}})).status_code == 200
            assert (await send(*REQUESTS[8])).status_code == 200
            assert (await send("GET", f"{C}/exists", None)).json()["result"] == {"exists": True}
            assert (await send("DELETE", C, None)).json()["result"] is True
            assert (await send("GET", f"{C}/exists", None)).json()["result"] == {"exists": False}
        going = False

    async def together() -> None:
        await asyncio.gather(come_and_go(), *(repeat(*request) for request in REQUESTS))

    client.runner.run(together())
    assert statuses == {200, 404}
