"""Reading a filter from the JSON of a request.

What has another shape than the OpenAPI document says is `MalformedBody` (400); what was read and breaks a rule of its
own (a field condition without a check, a slice beyond its total, a min_count of 0) is `ValidationFailed` (422), and
comes only after the whole filter had its shape. A null means "absent". Unknown clauses are refused, and so are unknown
bounds, which would make a condition wider than was meant; other unknown keys are passed over, as Qdrant does.

Equal JSON gives equal filters, so a filter can be the key of a cache. Filters nest at most MAX_FILTER_DEPTH levels:
everything that walks a filter may recurse.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from qnode.errors import MalformedBody
from qnode.models.datetimes import datetime_bound
from qnode.models.filter import (
    Condition,
    DatetimeRange,
    FieldCondition,
    Filter,
    GeoBoundingBox,
    GeoPoint,
    GeoPolygon,
    GeoRadius,
    HasId,
    HasVector,
    IsEmpty,
    IsNull,
    Match,
    MatchAny,
    MatchExcept,
    MatchPhrase,
    MatchPrefix,
    MatchText,
    MatchTextAny,
    MatchValue,
    MinShould,
    Nested,
    Range,
    SliceCondition,
    ValuesCount,
)
from qnode.models.payload_path import PayloadPath, parse_path
from qnode.models.point_id import key_of
from qnode.models.reading import (
    Fault,
    boolean,
    mapping,
    mistyped,
    nonzero_32,
    number,
    raise_faults,
    required,
    sequence,
    text,
    unsigned,
    unsigned_32,
)

MAX_FILTER_DEPTH = 64

_CLAUSES = ("should", "min_should", "must", "must_not")
_BOUNDS = ("lt", "gt", "gte", "lte")
_MIN_I64, _MAX_I64 = -(2**63), 2**63 - 1
_MIN_RING_POINTS = 4
_SAME_PLACE_DEGREES = 2.0**-52

Bound = TypeVar("Bound")


def parse_filter(value: object, path: str = "filter") -> Filter:
    """Read a filter; `path` is what a message calls it.

    Raises MalformedBody for a wrong shape, ValidationFailed for a broken rule.
    """
    faults: list[Fault] = []
    chosen = _filter(value, path, faults, 1)
    raise_faults(faults)
    return chosen


def parse_condition(value: object, path: str) -> Condition:
    """Read one condition, as `parse_filter` reads a filter."""
    faults: list[Fault] = []
    condition = _condition(value, path, faults, 1)
    raise_faults(faults)
    return condition


def _filter(value: object, path: str, faults: list[Fault], depth: int) -> Filter:
    if depth > MAX_FILTER_DEPTH:
        raise MalformedBody(f"recursion limit exceeded: filters nest deeper than {MAX_FILTER_DEPTH} levels")
    given = mapping(value, "struct Filter")
    for name in given:
        if name not in _CLAUSES:
            raise _unknown_field(name, _CLAUSES)
    min_should = given.get("min_should")
    return Filter(
        _clause(given.get("must"), path, "must", faults, depth),
        _clause(given.get("should"), path, "should", faults, depth),
        _clause(given.get("must_not"), path, "must_not", faults, depth),
        None if min_should is None else _min_should(min_should, f"{path}.min_should", faults, depth),
    )


def _unknown_field(name: str, expected: tuple[str, ...]) -> MalformedBody:
    return MalformedBody(f"unknown field `{name[:100]}`, expected one of {', '.join(f'`{each}`' for each in expected)}")


def _clause(value: object, path: str, name: str, faults: list[Fault], depth: int) -> tuple[Condition, ...]:
    if value is None:
        return ()
    if type(value) is list:
        return tuple(
            [_condition(each, f"{path}.{name}[{position}]", faults, depth) for position, each in enumerate(value)]
        )
    return (_condition(value, f"{path}.{name}", faults, depth),)


def _min_should(value: object, path: str, faults: list[Fault], depth: int) -> MinShould:
    given = mapping(value, "struct MinShould")
    conditions = sequence(required(given, "conditions"))
    min_count = unsigned(required(given, "min_count"))
    if min_count < 1:
        faults.append((path, "min_count must be greater than 0"))
    return MinShould(_clause(conditions, path, "conditions", faults, depth), min_count)


def _condition(value: object, path: str, faults: list[Fault], depth: int) -> Condition:
    given = mapping(value, "a filter condition")
    if "key" in given:
        return _field_condition(given, path, faults)
    kinds = [kind for kind in given if kind in _CONDITIONS]
    if not kinds:
        if not given.keys() <= _CLAUSE_SET:
            unknown = next(name for name in given if name not in _CLAUSE_SET)
            raise _unknown_field(unknown, ("key", *_CONDITIONS, *_CLAUSES))
        return _filter(given, path, faults, depth + 1)
    if len(kinds) > 1 or not given.keys().isdisjoint(_CLAUSE_SET):
        raise MalformedBody(
            f"a filter condition is one of {', '.join(f'`{kind}`' for kind in _CONDITIONS)} or a filter"
        )
    return _CONDITIONS[kinds[0]](given[kinds[0]], path, faults, depth)


_CLAUSE_SET = frozenset(_CLAUSES)


def _path(value: object) -> PayloadPath:
    return parse_path(text(value))


def _field_of(value: object) -> PayloadPath:
    return _path(required(mapping(value, "struct PayloadField"), "key"))


def _has_id(value: object, path: str, faults: list[Fault], depth: int) -> HasId:
    return HasId(frozenset([key_of(each) for each in sequence(value)]))


def _slice(value: object, path: str, faults: list[Fault], depth: int) -> SliceCondition:
    given = mapping(value, "struct Slice")
    total, index = nonzero_32(required(given, "total")), unsigned_32(required(given, "index"))
    if index >= total:
        faults.append((f"{path}.slice.index", f"value {index} invalid, must be less than total {total}"))
    return SliceCondition(total, index)


def _nested(value: object, path: str, faults: list[Fault], depth: int) -> Nested:
    given = mapping(value, "struct Nested")
    at = _path(required(given, "key"))
    return Nested(at, _filter(required(given, "filter"), f"{path}.nested.filter", faults, depth + 1))


_CONDITIONS: dict[str, Callable[[Any, str, list[Fault], int], Condition]] = {
    "is_empty": lambda value, path, faults, depth: IsEmpty(_field_of(value)),
    "is_null": lambda value, path, faults, depth: IsNull(_field_of(value)),
    "has_id": _has_id,
    "has_vector": lambda value, path, faults, depth: HasVector(text(value)),
    "slice": _slice,
    "nested": _nested,
}


def _field_condition(given: dict[str, Any], path: str, faults: list[Fault]) -> FieldCondition:
    key = given["key"]
    if not isinstance(key, str):
        raise MalformedBody("Filter condition 'key' must be a string")
    checks = {}
    for name, value in given.items():
        read = _CHECKS.get(name)
        if read is not None and value is not None:
            checks[name] = read(value)
    if not checks:
        faults.append((path, "At least one field condition must be specified"))
    return FieldCondition(parse_path(key), **checks)


def _match(value: object) -> Match:
    given = mapping(value, "a match")
    kinds = [kind for kind in given if kind in _MATCHES and given[kind] is not None]
    if len(kinds) != 1:
        raise MalformedBody(f"a match has exactly one of {', '.join(f'`{kind}`' for kind in _MATCHES)}")
    return _MATCHES[kinds[0]](given[kinds[0]])


def _match_value(value: Any) -> MatchValue:
    if isinstance(value, str | bool) or _is_integer(value):
        return MatchValue(value)
    raise mistyped(value, "a string, an integer of 64 bits or a boolean")


def _is_integer(value: object) -> bool:
    return type(value) is int and _MIN_I64 <= value <= _MAX_I64


def _listed(value: object) -> tuple[Any, ...]:
    """Read strings or integers, each once, in the order given."""
    given = sequence(value)
    if not (all(type(each) is str for each in given) or all(_is_integer(each) for each in given)):
        raise MalformedBody("invalid type: expected an array of strings or an array of integers of 64 bits")
    return tuple(dict.fromkeys(given))


_MATCHES: dict[str, Callable[[Any], Match]] = {
    "value": _match_value,
    "text": lambda value: MatchText(text(value)),
    "text_any": lambda value: MatchTextAny(text(value)),
    "phrase": lambda value: MatchPhrase(text(value)),
    "prefix": lambda value: MatchPrefix(text(value)),
    "any": lambda value: MatchAny(_listed(value)),
    "except": lambda value: MatchExcept(_listed(value)),
}


def _range(value: object) -> Range | DatetimeRange:
    bounds = _bounds(value, "a range", lambda bound: bound)
    if bounds and all(type(bound) is str for bound in bounds.values()):
        return DatetimeRange(**{name: datetime_bound(bound) for name, bound in bounds.items()})
    for bound in bounds.values():
        if not (type(bound) is int or (type(bound) is float and math.isfinite(bound))):
            raise mistyped(bound, "bounds that are all numbers, or all datetimes")
    # Integers stay integers, so that comparing them with stored ones is exact beyond 2^53 too.
    return Range(**bounds)


def _values_count(value: object) -> ValuesCount:
    return ValuesCount(**_bounds(value, "struct ValuesCount", unsigned))


def _bounds(value: object, expected: str, read: Callable[[Any], Bound]) -> dict[str, Bound]:
    given = mapping(value, expected)
    for name in given:
        if name not in _BOUNDS:
            raise _unknown_field(name, _BOUNDS)
    return {name: read(bound) for name, bound in given.items() if bound is not None}


def parse_geo_point(value: object) -> GeoPoint:
    """Read a place; raise MalformedBody if it is none."""
    given = mapping(value, "struct GeoPoint")
    lon, lat = number(required(given, "lon")), number(required(given, "lat"))
    if not (-180 <= lon <= 180 and -90 <= lat <= 90):
        raise MalformedBody(
            f"Wrong format of GeoPoint payload: expected `lat` = {lat:g} within [-90;90] "
            f"and `lon` = {lon:g} within [-180;180]"
        )
    return GeoPoint(lon, lat)


def _geo_bounding_box(value: object) -> GeoBoundingBox:
    given = mapping(value, "struct GeoBoundingBox")
    return GeoBoundingBox(
        parse_geo_point(required(given, "top_left")), parse_geo_point(required(given, "bottom_right"))
    )


def _geo_radius(value: object) -> GeoRadius:
    given = mapping(value, "struct GeoRadius")
    return GeoRadius(parse_geo_point(required(given, "center")), number(required(given, "radius")))


def _geo_polygon(value: object) -> GeoPolygon:
    given = mapping(value, "struct GeoPolygon")
    interiors = given.get("interiors")
    return GeoPolygon(
        _ring(required(given, "exterior")),
        () if interiors is None else tuple([_ring(ring) for ring in sequence(interiors)]),
    )


def _ring(value: object) -> tuple[GeoPoint, ...]:
    given = mapping(value, "struct GeoLineString")
    ring = tuple([parse_geo_point(point) for point in sequence(required(given, "points"))])
    if len(ring) < _MIN_RING_POINTS:
        raise MalformedBody(
            f"Validation failed: polygon invalid, the size must be at least {_MIN_RING_POINTS}, got {len(ring)}"
        )
    first, last = ring[0], ring[-1]
    if abs(first.lon - last.lon) > _SAME_PLACE_DEGREES or abs(first.lat - last.lat) > _SAME_PLACE_DEGREES:
        raise MalformedBody(
            "Validation failed: polygon invalid, the first and the last points should be the same to form a closed line"
        )
    return ring


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "match": _match,
    "range": _range,
    "geo_bounding_box": _geo_bounding_box,
    "geo_radius": _geo_radius,
    "geo_polygon": _geo_polygon,
    "values_count": _values_count,
    "is_empty": boolean,
    "is_null": boolean,
}
