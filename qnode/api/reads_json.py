"""Bodies of read requests, as orjson parsed them, to the values of `models.query`.

`path` is the prefix under which Qdrant names a fault of this body ("internal." for a query, "search_request." for the
older search, with "searches[i]." in front in a batch). A vector may be a float32 array already. What this version
cannot answer yet is refused by name: an answer that silently left out half of the question would be worse.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from qnode.api.read_parts_json import (
    filter_of,
    limit_of,
    offset_of,
    payload_selector_of,
    search_params_of,
    threshold_of,
    vector_selector_of,
)
from qnode.api.shard_choice_json import choice_of
from qnode.api.summaries_json import parse_ordered
from qnode.api.vectors_json import is_multi, is_sparse, multi_of, refuse_inference, sparse_of, vector_of
from qnode.errors import BadRequest, MalformedBody, ValidationFailed
from qnode.models import reading
from qnode.models.point_id import key_of
from qnode.models.query import (
    ALL_PAYLOAD,
    NO_PAYLOAD,
    UNNAMED,
    AnyVector,
    CountRequest,
    Nearest,
    QueryRequest,
    RetrieveRequest,
    ScrollRequest,
)
from qnode.models.reads import OrderedRequest

_QUERY_KINDS = (
    "recommend",
    "discover",
    "context",
    "order_by",
    "fusion",
    "rrf",
    "formula",
    "sample",
    "relevance_feedback",
)


def parse_query(body: object, path: str = "internal.") -> QueryRequest:
    """Read one query of `points/query`."""
    given = _object(body, "struct QueryRequest")
    if given.get("prefetch") not in (None, []):
        raise BadRequest("prefetches are not supported yet")
    if given.get("lookup_from") is not None:
        raise BadRequest("`lookup_from` is not supported yet")
    query = given.get("query")
    nearest = None if query is None else _nearest(query, path)
    threshold = threshold_of(given)
    if nearest is None and threshold is not None:
        text = "A query is needed to use the score_threshold. Can't have score_threshold without defining a query."
        raise BadRequest(text)
    using = given.get("using")
    return QueryRequest(
        nearest,
        UNNAMED if using is None else reading.text(using),
        filter_of(given, path),
        search_params_of(given.get("params"), path),
        threshold,
        limit_of(given.get("limit"), path),
        offset_of(given),
        payload_selector_of(given.get("with_payload"), NO_PAYLOAD),
        vector_selector_of(given),
        choice_of(given),
    )


def parse_search(body: object, path: str = "search_request.") -> QueryRequest:
    """Read one request of the older `points/search`."""
    given = _object(body, "struct SearchRequest")
    for name, value in (("vector", given.get("vector")), ("limit", reading.first_of(given, "limit", "top"))):
        if value is None:
            raise reading.missing(name)
    vector, using = given["vector"], UNNAMED
    if isinstance(vector, dict):
        for name in ("name", "vector"):
            if vector.get(name) is None:
                raise reading.missing(name)
        using, vector = reading.text(vector["name"]), vector["vector"]
    return QueryRequest(
        Nearest(_single(vector, f"{path}vector")),
        using,
        filter_of(given, path),
        search_params_of(given.get("params"), path),
        threshold_of(given),
        limit_of(reading.first_of(given, "limit", "top"), path),
        offset_of(given),
        payload_selector_of(given.get("with_payload"), NO_PAYLOAD),
        vector_selector_of(given),
        choice_of(given),
    )


def parse_query_batch(body: object) -> list[QueryRequest]:
    """Read the queries of `points/query/batch`."""
    return [parse_query(query, f"searches[{at}].internal.") for at, query in enumerate(_searches(body))]


def parse_search_batch(body: object) -> list[QueryRequest]:
    """Read the requests of the older `points/search/batch`."""
    return [parse_search(search, f"searches[{at}].search_request.") for at, search in enumerate(_searches(body))]


def parse_scroll(body: object) -> ScrollRequest | OrderedRequest:
    """Read which page of points is wanted."""
    given = _object(body, "struct ScrollRequest")
    if given.get("order_by") is not None:
        return parse_ordered(given)
    offset = given.get("offset")
    return ScrollRequest(
        None if offset is None else key_of(offset),
        limit_of(given.get("limit"), "scroll_request."),
        filter_of(given, "scroll_request."),
        payload_selector_of(given.get("with_payload"), ALL_PAYLOAD),
        vector_selector_of(given),
        choice_of(given),
    )


def parse_retrieve(body: object) -> RetrieveRequest:
    """Read which points are wanted by id; each once, in the order of first mention."""
    given = _object(body, "struct PointRequest")
    if given.get("ids") is None:
        raise reading.missing("ids")
    keys = dict.fromkeys(key_of(point_id) for point_id in reading.sequence(given["ids"]))
    return RetrieveRequest(
        tuple(keys),
        payload_selector_of(given.get("with_payload"), NO_PAYLOAD),
        vector_selector_of(given),
        choice_of(given),
    )


def parse_count(body: object) -> CountRequest:
    """Read what to count."""
    given = _object(body, "struct CountRequest")
    exact = given.get("exact")
    return CountRequest(
        filter_of(given, "count_request."),
        True if exact is None else reading.boolean(exact),
        choice_of(given),
    )


def _object(body: object, expected: str) -> dict[str, Any]:
    return reading.mapping(body, expected)


def _searches(body: object) -> list[Any]:
    given = reading.mapping(body)
    if given.get("searches") is None:
        raise reading.missing("searches")
    return reading.sequence(given["searches"])


def _nearest(query: object, path: str) -> Nearest:
    if isinstance(query, dict):
        if query.get("nearest") is not None:
            if query.get("mmr") is not None:
                raise BadRequest("mmr is not supported yet")
            return _nearest_input(query["nearest"], f"{path}query")
        for kind in _QUERY_KINDS:
            if kind in query:
                raise BadRequest(f"{kind} queries are not supported yet")
    return _nearest_input(query, f"{path}query")


def _nearest_input(value: object, path: str) -> Nearest:
    if is_multi(value):
        return Nearest(multi_of(cast("list[Any]", value), path))
    if type(value) is list or type(value) is np.ndarray or is_sparse(value):
        return Nearest(_single(value, path))
    if isinstance(value, int | str) and not isinstance(value, bool):
        return Nearest(example=key_of(value))
    refuse_inference(value)
    raise MalformedBody("data did not match any variant of untagged enum QueryInterface")


def _single(value: object, path: str) -> AnyVector:
    """Read a dense or a sparse vector."""
    if isinstance(value, np.ndarray):
        return value
    if is_sparse(value):
        return sparse_of(cast("dict[str, object]", value), path)
    if type(value) is not list:
        raise reading.mistyped(value, "a vector")
    if not value:
        raise ValidationFailed([(path, "dense vector must not be empty")])
    return vector_of(value)
