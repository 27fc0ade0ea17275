"""A program that keeps its texts with `llama-index-vector-stores-qdrant`: what it adds is found, filtered, read and deleted."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)
from llama_index.core.vector_stores.types import VectorStoreQueryMode
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import AsyncQdrantClient, QdrantClient, models

from tests.support import texts

IDS = [str(uuid.UUID(int=number)) for number in range(1, len(texts.TEXTS) + 1)]
QUERY = "cat sleeps"


def nodes() -> list[TextNode]:
    """The texts, those of one place as parts of one document."""
    return [
        TextNode(
            id_=IDS[n], text=text, embedding=texts.dense(text), metadata={"place": place, "n": n},
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"document of {place}")},
        )
        for n, (text, place) in enumerate(texts.TEXTS.items())
    ]  # fmt: skip


def sparse_of(said: list[str]) -> tuple[list[list[int]], list[list[float]]]:
    vectors = [texts.sparse(text) for text in said]
    return [indices for indices, _ in vectors], [values for _, values in vectors]


def asked(query: str, limit: int, **more: Any) -> VectorStoreQuery:
    return VectorStoreQuery(query_embedding=texts.dense(query), query_str=query, similarity_top_k=limit, **more)


def that(key: str, operator: FilterOperator, value: Any) -> MetadataFilter:
    return MetadataFilter(key=key, operator=operator, value=value)


def said(found: Any) -> list[str]:
    return [node.get_content() for node in getattr(found, "nodes", found)]


FILTERS: dict[str, tuple[MetadataFilters, set[int]]] = {
    "equal": (MetadataFilters(filters=[that("place", FilterOperator.EQ, "home")]), {0, 1, 3, 6}),
    "not equal": (MetadataFilters(filters=[that("place", FilterOperator.NE, "home")]), {2, 4, 5}),
    "range": (
        MetadataFilters(filters=[that("n", FilterOperator.GTE, 2), that("n", FilterOperator.LT, 5)]),
        {2, 3, 4},
    ),
    "in": (MetadataFilters(filters=[that("n", FilterOperator.IN, [1, 5])]), {1, 5}),
    "not in": (MetadataFilters(filters=[that("n", FilterOperator.NIN, [1, 5])]), {0, 2, 3, 4, 6}),
    "text": (MetadataFilters(filters=[that("place", FilterOperator.TEXT_MATCH, "out")]), {2, 4, 5}),
    "empty": (MetadataFilters(filters=[that("colour", FilterOperator.IS_EMPTY, None)]), set(range(7))),
    "or": (
        MetadataFilters(
            filters=[that("n", FilterOperator.EQ, 0), that("n", FilterOperator.GT, 5)], condition=FilterCondition.OR
        ),
        {0, 6},
    ),
    "nested": (
        MetadataFilters(filters=[
            that("place", FilterOperator.EQ, "home"),
            MetadataFilters(filters=[that("n", FilterOperator.EQ, 1)], condition=FilterCondition.NOT),
        ]),
        {0, 3, 6},
    ),
}  # fmt: skip


def test_nodes_are_found_filtered_read_and_deleted(client: QdrantClient) -> None:
    store = QdrantVectorStore(
        "parts", client=client, batch_size=3,
        payload_indexes=[{"field_name": "n", "field_schema": models.PayloadSchemaType.INTEGER}],
    )  # fmt: skip
    assert store.add(list(nodes())) == IDS
    assert set(client.get_collection("parts").payload_schema) == {"doc_id", "n"}
    found = store.query(asked(QUERY, 3))
    assert said(found) == texts.nearest(QUERY, 3)
    assert found.similarities == pytest.approx([texts.likeness(QUERY, text) for text in said(found)], abs=1e-5)
    for filters, expected in FILTERS.values():
        matching = store.query(asked(QUERY, 10, filters=filters))
        assert set(matching.ids) == {IDS[n] for n in expected}
        assert {node.metadata["n"] for node in store.get_nodes(filters=filters)} == expected
    assert said(store.query(asked(QUERY, 1, node_ids=[IDS[2]]))) == [list(texts.TEXTS)[2]]
    assert said(store.query(asked(QUERY, 9, doc_ids=["document of home"]))) == texts.nearest(QUERY, 9, "home")
    (read,) = store.get_nodes([IDS[1]])
    assert (read.node_id, read.metadata, read.ref_doc_id) == (IDS[1], {"place": "home", "n": 1}, "document of home")
    store.delete_nodes([IDS[2]])
    store.delete("document of home")
    assert sorted(said(store.get_nodes())) == ["bird sings garden", "dog runs garden"]
    store.clear()
    assert not client.collection_exists("parts")


def test_hybrid_and_sparse_queries_find_by_words(client: QdrantClient) -> None:
    store = QdrantVectorStore(
        "hybrid", client=client, enable_hybrid=True, sparse_doc_fn=sparse_of, sparse_query_fn=sparse_of
    )
    store.add(list(nodes()))
    by_words = store.query(asked("bird garden", 4, mode=VectorStoreQueryMode.SPARSE))
    assert said(by_words) == texts.nearest_by_words("bird garden", 4)
    both = store.query(asked(QUERY, 3, sparse_top_k=3, hybrid_top_k=2, mode=VectorStoreQueryMode.HYBRID))
    assert said(both)[0] == texts.nearest(QUERY, 1)[0]
    assert len(both.nodes) == 2
    assert said(store.query(asked(QUERY, 3))) == texts.nearest(QUERY, 3)


def test_awaited_calls_do_the_same(address: str) -> None:
    async def work() -> None:
        client = AsyncQdrantClient(address)
        store = QdrantVectorStore(
            "awaited", aclient=client, enable_hybrid=True, sparse_doc_fn=sparse_of, sparse_query_fn=sparse_of
        )
        assert await store.async_add(list(nodes())) == IDS
        assert said(await store.aquery(asked(QUERY, 3))) == texts.nearest(QUERY, 3)
        for filters, expected in FILTERS.values():
            assert {node.metadata["n"] for node in await store.aget_nodes(filters=filters)} == expected
        both = await store.aquery(asked(QUERY, 2, mode=VectorStoreQueryMode.HYBRID))
        assert said(both)[0] == texts.nearest(QUERY, 1)[0]
        await store.adelete_nodes([IDS[2]])
        await store.adelete("document of home")
        assert sorted(said(await store.aget_nodes())) == ["bird sings garden", "dog runs garden"]
        await store.aclear()
        assert not await client.collection_exists("awaited")
        await client.close()

    asyncio.run(work())
