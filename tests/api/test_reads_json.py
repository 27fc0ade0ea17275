from typing import Any

import pytest

from qnode.api import reads_json
from qnode.api.older_json import parse_batch, parse_search
from qnode.api.query_json import parse_query, parse_query_batch
from qnode.errors import BadRequest, MalformedBody, NoInference, QnodeError, ValidationFailed
from qnode.models.filter import Filter, HasId
from qnode.models.payload_path import parse_path
from qnode.models.point_id import key_of
from qnode.models.query import (
    ALL_PAYLOAD,
    ALL_VECTORS,
    NO_PAYLOAD,
    NO_VECTORS,
    CountRequest,
    PayloadSelector,
    QuantizationParams,
    RetrieveRequest,
    ScrollRequest,
    SearchParams,
    VectorSelector,
)


def test_a_query_without_anything_lists_ten_points_bare() -> None:
    request = parse_query({})
    assert (request.query, request.using, request.filter, request.limit, request.offset) == (None, "", None, 10, 0)
    assert (request.with_payload, request.with_vector, request.params) == (NO_PAYLOAD, NO_VECTORS, SearchParams())


@pytest.mark.parametrize("query", [[0.5, 1], {"nearest": [0.5, 1]}])
def test_a_vector_is_read_bare_or_as_nearest(query: Any) -> None:
    nearest = parse_query({"query": query}).query
    assert nearest is not None
    assert nearest.vector is not None
    assert nearest.vector.tolist() == [0.5, 1.0]


@pytest.mark.parametrize("query", [7, {"nearest": 7}])
def test_an_id_is_read_bare_or_as_nearest(query: Any) -> None:
    nearest = parse_query({"query": query}).query
    assert nearest is not None
    assert (nearest.vector, nearest.example) == (None, key_of(7))


def test_all_settings_of_a_query_are_read() -> None:
    request = parse_query(
        {
            "query": [1.0],
            "using": "a",
            "filter": {"must": {"has_id": [7]}},
            "params": {
                "hnsw_ef": 5,
                "exact": True,
                "indexed_only": True,
                "quantization_config": {"ignore": True, "rescore": False, "oversampling": 2},
                "acorn": {"enable": True},
            },
            "score_threshold": 0.25,
            "limit": 2**64 - 1,
            "offset": 3,
            "with_payload": {"exclude": ["a.b"]},
            "with_vectors": ["a", "b"],
            "prefetch": [],
            "unknown": 1,
        }
    )
    assert (request.using, request.filter, request.score_threshold) == (
        "a",
        Filter(must=(HasId(frozenset({key_of(7)})),)),
        0.25,
    )
    assert (request.limit, request.offset) == (2**64 - 1, 3)
    assert request.params == SearchParams(5, True, True, QuantizationParams(True, False, 2.0))
    assert request.with_payload == PayloadSelector(True, exclude=(parse_path("a.b"),))
    assert request.with_vector == VectorSelector(True, ("a", "b"))


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        ([], MalformedBody, "invalid type: sequence, expected struct QueryRequest"),
        ({"limit": 0}, ValidationFailed, "[internal.limit: value 0 invalid, must be 1 or larger]"),
        ({"limit": -1}, MalformedBody, "invalid value: integer `-1`, expected usize"),
        ({"limit": 1.0}, MalformedBody, "invalid type: floating point `1.0`, expected usize"),
        ({"limit": True}, MalformedBody, "invalid type: boolean `true`, expected usize"),
        ({"params": {"hnsw_ef": 0}}, ValidationFailed, "[internal.params.hnsw_ef: value 0 invalid"),
        (
            {"params": {"quantization": {"oversampling": 0.5}}},
            ValidationFailed,
            "[internal.params.quantization.oversampling: value 0.5 invalid, must be 1.0 or larger]",
        ),
        ({"params": {"idf": "local"}}, MalformedBody, "untagged enum IdfParams"),
        ({"params": []}, MalformedBody, "expected struct SearchParams"),
        ({"score_threshold": 0.5}, BadRequest, "A query is needed to use the score_threshold."),
        ({"query": []}, ValidationFailed, "dense vector must not be empty"),
        ({"query": [[1.0], [1.0, 2.0]]}, ValidationFailed, "internal.query.data: all vectors must have the same"),
        (
            {"query": {"indices": [1], "values": []}},
            ValidationFailed,
            "internal.query.values: Validation error: must be",
        ),
        ({"query": {"text": "x", "model": "m"}}, NoInference, "InferenceService is not initialized."),
        ({"query": {"other": 1}}, MalformedBody, "untagged enum QueryInterface"),
        ({"query": True}, MalformedBody, "untagged enum QueryInterface"),
        ({"query": [1.0, None]}, MalformedBody, "invalid type: null, expected f32"),
        ({"with_payload": 7}, MalformedBody, "untagged enum WithPayloadInterface"),
        ({"with_payload": {"include": ["a"], "exclude": []}}, MalformedBody, "WithPayloadInterface"),
        ({"with_vector": "a"}, MalformedBody, "untagged enum WithVector"),
        ({"using": 7}, MalformedBody, "expected a string"),
        ({"filter": {"musst": []}}, MalformedBody, "musst"),
    ],
)
def test_a_wrong_query_is_refused_in_qdrants_words(body: Any, kind: type[QnodeError], text: str) -> None:
    with pytest.raises(kind) as raised:
        parse_query(body)
    assert text in str(raised.value)


