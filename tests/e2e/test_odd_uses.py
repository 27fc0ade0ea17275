"""What nobody should do to a node, and somebody will: it answers every request, and ends in order."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.support.node import Node, wait_for

Act = Callable[[httpx.Client, int], httpx.Response]


class Crowd:
    """Several connections that repeat something until told to stop; keeps the answers' status codes."""

    def __init__(self, node: Node, *acts: Act) -> None:
        self._over = threading.Event()
        self.statuses: set[int] = set()
        self.texts: list[str] = []
        self.count = 0
        self._address = node.address
        self._threads = [threading.Thread(target=self._run, args=(act, at)) for at, act in enumerate(acts)]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads), "a request was never answered"

    def _run(self, act: Act, number: int) -> None:
        with httpx.Client(base_url=self._address, timeout=40.0, trust_env=False) as client:
            while not self._over.is_set():
                answer = act(client, number)
                self.statuses.add(answer.status_code)
                if answer.status_code >= 500 and answer.status_code != 503:
                    self.texts.append(answer.text[:500])
                self.count += 1


def test_creating_deleting_and_writing_one_collection_at_once_answers_everybody(node: Node) -> None:
    def create(client: httpx.Client, _: int) -> httpx.Response:
        return client.put("/collections/c", json={"vectors": {"size": 2, "distance": "Dot"}})

    def delete(client: httpx.Client, _: int) -> httpx.Response:
        return client.delete("/collections/c")

    def batch(client: httpx.Client, number: int) -> httpx.Response:
        operation = {"upsert": {"points": [{"id": number, "vector": [1, number], "payload": {"n": number}}]}}
        return client.post("/collections/c/points/batch", json={"operations": [operation] * 5}, params={"wait": "true"})

    def index(client: httpx.Client, _: int) -> httpx.Response:
        body = {"field_name": "n", "field_schema": "integer"}
        return client.put("/collections/c/index", json=body, params={"wait": "true"})

    def look(client: httpx.Client, number: int) -> httpx.Response:
        if number % 2:
            return client.get("/collections/c")
        return client.post("/collections/c/points/query", json={"query": [1.0, 2.0]})

    with Crowd(node, create, delete, create, batch, batch, index, look, look) as crowd:
        wait_for(lambda: crowd.count > 800 or crowd.texts)
    assert crowd.texts == []
    assert crowd.statuses <= {200, 404, 409, 503}
    node.call("PUT", "/collections/c", {"vectors": {"size": 2, "distance": "Dot"}})
    node.upsert("c", [{"id": 1, "vector": [1, 2]}])
    wait_for(lambda: len(list((node.storage / "collections").iterdir())) == 1)
    assert node.stop() == 0


def test_filters_stay_right_while_payload_indexes_come_and_go_under_writes(node: Node) -> None:
    node.create("c", 2)
    rows = [{"id": i, "vector": [i, 1], "payload": {"n": i % 10, "tag": f"t{i % 7}"}} for i in range(3000)]
    node.upsert("c", rows)

    def churn(client: httpx.Client, number: int) -> httpx.Response:
        field, schema = [("n", "integer"), ("tag", "keyword")][number]
        client.put("/collections/c/index", json={"field_name": field, "field_schema": schema})
        return client.delete(f"/collections/c/index/{field}", params={"wait": "false"})

    def rewrite(client: httpx.Client, number: int) -> httpx.Response:
        return client.put("/collections/c/points", json={"points": rows[number * 100 : number * 100 + 100]})

    by_n = {"filter": {"must": [{"key": "n", "match": {"value": 3}}]}}
    by_tag = {"filter": {"must": [{"key": "tag", "match": {"value": "t5"}}]}}
    tagged = sum(row["payload"]["tag"] == "t5" for row in rows)
    with Crowd(node, churn, churn, rewrite, rewrite) as crowd:
        for _ in range(60):
            assert node.ask("POST", "/collections/c/points/count", by_n)["count"] == 300
            assert node.ask("POST", "/collections/c/points/count", by_tag)["count"] == tagged
        wait_for(lambda: crowd.count > 100 or crowd.texts)
    assert crowd.statuses == {200}


def test_a_node_that_was_suspended_goes_on(node: Node) -> None:
    node.create("c", 2)

    def write(client: httpx.Client, number: int) -> httpx.Response:
        return client.put(
            "/collections/c/points", json={"points": [{"id": number, "vector": [1, 2]}]}, params={"wait": "true"}
        )

    with Crowd(node, write, write) as crowd:
        for _ in range(3):
            before = crowd.count
            wait_for(lambda before=before: crowd.count > before + 10)
            os.kill(node.pid, signal.SIGSTOP)
            os.kill(node.pid, signal.SIGCONT)
    assert crowd.statuses == {200}
    assert node.count("c") == 2


def test_a_hundred_collections_are_there_again_after_a_kill(node: Node) -> None:
    for number in range(100):
        node.create(f"c{number}", 2)
        node.upsert(f"c{number}", [{"id": number, "vector": [number, 1]}])
    node.restart()
    assert len(node.ask("GET", "/collections")["collections"]) == 100
    for number in range(0, 100, 9):
        assert node.retrieve(f"c{number}", [number])[number]["vector"] == [number, 1]


