"""Formulas of a request to the values of `models.formula`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from qnode.errors import BadInput, MalformedBody
from qnode.models import reading
from qnode.models.datetimes import datetime_bound
from qnode.models.filter_json import parse_condition, parse_geo_point
from qnode.models.formula import (
    Applied,
    Constant,
    Decay,
    Expression,
    Formula,
    Function,
    GeoDistance,
    Holds,
    PayloadMoment,
    PayloadNumber,
    Power,
    PrefetchScore,
    Product,
    Quotient,
    Shape,
    Sum,
)
from qnode.models.payload_path import PayloadPath, parse_path

MAX_DEPTH = 64
"""So deep expressions nest; everything that walks one may recurse."""

_SCORE = re.compile(r"\$score(?:\[(\d{1,9})\])?", re.ASCII)
_MICROSECONDS = 1_000_000
_FUNCTIONS = {
    "neg": Function.NEGATION,
    "abs": Function.ABSOLUTE,
    "sqrt": Function.SQUARE_ROOT,
    "exp": Function.EXPONENTIAL,
    "log10": Function.LOG10,
    "ln": Function.NATURAL_LOG,
}
_SHAPES = {"lin_decay": Shape.LINEAR, "exp_decay": Shape.EXPONENTIAL, "gauss_decay": Shape.GAUSS}


def parse_formula(value: dict[str, Any]) -> Formula:
    """Read `{"formula": …, "defaults": …}`; raise MalformedBody for a wrong shape, BadInput for what no formula can be."""
    scores, values = {}, {}
    for name, default in reading.mapping(value.get("defaults") or {}).items():
        variable = _variable(name)
        if isinstance(variable, PayloadNumber):
            values[variable.path.text] = default
        else:
            scores[variable.prefetch] = reading.number(default)
    return Formula(_expression(value["formula"], 1), scores, values)


def _expression(value: object, depth: int) -> Expression:
    if depth > MAX_DEPTH:
        raise MalformedBody(f"recursion limit exceeded: expressions nest deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        return _variable(value)
    if not isinstance(value, dict):
        if isinstance(value, int | float) and not isinstance(value, bool):
            return Constant(reading.number(value))
        raise MalformedBody("data did not match any variant of untagged enum ExpressionInterface")
    for name, read in _READERS.items():
        if name in value:
            return read(value[name], depth + 1)
    return Holds(parse_condition(value, "query.formula"))


def _variable(name: str) -> PrefetchScore | PayloadNumber:
    if not name.startswith("$score"):
        return PayloadNumber(parse_path(name))
    found = _SCORE.fullmatch(name)
    if found is None:
        raise BadInput(f"Validation failed: Invalid score pattern: {name[:100]}")
    return PrefetchScore(int(found[1] or 0))


def _path(value: object) -> PayloadPath:
    return parse_path(reading.text(value))


def _listed(value: object, depth: int) -> tuple[Expression, ...]:
    return tuple([_expression(part, depth) for part in reading.sequence(value)])


def _applied(function: Function) -> Callable[[object, int], Applied]:
    return lambda value, depth: Applied(function, _expression(value, depth))


def _quotient(value: object, depth: int) -> Quotient:
    given = _given(value, "struct DivParams", "left", "right")
    by_zero = given.get("by_zero_default")
    return Quotient(
        _expression(given["left"], depth),
        _expression(given["right"], depth),
        None if by_zero is None else reading.number(by_zero),
    )


def _power(value: object, depth: int) -> Power:
    given = _given(value, "struct PowParams", "base", "exponent")
    return Power(_expression(given["base"], depth), _expression(given["exponent"], depth))


def _geo_distance(value: object, depth: int) -> GeoDistance:
    given = _given(value, "struct GeoDistanceParams", "origin", "to")
    return GeoDistance(parse_geo_point(given["origin"]), _path(given["to"]))


def _decay(shape: Shape) -> Callable[[object, int], Decay]:
    def read(value: object, depth: int) -> Decay:
        given = _given(value, "struct DecayParamsExpression", "x")
        target = given.get("target")
        bounded = {"scale": 1.0, "midpoint": 0.5} | reading.fields(
            given, {"scale": reading.number, "midpoint": reading.number}
        )
        _check_decay(shape, bounded["scale"], bounded["midpoint"])
        return Decay(
            shape,
            _expression(given["x"], depth),
            Constant(0.0) if target is None else _expression(target, depth),
            bounded["scale"],
            bounded["midpoint"],
        )

    return read


def _check_decay(shape: Shape, scale: float, midpoint: float) -> None:
    if shape is Shape.LINEAR:
        if not 0 <= midpoint <= 1:
            raise BadInput(
                f"Validation failed: Linear decay midpoint should be in the range [0.0, 1.0], got {midpoint:g}"
            )
    elif not 0 < midpoint < 1:
        raise BadInput(f"Validation failed: Decay midpoint should be in the range (0.0, 1.0), got {midpoint:g}")
    if scale <= 0:
        raise BadInput(f"Validation failed: Scale must be non-zero positive, got {scale:g}")


def _given(value: object, expected: str, *required: str) -> dict[str, Any]:
    given = reading.mapping(value, expected)
    for name in required:
        reading.required(given, name)
    return given


_READERS: dict[str, Callable[[Any, int], Expression]] = {
    "mult": lambda value, depth: Product(_listed(value, depth)),
    "sum": lambda value, depth: Sum(_listed(value, depth)),
    "div": _quotient,
    "pow": _power,
    "geo_distance": _geo_distance,
    "datetime": lambda value, depth: Constant(datetime_bound(reading.text(value)) / _MICROSECONDS),
    "datetime_key": lambda value, depth: PayloadMoment(_path(value)),
    **{name: _applied(function) for name, function in _FUNCTIONS.items()},
    **{name: _decay(shape) for name, shape in _SHAPES.items()},
}
