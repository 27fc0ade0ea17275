"""Answers as bytes: the envelope, hits and records.

Payloads are spliced in as the JSON bytes that they are stored as; vectors and scores stay float32 until orjson prints
them, in the shortest form that reads back as the same float32. What is not there is left out, not null.

orjson lets no other thread run while it writes, so many points are written in pieces, by a thread beside the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

import orjson

from qnode.models.grouping import Group
from qnode.models.point_id import PointKey, id_of
from qnode.models.query import UNNAMED, AnyVector, Hits, Point, SparseVector
from qnode.models.write import UpdateResult

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY
_PIECE_POINTS = 32
QUICK_POINTS = 200
_QUICK_COMPONENTS = 20_000
_LIST_ORDER_SCORE = 1.0
"""The score of points that were listed, not ranked."""


def ok(result: object, started: float) -> bytes:
    """Wrap a result; `started` is a reading of perf_counter."""
    return orjson.dumps({"result": result, "status": "ok", "time": perf_counter() - started}, option=_OPTIONS)


def failed(text: str, started: float) -> bytes:
    """Wrap the text of an error."""
    return orjson.dumps({"status": {"error": text}, "time": perf_counter() - started})


def bare(result: object) -> bytes:
    """Give a result without an envelope."""
    return orjson.dumps(result)


def shown_time(seconds: float) -> str:
    """Show a point in time, in seconds since 1970, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def is_quick(points: Sequence[Point]) -> bool:
    """Tell whether points are written in so little time that it may be done on the event loop."""
    if not points:
        return True
    vectors = points[0].vectors
    components = 0 if vectors is None else sum(map(_components, vectors.values()))
    return len(points) <= QUICK_POINTS and len(points) * components <= _QUICK_COMPONENTS


def listed(points: Sequence[Point], show: Callable[[Point], dict[str, Any]]) -> object:
    """Show many points; if it is not quick they are JSON already, written in pieces."""
    if isinstance(points, Hits) and len(points) <= QUICK_POINTS:
        columns = zip(points.ids, points.versions, points.scores, strict=True)
        return [{"id": point_id, "version": version, "score": score} for point_id, version, score in columns]
    if is_quick(points):
        return [show(point) for point in points]
    pieces = [
        orjson.dumps([show(point) for point in points[begin : begin + _PIECE_POINTS]], option=_OPTIONS)[1:-1]
        for begin in range(0, len(points), _PIECE_POINTS)
    ]
    return orjson.Fragment(b"[%b]" % b",".join(pieces))


def hit(point: Point) -> dict[str, Any]:
    """Show a point that a query found."""
    score = _LIST_ORDER_SCORE if point.score is None else point.score
    return _with_parts({"id": id_of(point.key), "version": point.version, "score": score}, point)


def record(point: Point) -> dict[str, Any]:
    """Show a point that was asked for by id or page."""
    return _with_parts({"id": id_of(point.key)}, point)


def _with_parts(shown: dict[str, Any], point: Point) -> dict[str, Any]:
    """Add what is there of a point beside its id."""
    if point.payload is not None:
        shown["payload"] = orjson.Fragment(point.payload)
    if point.vectors is not None:
        shown["vector"] = _vectors(point)
    if point.shard_key is not None:
        shown["shard_key"] = point.shard_key
    if point.order_value is not None:
        shown["order_value"] = point.order_value
    return shown


def page(points: Sequence[Point], following: PointKey | None) -> dict[str, Any]:
    """Show a page of a scroll."""
    return {
        "points": listed(points, record),
        "next_page_offset": None if following is None else id_of(following),
    }


def groups(found: Sequence[Group]) -> dict[str, Any]:
    """Show hits in groups."""
    shown = []
    for group in found:
        entry: dict[str, Any] = {"id": group.id, "hits": [hit(point) for point in group.hits]}
        if group.lookup is not None:
            entry["lookup"] = record(group.lookup)
        shown.append(entry)
    return {"groups": shown}


def update(result: UpdateResult) -> dict[str, Any]:
    """Show how far a write has come."""
    return {"operation_id": result.operation_id, "status": result.status.value}


def _vectors(point: Point) -> object:
    """Show the unnamed vector as a list when it is the only one, else a map."""
    vectors = point.vectors
    assert vectors is not None
    if len(vectors) == 1 and UNNAMED in vectors:
        return _vector(vectors[UNNAMED])
    return {name: _vector(vector) for name, vector in vectors.items()}


def _vector(vector: AnyVector) -> object:
    if isinstance(vector, SparseVector):
        return {"indices": vector.indices, "values": vector.values}
    return vector


def _components(vector: AnyVector) -> int:
    return 2 * len(vector.values) if isinstance(vector, SparseVector) else vector.size
