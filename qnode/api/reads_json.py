"""Bodies of read requests, as orjson parsed them, to the values of `models.query`.

`path` is the prefix under which Qdrant names a fault of this body ("internal." for a query, "search_request." for the
older search, with "searches[i]." in front in a batch). A vector may be a float32 array already. What this version
cannot answer yet is refused by name: an answer that silently left out half of the question would be worse.
"""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np

from qnode.api.shard_choice_json import choice_of
from qnode.api.vectors_json import is_multi, is_sparse, multi_of, refuse_inference, sparse_of, vector_of
from qnode.errors import BadRequest, MalformedBody, ValidationFailed
from qnode.models import reading
from qnode.models.filter import Filter
from qnode.models.filter_json import parse_filter
from qnode.models.payload_path import PayloadPath, parse_path
from qnode.models.point_id import key_of
from qnode.models.query import (
    ALL_PAYLOAD,
    ALL_VECTORS,
    DEFAULT_LIMIT,
    NO_PAYLOAD,
    NO_VECTORS,
    UNNAMED,
    AnyVector,
    CountRequest,
    Nearest,
    PayloadSelector,
    QuantizationParams,
    QueryRequest,
    RetrieveRequest,
    ScrollRequest,
    SearchParams,
    VectorSelector,
)

_DEFAULT_PARAMS = SearchParams()
_LARGEST_FLOAT32 = 3.4028234663852886e38
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
    threshold = _threshold(given)
    if nearest is None and threshold is not None:
        text = "A query is needed to use the score_threshold. Can't have score_threshold without defining a query."
        raise BadRequest(text)
    using = given.get("using")
    return QueryRequest(
        nearest,
        UNNAMED if using is None else reading.text(using),
        _filter(given, path),
        _search_params(given.get("params"), path),
        threshold,
        _limit(given.get("limit"), path),
        _offset(given),
        _payload_selector(given.get("with_payload"), NO_PAYLOAD),
        _vector_selector(given),
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
        _filter(given, path),
        _search_params(given.get("params"), path),
        _threshold(given),
        _limit(reading.first_of(given, "limit", "top"), path),
        _offset(given),
        _payload_selector(given.get("with_payload"), NO_PAYLOAD),
        _vector_selector(given),
        choice_of(given),
    )


def parse_query_batch(body: object) -> list[QueryRequest]:
    """Read the queries of `points/query/batch`."""
    return [parse_query(query, f"searches[{at}].internal.") for at, query in enumerate(_searches(body))]


def parse_search_batch(body: object) -> list[QueryRequest]:
    """Read the requests of the older `points/search/batch`."""
    return [parse_search(search, f"searches[{at}].search_request.") for at, search in enumerate(_searches(body))]


def parse_scroll(body: object) -> ScrollRequest:
    """Read which page of points is wanted."""
    given = _object(body, "struct ScrollRequest")
    if given.get("order_by") is not None:
        raise BadRequest("`order_by` is not supported yet")
    offset = given.get("offset")
    return ScrollRequest(
        None if offset is None else key_of(offset),
        _limit(given.get("limit"), "scroll_request."),
        _filter(given, "scroll_request."),
        _payload_selector(given.get("with_payload"), ALL_PAYLOAD),
        _vector_selector(given),
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
        _payload_selector(given.get("with_payload"), NO_PAYLOAD),
        _vector_selector(given),
        choice_of(given),
    )


def parse_count(body: object) -> CountRequest:
    """Read what to count."""
    given = _object(body, "struct CountRequest")
    exact = given.get("exact")
    return CountRequest(
        _filter(given, "count_request."),
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


def _limit(value: object, path: str) -> int:
    if value is None:
        return DEFAULT_LIMIT
    limit = reading.unsigned(value)
    if limit < 1:
        raise ValidationFailed([(f"{path}limit", f"value {limit} invalid, must be 1 or larger")])
    return limit


def _filter(given: dict[str, Any], path: str) -> Filter | None:
    """Read the filter; one without conditions passes everything, so it is as good as none."""
    value = given.get("filter")
    read = None if value is None else parse_filter(value, f"{path}filter")
    return None if read is None or read.is_empty else read


def _offset(given: dict[str, Any]) -> int:
    offset = given.get("offset")
    return 0 if offset is None else reading.unsigned(offset)


def _threshold(given: dict[str, Any]) -> float | None:
    threshold = given.get("score_threshold")
    if threshold is None:
        return None
    real = reading.number(threshold)
    return real if abs(real) <= _LARGEST_FLOAT32 else math.copysign(math.inf, real)


def _search_params(value: object, path: str) -> SearchParams:
    if value is None:
        return _DEFAULT_PARAMS
    given = reading.mapping(value, "struct SearchParams")
    if given.get("idf") is not None:
        raise BadRequest("search param `idf` requires a sparse vector with the `idf` modifier")
    params = reading.fields(
        given, {"hnsw_ef": reading.unsigned, "exact": reading.boolean, "indexed_only": reading.boolean}
    )
    faults = reading.section_faults(f"{path}params", params, {"hnsw_ef": (1, None)})
    quantization = reading.fields(
        reading.first_of(given, "quantization", "quantization_config") or {},
        {"ignore": reading.boolean, "rescore": reading.boolean, "oversampling": reading.number},
    )
    faults += reading.section_faults(f"{path}params.quantization", quantization, {"oversampling": (1.0, None)})
    acorn = reading.fields(given.get("acorn") or {}, {"enable": reading.boolean, "max_selectivity": reading.number})
    faults += reading.section_faults(f"{path}params.acorn", acorn, {"max_selectivity": (0.0, 1.0)})
    reading.raise_faults(faults)
    return SearchParams(quantization=QuantizationParams(**quantization), **params)


def _payload_selector(value: object, default: PayloadSelector) -> PayloadSelector:
    if value is None:
        return default
    if value is True:
        return ALL_PAYLOAD
    if value is False:
        return NO_PAYLOAD
    if isinstance(value, list):
        return PayloadSelector(True, include=_paths(value))
    if isinstance(value, dict):
        include, exclude = value.get("include"), value.get("exclude")
        if include is not None and exclude is None:
            return PayloadSelector(True, include=_paths(include))
        if exclude is not None and include is None:
            return PayloadSelector(True, exclude=_paths(exclude))
    raise MalformedBody("data did not match any variant of untagged enum WithPayloadInterface")


def _paths(value: object) -> tuple[PayloadPath, ...]:
    return tuple(parse_path(path) for path in reading.texts(value))


def _vector_selector(given: dict[str, Any]) -> VectorSelector:
    value = given["with_vector"] if "with_vector" in given else given.get("with_vectors")
    if value is None or value is False:
        return NO_VECTORS
    if value is True:
        return ALL_VECTORS
    if isinstance(value, list):
        return VectorSelector(True, tuple(dict.fromkeys(reading.texts(value))))
    raise MalformedBody("data did not match any variant of untagged enum WithVector")
