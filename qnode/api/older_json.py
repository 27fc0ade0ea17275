"""Bodies of the searches that older clients send, each in a form of its own: search, recommend, discover.

They ask for what `points/query` asks for; the answer is a plain list. `limit` has no default.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qnode.api.query_json import given_of, lookup_of, pairs_of, recommend_of
from qnode.api.read_parts_json import (
    filter_of,
    limit_of,
    offset_of,
    payload_selector_of,
    search_params_of,
    threshold_of,
    vector_selector_of,
)
from qnode.api.reads_json import searches_of, single_of
from qnode.api.shard_choice_json import choice_of
from qnode.models import reading
from qnode.models.query import NO_PAYLOAD, UNNAMED, Nearest, QueryRequest
from qnode.models.universal import Context, Discover, Query, UniversalRequest

Search = QueryRequest | UniversalRequest
Parse = Callable[[object, str], Search]


def parse_search(body: object, path: str = "search_request.") -> QueryRequest:
    """Read one request of `points/search`."""
    given = reading.mapping(body, "struct SearchRequest")
    for name, value in (("vector", given.get("vector")), ("limit", reading.first_of(given, "limit", "top"))):
        if value is None:
            raise reading.missing(name)
    vector, using = given["vector"], UNNAMED
    if isinstance(vector, dict):
        for name in ("name", "vector"):
            reading.required(vector, name)
        using, vector = reading.text(vector["name"]), vector["vector"]
    return QueryRequest(
        Nearest(single_of(vector, f"{path}vector")),
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


def parse_recommend(body: object, path: str = "recommend_request.") -> UniversalRequest:
    """Read one request of `points/recommend`."""
    given = reading.mapping(body, "struct RecommendRequest")
    return _tree(given, recommend_of(given, path.rstrip(".")), path)


def parse_discover(body: object, path: str = "discover_request.") -> UniversalRequest:
    """Read one request of `points/discover`; without a target it goes by the context alone."""
    given = reading.mapping(body, "struct DiscoverRequest")
    pairs = pairs_of(given.get("context"), f"{path}context")
    if given.get("target") is None:
        return _tree(given, Context(pairs), path)
    return _tree(given, Discover(given_of(given["target"], f"{path}target"), pairs), path)


def parse_batch(body: object, parse: Parse) -> list[Search]:
    """Read several requests of a kind."""
    name = _PREFIXES[parse]
    return [parse(search, f"searches[{at}].{name}.") for at, search in enumerate(searches_of(body))]


_PREFIXES: dict[Parse, str] = {
    parse_search: "search_request",
    parse_recommend: "recommend_request",
    parse_discover: "discover_request",
}


def _tree(given: dict[str, Any], query: Query, path: str) -> UniversalRequest:
    limit = reading.first_of(given, "limit", "top")
    if limit is None:
        raise reading.missing("limit")
    return UniversalRequest(
        query,
        using=_using(given.get("using")),
        filter=filter_of(given, path),
        params=search_params_of(given.get("params"), path),
        score_threshold=threshold_of(given),
        limit=limit_of(limit, path),
        lookup=lookup_of(given),
        offset=offset_of(given),
        with_payload=payload_selector_of(given.get("with_payload"), NO_PAYLOAD),
        with_vector=vector_selector_of(given),
        shards=choice_of(given),
    )


def _using(value: object) -> str:
    """Read which vector is searched by; the older forms also take `{"name": …}`."""
    if value is None:
        return UNNAMED
    if isinstance(value, dict):
        value = value.get("name")
    return reading.text(value)
