"""Answers that are written beside the event loop are the same as small ones."""

import random
from typing import Any

import orjson
import pytest

from qnode.api import answers
from tests.api.conftest import Client

C = "/collections/large"
COUNT = 700
SEED = 11


@pytest.fixture(scope="module")
def expected(client: Client) -> list[dict[str, Any]]:
    client.result("PUT", C, {"vectors": {"size": 40, "distance": "Euclid"}})
    points = [
        {"id": i, "payload": {"n": i, "t": [None, "é"]}, "vector": [i + j / 8 for j in range(40)]} for i in range(COUNT)
    ]
    for at in range(0, COUNT, 100):
        client.result("PUT", f"{C}/points?wait=true", {"points": points[at : at + 100]})
    return points


WHOLE = {"with_payload": True, "with_vector": True}


def test_many_points_are_listed_as_few_are(client: Client, expected: list[dict[str, Any]]) -> None:
    page = client.result("POST", f"{C}/points/scroll", {"limit": COUNT, **WHOLE})
    assert page == {"points": expected, "next_page_offset": None}
    assert client.result("POST", f"{C}/points", {"ids": list(range(COUNT)), **WHOLE}) == expected
    few = client.result("POST", f"{C}/points/scroll", {"limit": 3, **WHOLE})
    assert few == {"points": expected[:3], "next_page_offset": 3}


def test_many_hits_are_shown_as_few_are(client: Client, expected: list[dict[str, Any]]) -> None:
    query = {"query": expected[0]["vector"], **WHOLE}
    many = client.result("POST", f"{C}/points/query", {**query, "limit": COUNT})["points"]
    assert [{name: hit[name] for name in ("id", "payload", "vector")} for hit in many] == expected
    assert client.result("POST", f"{C}/points/query", {**query, "limit": 5})["points"] == many[:5]
    search = {"vector": expected[0]["vector"], "limit": COUNT, **WHOLE}
    assert client.result("POST", f"{C}/points/search", search) == many


@pytest.mark.usefixtures("expected")
def test_a_large_batch_gives_what_its_queries_give_alone(client: Client) -> None:
    queries = [{"query": [i / 4] * 40, "limit": 2} for i in range(100)]
    alone = [client.result("POST", f"{C}/points/query", query) for query in queries]
    assert client.result("POST", f"{C}/points/query/batch", {"searches": queries}) == alone
    searches = [{"vector": query["query"], "limit": 2} for query in queries]
    found = client.result("POST", f"{C}/points/search/batch", {"searches": searches})
    assert found == [each["points"] for each in alone]


@pytest.mark.usefixtures("expected")
def test_a_large_batch_with_a_wrong_query_is_refused_whole(client: Client) -> None:
    queries: list[dict[str, Any]] = [{"query": [1.0] * 40}] * 80 + [{"query": [1.0]}]
    status, text = client.error("POST", f"{C}/points/query/batch", {"searches": queries})
    assert (status, text) == (400, "Wrong input: Vector dimension error: expected dim: 40, got 1")


def test_large_answers_are_compressed_where_that_gains_much(client: Client) -> None:
    client.result("PUT", "/collections/zipped", {"vectors": {"size": 200, "distance": "Dot"}})
    chance = random.Random(SEED)
    text = {"text": "so many words " * 30}
    points = [{"id": i, "vector": [chance.gauss(0, 1) for _ in range(200)], "payload": text} for i in range(400)]
    for at in (0, 200):
        client.result("PUT", "/collections/zipped/points?wait=true", {"points": points[at : at + 200]})

    def encoding(accepted: str, **body: int) -> str | None:
        headers = {"accept-encoding": accepted, "content-type": "application/json"}
        answer = client.send("POST", "/collections/zipped/points/scroll", orjson.dumps(body), headers=headers)
        assert len(orjson.loads(answer.content)["result"]["points"]) == body["limit"]
        return answer.headers.get("content-encoding")

    assert encoding("br, GZIP;q=0.5, deflate", limit=400) == "gzip"
    for accepted in ("identity", "gzip;q=0", "gzip; q=0.00", "deflate"):
        assert encoding(accepted, limit=400) is None
    assert encoding("gzip", limit=400, with_payload=False, with_vector=True) is None
    assert encoding("gzip", limit=20) is None
    client.result("DELETE", "/collections/zipped")


def test_nothing_is_listed_as_an_empty_array() -> None:
    assert orjson.loads(answers.ok(answers.listed([], answers.record), 0.0))["result"] == []
