"""A program that keeps its texts with `langchain-qdrant`: what it adds is found, filtered, varied, read and deleted."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_qdrant import QdrantVectorStore, RetrievalMode, SparseEmbeddings, SparseVector
from qdrant_client import QdrantClient, models

from tests.support import texts

IDS = [str(uuid.UUID(int=number)) for number in range(1, len(texts.TEXTS) + 1)]
METADATA = [{"place": place, "n": n} for n, place in enumerate(texts.TEXTS.values())]
AT_HOME = models.Filter(must=[models.FieldCondition(key="metadata.place", match=models.MatchValue(value="home"))])
QUERY = "cat sleeps"


class DenseByWords(Embeddings):
    def embed_documents(self, said: list[str]) -> list[list[float]]:
        return [texts.dense(text) for text in said]

    def embed_query(self, text: str) -> list[float]:
        return texts.dense(text)


class SparseByWords(SparseEmbeddings):
    def embed_documents(self, said: list[str]) -> list[SparseVector]:
        return [self.embed_query(text) for text in said]

    def embed_query(self, text: str) -> SparseVector:
        indices, values = texts.sparse(text)
        return SparseVector(indices=indices, values=values)


def store_at(address: str, mode: RetrievalMode) -> QdrantVectorStore:
    """A store over a collection that it has made, with all the texts in it."""
    return QdrantVectorStore.from_texts(
        list(texts.TEXTS), DenseByWords(), METADATA, IDS, f"texts-{mode.value}", url=address, retrieval_mode=mode,
        sparse_embedding=SparseByWords(), force_recreate=True, batch_size=3,
    )  # fmt: skip


def said(documents: list[Document]) -> list[str]:
    return [document.page_content for document in documents]


def test_texts_are_found_filtered_read_and_deleted(address: str) -> None:
    store = store_at(address, RetrievalMode.DENSE)
    found = store.similarity_search_with_score(QUERY, k=3)
    assert said([document for document, _ in found]) == texts.nearest(QUERY, 3)
    for document, score in found:
        assert score == pytest.approx(texts.likeness(QUERY, document.page_content), abs=1e-5)
        assert document.metadata["place"] == texts.TEXTS[document.page_content]
    assert said(store.similarity_search(QUERY, k=10, filter=AT_HOME)) == texts.nearest(QUERY, 10, "home")
    assert said(store.similarity_search(QUERY, k=2, offset=1)) == texts.nearest(QUERY, 3)[1:]
    far = store.similarity_search_with_relevance_scores(QUERY, k=10, score_threshold=0.9)
    assert 0 < len(far) < len(texts.TEXTS)
    assert said(store.get_by_ids(IDS[:2])) == list(texts.TEXTS)[:2]
    assert store.delete([IDS[0], IDS[1]]) is True
    assert said(store.similarity_search(QUERY, k=10)) == texts.nearest(QUERY, 10)[2:]
    assert store.get_by_ids(IDS[:2]) == []


def test_marginal_relevance_passes_over_what_says_the_same(address: str) -> None:
    store = store_at(address, RetrievalMode.DENSE)
    (first, second) = texts.nearest(QUERY, 2)
    assert set(first.split()) == set(second.split())
    assert said(store.max_marginal_relevance_search(QUERY, k=2, lambda_mult=0.0)) == [first, second]
    varied = said(store.max_marginal_relevance_search(QUERY, k=2, fetch_k=7, lambda_mult=0.9))
    assert varied[0] == first
    assert varied[1] != second
    retriever = store.as_retriever(search_type="mmr", search_kwargs={"k": 2, "filter": AT_HOME, "lambda_mult": 0.9})
    assert all(texts.TEXTS[text] == "home" for text in said(retriever.invoke(QUERY)))


def test_sparse_and_hybrid_retrieval_find_by_words(address: str) -> None:
    by_words = store_at(address, RetrievalMode.SPARSE)
    assert said(by_words.similarity_search("bird garden", k=4)) == texts.nearest_by_words("bird garden", 4)
    hybrid = store_at(address, RetrievalMode.HYBRID)
    both = texts.nearest(QUERY, 7)[0], texts.nearest_by_words(QUERY, 7)[0]
    found = hybrid.similarity_search_with_score(QUERY, k=3)
    assert both == (found[0][0].page_content,) * 2
    assert found[0][1] == pytest.approx(1.0)  # first in both: 1/2 of each
    fused = hybrid.similarity_search(QUERY, k=4, filter=AT_HOME, hybrid_fusion=models.FusionQuery(fusion="dbsf"))
    assert set(said(fused)) <= set(texts.nearest(QUERY, 7, "home"))
    assert said(fused)[0] == both[0]


def test_a_second_program_opens_the_same_collection(address: str, client: QdrantClient) -> None:
    store_at(address, RetrievalMode.DENSE)
    other = QdrantVectorStore(client, "texts-dense", DenseByWords())
    other.add_documents([Document("dog sings", metadata={"place": "nowhere"}, id=str(uuid.UUID(int=99)))])
    assert said(other.similarity_search("dog sings", k=1)) == ["dog sings"]
    assert client.count("texts-dense").count == len(texts.TEXTS) + 1
    with pytest.raises(Exception, match="dimensions"):
        QdrantVectorStore(client, "texts-dense", Short())


def test_awaited_calls_do_the_same(address: str) -> None:
    async def work() -> tuple[list[Any], ...]:
        store = store_at(address, RetrievalMode.DENSE)
        added = await store.aadd_texts(["dog sings"], [{"place": "nowhere"}], ids=[str(uuid.UUID(int=98))])
        searches = [store.asimilarity_search(text, k=1) for text in texts.TEXTS]
        found = [said(documents)[0] for documents in await asyncio.gather(*searches)]
        near = await store.asimilarity_search(QUERY, k=3, filter=AT_HOME)
        varied = await store.amax_marginal_relevance_search(QUERY, k=2)
        read = await store.aget_by_ids(added)
        await store.adelete(added)
        return found, said(near), said(varied), said(read), await store.aget_by_ids(added)

    found, near, varied, read, left = asyncio.run(work())
    assert found == list(texts.TEXTS)
    assert near == texts.nearest(QUERY, 3, "home")
    assert varied[0] == texts.nearest(QUERY, 1)[0]
    assert read == ["dog sings"]
    assert left == []


class Short(DenseByWords):
    """Of a model with other dimensions than the collection has."""

    def embed_documents(self, said: list[str]) -> list[list[float]]:
        return [[1.0, 2.0] for _ in said]
