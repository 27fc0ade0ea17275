"""Formulas that give candidates a new score, as values: `api.formula_json` reads them, `shards.querying.expressions` evaluates them.

Numbers are float64 throughout; only the result is rounded to float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from qnode.models.filter import Condition, GeoPoint
from qnode.models.payload_path import PayloadPath


@dataclass(frozen=True, slots=True)
class Constant:
    """A number, or a point in time in seconds since 1970 UTC."""

    value: float


@dataclass(frozen=True, slots=True)
class PrefetchScore:
    """What the candidate scored in one of the prefetches."""

    prefetch: int


@dataclass(frozen=True, slots=True)
class PayloadNumber:
    """The only number at a path of the payload."""

    path: PayloadPath


@dataclass(frozen=True, slots=True)
class PayloadMoment:
    """The only point in time at a path of the payload, in seconds since 1970 UTC."""

    path: PayloadPath


@dataclass(frozen=True, slots=True)
class GeoDistance:
    """The distance of the only place at a path of the payload, in metres."""

    origin: GeoPoint
    path: PayloadPath


@dataclass(frozen=True, slots=True)
class Holds:
    """1 if the candidate passes a condition, else 0."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class Sum:
    """All parts added up."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """All parts multiplied; those behind a 0 are not evaluated."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Quotient:
    """left / right; 0 whatever the right is if the left is 0. by_zero: the result of a division by 0, None if that is a fault."""

    left: Expression
    right: Expression
    by_zero: float | None = None


@dataclass(frozen=True, slots=True)
class Power:
    """base ^ exponent."""

    base: Expression
    exponent: Expression


class Function(Enum):
    """A function of one number."""

    NEGATION = auto()
    ABSOLUTE = auto()
    SQUARE_ROOT = auto()
    EXPONENTIAL = auto()
    LOG10 = auto()
    NATURAL_LOG = auto()


@dataclass(frozen=True, slots=True)
class Applied:
    """A function of one part."""

    function: Function
    part: Expression


class Shape(Enum):
    """How a decay falls with the distance d from the target, in units of the scale; m: the midpoint, reached at d = 1.

    LINEAR max(0, 1 - (1 - m) d), EXPONENTIAL m^d, GAUSS m^(d²).
    """

    LINEAR = auto()
    EXPONENTIAL = auto()
    GAUSS = auto()


@dataclass(frozen=True, slots=True)
class Decay:
    """1 where x is the target, less the farther it is away. scale > 0; midpoint in 0..1."""

    shape: Shape
    x: Expression
    target: Expression = Constant(0.0)
    scale: float = 1.0
    midpoint: float = 0.5


Expression = (
    Constant
    | PrefetchScore
    | PayloadNumber
    | PayloadMoment
    | GeoDistance
    | Holds
    | Sum
    | Product
    | Quotient
    | Power
    | Applied
    | Decay
)


@dataclass(frozen=True, slots=True)
class Formula:
    """An expression, and what stands in where a candidate has no such score, or no single value at a path (by its text)."""

    expression: Expression
    scores: Mapping[int, float] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)


def parts_of(expression: Expression) -> tuple[Expression, ...]:
    """List the expressions right below one."""
    match expression:
        case Sum(parts) | Product(parts):
            return parts
        case Quotient(left, right):
            return left, right
        case Power(base, exponent):
            return base, exponent
        case Applied(_, part):
            return (part,)
        case Decay(_, x, target):
            return x, target
    return ()


def walk(expression: Expression) -> Iterator[Expression]:
    """List an expression and all below it."""
    yield expression
    for part in parts_of(expression):
        yield from walk(part)