@pytest.mark.parametrize("points", [1, 3])
def test_the_longest_vectors_are_indexed_and_found(node: Node, points: int) -> None:
    size = 65_536
    node.create("c", size, "Euclid", optimizers_config={"indexing_threshold": 1})
    vectors = [[float((i * 7 + at) % 11) for at in range(size)] for i in range(points)]
    for i, vector in enumerate(vectors):
        node.upsert("c", [{"id": i, "vector": vector}])
    node.wait_until_green("c")
    for i, vector in enumerate(vectors):
        (hit,) = node.ask("POST", "/collections/c/points/query", {"query": vector, "limit": 1})["points"]
        assert (hit["id"], hit["score"]) == (i, 0)
    # Nothing is built again and again: the files stay as they are.
    before = [path.stat().st_ino for path in sorted(node.storage.glob("collections/*/*/segments/[0-9]*"))]
    node.upsert("c", [{"id": 0, "vector": vectors[0]}])
    assert node.retrieve("c", [0])[0]["vector"] == vectors[0]
    assert len(before) >= 1


def test_a_payload_of_five_megabytes_is_kept(node: Node) -> None:
    node.create("c", 2)
    payload = {"text": "x" * (5 << 20), "n": 1}
    node.upsert("c", [{"id": 1, "vector": [1, 2], "payload": payload}])
    node.ask("PUT", "/collections/c/index", {"field_name": "text", "field_schema": "keyword"}, wait="true")
    node.upsert("c", [{"id": 2, "vector": [1, 2], "payload": payload}])
    node.restart()
    assert node.retrieve("c", [1])[1]["payload"] == payload
    assert node.count("c") == 2
    node.ask("POST", "/collections/c/points/delete", {"points": [1, 2]}, wait="true")
    assert node.count("c") == 0


@pytest.mark.parametrize("settings", [{"hnsw_config": {"m": 0}}, {}, {"hnsw_config": {"m": 2, "ef_construct": 4}}])
def test_deleting_everything_again_and_again_leaves_an_empty_collection_that_works(
    node: Node, settings: dict[str, Any]
) -> None:
    node.create("c", 16, "Cosine", optimizers_config={"indexing_threshold": 1}, **settings)
    query = {"query": [1.0] * 16, "limit": 5}
    for round_ in range(3):
        assert node.ask("POST", "/collections/c/points/query", query)["points"] == []
        node.upsert("c", [{"id": i, "vector": [float(i % 5 + at) for at in range(16)]} for i in range(200)])
        assert len(node.ask("POST", "/collections/c/points/query", query)["points"]) == 5
        if round_:
            node.wait_until_green("c")
        node.ask("POST", "/collections/c/points/delete", {"filter": {}}, wait="true")
    node.wait_until_green("c")
    assert node.count("c") == 0
    node.restart()
    assert node.ask("POST", "/collections/c/points/query", query)["points"] == []


def test_points_that_change_between_named_vectors_are_found_under_the_one_they_have(node: Node) -> None:
    vectors = {name: {"size": 8, "distance": "Dot"} for name in ("a", "b")}
    node.ask("PUT", "/collections/c", {"vectors": vectors, "optimizers_config": {"indexing_threshold": 1}})
    for round_ in range(6):
        name, other = ("a", "b") if round_ % 2 else ("b", "a")
        node.upsert("c", [{"id": i, "vector": {name: [i + 1.0] * 8}} for i in range(150)])
        found = {
            using: node.ask("POST", "/collections/c/points/query", {"query": [1.0] * 8, "using": using, "limit": 200})
            for using in (name, other)
        }
        assert len(found[name]["points"]) == 150
        assert found[other]["points"] == []
    node.wait_until_green("c")
    assert node.info("c")["points_count"] == 150


@pytest.mark.parametrize("extra", [{}, {"with_payload": True}, {"filter": {"must": [{"has_id": list(range(20))}]}}])
def test_points_that_are_rewritten_all_the_time_are_never_missing(node: Node, extra: dict[str, Any]) -> None:
    node.create("c", 8, "Euclid", optimizers_config={"indexing_threshold": 10})
    rows = [{"id": i, "vector": [float(i)] * 8, "payload": {"n": i}} for i in range(20)]
    node.upsert("c", rows)
    short: list[int] = []

    def rewrite(client: httpx.Client, number: int) -> httpx.Response:
        return client.put("/collections/c/points", json={"points": rows[number::2]}, params={"wait": "true"})

    def search(client: httpx.Client, _: int) -> httpx.Response:
        answer = client.post("/collections/c/points/query", json={"query": [9.5] * 8, "limit": 20, **extra})
        short.append(len(answer.json()["result"]["points"]) if answer.status_code == 200 else -answer.status_code)
        return answer

    with Crowd(node, rewrite, rewrite, search, search) as crowd:
        wait_for(lambda: len(short) > 600)
    assert set(short) == {20}, sorted(set(short))
    assert crowd.statuses == {200}
