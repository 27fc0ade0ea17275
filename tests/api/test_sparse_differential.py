"""The same random calls about sparse vectors to a node and to the client library's own local mode: the same answers.

`QNODE_TEST_SEED` repeats a run, `QNODE_DIFFERENTIAL_STEPS` makes it longer.
"""

import os
import random
import warnings
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from tests.api.conftest import Client

STEPS = int(os.environ.get("QNODE_DIFFERENTIAL_STEPS", "60"))
SEED = int(os.environ.get("QNODE_TEST_SEED", random.randrange(2**32)))
C = "/collections/sparse"
NAMES = ("plain", "rare")


class Pair:
    """A node and local mode, with one collection: sparse vectors `plain`, and `rare` with idf."""

    def __init__(self, client: Client, rng: random.Random) -> None:
        self.client, self.rng, self.known = client, rng, set[int]()
        self.local = QdrantClient(":memory:")
        shape = {"plain": models.SparseVectorParams(), "rare": models.SparseVectorParams(modifier=models.Modifier.IDF)}
        self.local.create_collection("sparse", {}, sparse_vectors_config=shape)
        client.result("PUT", C, {"sparse_vectors": {"plain": {}, "rare": {"modifier": "idf"}}, "shard_number": 2})

    def sparse(self, least: int = 1) -> dict[str, Any]:
        indices = self.rng.sample(range(30), self.rng.randint(least, 8))
        return {"indices": indices, "values": [self.rng.uniform(-2, 2) for _ in indices]}

    def vectors(self) -> dict[str, Any]:
        return {name: self.sparse() for name in self.rng.choice([NAMES, NAMES[:1], NAMES[1:]])}

    def some(self) -> list[int]:
        return self.rng.sample(sorted(self.known), min(len(self.known), self.rng.randint(1, 4)))

    def step(self) -> None:
        kinds = ["upsert", "upsert", "update", "drop", "delete", "query", "query", "example", "recommend", "read"]
        kind = self.rng.choice(kinds)
        if kind != "upsert" and not self.known:
            return
        getattr(self, kind)()

    def upsert(self) -> None:
        points = {number: self.vectors() for number in self.rng.sample(range(40), self.rng.randint(1, 8))}
        self.known |= set(points)
        self.local.upsert(
            "sparse",
            [
                models.PointStruct(id=number, vector=typed(own), payload={"n": number % 3})
                for number, own in points.items()
            ],
        )
        body = {
            "points": [{"id": number, "vector": own, "payload": {"n": number % 3}} for number, own in points.items()]
        }
        self.client.result("PUT", f"{C}/points?wait=true", body)

    def update(self) -> None:
        points = {number: self.vectors() for number in self.some()}
        self.local.update_vectors(
            "sparse", [models.PointVectors(id=number, vector=typed(own)) for number, own in points.items()]
        )
        body = {"points": [{"id": number, "vector": own} for number, own in points.items()]}
        self.client.result("PUT", f"{C}/points/vectors?wait=true", body)

    def drop(self) -> None:
        numbers, name = self.some(), self.rng.choice(NAMES)
        self.local.delete_vectors("sparse", [name], numbers)
        self.client.result("POST", f"{C}/points/vectors/delete?wait=true", {"points": numbers, "vector": [name]})

    def delete(self) -> None:
        numbers = self.some()
        self.known -= set(numbers)
        self.local.delete("sparse", numbers)
        self.client.result("POST", f"{C}/points/delete?wait=true", {"points": numbers})

    def query(self) -> None:
        given = self.sparse()
        self.ask(given, models.SparseVector(**given), self.rng.choice(NAMES))

    def example(self) -> None:
        name = self.rng.choice(NAMES)
        for number in self.having(name):
            self.ask(number, number, name)

    def recommend(self) -> None:
        name = self.rng.choice(NAMES)
        numbers = self.having(name)
        if not numbers:
            return
        given, strategy = self.sparse(), self.rng.choice(["average_vector", "best_score", "sum_scores"])
        query = {"recommend": {"positive": numbers, "negative": [given], "strategy": strategy}}
        own = models.RecommendInput(
            positive=numbers, negative=[models.SparseVector(**given)], strategy=models.RecommendStrategy(strategy)
        )
        self.ask(query, models.RecommendQuery(recommend=own), name)

    def having(self, name: str) -> list[int]:
        """Some points that have such a vector."""
        held = self.local.retrieve("sparse", self.some(), with_vectors=[name])
        return [int(record.id) for record in held if record.vector]

    def ask(self, query: Any, own: Any, name: str) -> None:
        limit, ids = self.rng.randint(1, 12), self.some()
        chosen = {"must": [{"has_id": ids}]} if self.rng.random() < 0.3 else None
        params = {"idf": {"corpus": {"must": [{"key": "n", "match": {"value": 1}}]}}}
        scoped = params if name == "rare" and self.rng.random() < 0.3 else None
        expected = self.local.query_points(
            "sparse", own, using=name, limit=limit, with_vectors=True,
            query_filter=None if chosen is None else models.Filter.model_validate(chosen),
            search_params=None if scoped is None else models.SearchParams.model_validate(scoped),
        ).points  # fmt: skip
        body = {"query": query, "using": name, "limit": limit, "with_vector": True, "filter": chosen, "params": scoped}
        found = self.client.result("POST", f"{C}/points/query", body)["points"]
        scores = [hit.score for hit in expected]
        assert [hit["score"] for hit in found] == pytest.approx(scores, rel=1e-4, abs=1e-4)
        if len(set(scores)) == len(scores) and (len(scores) < limit or min(scores, default=1) != 0):
            assert [hit["id"] for hit in found] == [hit.id for hit in expected]
            for hit, other in zip(found, expected, strict=True):
                assert_same_vectors(hit["vector"], other.vector)

    def read(self) -> None:
        everything = self.local.retrieve("sparse", sorted(self.known), with_vectors=True)
        found = self.client.result("POST", f"{C}/points", {"ids": sorted(self.known), "with_vector": True})
        for record, other in zip(found, everything, strict=True):
            assert record["id"] == other.id
            assert_same_vectors(record["vector"], other.vector)


