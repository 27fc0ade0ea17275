"""Which payload indexes would answer a filter or a formula, and which of them are not there.

A condition needs an index of one of some types with some capability: an integer index with `lookup: false` does not match, a
keyword index without `prefix` finds no prefixes. Asking for nothing (`any: []`) needs none. What counts values or asks whether
something is there is served by an index of any type. Keys within a nested object are those of its array: `a[].b`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from qnode.models.field_schema import FIELD_TYPES, FieldSchema
from qnode.models.filter import (
    Condition,
    DatetimeRange,
    FieldCondition,
    Filter,
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
    Nested,
    parts,
)
from qnode.models.formula import Expression, GeoDistance, Holds, PayloadMoment, PayloadNumber, walk

_OFF_UNLESS_SET = {"prefix": "prefix", "phrase": "phrase_matching"}
_ON_UNLESS_SET = {"match": "lookup", "range": "range"}
"""Which parameter of an index says whether it can do something; the latter of integer indexes alone."""


@dataclass(frozen=True, slots=True)
class Need:
    """An index of `key` of one of these types; `use` is what it must be able to do, "" for nothing in particular."""

    key: str
    types: tuple[str, ...]
    use: str = ""

    @property
    def text(self) -> str:
        """Say that there is no such index."""
        return f'Index required but not found for "{self.key}" of one of the following types: [{", ".join(self.types)}]'

    def is_met(self, schema: FieldSchema | None) -> bool:
        """Tell whether an index serves."""
        if schema is None or schema.type not in self.types:
            return False
        params = schema.params or {}
        if self.switch is not None:
            return params.get(self.switch) is True
        able = _ON_UNLESS_SET.get(self.use)
        return schema.type != "integer" or able is None or params.get(able) is not False

    @property
    def switch(self) -> str | None:
        """The parameter of the index that must be set."""
        return _OFF_UNLESS_SET.get(self.use)


def missing_index(chosen: Filter, fields: Mapping[str, FieldSchema]) -> Need | None:
    """Give the first need of a filter that no payload index meets."""
    return next((need for need in needs_of(chosen) if not need.is_met(fields.get(need.key))), None)


def missing_in_formula(expression: Expression, fields: Mapping[str, FieldSchema]) -> Need | None:
    """Give the first need of a formula that no payload index meets."""
    for part in walk(expression):
        for need in _needs_of_expression(part):
            if not need.is_met(fields.get(need.key)):
                return need
    return None


def needs_of(chosen: Filter, prefix: str = "") -> Iterator[Need]:
    """List what the conditions of a filter need."""
    for condition in parts(chosen):
        yield from _needs_of_condition(condition, prefix)


def _needs_of_condition(condition: Condition, prefix: str) -> Iterator[Need]:
    match condition:
        case Filter():
            yield from needs_of(condition, prefix)
        case Nested():
            array = condition.path.text.removesuffix("[]")
            yield from needs_of(condition.filter, f"{prefix}{array}[].")
        case IsEmpty() | IsNull():
            yield Need(prefix + condition.path.text, FIELD_TYPES)
        case FieldCondition():
            yield from _needs_of_field(condition, prefix + condition.path.text)


def _needs_of_field(condition: FieldCondition, key: str) -> Iterator[Need]:
    if condition.values_count is not None or condition.is_empty is not None or condition.is_null is not None:
        yield Need(key, FIELD_TYPES)
        return
    if condition.match is not None:
        need = _need_of_match(condition.match, key)
        if need is not None:
            yield need
    if condition.range is not None:
        is_time = isinstance(condition.range, DatetimeRange)
        yield Need(key, ("datetime",) if is_time else ("integer", "float"), "range")
    if condition.geo_bounding_box or condition.geo_radius or condition.geo_polygon:
        yield Need(key, ("geo",))


def _need_of_match(match: Match, key: str) -> Need | None:
    match match:
        case MatchValue():
            return Need(key, _types_of((match.value,)), "match")
        case MatchAny() | MatchExcept():
            return Need(key, _types_of(match.values), "match") if match.values else None
        case MatchText() | MatchTextAny() | MatchTokens():
            return Need(key, ("text",))
        case MatchPhrase():
            return Need(key, ("text",), "phrase")
        case MatchPrefix():
            return Need(key, ("keyword",), "prefix")


def _types_of(values: tuple[str | int | bool, ...]) -> tuple[str, ...]:
    first = values[0]
    if isinstance(first, bool):
        return ("bool",)
    if isinstance(first, int):
        return ("integer",)
    return ("uuid", "keyword") if all(_is_uuid(value) for value in values) else ("keyword",)


def _is_uuid(value: object) -> bool:
    try:
        UUID(str(value))
    except ValueError:
        return False
    return True


def _needs_of_expression(part: Expression) -> Iterator[Need]:
    match part:
        case PayloadNumber():
            yield Need(part.path.text, ("integer", "float"))
        case PayloadMoment():
            yield Need(part.path.text, ("datetime",))
        case GeoDistance():
            yield Need(part.path.text, ("geo",))
        case Holds():
            yield from _needs_of_condition(part.condition, "")
