"""Evaluating the expressions of a formula on one candidate.

A formula is compiled once into closures. What is not a finite number is a fault of the whole query, as in Qdrant, and is named with
the operands as Qdrant prints them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from qnode.errors import BadInput
from qnode.models.condition import PointFacts, compile_condition
from qnode.models.datetimes import parse_datetime
from qnode.models.filter import FieldCondition, Filter, HasVector, IsEmpty, IsNull, Nested, leaves
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
    walk,
)
from qnode.models.geo import geo_point, haversine_metres_of
from qnode.models.payload_path import PayloadPath, elements_at

NO_SCORE = 0.0
"""The score in a prefetch that has not found the candidate, if the formula says nothing else."""

_MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a formula looks at. scores: by prefetch, None where it was not found."""

    scores: Sequence[float | None]
    payload: dict[str, Any]
    facts: PointFacts


Evaluate = Callable[[Candidate], float]


def compile_formula(formula: Formula) -> Callable[[Candidate], np.float32]:
    """Make the function from a candidate to its score; it raises BadInput where there is none."""
    evaluate = _compile(formula.expression, formula)

    def score(candidate: Candidate) -> np.float32:
        exact = evaluate(candidate)
        with np.errstate(over="ignore"):
            rounded = np.float32(exact)
        if not np.isfinite(rounded):
            raise _not_finite(f"{shown(exact)} as f32 = {shown(float(rounded))}")
        return rounded

    return score


def payload_names(formula: Formula) -> set[str]:
    """List the keys of a payload that a formula looks at."""
    paths: list[PayloadPath] = []
    for expression in walk(formula.expression):
        match expression:
            case PayloadNumber(path) | PayloadMoment(path) | GeoDistance(_, path):
                paths.append(path)
            case Holds(condition):
                within = leaves(Filter(must=(condition,)))
                paths += [leaf.path for leaf in within if isinstance(leaf, FieldCondition | IsEmpty | IsNull | Nested)]
    return {step for path in paths if isinstance(step := path.steps[0], str)}


def vector_names(formula: Formula) -> set[str]:
    """List the vectors that a formula asks for whether they are there."""
    return {
        leaf.name
        for expression in walk(formula.expression)
        if isinstance(expression, Holds)
        for leaf in leaves(Filter(must=(expression.condition,)))
        if isinstance(leaf, HasVector)
    }


def shown(number: float) -> str:
    """Print a number as Qdrant does: as short as it reads back the same, and never with an exponent."""
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else str(number)
    text = format(Decimal(repr(number)), "f")
    return text.removesuffix(".0")


def _compile(expression: Expression, formula: Formula) -> Evaluate:
    match expression:
        case Constant(value):
            return lambda _: value
        case PrefetchScore(prefetch):
            return _score(prefetch, formula.scores.get(prefetch, NO_SCORE))
        case PayloadNumber(path):
            return _payload_value(path, formula.values, "number", _number)
        case PayloadMoment(path):
            return _payload_value(path, formula.values, "datetime", _moment)
        case GeoDistance(origin, path):
            distance = lambda value: haversine_metres_of(*_place(value), origin)  # noqa: E731
            return _payload_value(path, formula.values, "geo point", distance)
        case Holds(condition):
            check = compile_condition(condition)
            return lambda candidate: 1.0 if check(candidate.payload, candidate.facts) else 0.0
        case Sum(parts):
            terms = [_compile(part, formula) for part in parts]
            return lambda candidate: sum([term(candidate) for term in terms], 0.0)
        case Product(parts):
            return _product([_compile(part, formula) for part in parts])
        case Quotient(left, right, by_zero):
            return _quotient(_compile(left, formula), _compile(right, formula), by_zero)
        case Power(base, exponent):
            return _power(_compile(base, formula), _compile(exponent, formula))
        case Applied(function, part):
            inner, apply = _compile(part, formula), _FUNCTIONS[function]
            return lambda candidate: apply(inner(candidate))
        case Decay():
            return _decay(expression, formula)


def _score(prefetch: int, default: float) -> Evaluate:
    def evaluate(candidate: Candidate) -> float:
        score = candidate.scores[prefetch] if prefetch < len(candidate.scores) else None
        return default if score is None else score

    return evaluate


