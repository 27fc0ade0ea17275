"""The same random calls about multivectors to a node and to the client library's own local mode: the same answers.

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
SIZES = {"many": 3, "one": 2}
C = "/collections/multi"


class Pair:
    """A node and local mode, with one collection: multivectors `many`, dense vectors `one`."""

    def __init__(self, client: Client, distance: models.Distance, rng: random.Random) -> None:
        self.client, self.rng, self.known = client, rng, set[int]()
        self.local = QdrantClient(":memory:")
        config = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
        shape = {
            "many": models.VectorParams(size=SIZES["many"], distance=distance, multivector_config=config),
            "one": models.VectorParams(size=SIZES["one"], distance=distance),
        }
        self.local.create_collection("multi", shape)
        vectors = {name: params.model_dump(exclude_none=True, mode="json") for name, params in shape.items()}
        client.result("PUT", C, {"vectors": vectors, "shard_number": 2})

    def rows(self, count: int | None = None) -> list[list[float]]:
        count = self.rng.randint(1, 4) if count is None else count
        return [[self.rng.uniform(-2, 2) for _ in range(SIZES["many"])] for _ in range(count)]

    def vectors(self) -> dict[str, Any]:
        one = [self.rng.uniform(-2, 2) for _ in range(SIZES["one"])]
        given: dict[str, Any] = {"many": self.rows(), "one": one}
        return {name: given[name] for name in self.rng.choice([("many",), ("one",), ("many", "one")])}

    def some(self) -> list[int]:
        return self.rng.sample(sorted(self.known), min(len(self.known), self.rng.randint(1, 4)))

    def step(self) -> None:
        kind = self.rng.choice(["upsert", "upsert", "update", "drop", "delete", "query", "query", "example", "read"])
        if kind != "upsert" and not self.known:
            return
        getattr(self, kind)()

    def upsert(self) -> None:
        points = {number: self.vectors() for number in self.rng.sample(range(30), self.rng.randint(1, 6))}
        self.known |= set(points)
        self.local.upsert("multi", [models.PointStruct(id=number, vector=own) for number, own in points.items()])
        body = {"points": [{"id": number, "vector": own} for number, own in points.items()]}
        self.client.result("PUT", f"{C}/points?wait=true", body)

    def update(self) -> None:
        points = {number: self.vectors() for number in self.some()}
        self.local.update_vectors(
            "multi", [models.PointVectors(id=number, vector=own) for number, own in points.items()]
        )
        body = {"points": [{"id": number, "vector": own} for number, own in points.items()]}
        self.client.result("PUT", f"{C}/points/vectors?wait=true", body)

    def drop(self) -> None:
        numbers = self.some()
        self.local.delete_vectors("multi", ["many"], numbers)
        self.client.result("POST", f"{C}/points/vectors/delete?wait=true", {"points": numbers, "vector": ["many"]})

    def delete(self) -> None:
        numbers = self.some()
        self.known -= set(numbers)
        self.local.delete("multi", numbers)
        self.client.result("POST", f"{C}/points/delete?wait=true", {"points": numbers})

    def query(self) -> None:
        rows = self.rows()
        self.ask(rows[0] if len(rows) == 1 else rows)

    def example(self) -> None:
        numbers = self.some()
        held = self.local.retrieve("multi", numbers, with_vectors=["many"])
        for record in held:
            if record.vector:
                self.ask(record.id)

    def ask(self, query: Any) -> None:
        limit, ids = self.rng.randint(1, 12), self.some()
        chosen = {"must": [{"has_id": ids}]} if self.rng.random() < 0.3 else None
        # Local mode takes no dense vector where multivectors are; it counts as one row.
        asked = [query] if isinstance(query, list) and isinstance(query[0], float) else query
        expected = self.local.query_points(
            "multi", asked, using="many", limit=limit, with_vectors=True,
            query_filter=None if chosen is None else models.Filter.model_validate(chosen),
        ).points  # fmt: skip
        body = {"query": query, "using": "many", "limit": limit, "with_vector": True, "filter": chosen}
        found = self.client.result("POST", f"{C}/points/query", body)["points"]
        assert [hit["id"] for hit in found] == [hit.id for hit in expected]
        assert [hit["score"] for hit in found] == pytest.approx([hit.score for hit in expected], abs=1e-4)
        for hit, other in zip(found, expected, strict=True):
            self.assert_same_vectors(hit["vector"], other.vector)

    def read(self) -> None:
        everything = self.local.retrieve("multi", sorted(self.known), with_vectors=True)
        found = self.client.result("POST", f"{C}/points", {"ids": sorted(self.known), "with_vector": True})
        for record, other in zip(found, everything, strict=True):
            assert record["id"] == other.id
            self.assert_same_vectors(record["vector"], other.vector)

    def assert_same_vectors(self, found: Any, expected: Any) -> None:
        assert set(found) == set(expected)
        for name, vector in found.items():
            flat, other = ([vector], [expected[name]]) if name == "one" else (vector, expected[name])
            assert [len(row) for row in flat] == [len(row) for row in other]
            for row, known in zip(flat, other, strict=True):
                assert row == pytest.approx(known, abs=1e-5)


@pytest.mark.parametrize("distance", list(models.Distance))
def test_multivectors_are_answered_as_in_local_mode(client: Client, distance: models.Distance) -> None:
    print(f"QNODE_TEST_SEED={SEED}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pair = Pair(client, distance, random.Random(f"{SEED} {distance}"))
        try:
            for _ in range(STEPS):
                pair.step()
            pair.read()
        finally:
            client.send("DELETE", C)
            pair.local.close()