def typed(vectors: dict[str, Any]) -> dict[str, Any]:
    return {name: models.SparseVector(**vector) for name, vector in vectors.items()}


def assert_same_vectors(found: Any, expected: Any) -> None:
    assert set(found) == set(expected or {})
    for name, vector in found.items():
        pairs = sorted(zip(expected[name].indices, expected[name].values, strict=True))
        assert vector["indices"] == [index for index, _ in pairs]
        assert vector["values"] == pytest.approx([value for _, value in pairs], abs=1e-5)


def test_sparse_vectors_are_answered_as_in_local_mode(client: Client) -> None:
    print(f"QNODE_TEST_SEED={SEED}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pair = Pair(client, random.Random(SEED))
        try:
            for _ in range(STEPS):
                pair.step()
            pair.read()
        finally:
            client.send("DELETE", C)
            pair.local.close()


def test_idf_is_refused_where_there_is_none(client: Client) -> None:
    client.result("PUT", C, {"vectors": {"d": {"size": 1, "distance": "Dot"}}, "sparse_vectors": {"plain": {}}})
    try:
        for name, query in (("d", [1.0]), ("plain", {"indices": [1], "values": [1.0]})):
            body = {"query": query, "using": name, "params": {"idf": "global"}}
            status, text = client.error("POST", f"{C}/points/query", body)
            assert status == 400
            assert "search param `idf` requires a sparse vector with the `idf` modifier" in text
        body = {"query": {"indices": [1], "values": [1.0]}, "using": "plain", "params": {"idf": "local"}}
        assert client.error("POST", f"{C}/points/query", body)[0] == 400
    finally:
        client.send("DELETE", C)


def test_sparse_vectors_come_and_go_on_a_live_collection(client: Client) -> None:
    client.result("PUT", C, {"vectors": {"size": 1, "distance": "Dot"}})
    try:
        client.result(
            "PUT", f"{C}/points?wait=true", {"points": [{"id": 1, "vector": [1.0]}, {"id": 2, "vector": [2.0]}]}
        )
        client.result("PUT", f"{C}/vectors/late", {"sparse": {"modifier": "idf"}})
        vector = {"late": {"indices": [7, 3], "values": [1.0, 2.0]}}
        client.result("PUT", f"{C}/points/vectors?wait=true", {"points": [{"id": 2, "vector": vector}]})
        query = {"query": {"indices": [3], "values": [1.0]}, "using": "late", "with_vector": ["late"]}
        (hit,) = client.result("POST", f"{C}/points/query", query)["points"]
        assert (hit["id"], hit["vector"]) == (2, {"late": {"indices": [3, 7], "values": [2.0, 1.0]}})
        assert hit["score"] == pytest.approx(2 * 0.28768207)
        info = client.result("GET", C)
        assert info["indexed_vectors_count"] == 1
        client.result("DELETE", f"{C}/vectors/late")
        assert client.error("POST", f"{C}/points/query", query)[0] == 400
    finally:
        client.send("DELETE", C)
