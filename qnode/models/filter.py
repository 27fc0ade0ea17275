"""Filters as values: frozen, hashable, already checked. `filter_json` reads them from a request.

A filter selects points; its four clauses are ANDed, an empty or absent clause adds nothing. Conditions on a
payload field hold if any value that the path reaches passes (reference: Qdrant's filtering rules).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from qnode.models.payload_path import PayloadPath
from qnode.models.point_id import PointKey
from qnode.models.text_settings import TextSettings


@dataclass(frozen=True, slots=True, eq=False)
class MatchValue:
    """The value is this one, of exactly this type. So `true` and 1 are different matches, though Python's equal them."""

    value: str | int | bool

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MatchValue) and type(self.value) is type(other.value) and self.value == other.value

    def __hash__(self) -> int:
        return hash((type(self.value), self.value))


@dataclass(frozen=True, slots=True)
class MatchAny:
    """The value is one of these; no values match nothing."""

    values: tuple[str, ...] | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MatchExcept:
    """The value is not null and none of these, also of another type."""

    values: tuple[str, ...] | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MatchText:
    """The text holds all tokens of this one (without a text index: holds it as a substring)."""

    text: str


@dataclass(frozen=True, slots=True)
class MatchTextAny:
    """The text holds any token of this one (without a text index: any whitespace-separated word as a substring)."""

    text: str


@dataclass(frozen=True, slots=True)
class MatchPhrase:
    """The text holds the tokens of this one in a row (without a text index: holds it as a substring)."""

    phrase: str


@dataclass(frozen=True, slots=True)
class MatchPrefix:
    """The text begins with this; case matters."""

    prefix: str


@dataclass(frozen=True, slots=True)
class MatchTokens:
    """A text condition as the text index of its field reads it: all tokens, any, or all in a row.

    Made for the indexes of the moment (`text_match`), never read from a request.
    """

    how: Literal["all", "any", "phrase"]
    text: str
    settings: TextSettings


Match = MatchValue | MatchAny | MatchExcept | MatchText | MatchTextAny | MatchPhrase | MatchPrefix | MatchTokens


@dataclass(frozen=True, slots=True)
class Range:
    """A number within these bounds; an absent bound does not bind."""

    lt: float | None = None
    gt: float | None = None
    gte: float | None = None
    lte: float | None = None


@dataclass(frozen=True, slots=True)
class DatetimeRange:
    """A point in time within these bounds, each in microseconds since 1970 UTC."""

    lt: int | None = None
    gt: int | None = None
    gte: int | None = None
    lte: int | None = None


@dataclass(frozen=True, slots=True)
class ValuesCount:
    """The number of values: an array's length, 1 for another value, 0 for null or a missing field."""

    lt: int | None = None
    gt: int | None = None
    gte: int | None = None
    lte: int | None = None


@dataclass(frozen=True, slots=True)
class GeoPoint:
    """Degrees; lon in -180..180, lat in -90..90."""

    lon: float
    lat: float


@dataclass(frozen=True, slots=True)
class GeoBoundingBox:
    """Strictly inside the box; it crosses the antimeridian when top_left.lon > bottom_right.lon."""

    top_left: GeoPoint
    bottom_right: GeoPoint


@dataclass(frozen=True, slots=True)
class GeoRadius:
    """Nearer than `radius_metres` to the centre, by the haversine formula."""

    center: GeoPoint
    radius_metres: float


@dataclass(frozen=True, slots=True)
class GeoPolygon:
    """Inside the exterior ring and in none of the interior ones; rings are closed."""

    exterior: tuple[GeoPoint, ...]
    interiors: tuple[tuple[GeoPoint, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class FieldCondition:
    """What the values that `path` reaches must pass.

    Several checks in one are ORed, but values_count, then is_empty, then is_null win when present.
    """

    path: PayloadPath
    match: Match | None = None
    range: Range | DatetimeRange | None = None
    geo_bounding_box: GeoBoundingBox | None = None
    geo_radius: GeoRadius | None = None
    geo_polygon: GeoPolygon | None = None
    values_count: ValuesCount | None = None
    is_empty: bool | None = None
    is_null: bool | None = None


@dataclass(frozen=True, slots=True)
class IsEmpty:
    """The field is missing, null or an empty array."""

    path: PayloadPath


@dataclass(frozen=True, slots=True)
class IsNull:
    """The field is an explicit null."""

    path: PayloadPath


@dataclass(frozen=True, slots=True)
class HasId:
    """The point is one of these."""

    keys: frozenset[PointKey]


@dataclass(frozen=True, slots=True)
class HasVector:
    """The point has the named vector ("" is the unnamed one)."""

    name: str


@dataclass(frozen=True, slots=True)
class SliceCondition:
    """SipHash-2-4 of the id, modulo `total`, is `index`."""

    total: int
    index: int


@dataclass(frozen=True, slots=True)
class Nested:
    """One object element under `path` satisfies the whole filter."""

    path: PayloadPath
    filter: Filter


@dataclass(frozen=True, slots=True)
class MinShould:
    """At least `min_count` of the conditions hold."""

    conditions: tuple[Condition, ...]
    min_count: int


@dataclass(frozen=True, slots=True)
class Filter:
    """All of must, any of should, none of must_not, enough of min_should."""

    must: tuple[Condition, ...] = ()
    should: tuple[Condition, ...] = ()
    must_not: tuple[Condition, ...] = ()
    min_should: MinShould | None = None

    @property
    def is_empty(self) -> bool:
        return not (self.must or self.should or self.must_not or self.min_should)


Condition = FieldCondition | IsEmpty | IsNull | HasId | HasVector | SliceCondition | Nested | Filter


def parts(chosen: Filter) -> tuple[Condition, ...]:
    """List the conditions of all clauses."""
    counted = chosen.min_should.conditions if chosen.min_should is not None else ()
    return chosen.must + chosen.should + chosen.must_not + counted


def leaves(chosen: Filter) -> Iterator[Condition]:
    """List the conditions of a filter and of the filters in it, each as often as it stands there."""
    for condition in parts(chosen):
        if isinstance(condition, Filter):
            yield from leaves(condition)
        else:
            yield condition
