from typing import Any

import pytest

from qnode.api.inference import asked_vector, is_source, stored_vector
from qnode.api.query_json import parse_query
from qnode.api.writes_json import parse_upsert
from qnode.errors import MalformedBody, NoInference, QnodeError, ValidationFailed
from qnode.models.bm25 import parse_bm25
from qnode.models.operation import SparseColumn
from qnode.models.query import QueryRequest

TEXT = {"text": "The cats and the dog", "model": "Qdrant/BM25"}


def test_a_text_is_stored_with_weights_and_asked_for_without() -> None:
    stored, asked = stored_vector(TEXT, "v"), asked_vector(TEXT, "v")
    indices, values = parse_bm25(None).document(TEXT["text"])
    assert stored.indices.tolist() == asked.indices.tolist() == indices.tolist()
    assert stored.values.tolist() == values.tolist()
    assert asked.values.tolist() == [1.0, 1.0]


def test_options_of_the_text_count() -> None:
    source = {**TEXT, "options": {"language": "none"}}
    assert len(stored_vector(source, "v").indices) == 4


@pytest.mark.parametrize(
    ("source", "kind", "text"),
    [
        ({"text": "x", "model": "other/model"}, NoInference, "InferenceService is not initialized"),
        ({"image": "x", "model": "qdrant/bm25"}, NoInference, "Only text input is supported for qdrant/bm25."),
        ({"model": "qdrant/bm25"}, MalformedBody, "missing field `text`"),
        ({"text": 7, "model": "qdrant/bm25"}, MalformedBody, "invalid type: integer `7`, expected a string"),
        ({"text": "x", "model": ""}, ValidationFailed, "[v.model: value 0 invalid, must be at least 1 characters]"),
        ({**TEXT, "options": {"k": []}}, MalformedBody, "invalid type: sequence"),
    ],
)
def test_what_no_vector_can_be_made_of_is_refused(source: Any, kind: type[QnodeError], text: str) -> None:
    with pytest.raises(kind) as raised:
        stored_vector(source, "v")
    assert text in str(raised.value)


def test_vectors_and_maps_of_them_are_no_sources() -> None:
    for value in ([1.0], {"indices": [1], "values": [1.0]}, {"model": [1.0]}, 7, None):
        assert not is_source(value)


def test_points_batches_and_queries_take_texts() -> None:
    indices = stored_vector(TEXT, "v").indices.tolist()
    points = [{"id": 1, "vector": {"s": TEXT}}, {"id": 2, "vector": {"s": {"indices": [3], "values": [1.0]}}}]
    column = parse_upsert({"points": points}, dict).vectors["s"]
    assert isinstance(column, SparseColumn)
    assert column.indices.tolist() == [*indices, 3]
    column = parse_upsert({"batch": {"ids": [1], "vectors": {"s": [TEXT]}}}, dict).vectors["s"]
    assert isinstance(column, SparseColumn)
    assert column.indices.tolist() == indices
    for query in (TEXT, {"nearest": TEXT}):
        request = parse_query({"query": query, "using": "s"}, "internal.")
        assert isinstance(request, QueryRequest)
        assert request.query is not None
        assert request.query.vector.indices.tolist() == indices
