"""Putting the hits of a search into groups by a value of their payload, whatever kind of search it is.

The search is asked again, for more, until there are as many groups as wanted and all of them are full, or nothing more is found. Where
few groups have most of the points, asking for more alone would read nearly everything: then points of full groups are left out by a
filter, and once there are enough groups, points of other groups too. A point that has several values is in several groups; it is left
out only when all of them are full, as far as the hits so far tell that there are such points.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

import orjson

from qnode.models.filter import Condition, FieldCondition, Filter, MatchAny, MatchExcept
from qnode.models.grouping import Group, GroupId, Grouping, Lookup, groups_of, looked_up_key
from qnode.models.payload_path import PayloadPath
from qnode.models.point_id import PointKey
from qnode.models.query import Consistency, PayloadSelector, Point, RetrieveRequest, VectorSelector
from qnode.models.shard_choice import ShardChoice, ShardKey
from qnode.shards.collection import Collection

Search = Callable[[Filter | None, int], Awaitable[Sequence[Point]]]
"""Gives so many hits at most, best first, that also pass a filter; their payloads have at least what `grouped_by` tells."""

SPARE: Final = 2
"""So many times the points that are needed at least are asked for first."""

GROWTH: Final = 4
"""… and so many times as many each time after that."""

PLAIN_ROUNDS: Final = 2
"""So often the search is asked without a filter of our own."""

MOST_ASKED: Final = 1 << 62

_Place = tuple[PointKey, ShardKey | None]


def grouped_by(path: PayloadPath) -> PayloadSelector:
    """Tell which part of payloads grouping needs."""
    if all(isinstance(step, str) for step in path.steps):
        return PayloadSelector(True, include=(path,))
    return PayloadSelector(True)


def narrowed(chosen: Filter | None, more: Filter | None) -> Filter | None:
    """Give the filter of what passes both."""
    return Filter(must=(chosen, more)) if chosen is not None and more is not None else chosen or more


async def group_hits(search: Search, grouping: Grouping) -> list[Group]:
    """Group the hits of a search, the group of the best hit first."""
    found: dict[GroupId, list[Point]] = {}
    seen: set[_Place] = set()
    are_several = False
    more: Filter | None = None
    asked, rounds = min(SPARE * grouping.limit * grouping.size, MOST_ASKED), 0
    while True:
        points = await search(more, asked)
        rounds += 1
        for point in points:
            if (place := (point.key, point.shard_key)) in seen:
                continue
            seen.add(place)
            values = groups_of(orjson.loads(point.payload or b"{}"), grouping.path)
            are_several |= len(values) > 1
            for value in values:
                hits = found.setdefault(value, [])
                if len(hits) < grouping.size:
                    hits.append(point)
        wanted = dict(list(found.items())[: grouping.limit])
        unfilled = [value for value, hits in wanted.items() if len(hits) < grouping.size]
        if len(points) < asked or (len(wanted) == grouping.limit and not unfilled):
            return [Group(value, hits) for value, hits in wanted.items()]
        if rounds >= PLAIN_ROUNDS:
            if len(wanted) == grouping.limit:
                more = _in_one_of(grouping.path, unfilled)
            else:
                full = [value for value in wanted if value not in unfilled]
                more = _not_in_all(grouping.path, full) if are_several else _in_none_of(grouping.path, full)
        asked = min(GROWTH * asked, MOST_ASKED)


async def fill(
    collection: Collection, groups: Sequence[Group], payload: PayloadSelector, vectors: VectorSelector,
    shards: ShardChoice | None, consistency: Consistency | None,
) -> None:  # fmt: skip
    """Put what is wanted of their payloads and vectors into hits; one that is gone by now is left out."""
    if payload.enabled or vectors.enabled:
        keys = dict.fromkeys(point.key for group in groups for point in group.hits)
        points = await collection.retrieve(RetrieveRequest(tuple(keys), payload, vectors, shards), consistency)
        whole = {point.key: point for point in points}
        for group in groups:
            kept = [(hit, whole[hit.key]) for hit in group.hits if hit.key in whole]
            group.hits = [replace(hit, payload=own.payload, vectors=own.vectors) for hit, own in kept]
    else:
        for group in groups:
            group.hits = [replace(hit, payload=None) for hit in group.hits]


async def look_up(
    collection: Collection, groups: Sequence[Group], lookup: Lookup, consistency: Consistency | None
) -> None:
    """Put the points whose ids are the groups' into them."""
    keys = {group.id: key for group in groups if (key := looked_up_key(group.id)) is not None}
    request = RetrieveRequest(tuple(dict.fromkeys(keys.values())), lookup.with_payload, lookup.with_vector)
    found = {point.key: point for point in await collection.retrieve(request, consistency)}
    for group in groups:
        group.lookup = found.get(keys.get(group.id, b""))


def _in_one_of(path: PayloadPath, groups: Iterable[GroupId]) -> Filter:
    return Filter(should=tuple(_matches(path, groups)))


def _in_none_of(path: PayloadPath, groups: Iterable[GroupId]) -> Filter | None:
    conditions = tuple(_matches(path, groups))
    return Filter(must_not=conditions) if conditions else None


def _not_in_all(path: PayloadPath, groups: Sequence[GroupId]) -> Filter | None:
    """Let those pass that have a value beside these; of these, only texts or only numbers, whichever are more."""
    texts = tuple(group for group in groups if isinstance(group, str))
    numbers = tuple(group for group in groups if isinstance(group, int))
    values = texts if len(texts) >= len(numbers) else numbers
    return Filter(must=(FieldCondition(path, MatchExcept(values)),)) if values else None


def _matches(path: PayloadPath, groups: Iterable[GroupId]) -> list[Condition]:
    given = list(groups)
    texts = tuple(group for group in given if isinstance(group, str))
    numbers = tuple(group for group in given if isinstance(group, int))
    return [FieldCondition(path, MatchAny(values)) for values in (texts, numbers) if values]
