"""A node killed while it writes vectors of all kinds, and while a vector is added and removed: what was acknowledged is there."""

import random
import threading
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.test_check_command import check
from tests.support.node import Node, wait_for

Json = dict[str, Any]
SETTINGS: Json = {
    "vectors": {
        "one": {"size": 4, "distance": "Dot"},
        "many": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
    },
    "sparse_vectors": {"sparse": {}},
    "optimizers_config": {"indexing_threshold": 1},
}
ADDED: tuple[Json, ...] = ({"sparse": {}}, {"dense": {"size": 2, "distance": "Dot"}})


def point_of(i: int, version: int) -> Json:
    """A point whose every part is of its version; every number is a float32, and every sum of them exact."""
    rng = random.Random(i * 1000 + version)
    indices = sorted(rng.sample([*range(30), 2**32 - 1], rng.choice([1, 3, 8])))
    vectors = {
        "one": [float(rng.randrange(9)) for _ in range(4)],
        "many": [[float(rng.randrange(9)) for _ in range(2)] for _ in range(rng.choice([1, 2, 5]))],
        "sparse": {"indices": indices, "values": [float(rng.randrange(1, 9)) for _ in indices]},
    }
    return {"id": i, "vector": vectors, "payload": {"version": version, "text": f"word{version} lamp"}}


class Writers:
    """One that writes points, and one that adds and removes a vector; each until the node goes away."""

    def __init__(self, node: Node, version: int, seed: int) -> None:
        self.version, self.seed = version, seed
        self.acknowledged: set[int] = set()
        self.attempted: set[int] = set()
        self.refused: list[str] = []
        self.batches = self.changes = 0
        self._address = node.address
        self.threads = [threading.Thread(target=self._write), threading.Thread(target=self._change)]

    def _send(self, client: httpx.Client, method: str, path: str, body: Json | None = None) -> bool:
        try:
            answer = client.request(method, f"/collections/c{path}", json=body, params={"wait": "true"})
        except httpx.HTTPError:
            return False
        if answer.status_code != 200:
            self.refused.append(answer.text)
        return answer.status_code == 200

    def _write(self) -> None:
        rng = random.Random(self.seed)
        with httpx.Client(base_url=self._address, timeout=60.0, trust_env=False) as client:
            while True:
                ids = rng.sample(range(300), 20)
                self.attempted.update(ids)
                points = [point_of(i, self.version) for i in ids]
                if not self._send(client, "PUT", "/points", {"points": points}):
                    return
                self.acknowledged.update(ids)
                self.batches += 1

    def _change(self) -> None:
        with httpx.Client(base_url=self._address, timeout=60.0, trust_env=False) as client:
            for number in range(100_000):
                if not self._send(client, "PUT", "/vectors/added", ADDED[number % 2]):
                    return
                if not self._send(client, "DELETE", "/vectors/added"):
                    return
                self.changes += 1


def best(points: list[Json], query: Json) -> list[tuple[float, int]]:
    """What a sparse query finds, by looking at everything."""
    asked = dict(zip(query["indices"], query["values"], strict=True))
    scored = []
    for point in points:
        given = point["vector"]["sparse"]
        met = [asked[at] * value for at, value in zip(given["indices"], given["values"], strict=True) if at in asked]
        scored += [(sum(met), point["id"])] if met else []
    return sorted(scored)


def test_vectors_of_all_kinds_survive_kills_while_a_vector_comes_and_goes(tmp_path: Path) -> None:
    with Node(tmp_path) as node:
        node.ask("PUT", "/collections/c", SETTINGS)
        node.ask("PUT", "/collections/c/index", {"field_name": "text", "field_schema": "text"}, wait="true")
        allowed: dict[int, set[int | None]] = {i: {None} for i in range(300)}
        for version in (1, 2):
            writers = Writers(node, version, seed=version)
            for thread in writers.threads:
                thread.start()
            wait_for(lambda writers=writers: writers.batches >= 5 and writers.changes >= 1)
            node.kill()
            for thread in writers.threads:
                thread.join()
            assert not writers.refused
            node.start()
            shown = node.retrieve("c", list(range(300)))
            for i in writers.attempted:
                allowed[i] = {version} if i in writers.acknowledged else allowed[i] | {version}
            for i in range(300):
                found = shown[i]["payload"]["version"] if i in shown else None
                assert found in allowed[i], f"point {i}: {found}, not {allowed[i]}"
                assert found is None or shown[i] == point_of(i, found)
                allowed[i] = {found}
            query = {"indices": [1, 5, 2**32 - 1], "values": [1.0, 2.0, 3.0]}
            asked = {"query": query, "using": "sparse", "limit": 300}
            hits = node.ask("POST", "/collections/c/points/query", asked)["points"]
            assert sorted((hit["score"], hit["id"]) for hit in hits) == best(list(shown.values()), query)
            texts = {"filter": {"must": [{"key": "text", "match": {"text": f"word{version}"}}]}}
            assert node.ask("POST", "/collections/c/points/count", texts)["count"] == sum(
                point["payload"]["version"] == version for point in shown.values()
            )
            vectors = node.info("c")["config"]["params"]
            if "added" in {**vectors["vectors"], **vectors["sparse_vectors"]}:
                node.ask("DELETE", "/collections/c/vectors/added")
        assert node.stop() == 0
        code, told = check(node.storage)
        assert code == 0, told
