"""Evaluating filters on a point and its payload: the rules that every faster way must agree with.

A filter is compiled once into a closure and then run on many payloads. Invariants of the rules:

- Values keep their JSON type: 1 is not 1.0, true is not 1, for match; ranges take integers and floats, nothing else.
- A condition on a field looks at the elements of an array, one level deep; values_count, is_empty and is_null look at
  the array itself. A condition holds if any value passes; missing and null fields never match.
- Inside `nested`, has_id, has_vector and slice hold for nothing: an element of a payload is no point.
- Text conditions are substrings, as Qdrant has it, unless `text_match` has written them for a text index.

The recursion is as deep as the filter is nested, which `filter_json` bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from qnode.models.datetimes import parse_datetime
from qnode.models.filter import (
    Condition,
    DatetimeRange,
    FieldCondition,
    Filter,
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
    MatchTokens,
    MatchValue,
    MinShould,
    Nested,
    Range,
    SliceCondition,
    ValuesCount,
    parts,
)
from qnode.models.geo import area_test, geo_point
from qnode.models.payload_path import PayloadPath, values_at
from qnode.models.point_id import PointKey
from qnode.models.siphash import slice_of
from qnode.models.text_match import tokens_test

Payload = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PointFacts:
    """What conditions ask of a point besides its payload: its key, and which named vectors it has."""

    key: PointKey
    vectors: Collection[str] = ()

    def has_vector(self, name: str) -> bool:
        """Tell whether the point has the named vector ("" is the unnamed one)."""
        return name in self.vectors


NO_POINT = PointFacts(b"")
"""Stands in for the point when an element of a payload is looked at, and where no condition asks for it."""

Check = Callable[[Payload, PointFacts], bool]
ValueTest = Callable[[Any], bool]


def matches(chosen: Filter, payload: Payload, point: PointFacts) -> bool:
    """Tell whether a point passes a filter. For many points compile the filter once instead."""
    return compile_filter(chosen)(payload, point)


def needs_payload(condition: Condition) -> bool:
    """Tell whether a condition looks at the payload at all."""
    if isinstance(condition, Filter):
        return any(needs_payload(part) for part in parts(condition))
    return not isinstance(condition, HasId | HasVector | SliceCondition)


def compile_filter(chosen: Filter) -> Check:
    """Make the check of a whole filter."""
    checks = [compile_condition(condition) for condition in chosen.must]
    checks += [_negated(compile_condition(condition)) for condition in chosen.must_not]
    if chosen.should:
        checks.append(_any_of([compile_condition(condition) for condition in chosen.should]))
    if chosen.min_should is not None:
        checks.append(_enough_of(chosen.min_should))
    return _all_of(checks)


def compile_condition(condition: Condition) -> Check:
    """Make the check of one condition."""
    match condition:
        case FieldCondition():
            return _field(condition)
        case Filter():
            return compile_filter(condition)
        case Nested():
            return _nested(condition)
        case IsEmpty():
            return _is_empty(condition.path, wanted=True)
        case IsNull():
            return _is_null(condition.path)
        case HasId():
            keys = condition.keys
            return lambda _, point: point.key in keys
        case HasVector():
            name = condition.name
            return lambda _, point: point.has_vector(name)
        case SliceCondition():
            total, index = condition.total, condition.index
            return lambda _, point: bool(point.key) and slice_of(point.key, total) == index


def _all_of(checks: list[Check]) -> Check:
    if not checks:
        return lambda payload, point: True
    if len(checks) == 1:
        return checks[0]
    if len(checks) == 2:
        first, second = checks
        return lambda payload, point: first(payload, point) and second(payload, point)

    def check(payload: Payload, point: PointFacts) -> bool:
        for part in checks:  # noqa: SIM110 - a loop, because all() with a generator takes twice as long
            if not part(payload, point):
                return False
        return True

    return check


def _any_of(checks: list[Check]) -> Check:
    if len(checks) == 1:
        return checks[0]

    def check(payload: Payload, point: PointFacts) -> bool:
        for part in checks:  # noqa: SIM110 - as above
            if part(payload, point):
                return True
        return False

    return check


def _negated(check: Check) -> Check:
    return lambda payload, point: not check(payload, point)


def _enough_of(clause: MinShould) -> Check:
    checks = [compile_condition(condition) for condition in clause.conditions]
    min_count = clause.min_count

    def check(payload: Payload, point: PointFacts) -> bool:
        missing = min_count
        for part in checks:
            if part(payload, point):
                missing -= 1
                if not missing:
                    return True
        return False

    return check


def _nested(condition: Nested) -> Check:
    path = condition.path
    if path.steps[-1] is None:
        # The array may be written with or without the brackets; both mean its elements.
        path = PayloadPath(path.text, path.steps[:-1])
    passes = compile_filter(condition.filter)

    def check(payload: Payload, _: PointFacts) -> bool:
        return any(
            type(element) is dict and passes(element, NO_POINT)
            for value in values_at(payload, path)
            if type(value) is list
            for element in value
        )

    return check


def _field(condition: FieldCondition) -> Check:
    if condition.values_count is not None:
        return _values_count(condition.path, condition.values_count)
    if condition.is_empty is not None:
        return _is_empty(condition.path, condition.is_empty)
    if condition.is_null is not None:
        return _holds_null(condition.path, condition.is_null)
    tests: list[ValueTest] = []
    if condition.match is not None:
        tests.append(match_test(condition.match))
    if condition.range is not None:
        tests.append(range_test(condition.range))
    areas = (condition.geo_bounding_box, condition.geo_radius, condition.geo_polygon)
    tests += [_place_test(area_test(area)) for area in areas if area is not None]
    assert tests, "a field condition without a check"
    test = tests[0] if len(tests) == 1 else lambda value: any(test(value) for test in tests)
    return _any_element(condition.path, test)


def _any_element(path: PayloadPath, test: ValueTest) -> Check:
    """Check whether any element at a path passes. All tests refuse null, so a missing field may be read as null."""
    name, *inner = path.steps
    assert isinstance(name, str), "a path begins with a key"

    def passes(value: Any) -> bool:
        if type(value) is not list:
            return test(value)
        for element in value:  # noqa: SIM110 - as above
            if test(element):
                return True
        return False

    def at_the_top(payload: Payload, _: PointFacts) -> bool:
        value = payload.get(name)
        return passes(value) if type(value) is list else test(value)

    def through_objects(payload: Payload, _: PointFacts) -> bool:
        value = payload.get(name)
        for step in inner:
            if type(value) is not dict:
                return False
            value = value.get(step)
        return passes(value)

    def anywhere(payload: Payload, _: PointFacts) -> bool:
        return any(passes(value) for value in values_at(payload, path))

    if not inner:
        return at_the_top
    return through_objects if all(isinstance(step, str) for step in inner) else anywhere


def match_test(match: Match) -> ValueTest:
    """Make the test of a single stored value against a match."""
    match match:
        case MatchValue():
            wanted, kind = match.value, type(match.value)
            return lambda value: value == wanted and type(value) is kind
        case MatchAny():
            listed, kind = frozenset(match.values), _kind_of(match.values)
            return lambda value: type(value) is kind and value in listed
        case MatchExcept():
            listed, kind = frozenset(match.values), _kind_of(match.values)
            return lambda value: value is not None and not (type(value) is kind and value in listed)
        case MatchPrefix():
            prefix = match.prefix
            return lambda value: type(value) is str and value.startswith(prefix)
        case MatchTextAny():
            words = match.text.split()
            return lambda value: type(value) is str and any(word in value for word in words)
        case MatchText() | MatchPhrase():
            text = match.text if isinstance(match, MatchText) else match.phrase
            return lambda value: type(value) is str and text in value
        case MatchTokens():
            return tokens_test(match)


def _kind_of(values: tuple[str, ...] | tuple[int, ...]) -> type:
    return type(values[0]) if values else str


def range_test(bounds: Range | DatetimeRange) -> ValueTest:
    """Make the test of a single stored value against a range of numbers or of points in time."""
    inside = _within(bounds)
    if isinstance(bounds, Range):
        return lambda value: (type(value) is int or type(value) is float) and inside(value)

    def test(value: Any) -> bool:
        moment = parse_datetime(value) if type(value) is str else None
        return moment is not None and inside(moment)

    return test


def _within(bounds: Range | DatetimeRange | ValuesCount) -> Callable[[float], bool]:
    lt, gt, gte, lte = bounds.lt, bounds.gt, bounds.gte, bounds.lte

    def inside(value: float) -> bool:
        return (
            (gte is None or value >= gte)
            and (lte is None or value <= lte)
            and (lt is None or value < lt)
            and (gt is None or value > gt)
        )

    return inside


def _place_test(inside: Callable[[float, float], bool]) -> ValueTest:
    def test(value: Any) -> bool:
        place = geo_point(value)
        return place is not None and inside(*place)

    return test


def _values_count(path: PayloadPath, bounds: ValuesCount) -> Check:
    values_of, inside = _reader(path), _within(bounds)

    def check(payload: Payload, _: PointFacts) -> bool:
        values = values_of(payload)
        return any(map(inside, map(_count, values))) if values else inside(0)

    return check


def _is_empty(path: PayloadPath, wanted: bool) -> Check:
    values_of = _reader(path)
    return lambda payload, _: (not any(map(_count, values_of(payload)))) is wanted


def _is_null(path: PayloadPath) -> Check:
    values_of = _reader(path)
    return lambda payload, _: None in values_of(payload)


def _holds_null(path: PayloadPath, wanted: bool) -> Check:
    """Check for a null at a path or, one level deep, in an array there: the form of is_null beside a key."""
    values_of = _reader(path)

    def check(payload: Payload, _: PointFacts) -> bool:
        values = values_of(payload)
        return (None in values or any(type(value) is list and None in value for value in values)) is wanted

    return check


def _reader(path: PayloadPath) -> Callable[[Payload], list[Any]]:
    """Make the function that lists the values at a path, arrays whole."""
    name = path.steps[0]
    if len(path.steps) > 1:
        return lambda payload: values_at(payload, path)
    return lambda payload: [payload[name]] if name in payload else []


def _count(value: Any) -> int:
    if type(value) is list:
        return len(value)
    return 0 if value is None else 1
