"""Ordered scrolls, facets, groups and matrices: the answers of a node and of the client library's local mode, over random points.

Local mode orders ties by the time of insertion, and equal scores likewise; so ties are compared as sets, and vectors are random enough
that no scores tie. It reads any value of a field, an index only those of its type: each field here has values of one type.
`QNODE_TEST_SEED` repeats a run, `QNODE_DIFFERENTIAL_STEPS` makes it longer.
"""

import os
import random
import uuid
import warnings
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from tests.api.conftest import Client

SEED = int(os.environ.get("QNODE_TEST_SEED", random.randrange(2**32)))
STEPS = int(os.environ.get("QNODE_DIFFERENTIAL_STEPS", "250"))
IDS: list[Any] = [*range(40), 2**64 - 1, *(str(uuid.UUID(int=i * 2**100 + 7)) for i in range(12))]
FIELDS = {
    "city": "keyword",
    "size": "integer",
    "price": "float",
    "seen": "datetime",
    "open": "bool",
    "owner": "uuid",
    "deep.at": "integer",
}
ORDERED = ("size", "price", "seen", "deep.at")
FACETED = ("city", "size", "open", "owner", "deep.at")
GROUPED = ("city", "size", "owner", "deep.at")


@pytest.fixture(scope="module")
def local() -> Iterator[QdrantClient]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = QdrantClient(":memory:")
    yield client
    client.close()


