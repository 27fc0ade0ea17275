"""What `/docs` and `/openapi.json` say beyond the ordinary routes: the endpoints of points, bodies, errors.

The hot endpoints are unknown to FastAPI, and bodies are read by our own parsers; so both are documented by an example
each, which a test sends to a node. The full schemas are Qdrant's, whose OpenAPI document holds here too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

Json = dict[str, Any]

_FILTER = {"must": [{"key": "city", "match": {"value": "Berlin"}}]}
_IDS = {"points": [1]}
_QUERY = {"query": [0.2, 0.1, 0.9, 0.7], "filter": _FILTER, "limit": 3, "with_payload": True}
_SEARCH = {"vector": [0.2, 0.1, 0.9, 0.7], "filter": _FILTER, "limit": 3, "with_payload": True}
_RECOMMEND = {"positive": [1], "negative": [[0.1, 0.9, 0.2, 0.4]], "limit": 3, "with_payload": True}
_DISCOVER = {
    "target": [0.2, 0.1, 0.9, 0.7],
    "context": [{"positive": [0.2, 0.1, 0.9, 0.7], "negative": [0.9, 0.1, 0.2, 0.1]}],
    "limit": 3,
    "with_payload": True,
}
_PAYLOAD = {"city": "Berlin"}
_RECORD = {"id": 1, "payload": _PAYLOAD}
_HIT = {"id": 1, "version": 0, "score": 0.92, "payload": _PAYLOAD}
_UPDATED = {"operation_id": 0, "status": "completed"}
_POINTS = {
    "points": [
        {"id": 1, "vector": [0.1, 0.2, 0.3, 0.4], "payload": _PAYLOAD},
        {"id": 2, "vector": [0.4, 0.3, 0.2, 0.1], "payload": {"city": "London"}},
    ]
}


@dataclass(frozen=True, slots=True)
class Sketch:
    """An endpoint by example: what may be sent, and what `result` is then."""

    summary: str
    body: Json
    result: object
    writes: bool = False


def _write(summary: str, body: Json, result: object = _UPDATED) -> Sketch:
    return Sketch(summary, body, result, writes=True)


POINTS: dict[tuple[str, str], Sketch] = {
    ("PUT", "points"): _write("Upsert points", _POINTS),
    ("POST", "points"): Sketch("Retrieve points", {"ids": [1], "with_payload": True}, [_RECORD]),
    ("POST", "points/query"): Sketch("Query points", _QUERY, {"points": [_HIT]}),
    ("POST", "points/query/batch"): Sketch("Query points in batch", {"searches": [_QUERY]}, [{"points": [_HIT]}]),
    ("POST", "points/search"): Sketch("Search points, the older form", _SEARCH, [_HIT]),
    ("POST", "points/search/batch"): Sketch("Search in batch, the older form", {"searches": [_SEARCH]}, [[_HIT]]),
    ("POST", "points/recommend"): Sketch("Recommend points, the older form", _RECOMMEND, [_HIT]),
    ("POST", "points/recommend/batch"): Sketch(
        "Recommend in batch, the older form", {"searches": [_RECOMMEND]}, [[_HIT]]
    ),
    ("POST", "points/recommend/groups"): Sketch(
        "Recommend in groups, the older form",
        {**_RECOMMEND, "group_by": "city", "group_size": 2},
        {"groups": [{"id": "Berlin", "hits": [_HIT]}]},
    ),
    ("POST", "points/discover"): Sketch("Discover points, the older form", _DISCOVER, [_HIT]),
    ("POST", "points/discover/batch"): Sketch("Discover in batch, the older form", {"searches": [_DISCOVER]}, [[_HIT]]),
    ("POST", "points/scroll"): Sketch(
        "Scroll through points", {"filter": _FILTER, "limit": 10}, {"points": [_RECORD], "next_page_offset": None}
    ),
    ("POST", "points/count"): Sketch("Count points", {"filter": _FILTER, "exact": True}, {"count": 1}),
    ("POST", "points/query/groups"): Sketch(
        "Query points in groups",
        {**_QUERY, "group_by": "city", "group_size": 2},
        {"groups": [{"id": "Berlin", "hits": [_HIT]}]},
    ),
    ("POST", "points/search/groups"): Sketch(
        "Search in groups, the older form",
        {**_SEARCH, "group_by": "city", "group_size": 2},
        {"groups": [{"id": "Berlin", "hits": [_HIT]}]},
    ),
    ("POST", "points/search/matrix/pairs"): Sketch(
        "Distances within a sample, as pairs", {"sample": 10, "limit": 3}, {"pairs": [{"a": 1, "b": 2, "score": 0.92}]}
    ),
    ("POST", "points/search/matrix/offsets"): Sketch(
        "Distances within a sample, as a matrix",
        {"sample": 10, "limit": 3},
        {"offsets_row": [0], "offsets_col": [1], "scores": [0.92], "ids": [1, 2]},
    ),
    ("POST", "facet"): Sketch(
        "Count the values of an indexed field",
        {"key": "city", "limit": 10},
        {"hits": [{"value": "Berlin", "count": 1}]},
    ),
    ("PUT", "points/vectors"): _write("Update vectors", {"points": [{"id": 1, "vector": [0.4, 0.3, 0.2, 0.1]}]}),
    ("POST", "points/vectors/delete"): _write("Delete vectors", {**_IDS, "vector": [""]}),
    ("POST", "points/payload"): _write("Set payload", {"payload": {"seen": True}, **_IDS}),
    ("PUT", "points/payload"): _write("Overwrite payload", {"payload": _PAYLOAD, **_IDS}),
    ("POST", "points/payload/delete"): _write("Delete payload", {"keys": ["seen"], **_IDS}),
    ("POST", "points/payload/clear"): _write("Clear payload", _IDS),
    ("POST", "points/batch"): _write(
        "Run several writes in order",
        {"operations": [{"upsert": _POINTS}, {"set_payload": {"payload": {"seen": True}, "points": [1]}}]},
        [_UPDATED, _UPDATED],
    ),
    ("POST", "points/delete"): _write("Delete points", {"filter": _FILTER}),
}

DEFINITIONS: dict[tuple[str, str], Json] = {
    ("PUT", "/collections/{collection_name}"): {"vectors": {"size": 4, "distance": "Cosine"}},
    ("PATCH", "/collections/{collection_name}"): {"optimizers_config": {"indexing_threshold": 20000}},
    ("POST", "/collections/aliases"): {
        "actions": [{"create_alias": {"collection_name": "documented", "alias_name": "current"}}]
    },
    ("PUT", "/collections/{collection_name}/index"): {"field_name": "city", "field_schema": "keyword"},
    ("PUT", "/quotas"): {"enabled": False, "max_resident_memory_percent": 80, "max_disk_usage_percent": 90},
}
"""Bodies of ordinary routes."""

_ERROR = {
    "description": "What is wrong, in one sentence",
    "content": {"application/json": {"example": {"status": {"error": "Not found: …"}, "time": 0.001}}},
}


def complete(application: FastAPI, endpoints_of_points: Iterable[tuple[str, str]]) -> None:
    """Let an application's OpenAPI document show what FastAPI does not know of it."""
    generate: Callable[[], Json] = application.openapi
    sketches = {route: POINTS[route] for route in endpoints_of_points}

    def openapi() -> Json:
        if application.openapi_schema is None:
            application.openapi_schema = _completed(generate(), sketches)
        return application.openapi_schema

    application.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's manual has it


