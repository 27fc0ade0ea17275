"""Hits in groups by a value of their payload: what is asked, and how a payload says which groups a point is in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qnode.errors import MalformedBody
from qnode.models.payload_path import PayloadPath, elements_at
from qnode.models.point_id import PointKey, key_of
from qnode.models.query import ALL_PAYLOAD, NO_VECTORS, PayloadSelector, Point, VectorSelector

GroupId = int | str

_LEAST, _MOST = -(2**63), 2**64 - 1


@dataclass(frozen=True, slots=True)
class Lookup:
    """The collection in which the point whose id is a group's is looked up, and what is shown of it."""

    collection: str
    with_payload: PayloadSelector = ALL_PAYLOAD
    with_vector: VectorSelector = NO_VECTORS


@dataclass(frozen=True, slots=True)
class Grouping:
    """At most `limit` groups of at most `size` hits each."""

    path: PayloadPath
    limit: int
    size: int
    lookup: Lookup | None = None


@dataclass(slots=True, eq=False)
class Group:
    """The hits of one group, best first. lookup: the point of this id in another collection, if it was looked up and is there."""

    id: GroupId
    hits: Sequence[Point]
    lookup: Point | None = None


def groups_of(payload: dict[str, Any], path: PayloadPath) -> list[GroupId]:
    """List the groups that a point is in, each once: texts and 64-bit integers; with one value of another type, it is in none."""
    values = list(elements_at(payload, path))
    return list(dict.fromkeys(values)) if all(map(_is_group_id, values)) else []


def looked_up_key(group: GroupId) -> PointKey | None:
    """Give the key of the point that has a group's id; None if no point can have it."""
    try:
        return key_of(group)
    except MalformedBody:
        return None


def _is_group_id(value: object) -> bool:
    return type(value) is str or (type(value) is int and _LEAST <= value <= _MOST)
