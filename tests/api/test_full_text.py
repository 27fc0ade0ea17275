"""Full text over HTTP: indexes, conditions, and texts that a model is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.api.conftest import Client

DOCUMENTS = {
    1: "The quick brown fox jumps over the lazy dog",
    2: "Lazy dogs sleep all day",
    3: "A brown dog and a quick fox",
    4: "Nothing to see here",
}


@pytest.fixture
def documents(client: Client) -> Iterator[Client]:
    shape = {"vectors": {"size": 2, "distance": "Dot"}, "sparse_vectors": {"s": {"modifier": "idf"}}}
    client.result("PUT", "/collections/texts", shape)
    points = [
        {"id": number, "vector": {"": [1, number], "s": {"text": text, "model": "qdrant/bm25"}}, "payload": {"t": text}}
        for number, text in DOCUMENTS.items()
    ]
    client.result("PUT", "/collections/texts/points?wait=true", {"points": points})
    yield client
    client.result("DELETE", "/collections/texts")


def index(client: Client, schema: Any) -> None:
    client.result("PUT", "/collections/texts/index?wait=true", {"field_name": "t", "field_schema": schema})


def found(client: Client, match: dict[str, str]) -> list[int]:
    wanted = {"filter": {"must": [{"key": "t", "match": match}]}}
    page = client.result("POST", "/collections/texts/points/scroll", wanted)
    return [point["id"] for point in page["points"]]


def test_an_index_gives_texts_their_meaning_and_one_with_other_parameters_another(documents: Client) -> None:
    assert found(documents, {"text": "row"}) == [1, 3]
    index(documents, {"type": "text", "tokenizer": "word", "phrase_matching": True})
    assert found(documents, {"text": "row"}) == []
    assert found(documents, {"text": "DOG fox"}) == [1, 3]
    assert found(documents, {"text_any": "dogs here"}) == [2, 4]
    assert found(documents, {"phrase": "quick brown fox"}) == [1]
    stemmed = {"type": "text", "stemmer": {"type": "snowball", "language": "english"}, "stopwords": "english"}
    index(documents, stemmed)
    assert found(documents, {"text": "dogs"}) == [1, 2, 3]
    assert found(documents, {"text": "the"}) == []
    schema = documents.result("GET", "/collections/texts")["payload_schema"]["t"]
    assert schema == {"data_type": "text", "params": {"tokenizer": "word", **stemmed}, "points": 4}
    documents.result("DELETE", "/collections/texts/index/t?wait=true")
    assert found(documents, {"text": "row"}) == [1, 3]


def test_writes_and_deletions_by_text_follow_the_index(documents: Client) -> None:
    index(documents, "text")
    wanted = {"filter": {"must": [{"key": "t", "match": {"text": "LAZY"}}]}}
    documents.result("POST", "/collections/texts/points/delete?wait=true", wanted)
    assert found(documents, {"text_any": "dog dogs"}) == [3]


def test_other_models_are_refused(documents: Client) -> None:
    query = {"query": {"text": "x", "model": "other"}}
    assert documents.error("POST", "/collections/texts/points/query", query) == (
        400,
        "InferenceService is not initialized. Please check if it was properly configured and initialized during startup.",
    )


def test_texts_are_found_by_the_built_in_model(documents: Client) -> None:
    query = {"query": {"text": "lazy dogs", "model": "qdrant/bm25"}, "using": "s"}
    points = documents.result("POST", "/collections/texts/points/query", query)["points"]
    assert [point["id"] for point in points] == [2, 1, 3]
    assert points[0]["score"] > points[1]["score"] > points[2]["score"] > 0
