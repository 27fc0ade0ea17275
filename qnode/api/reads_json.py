"""Bodies of read requests, as orjson parsed them, to the values of `models.query`; those of queries: `query_json`.

`path` is the prefix under which Qdrant names a fault of this body ("internal." for a query, "search_request." for the
older search, with "searches[i]." in front in a batch). A vector may be a float32 array already. What this version
cannot answer yet is refused by name: an answer that silently left out half of the question would be worse.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from qnode.api.shard_choice_json import choice_of
from qnode.api.vectors_json import vector_of
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
    CountRequest,
    Nearest,
    PayloadSelector,
    QuantizationParams,
    RetrieveRequest,
    ScrollRequest,
    SearchParams,
    Vector,
    VectorSelector,
)

_DEFAULT_PARAMS = SearchParams()
_LARGEST_FLOAT32 = 3.4028234663852886e38


def parse_scroll(body: object) -> ScrollRequest:
    """Read which page of points is wanted."""
    given = reading.mapping(body, "struct ScrollRequest")
    if given.get("order_by") is not None:
        raise BadRequest("`order_by` is not supported yet")
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
    given = reading.mapping(body, "struct PointRequest")
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
    given = reading.mapping(body, "struct CountRequest")
    exact = given.get("exact")
    return CountRequest(
        filter_of(given, "count_request."),
        True if exact is None else reading.boolean(exact),
        choice_of(given),
    )


def _object(body: object, expected: str) -> dict[str, Any]:
    return reading.mapping(body, expected)


def searches_of(body: object) -> list[Any]:
    """Read the list that a batch is."""
    given = reading.mapping(body)
    if given.get("searches") is None:
        raise reading.missing("searches")
    return reading.sequence(given["searches"])


def nearest_of(value: object, path: str) -> Nearest:
    """Read a vector, or the id of a point whose vector is meant."""
    if type(value) is list or type(value) is np.ndarray:
        return Nearest(single_of(value, path))
    if isinstance(value, int | str) and not isinstance(value, bool):
        return Nearest(example=key_of(value))
    if isinstance(value, dict):
        if "indices" in value and "values" in value:
            raise BadRequest("sparse vectors are not supported yet")
        if "model" in value:
            raise BadRequest("inference is not supported yet")
    raise MalformedBody("data did not match any variant of untagged enum QueryInterface")


def single_of(value: object, path: str) -> Vector:
    """Read a vector that is no multivector."""
    if isinstance(value, np.ndarray):
        return value
    if type(value) is not list:
        if isinstance(value, dict) and "indices" in value:
            raise BadRequest("sparse vectors are not supported yet")
        raise reading.mistyped(value, "a vector")
    if not value:
        raise ValidationFailed([(path, "dense vector must not be empty")])
    if type(value[0]) is list:
        raise BadRequest("multivectors are not supported yet")
    return vector_of(value)


def limit_of(value: object, path: str) -> int:
    """Read how many points are wanted."""
    if value is None:
        return DEFAULT_LIMIT
    limit = reading.unsigned(value)
    if limit < 1:
        raise ValidationFailed([(f"{path}limit", f"value {limit} invalid, must be 1 or larger")])
    return limit


def filter_of(given: dict[str, Any], path: str) -> Filter | None:
    """Read the filter; one without conditions passes everything, so it is as good as none."""
    value = given.get("filter")
    read = None if value is None else parse_filter(value, f"{path}filter")
    return None if read is None or read.is_empty else read


def offset_of(given: dict[str, Any]) -> int:
    """Read how many points are passed over."""
    offset = given.get("offset")
    return 0 if offset is None else reading.unsigned(offset)


def threshold_of(given: dict[str, Any]) -> float | None:
    """Read which score is not good enough."""
    threshold = given.get("score_threshold")
    if threshold is None:
        return None
    real = reading.number(threshold)
    return real if abs(real) <= _LARGEST_FLOAT32 else math.copysign(math.inf, real)


def search_params_of(value: object, path: str) -> SearchParams:
    """Read how hard to search."""
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


def payload_selector_of(value: object, default: PayloadSelector) -> PayloadSelector:
    """Read which part of payloads to return."""
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


def vector_selector_of(given: dict[str, Any]) -> VectorSelector:
    """Read which vectors to return."""
    value = given["with_vector"] if "with_vector" in given else given.get("with_vectors")
    if value is None or value is False:
        return NO_VECTORS
    if value is True:
        return ALL_VECTORS
    if isinstance(value, list):
        return VectorSelector(True, tuple(dict.fromkeys(reading.texts(value))))
    raise MalformedBody("data did not match any variant of untagged enum WithVector")
