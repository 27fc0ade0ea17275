"""Filters with fewer conditions that select the same points.

Programs write "one of these" as a `should` of many conditions on one field, each of which would be looked up, or
evaluated on every payload, by itself. Alternatives that only compare the values of one field with given ones are the
same as one `match any`: a value passes one of them if it is among all their values. The same holds for what `must_not`
lists, for none of it may hold; it does not for `must`, since another element of an array may pass each condition.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import replace

from qnode.models.filter import (
    Condition,
    FieldCondition,
    Filter,
    HasId,
    MatchAny,
    MatchValue,
    MinShould,
    Nested,
)
from qnode.models.payload_path import PayloadPath
from qnode.models.point_id import PointKey

_MERGED_TYPES = (str, int)
"""Values of these types can stand in a `match any`, and only beside others of the same type."""


def merged(chosen: Filter) -> Filter:
    """Give a filter that selects the same points, with alternatives on the same field made one condition."""
    counted = chosen.min_should
    if counted is not None:
        conditions = _inner(counted.conditions)
        counted = MinShould(_united(conditions) if counted.min_count == 1 else conditions, counted.min_count)
    must, should, must_not = _inner(chosen.must), _inner(chosen.should), _inner(chosen.must_not)
    return Filter(must, _united(should), _united(must_not), counted)


def among(chosen: Filter) -> tuple[frozenset[PointKey], Filter | None] | None:
    """The ids of which every point that passes has one, and what else it must pass; None if the filter lists no ids."""
    listed = [condition.keys for condition in chosen.must if isinstance(condition, HasId)]
    if not listed:
        return None
    others = tuple(condition for condition in chosen.must if not isinstance(condition, HasId))
    rest = replace(chosen, must=others)
    if len(others) == 1 and isinstance(others[0], Filter) and rest == Filter(must=others):
        rest = others[0]
    return frozenset.intersection(*listed), None if rest.is_empty else rest


def _inner(conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
    return tuple(map(_merged_inside, conditions))


def _merged_inside(condition: Condition) -> Condition:
    """Merge within a condition; a filter that is no more than one condition becomes it."""
    if isinstance(condition, Nested):
        return replace(condition, filter=merged(condition.filter))
    if not isinstance(condition, Filter):
        return condition
    inside = merged(condition)
    alone = inside.must or inside.should
    return alone[0] if len(alone) == 1 and inside in (Filter(must=alone), Filter(should=alone)) else inside


def _united(alternatives: tuple[Condition, ...]) -> tuple[Condition, ...]:
    """Make one of those that can be one, in the order of the first of each."""
    if len(alternatives) < 2:
        return alternatives
    groups: dict[Hashable, list[Condition]] = {}
    for at, condition in enumerate(alternatives):
        groups.setdefault(_kind_of(condition) or at, []).append(condition)
    return tuple(group[0] if len(group) == 1 else _one_of(group) for group in groups.values())


def _kind_of(condition: Condition) -> tuple[PayloadPath | None, type] | None:
    """Tell what can be merged with the condition: what gives the same here. None: nothing."""
    if isinstance(condition, HasId):
        return None, HasId
    if not isinstance(condition, FieldCondition) or condition != FieldCondition(condition.path, condition.match):
        return None
    values = _values_of(condition)
    return (condition.path, type(values[0])) if values and type(values[0]) in _MERGED_TYPES else None


def _values_of(condition: FieldCondition) -> tuple[str | int, ...]:
    if isinstance(condition.match, MatchValue):
        return (condition.match.value,)
    return condition.match.values if isinstance(condition.match, MatchAny) else ()


def _one_of(group: Iterable[Condition]) -> Condition:
    keys = [condition.keys for condition in group if isinstance(condition, HasId)]
    if keys:
        return HasId(frozenset().union(*keys))
    fields = [condition for condition in group if isinstance(condition, FieldCondition)]
    values = dict.fromkeys(value for condition in fields for value in _values_of(condition))
    return FieldCondition(fields[0].path, MatchAny(tuple(values)))  # type: ignore[arg-type]  # all of one type