def _completed(document: Json, sketches: dict[tuple[str, str], Sketch]) -> Json:
    paths = document["paths"]
    for (method, rest), sketch in sketches.items():
        path = paths.setdefault(f"/collections/{{collection_name}}/{rest}", {})
        path[method.lower()] = _operation(sketch)
    for (method, route), example in DEFINITIONS.items():
        paths[route][method.lower()]["requestBody"] = _body(example)
    for path in paths.values():
        for operation in path.values():
            operation["responses"].pop("422", None)  # FastAPI's own, which nobody is ever sent
            operation["responses"]["4XX"] = _ERROR
    document.pop("components", None)
    return document


def _operation(sketch: Sketch) -> Json:
    parameters = [_parameter("collection_name", "string", "path")]
    if sketch.writes:
        parameters += [_parameter("wait", "boolean"), _parameter("ordering", "string")]
    else:
        parameters += [_parameter("consistency", "string")]
    shown = {"result": sketch.result, "status": "ok", "time": 0.001}
    return {
        "tags": ["points"],
        "summary": sketch.summary,
        "parameters": [*parameters, _parameter("timeout", "integer")],
        "requestBody": _body(sketch.body),
        "responses": {"200": {"description": "Done", "content": {"application/json": {"example": shown}}}},
    }


def _body(example: Json) -> Json:
    return {"required": True, "content": {"application/json": {"schema": {"type": "object"}, "example": example}}}


def _parameter(name: str, kind: str, place: str = "query") -> Json:
    return {"name": name, "in": place, "required": place == "path", "schema": {"type": kind}}
