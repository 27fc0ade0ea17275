"""What the checks of strict mode have in common: the words of a refusal, limits, filters."""

from __future__ import annotations

from collections.abc import Mapping

from qnode.errors import BadRequest
from qnode.models.field_schema import FieldSchema
from qnode.models.filter import Condition, FieldCondition, Filter, HasId, MatchAny, MatchExcept, Nested, parts
from qnode.models.index_needs import missing_index
from qnode.models.strict_mode import StrictMode


def refused(fault: str, remedy: str) -> BadRequest:
    """Make the refusal of strict mode."""
    return BadRequest(f"{fault}. Help: {remedy}.")


def check_limit(asked: float | None, limit: float | None, name: str) -> None:
    """Refuse more than is allowed."""
    if asked is not None and limit is not None and asked > limit:
        raise refused(
            f'Limit exceeded {asked} > {limit} for "{name}"', f'Reduce the "{name}" parameter to or below {limit}'
        )


def check_filter(
    chosen: Filter | None, bounds: StrictMode, fields: Mapping[str, FieldSchema], unindexed: bool | None
) -> None:
    """Refuse a filter that is too large, or (`unindexed` False) one that no payload index can answer."""
    if chosen is None:
        return
    most, count = bounds.filter_max_conditions, conditions_of(chosen)
    if most is not None and count > most:
        raise refused(f"Filter condition limit reached ({count} > {most})", "Use fewer conditions in the filter")
    largest, size = bounds.condition_max_size, _largest_of(chosen)
    if largest is not None and size > largest:
        raise refused(f"Condition size limit reached ({size} > {largest})", "List fewer values in a condition")
    if unindexed is False and (need := missing_index(chosen, fields)) is not None:
        raise refused(need.text, "Create an index for this key or use a different filter")


def conditions_of(chosen: Filter | None) -> int:
    """Count the conditions of a filter, those of filters in it too."""
    return 0 if chosen is None else sum(map(_count, parts(chosen)))


def _count(condition: Condition) -> int:
    inner = _inside(condition)
    return 1 if inner is None else conditions_of(inner)


def _largest_of(chosen: Filter) -> int:
    return max(map(_size, parts(chosen)), default=0)


def _size(condition: Condition) -> int:
    """Count the values that a condition lists."""
    if isinstance(condition, HasId):
        return len(condition.keys)
    if isinstance(condition, FieldCondition):
        return len(condition.match.values) if isinstance(condition.match, MatchAny | MatchExcept) else 0
    inner = _inside(condition)
    return 0 if inner is None else _largest_of(inner)


def _inside(condition: Condition) -> Filter | None:
    if isinstance(condition, Nested):
        return condition.filter
    return condition if isinstance(condition, Filter) else None
