"""Bodies of read requests, as orjson parsed them, to the values of `models.query`; those of queries: `query_json`.

`path` is the prefix under which Qdrant names a fault of this body ("internal." for a query, "search_request." for the
older search, with "searches[i]." in front in a batch). A vector may be a float32 array already. What this version
cannot answer yet is refused by name: an answer that silently left out half of the question would be worse.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from qnode.api.inference import asked_vector, is_source
from qnode.api.read_parts_json import (
    filter_of,
    limit_of,
    payload_selector_of,
    vector_selector_of,
)
from qnode.api.shard_choice_json import choice_of
from qnode.api.summaries_json import parse_ordered
from qnode.api.vectors_json import is_multi, is_sparse, multi_of, sparse_of, vector_of
from qnode.errors import MalformedBody, ValidationFailed
from qnode.models import reading
from qnode.models.point_id import key_of
from qnode.models.query import (
    ALL_PAYLOAD,
    NO_PAYLOAD,
    AnyVector,
    CountRequest,
    Nearest,
    RetrieveRequest,
    ScrollRequest,
)
from qnode.models.reads import OrderedRequest


def parse_scroll(body: object) -> ScrollRequest | OrderedRequest:
    """Read which page of points is wanted."""
    given = reading.mapping(body, "struct ScrollRequest")
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
    given = reading.mapping(body, "struct PointRequest")
    keys = dict.fromkeys(key_of(point_id) for point_id in reading.sequence(reading.required(given, "ids")))
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


def searches_of(body: object) -> list[Any]:
    """Read the list that a batch is."""
    return reading.sequence(reading.required(reading.mapping(body), "searches"))


def nearest_of(value: object, path: str) -> Nearest:
    """Read a vector, or the id of a point whose vector is meant."""
    if is_multi(value):
        return Nearest(multi_of(cast("list[Any]", value), path))
    if type(value) is list or type(value) is np.ndarray or is_sparse(value):
        return Nearest(single_of(value, path))
    if isinstance(value, int | str) and not isinstance(value, bool):
        return Nearest(example=key_of(value))
    if is_source(value):
        return Nearest(asked_vector(value, path))
    raise MalformedBody("data did not match any variant of untagged enum QueryInterface")


def single_of(value: object, path: str) -> AnyVector:
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