class Run:
    def __init__(self, client: Client, local: QdrantClient, rng: random.Random, *, distance: str, shards: int) -> None:
        self.client, self.local, self.rng, self.name = client, local, rng, f"c{rng.randrange(2**40)}"
        self.path = f"/collections/{self.name}"
        body = {"vectors": {"size": 6, "distance": distance}, "shard_number": shards}
        client.result("PUT", self.path, body)
        local.create_collection(
            self.name, vectors_config=models.VectorParams(size=6, distance=models.Distance(distance))
        )
        for field, kind in FIELDS.items():
            client.result("PUT", f"{self.path}/index?wait=true", {"field_name": field, "field_schema": kind})

    def value(self, field: str) -> Any:
        match field:
            case "city":
                return self.rng.choice(("Berlin", "Oslo", "Rome", "x" * 300, "ü"))
            case "size" | "at":
                return self.rng.choice((-3, 0, 1, 2, 5, 2**40))
            case "price":
                return self.rng.choice((-1.5, 0.0, 1, 2.25, 1e12))
            case "seen":
                return self.rng.choice(("2024-01-31", "2024-01-31T10:00:00Z", "1969-12-31T23:59:59.5+02:00"))
            case "open":
                return self.rng.random() < 0.5
        return str(uuid.UUID(int=self.rng.randrange(3)))

    def some(self, field: str) -> Any:
        if self.rng.random() < 0.3:
            return [self.value(field) for _ in range(self.rng.randrange(4))]
        return self.value(field)

    def payload(self) -> dict[str, Any]:
        payload = {field: self.some(field) for field in FIELDS if "." not in field and self.rng.random() < 0.8}
        if self.rng.random() < 0.7:
            payload["deep"] = {"at": self.some("at")}
        return payload

    def write(self) -> None:
        ids = self.rng.sample(IDS, self.rng.randint(1, 12))
        if self.rng.random() < 0.2:
            self.client.result("POST", f"{self.path}/points/delete?wait=true", {"points": ids})
            self.local.delete(self.name, ids)
            return
        points = [
            {"id": i, "vector": [self.rng.uniform(-1, 1) for _ in range(6)], "payload": self.payload()} for i in ids
        ]
        self.client.result("PUT", f"{self.path}/points?wait=true", {"points": points})
        self.local.upsert(self.name, [models.PointStruct(**point) for point in points])

    def filter(self) -> dict[str, Any] | None:
        chance = self.rng.random()
        if chance < 0.5:
            return None
        if chance < 0.75:
            return {"must": [{"key": "size", "range": {"gte": self.rng.choice((-3, 1, 2))}}]}
        return {"must_not": [{"key": "city", "match": {"value": self.value("city")}}]}

    def check_ordered(self) -> None:
        key, direction = self.rng.choice(ORDERED), self.rng.choice(("asc", "desc", None))
        order: Any = {"key": key}
        if direction is not None:
            order["direction"] = direction
        if self.rng.random() < 0.4:
            order["start_from"] = self.value(key.rpartition(".")[2])
        chosen, limit = self.filter(), self.rng.choice((1, 3, 1000))
        body = {"order_by": order, "filter": chosen, "limit": limit}
        page = self.client.result("POST", f"{self.path}/points/scroll", body)
        assert page["next_page_offset"] is None
        ours = [(point["order_value"], point["id"]) for point in page["points"]]
        expected, _ = self.local.scroll(
            self.name,
            order_by=models.OrderBy(**order),
            scroll_filter=None if chosen is None else models.Filter(**chosen),
            limit=10_000,
        )
        entries = [(record.order_value, record.id) for record in expected]
        assert [value for value, _ in ours] == [value for value, _ in entries][:limit], (body, SEED)
        assert sorted_ties(ours, direction) == ours, (body, SEED)
        assert sorted_ties(entries, direction)[:limit] == ours, (body, SEED)
        payloads = {record.id: record.payload for record in expected}
        assert all(point["payload"] == payloads[point["id"]] for point in page["points"])

    def check_facet(self) -> None:
        key, chosen, limit = self.rng.choice(FACETED), self.filter(), self.rng.choice((1, 3, 100))
        body = {"key": key, "filter": chosen, "limit": limit, "exact": True}
        hits = self.client.result("POST", f"{self.path}/facet", body)["hits"]
        expected = self.local.facet(
            self.name, key, facet_filter=None if chosen is None else models.Filter(**chosen), limit=limit
        )
        assert hits == [{"value": hit.value, "count": hit.count} for hit in expected.hits], (body, SEED)

    def check_groups(self) -> None:
        chosen = self.filter()
        query = self.rng.choice((None, [self.rng.uniform(-1, 1) for _ in range(6)]))
        body = {
            "query": query,
            "group_by": self.rng.choice(GROUPED),
            "limit": self.rng.choice((1, 2, 10)),
            "group_size": self.rng.choice((1, 2, 5)),
            "with_payload": self.rng.choice((True, False, ["size"])),
            "filter": chosen,
        }
        groups = self.client.result("POST", f"{self.path}/points/query/groups", body)["groups"]
        given = {name: body[name] for name in ("query", "group_by", "limit", "group_size", "with_payload")}
        expected = self.local.query_points_groups(
            self.name, query_filter=None if chosen is None else models.Filter(**chosen), **given
        )
        ours = [(group["id"], [hit["id"] for hit in group["hits"]]) for group in groups]
        assert ours == [(group.id, [hit.id for hit in group.hits]) for group in expected.groups], (body, SEED)
        if body["with_payload"] is not False:
            shown = [hit["payload"] for group in groups for hit in group["hits"]]
            assert shown == [hit.payload for group in expected.groups for hit in group.hits]

    def check_matrix(self) -> None:
        chosen, limit = self.filter(), self.rng.choice((1, 3, 50))
        body = {"sample": 1000, "limit": limit, "filter": chosen}
        pairs = self.client.result("POST", f"{self.path}/points/search/matrix/pairs", body)["pairs"]
        expected = self.local.search_matrix_pairs(
            self.name,
            query_filter=None if chosen is None else models.Filter(**chosen),
            sample=1000,
            limit=limit,
        ).pairs
        assert [(pair["a"], pair["b"]) for pair in pairs] == [(pair.a, pair.b) for pair in expected], (body, SEED)
        scores = [pair["score"] for pair in pairs]
        assert scores == pytest.approx([pair.score for pair in expected], abs=1e-4)
        found = self.client.result("POST", f"{self.path}/points/search/matrix/offsets", body)
        as_pairs = [
            (found["ids"][row], found["ids"][col])
            for row, col in zip(found["offsets_row"], found["offsets_col"], strict=True)
        ]
        assert as_pairs == [(pair["a"], pair["b"]) for pair in pairs]
        assert found["scores"] == scores


def place(point_id: Any) -> tuple[int, Any]:
    return isinstance(point_id, str), point_id


def sorted_ties(entries: list[tuple[Any, Any]], direction: str | None) -> list[tuple[Any, Any]]:
    """Order entries of equal values by id, in the direction."""
    return [
        entry
        for _, ties in groupby(entries, lambda entry: entry[0])
        for entry in sorted(ties, key=lambda entry: place(entry[1]), reverse=direction == "desc")
    ]


@pytest.mark.parametrize(("distance", "shards"), [("Cosine", 1), ("Euclid", 3), ("Dot", 2)])
def test_random_reads_are_answered_as_by_local_mode(
    client: Client, local: QdrantClient, distance: str, shards: int
) -> None:
    print(f"QNODE_TEST_SEED={SEED}")
    rng = random.Random(f"{SEED} {distance}")
    run = Run(client, local, rng, distance=distance, shards=shards)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(STEPS // 3):
            rng.choice((run.write, run.check_ordered, run.check_facet, run.check_groups, run.check_matrix))()