def _payload_value(
    path: PayloadPath, defaults: Mapping[str, Any], wanted: str, read: Callable[[Any], float]
) -> Evaluate:
    default = _single(defaults.get(path.text))

    def evaluate(candidate: Candidate) -> float:
        found = elements_at(candidate.payload, path)
        value = found[0] if len(found) == 1 and found[0] is not None else default
        try:
            return read(value)
        except ValueError as fault:
            raise BadInput(
                f"Expected {wanted} value for {path.text} in the payload and/or in the formula defaults. Error: {fault}"
            ) from None

    return evaluate


def _single(value: Any) -> Any:
    """Give a value, of an array the only element; None if there is not exactly one."""
    if isinstance(value, list):
        return value[0] if len(value) == 1 else None
    return value


def _number(value: Any) -> float:
    if type(value) is int or type(value) is float:
        return float(value)
    raise _unfit(value, "Value is not a number")


def _moment(value: Any) -> float:
    moment = parse_datetime(value) if isinstance(value, str) else None
    if moment is None:
        raise _unfit(value, "Value is not a datetime")
    return moment / _MICROSECONDS


def _place(value: Any) -> tuple[float, float]:
    place = geo_point(value)
    if place is None:
        raise _unfit(value, "Value is not a geo point")
    return place


def _unfit(value: Any, fault: str) -> ValueError:
    return ValueError("No value found in a payload nor defaults" if value is None else fault)


def _product(factors: Sequence[Evaluate]) -> Evaluate:
    def evaluate(candidate: Candidate) -> float:
        product = 1.0
        for factor in factors:
            value = factor(candidate)
            if value == 0.0:
                return 0.0
            product *= value
        return product

    return evaluate


def _quotient(left: Evaluate, right: Evaluate, by_zero: float | None) -> Evaluate:
    def evaluate(candidate: Candidate) -> float:
        dividend = left(candidate)
        if dividend == 0.0:
            return 0.0
        divisor = right(candidate)
        if divisor == 0.0 and by_zero is not None:
            return by_zero
        quotient = dividend / divisor if divisor != 0.0 else math.inf
        if not math.isfinite(quotient):
            raise _not_finite(f"{shown(dividend)}/{shown(divisor)}")
        return quotient

    return evaluate


def _power(base: Evaluate, exponent: Evaluate) -> Evaluate:
    def evaluate(candidate: Candidate) -> float:
        under, over = base(candidate), exponent(candidate)
        try:
            power = math.pow(under, over)
        except (OverflowError, ValueError):
            power = math.nan
        if not math.isfinite(power):
            raise _not_finite(f"{shown(under)}^{shown(over)}")
        return power

    return evaluate


def _finite(function: Callable[[float], float], named: str) -> Callable[[float], float]:
    """Make a function that refuses a number for which the result is not finite; `named` is how a message prints it."""

    def apply(number: float) -> float:
        try:
            value = function(number)
        except (OverflowError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise _not_finite(named.format(shown(number)))
        return value

    return apply


_FUNCTIONS: dict[Function, Callable[[float], float]] = {
    Function.NEGATION: lambda number: -number,
    Function.ABSOLUTE: abs,
    Function.SQUARE_ROOT: _finite(math.sqrt, "√{}"),
    Function.EXPONENTIAL: _finite(math.exp, "exp({})"),
    Function.LOG10: _finite(math.log10, "log10({})"),
    Function.NATURAL_LOG: _finite(math.log, "ln({})"),
}


def _decay(decay: Decay, formula: Formula) -> Evaluate:
    x, target = _compile(decay.x, formula), _compile(decay.target, formula)
    scale, midpoint = decay.scale, decay.midpoint
    if decay.shape is Shape.LINEAR:
        slope = (1.0 - midpoint) / scale
        return lambda candidate: max(0.0, 1.0 - slope * abs(x(candidate) - target(candidate)))
    if decay.shape is Shape.EXPONENTIAL:
        rate = math.log(midpoint) / scale
        return lambda candidate: math.exp(rate * abs(x(candidate) - target(candidate)))
    rate = math.log(midpoint) / (scale * scale)

    def gauss(candidate: Candidate) -> float:
        distance = x(candidate) - target(candidate)
        return math.exp(rate * distance * distance)

    return gauss


def _not_finite(expression: str) -> BadInput:
    return BadInput(f"The expression {expression} produced a non-finite number")
