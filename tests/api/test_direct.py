"""Searches that are answered where their last byte is read, beside the same ones on the ordinary way."""

import json
import random
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.node import Node

SIZE = 24
HEAD = (
    b"POST /collections/%b HTTP/1.1\r\nHost: node\r\n%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
)
ORDINARY = b"Origin: http://elsewhere\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n"
SEED = random.randrange(1 << 30)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    chance = random.Random(SEED)
    with Node(tmp_path_factory.mktemp("direct")) as running:
        running.create("c", SIZE, "Cosine")
        points = [
            {"id": at, "vector": [chance.gauss(0, 1) for _ in range(SIZE)], "payload": {"n": at}} for at in range(300)
        ]
        running.upsert("c", points)
        yield running


def post(body: Any, path: bytes = b"c/points/query", more: bytes = b"") -> bytes:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HEAD % (path, more, len(text), text)


def answers(node: Node, *requests: bytes, piece_bytes: int = 1 << 30) -> list[tuple[int, Any]]:
    """Send requests on one connection without waiting; give status and body of each answer, but for the time."""
    sent = b"".join(requests) + LAST
    with socket.create_connection(("127.0.0.1", node.port), 30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(sent), piece_bytes):
            connection.sendall(sent[at : at + piece_bytes])
        with connection.makefile("rb") as received:
            found = [_one(received) for _ in requests]
            assert _one(received)[0] == 200
    return found


def _one(received: Any) -> tuple[int, Any]:
    status = int(received.readline().split()[1])
    headers = {}
    while line := received.readline().strip():
        name, value = line.decode().lower().split(": ", 1)
        headers[name] = value
    assert headers["content-type"] == "application/json"
    assert "date" in headers
    body = json.loads(received.read(int(headers["content-length"])))
    body.pop("time", None)
    return status, body


def vector(chance: random.Random) -> list[float]:
    return [chance.gauss(0, 1) for _ in range(SIZE)]


def test_direct_answers_are_those_of_the_ordinary_way(node: Node) -> None:
    print(f"seed {SEED}")
    chance = random.Random(SEED + 1)
    for body, path in (
        ({"query": vector(chance)}, b"c/points/query"),
        ({"query": {"nearest": vector(chance)}, "limit": 7, "offset": 3}, b"c/points/query"),
        ({"query": vector(chance), "score_threshold": 0.3, "params": {"hnsw_ef": 30}}, b"c/points/query"),
        ({"query": vector(chance), "with_payload": True}, b"c/points/query"),
        ({"query": vector(chance), "with_vector": True}, b"c/points/query"),
        ({"query": vector(chance), "limit": 250}, b"c/points/query"),
        ({"query": vector(chance), "params": {"exact": True}}, b"c/points/query"),
        ({"query": vector(chance), "filter": {"must": [{"key": "n", "range": {"lt": 50}}]}}, b"c/points/query"),
        ({"vector": vector(chance), "limit": 5}, b"c/points/search"),
        ({"query": vector(chance)[1:]}, b"c/points/query"),
        ({"query": vector(chance), "limit": 0}, b"c/points/query"),
        ({"query": vector(chance), "using": "other"}, b"c/points/query"),
        ({"query": vector(chance)}, b"d/points/query"),
        ({"query": vector(chance)}, b"/points/query"),
        ({"query": vector(chance)}, b"%63/points/query"),
        ({"query": vector(chance)}, b"c/points/query?timeout=5"),
        ({"query": vector(chance)}, b"c/points/query/"),
        (b'{"query":', b"c/points/query"),
        (b"{}", b"c/points/query"),
    ):
        direct, ordinary = answers(node, post(body, path), post(body, path, ORDINARY))
        assert direct == ordinary, (body, path)


@pytest.mark.parametrize(
    "body",
    [
        {"query": 7},
        {"query": 7, "limit": 4, "offset": 2, "with_payload": ["n"]},
        {"query": 7, "filter": {"must": [{"key": "n", "range": {"lt": 50}}]}},
        {"query": 7000},
        {"query": {"recommend": {"positive": [1, 2], "negative": [3]}}, "params": {"hnsw_ef": 30}},
        {"query": {"recommend": {"positive": [1, 2], "strategy": "best_score"}}, "with_payload": True},
        {"query": {"recommend": {"positive": [1, 7000]}}},
        {"query": {"recommend": {"negative": [1]}}},
        {"query": {"recommend": {"positive": [1]}}, "lookup_from": {"collection": "d"}},
        {"query": {"recommend": {"positive": [1]}}, "lookup_from": {"collection": "c"}, "filter": {"must": []}},
        {"query": {"recommend": {"positive": list(range(150))}}},
        {"query": {"discover": {"target": 5, "context": [{"positive": 1, "negative": 2}]}}},
        {"query": {"context": [{"positive": 1, "negative": 2}]}, "limit": 300},
        {"query": {"order_by": "n"}},
        {"query": {"nearest": 7, "mmr": {"diversity": 0.5}}},
        {"query": {"fusion": "rrf"}},
        {"prefetch": [{"query": 7}, {"query": 8}], "query": {"fusion": "rrf"}},
        {"prefetch": {"query": 7}, "query": 8},
        {"query": "no id"},
        {"query": {"recommend": 7}},
        {},
    ],
    ids=repr,
)
def test_direct_answers_by_ids_are_those_of_the_ordinary_way(node: Node, body: dict[str, Any]) -> None:
    direct, ordinary = answers(node, post(body), post(body, more=ORDINARY))
    assert direct == ordinary


def test_answers_keep_the_order_of_the_requests(node: Node) -> None:
    print(f"seed {SEED}")
    chance = random.Random(SEED + 2)
    bodies = [{"query": vector(chance), "limit": at % 7 + 1, "with_payload": at % 3 == 0} for at in range(40)]
    alone = [answers(node, post(body))[0] for body in bodies]
    mixed = [post(body, more=ORDINARY if at % 4 == 0 else b"") for at, body in enumerate(bodies)]
    assert answers(node, *mixed) == alone
    assert answers(node, *mixed, piece_bytes=501) == alone
    assert [len(body["result"]["points"]) for _, body in alone] == [at % 7 + 1 for at in range(40)]


def test_direct_answers_are_counted(node: Node) -> None:
    def counted() -> int:
        lines = node.client.get("/metrics").text.splitlines()
        wanted = [line for line in lines if line.startswith("rest_responses_total") and 'points/query"' in line]
        return sum(int(float(line.split()[-1])) for line in wanted if 'status="200"' in line)

    before = counted()
    answers(node, *[post({"query": [0.5] * SIZE})] * 5)
    assert counted() == before + 5


def test_a_client_that_leaves_within_a_search_does_no_harm(node: Node) -> None:
    for cut in (1, 20):
        with socket.create_connection(("127.0.0.1", node.port), 30) as connection:
            connection.sendall(post({"query": [0.5] * SIZE})[:-cut])
    assert answers(node, post({"query": [0.5] * SIZE}))[0][0] == 200


def test_a_connection_that_is_to_be_closed_is_closed_after_the_search(node: Node) -> None:
    with socket.create_connection(("127.0.0.1", node.port), 30) as connection:
        connection.sendall(post({"query": [0.5] * SIZE}, more=b"Connection: close\r\n"))
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close\r\n" in answer
