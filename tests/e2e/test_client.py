"""A program that uses the client library as most do, against a node: what comes back is what was put in."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient, QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from tests.support.node import wait_for

DIM = 16
COUNT = 300
DAY_ZERO = datetime(2024, 1, 1, tzinfo=UTC)
VECTORS = np.random.default_rng(5).normal(size=(COUNT, DIM)).astype(np.float32)
QUERY = np.random.default_rng(6).normal(size=DIM).astype(np.float32)
DENSE = models.VectorParams(size=DIM, distance=models.Distance.COSINE)


def payload_of(i: int) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "colour": ("red", "green", "blue")[i % 3],
        "n": i,
        "weight": i / 4,
        "even": i % 2 == 0,
        "made": (DAY_ZERO + timedelta(days=i)).isoformat(),
        "place": {"lon": i / 10, "lat": i / 20},
        "tags": [f"tag{i % 5}", f"tag{i % 7}"],
        "parts": [{"name": "bolt", "count": i % 4}, {"name": "nut", "count": i % 6}],
        "owner": str(uuid.UUID(int=i % 9)),
    }
    if i % 10 == 0:
        payload["note"] = None
    elif i % 10 == 1:
        payload["note"] = "by hand"
    return payload


def nearest(
    query: np.ndarray[Any, np.dtype[np.float32]], limit: int, among: Callable[[int], bool] | None = None
) -> list[int]:
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    order = np.argsort(-(unit @ query), kind="stable").tolist()
    return [i for i in order if among is None or among(i)][:limit]


def ids(points: list[Any]) -> list[Any]:
    return [point.id for point in points]


@pytest.fixture(scope="module")
def things(client: QdrantClient) -> str:
    """A collection that no test changes."""
    client.create_collection("things", vectors_config=DENSE)
    payloads = [payload_of(i) for i in range(COUNT)]
    client.upload_collection("things", VECTORS, payload=payloads, ids=list(range(COUNT)), batch_size=64, wait=True)
    return "things"


@pytest.fixture(scope="module")
def indexed(client: QdrantClient) -> str:
    """The same with a payload index on each field."""
    client.create_collection("indexed", vectors_config=DENSE)
    for field, schema in {
        "colour": models.PayloadSchemaType.KEYWORD,
        "n": models.PayloadSchemaType.INTEGER,
        "weight": models.PayloadSchemaType.FLOAT,
        "even": models.PayloadSchemaType.BOOL,
        "made": models.PayloadSchemaType.DATETIME,
        "place": models.PayloadSchemaType.GEO,
        "owner": models.PayloadSchemaType.UUID,
        "tags": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, on_disk=True),
        "parts[].count": models.PayloadSchemaType.INTEGER,
        "note": models.PayloadSchemaType.KEYWORD,
    }.items():
        client.create_payload_index("indexed", field, field_schema=schema)
    points = (
        models.PointStruct(id=i, vector=vector.tolist(), payload=payload_of(i)) for i, vector in enumerate(VECTORS)
    )
    client.upload_points("indexed", points, wait=True)
    return "indexed"


@pytest.fixture(params=["things", "indexed"])
def collection(request: pytest.FixtureRequest) -> str:
    name: str = request.getfixturevalue(request.param)
    return name


def field(key: str, **check: Any) -> models.FieldCondition:
    return models.FieldCondition(key=key, **check)


FILTERS: dict[str, tuple[models.Filter, Callable[[int], bool]]] = {
    "match value": (
        models.Filter(must=[field("colour", match=models.MatchValue(value="red"))]),
        lambda i: i % 3 == 0,
    ),
    "match integer": (models.Filter(must=[field("n", match=models.MatchValue(value=7))]), lambda i: i == 7),
    "match bool": (models.Filter(must=[field("even", match=models.MatchValue(value=True))]), lambda i: i % 2 == 0),
    "match any": (
        models.Filter(must=[field("tags", match=models.MatchAny(any=["tag0", "tag6"]))]),
        lambda i: {i % 5, i % 7} & {0, 6} != set(),
    ),
    "match except": (
        models.Filter(must=[field("colour", match=models.MatchExcept(**{"except": ["red", "blue"]}))]),
        lambda i: i % 3 == 1,
    ),
    "match uuid": (
        models.Filter(must=[field("owner", match=models.MatchValue(value=str(uuid.UUID(int=4))))]),
        lambda i: i % 9 == 4,
    ),
    "range": (models.Filter(must=[field("weight", range=models.Range(gte=10, lt=20))]), lambda i: 10 <= i / 4 < 20),
    "datetime range": (
        models.Filter(must=[field("made", range=models.DatetimeRange(gt=DAY_ZERO + timedelta(days=250)))]),
        lambda i: i > 250,
    ),
    "values count": (
        models.Filter(must=[field("parts", values_count=models.ValuesCount(gt=1))], must_not=[field("n", range=models.Range(lt=290))]),
        lambda i: i >= 290,
    ),
    "geo box": (
        models.Filter(must=[field("place", geo_bounding_box=models.GeoBoundingBox(
            top_left=models.GeoPoint(lon=4.95, lat=10), bottom_right=models.GeoPoint(lon=10.05, lat=1)))]),
        lambda i: 50 <= i <= 100,
    ),
    "geo radius": (
        models.Filter(must=[field("place", geo_radius=models.GeoRadius(
            center=models.GeoPoint(lon=10.0, lat=5.0), radius=1000.0))]),
        lambda i: i == 100,
    ),
    "geo polygon": (
        models.Filter(must=[field("place", geo_polygon=models.GeoPolygon(exterior=models.GeoLineString(points=[
            models.GeoPoint(lon=lon, lat=lat)
            for lon, lat in ((-1, -1), (5.05, -1), (5.05, 9), (-1, 9), (-1, -1))
        ])))]),
        lambda i: i <= 50,
    ),
    "is null": (models.Filter(must=[models.IsNullCondition(is_null=models.PayloadField(key="note"))]), lambda i: i % 10 == 0),
    "is empty": (
        models.Filter(must_not=[models.IsEmptyCondition(is_empty=models.PayloadField(key="note"))]),
        lambda i: i % 10 == 1,
    ),
    "has id": (models.Filter(must=[models.HasIdCondition(has_id=[3, 5, 900])]), lambda i: i in (3, 5)),
    "has vector": (models.Filter(must_not=[models.HasVectorCondition(has_vector="")]), lambda i: False),
    "nested": (
        models.Filter(must=[models.NestedCondition(nested=models.Nested(key="parts", filter=models.Filter(must=[
            field("name", match=models.MatchValue(value="bolt")),
            field("count", match=models.MatchValue(value=3)),
        ])))]),
        lambda i: i % 4 == 3,
    ),
    "array path": (models.Filter(must=[field("parts[].count", range=models.Range(gte=5))]), lambda i: i % 6 == 5),
    "should": (
        models.Filter(should=[field("n", match=models.MatchValue(value=1)), field("n", range=models.Range(gt=297))]),
        lambda i: i in (1, 298, 299),
    ),
    "min should": (
        models.Filter(min_should=models.MinShould(min_count=2, conditions=[
            field("colour", match=models.MatchValue(value="green")),
            field("even", match=models.MatchValue(value=False)),
            field("n", range=models.Range(lt=6)),
        ])),
        lambda i: (i % 3 == 1) + (i % 2 == 1) + (i < 6) >= 2,
    ),
    "filter in a filter": (
        models.Filter(must=[models.Filter(should=[
            field("n", range=models.Range(lt=2)), field("n", range=models.Range(gt=298))])]),
        lambda i: i in (0, 1, 299),
    ),
    "empty": (models.Filter(), lambda i: True),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILTERS)
def test_filter_selects_the_same_points_in_every_read(client: QdrantClient, collection: str, kind: str) -> None:
    chosen, passes = FILTERS[kind]
    expected = [i for i in range(COUNT) if passes(i)]
    page, following = client.scroll(collection, scroll_filter=chosen, limit=COUNT)
    assert ids(page) == expected
    assert following is None
    assert client.count(collection, count_filter=chosen).count == len(expected)
    found = client.query_points(collection, query=QUERY, query_filter=chosen, limit=10).points
    assert ids(found) == nearest(QUERY, 10, passes)


def test_query_gives_scores_payloads_and_vectors(client: QdrantClient, collection: str) -> None:
    found = client.query_points(collection, query=QUERY.tolist(), limit=3, offset=2, with_vectors=True).points
    assert ids(found) == nearest(QUERY, 5)[2:]
    for point in found:
        expected = VECTORS[point.id] / np.linalg.norm(VECTORS[point.id])
        assert point.payload == payload_of(point.id)
        assert point.vector == pytest.approx(expected.tolist(), abs=1e-6)
        assert point.score == pytest.approx(float(expected @ QUERY / np.linalg.norm(QUERY)), abs=1e-5)
    bound = found[1].score
    above = client.query_points(collection, query=QUERY, limit=COUNT, score_threshold=bound).points
    assert ids(above) == nearest(QUERY, 3)


def test_query_by_a_point_leaves_it_out(client: QdrantClient, collection: str) -> None:
    found = client.query_points(collection, query=7, limit=4, with_payload=["n"]).points
    assert ids(found) == nearest(VECTORS[7], 5)[1:]
    assert [point.payload for point in found] == [{"n": point.id} for point in found]


def test_batch_of_queries_answers_each_in_order(client: QdrantClient, collection: str) -> None:
    chosen, passes = FILTERS["match value"]
    requests = [
        models.QueryRequest(query=QUERY.tolist(), limit=5),
        models.QueryRequest(query=(-QUERY).tolist(), filter=chosen, limit=5),
        models.QueryRequest(limit=2, params=models.SearchParams(exact=True)),
    ]
    answers = client.query_batch_points(collection, requests=requests)
    expected = [nearest(QUERY, 5), nearest(-QUERY, 5, passes), [0, 1]]
    assert [ids(answer.points) for answer in answers] == expected


def test_scroll_goes_through_all_points_once(client: QdrantClient, collection: str) -> None:
    seen: list[Any] = []
    following: Any = None
    while True:
        page, following = client.scroll(collection, limit=77, offset=following, with_payload=False)
        seen += ids(page)
        if following is None:
            break
    assert seen == list(range(COUNT))


def test_index_shows_in_the_info_with_the_number_of_points(client: QdrantClient, indexed: str) -> None:
    info = client.get_collection(indexed)
    assert info.points_count == COUNT
    assert info.payload_schema["colour"].points == COUNT
    assert info.payload_schema["note"].points == COUNT // 10
    assert info.payload_schema["place"].data_type is models.PayloadSchemaType.GEO


def test_named_vectors_are_searched_changed_and_removed_apart(client: QdrantClient) -> None:
    configs = {"title": DENSE, "body": models.VectorParams(size=2, distance=models.Distance.EUCLID, on_disk=True)}
    assert client.create_collection("pages", vectors_config=configs)
    names = [str(uuid.UUID(int=i + 1)) for i in range(4)]
    points = [
        models.PointStruct(id=name, vector={"title": VECTORS[i].tolist(), "body": [float(i), 0.0]}, payload={"i": i})
        for i, name in enumerate(names)
    ]
    client.upsert("pages", points)
    client.upsert("pages", [models.PointStruct(id=99, vector={"body": [9.0, 0.0]})])
    found = client.query_points("pages", query=[0.0, 0.0], using="body", limit=10).points
    assert ids(found) == [*names, 99]
    assert [point.score for point in found] == [0.0, 1.0, 2.0, 3.0, 9.0]
    assert ids(client.query_points("pages", query=VECTORS[2], using="title", limit=1).points) == [names[2]]

    client.update_vectors("pages", [models.PointVectors(id=names[0], vector={"body": [20.0, 0.0]})])
    client.delete_vectors("pages", vectors=["body"], points=[names[1]])
    found = client.query_points("pages", query=[0.0, 0.0], using="body", limit=10).points
    assert ids(found) == [names[2], names[3], 99, names[0]]
    (point,) = client.retrieve("pages", [names[1]], with_vectors=True)
    assert list(point.vector) == ["title"]
    without = models.Filter(must_not=[models.HasVectorCondition(has_vector="body")])
    assert client.count("pages", count_filter=without).count == 1
    with pytest.raises(UnexpectedResponse, match="Not existing vector name"):
        client.query_points("pages", query=[0.0, 0.0], using="nowhere")


def test_payloads_are_merged_replaced_and_cleared(client: QdrantClient) -> None:
    client.create_collection("notes", vectors_config=models.VectorParams(size=1, distance=models.Distance.DOT))
    client.upsert(
        "notes", models.Batch(ids=[1, 2, 3], vectors=[[1.0]] * 3, payloads=[{"a": i, "b": {"c": i}} for i in (1, 2, 3)])
    )
    client.create_payload_index("notes", "a", field_schema="integer")
    big = models.Filter(must=[field("a", range=models.Range(gt=1))])
    client.set_payload("notes", {"seen": True}, points=big)
    client.set_payload("notes", {"d": 5}, points=[1], key="b")
    client.overwrite_payload("notes", {"a": 20}, points=[2])
    client.delete_payload("notes", keys=["b.c"], points=[3])
    payloads = {point.id: point.payload for point in client.retrieve("notes", [1, 2, 3])}
    assert payloads == {1: {"a": 1, "b": {"c": 1, "d": 5}}, 2: {"a": 20}, 3: {"a": 3, "b": {}, "seen": True}}
    assert ids(
        client.scroll("notes", scroll_filter=models.Filter(must=[field("a", match=models.MatchValue(value=20))]))[0]
    ) == [2]
    client.clear_payload("notes", points_selector=models.FilterSelector(filter=big))
    assert [point.payload for point in client.retrieve("notes", [1, 2, 3])] == [payloads[1], {}, {}]
    client.delete_payload_index("notes", "a")
    assert client.get_collection("notes").payload_schema == {}


def test_batch_of_operations_runs_in_order(client: QdrantClient) -> None:
    client.create_collection("log", vectors_config=models.VectorParams(size=1, distance=models.Distance.DOT))
    points = [models.PointStruct(id=i, vector=[float(i)], payload={"i": i}) for i in (1, 2, 3)]
    client.batch_update_points("log", update_operations=[
        models.UpsertOperation(upsert=models.PointsList(points=points)),
        models.SetPayloadOperation(set_payload=models.SetPayload(payload={"late": True}, points=[1, 2])),
        models.DeleteOperation(delete=models.PointIdsList(points=[2])),
        models.ClearPayloadOperation(clear_payload=models.PointIdsList(points=[3])),
    ])  # fmt: skip
    assert {point.id: point.payload for point in client.scroll("log")[0]} == {1: {"i": 1, "late": True}, 3: {}}


def test_deleted_points_and_collections_are_gone(client: QdrantClient) -> None:
    client.create_collection("passing", vectors_config=DENSE, shard_number=3)
    client.upload_collection(
        "passing", VECTORS, payload=[payload_of(i) for i in range(COUNT)], wait=True, ids=range(COUNT)
    )
    client.delete("passing", points_selector=[0, 1, 2, 12345])
    client.delete("passing", points_selector=models.Filter(must=[field("n", range=models.Range(gte=10))]))
    assert ids(client.scroll("passing", limit=100)[0]) == list(range(3, 10))
    assert ids(client.query_points("passing", query=QUERY, limit=3).points) == nearest(QUERY, 3, lambda i: 3 <= i < 10)
    assert client.collection_exists("passing")
    assert client.delete_collection("passing")
    assert not client.collection_exists("passing")
    assert "passing" not in [shown.name for shown in client.get_collections().collections]
    with pytest.raises(UnexpectedResponse, match="404"):
        client.count("passing")


def test_collection_that_is_there_is_not_made_again(client: QdrantClient, things: str) -> None:
    with pytest.raises(UnexpectedResponse, match="already exists"):
        client.create_collection(things, vectors_config=DENSE)
    with pytest.raises(UnexpectedResponse, match="expected dim: 16, got 2"):
        client.query_points(things, query=[1.0, 2.0])
    assert client.count(things).count == COUNT


def test_quantized_search_is_rescored(client: QdrantClient) -> None:
    """On a graph with codes: scores by codes alone are near, those that are rescored are exact."""
    count = 6000
    vectors = np.random.default_rng(7).normal(size=(count, DIM)).astype(np.float32)
    quantization = models.ScalarQuantization(
        scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
    )
    optimizers = models.OptimizersConfigDiff(indexing_threshold=100)
    client.create_collection(
        "coded", vectors_config=DENSE, quantization_config=quantization, optimizers_config=optimizers
    )
    client.upload_collection("coded", vectors, ids=range(count), wait=True)
    wait_for(lambda: client.get_collection("coded").indexed_vectors_count == count)

    def scores(**quantization: Any) -> dict[Any, float]:
        params = models.SearchParams(hnsw_ef=64, quantization=models.QuantizationSearchParams(**quantization))
        found = client.query_points("coded", query=QUERY, limit=10, search_params=params).points
        return {hit.id: hit.score for hit in found}

    exactly = client.query_points("coded", query=QUERY, limit=10, search_params=models.SearchParams(exact=True)).points
    true = {hit.id: hit.score for hit in exactly}
    rescored, by_codes = scores(rescore=True, oversampling=3.0), scores(rescore=False)
    assert len(rescored.keys() & true.keys()) >= 9
    for point in rescored.keys() & true.keys():
        assert rescored[point] == true[point]
    assert by_codes != rescored
    for point in by_codes.keys() & true.keys():
        assert by_codes[point] == pytest.approx(true[point], abs=0.02)
    assert client.update_collection("coded", optimizers_config=models.OptimizersConfigDiff(indexing_threshold=20000))
    assert client.get_collection("coded").config.optimizer_config.indexing_threshold == 20000


def test_points_wait_for_graphs_where_that_is_asked_for(client: QdrantClient) -> None:
    count, threshold_kb = 4000, 50
    rows = threshold_kb * 1024 // (4 * DIM)
    vectors = np.random.default_rng(8).normal(size=(count, DIM)).astype(np.float32)
    optimizers = models.OptimizersConfigDiff(indexing_threshold=threshold_kb, prevent_unoptimized=True)
    client.create_collection("patient", vectors_config=DENSE, optimizers_config=optimizers)
    assert client.get_collection("patient").config.optimizer_config.prevent_unoptimized is True
    client.upload_collection("patient", vectors[:-1], ids=range(count - 1), batch_size=rows // 2, wait=False)
    shown = client.get_collection("patient")
    waiting = (shown.update_queue.deferred_points if shown.update_queue else 0) or 0
    assert shown.points_count + waiting == count - 1 or shown.status == models.CollectionStatus.YELLOW
    client.upsert("patient", [models.PointStruct(id=count - 1, vector=vectors[-1].tolist())], wait=True)
    assert client.count("patient").count == count
    assert client.get_collection("patient").indexed_vectors_count >= count - 2 * rows


def test_async_client_does_the_same_work(address: str) -> None:
    async def work() -> tuple[list[Any], list[Any], int]:
        client = AsyncQdrantClient(address)
        try:
            await client.create_collection("awaited", vectors_config=DENSE)
            batches = [range(at, at + 50) for at in range(0, COUNT, 50)]
            await asyncio.gather(*(
                client.upsert("awaited", models.Batch(
                    ids=list(batch), vectors=VECTORS[batch.start : batch.stop].tolist(),
                    payloads=[payload_of(i) for i in batch]))
                for batch in batches
            ))  # fmt: skip
            await client.create_payload_index("awaited", "n", field_schema=models.PayloadSchemaType.INTEGER)
            chosen = models.Filter(must=[field("n", range=models.Range(gte=100))])
            answers = await asyncio.gather(*(
                client.query_points("awaited", query=VECTORS[i], query_filter=chosen, limit=5) for i in range(20)
            ))  # fmt: skip
            await client.delete("awaited", points_selector=models.FilterSelector(filter=chosen))
            page, _ = await client.scroll("awaited", limit=COUNT)
            left = (await client.count("awaited")).count
            await client.delete_collection("awaited")
            return [ids(answer.points) for answer in answers], ids(page), left
        finally:
            await client.close()

    found, page, left = asyncio.run(work())
    assert found == [nearest(VECTORS[i], 5, lambda i: i >= 100) for i in range(20)]
    assert page == list(range(100))
    assert left == 100


def test_batch_with_one_wrong_vector_writes_nothing_on_any_shard(client: QdrantClient) -> None:
    configs = {"a": models.VectorParams(size=2, distance=models.Distance.DOT), "b": DENSE}
    client.create_collection("halves", vectors_config=configs, shard_number=3)
    for wrong in range(10):
        points = [models.PointStruct(id=i, vector={"a": [1.0, 2.0]}) for i in range(10)]
        points[wrong] = models.PointStruct(id=wrong, vector={"b": [1.0]})
        with pytest.raises(UnexpectedResponse, match="expected dim: 16, got 1"):
            client.upsert("halves", points)
        assert client.count("halves").count == 0