def test_faults_in_a_batch_name_the_search() -> None:
    with pytest.raises(ValidationFailed, match=r"\[searches\[1\]\.internal\.limit: value 0"):
        parse_query_batch({"searches": [{}, {"limit": 0}]})
    with pytest.raises(ValidationFailed, match=r"\[searches\[0\]\.search_request\.limit: value 0"):
        parse_batch({"searches": [{"vector": [1.0], "limit": 0}]}, parse_search)


def test_an_older_search_takes_a_list_or_a_named_vector_and_needs_a_limit() -> None:
    assert parse_search({"vector": [1.0], "top": 3, "with_payload": True}).limit == 3
    named = parse_search({"vector": {"name": "a", "vector": [1.0]}, "limit": 1})
    assert (named.using, named.with_payload) == ("a", NO_PAYLOAD)
    for body, text in (
        ({"vector": [1.0]}, "missing field `limit`"),
        ({"limit": 1}, "missing field `vector`"),
        ({"limit": 1, "vector": {"name": "a"}}, "missing field `vector`"),
        ({"limit": 1, "vector": {"name": "a", "vector": {"indices": []}}}, "invalid type: map, expected a vector"),
    ):
        with pytest.raises(QnodeError, match=text):
            parse_search(body)


def test_scroll_retrieve_and_count_have_their_defaults() -> None:
    assert reads_json.parse_scroll({}) == ScrollRequest(None, 10, None, ALL_PAYLOAD, NO_VECTORS)
    assert reads_json.parse_retrieve({"ids": [2, 1, 2]}) == RetrieveRequest((key_of(2), key_of(1)))
    assert reads_json.parse_retrieve({"ids": [], "with_vector": True}).with_vector == ALL_VECTORS
    assert reads_json.parse_count({}) == CountRequest(None, True)
    assert reads_json.parse_count({"exact": False, "filter": {}}) == CountRequest(None, False)


def test_wrong_scrolls_and_counts_are_refused() -> None:
    with pytest.raises(ValidationFailed, match=r"\[scroll_request\.limit: value 0 invalid"):
        reads_json.parse_scroll({"limit": 0})
    with pytest.raises(MalformedBody, match="missing field `ids`"):
        reads_json.parse_retrieve({})
    with pytest.raises(MalformedBody, match="expected a boolean"):
        reads_json.parse_count({"exact": 1})


def test_a_fault_in_a_filter_is_named_by_its_place_in_the_body() -> None:
    empty = {"filter": {"must": [{"key": "a"}]}}
    for parse, body, place in (
        (parse_query, empty, "internal."),
        (parse_query_batch, {"searches": [{}, empty]}, "searches[1].internal."),
        (reads_json.parse_scroll, empty, "scroll_request."),
        (reads_json.parse_count, empty, "count_request."),
    ):
        with pytest.raises(ValidationFailed) as raised:
            parse(body)  # type: ignore[operator]
        assert f"[{place}filter.must[0]: At least one field condition must be specified]" in str(raised.value)
