"""A search among points that the filter names by their ids: those rows alone are looked up and scored.

So the candidates of other searches are scored again, and that must cost what their number costs, not what the number of
points does: no mask is made, and none is remembered. Scores are those of an exact search, bit by bit.

Invariant: ids, records and what the rest of the filter says come from one transaction, so nothing must be rechecked.
"""

from __future__ import annotations

import lmdb
import numpy as np
import numpy.typing as npt

from qnode.index.index import Index
from qnode.index.population import Mask
from qnode.index.ranking import ascends, ranked, reported
from qnode.index.records import Records, key_in, read_records, version_in
from qnode.index.space import Space
from qnode.index.store import Numbers, get_many
from qnode.models.filter import Filter
from qnode.models.filter_merge import among
from qnode.models.point_id import PointKey
from qnode.models.query import AnyVector, Examples, Point, QueryRequest

MOST_LISTED = 10_000
"""More ids than this are looked for as any other filter is."""

Found = tuple[list[Point], list[bytes], Numbers]
"""Points with their scores, best first; their records; their numbers."""


def listed_in(chosen: Filter | None) -> tuple[frozenset[PointKey], Filter | None] | None:
    """The ids of which all that passes a filter is one, if they are few, and what else it asks for."""
    listed = None if chosen is None else among(chosen)
    return listed if listed is not None and len(listed[0]) <= MOST_LISTED else None


def remembered(index: Index, rest: Filter | None) -> tuple[Mask | None, int]:
    """A mask of the rest of a filter if there is one, and the operation that it shows; to be asked for before `score`."""
    seen_op = index.population.applied_op
    if rest is None:
        return None, seen_op
    with index.store.reading() as txn:
        return index.filtering.remembered(txn, index.population, rest), seen_op


def score(
    index: Index, space: Space, txn: lmdb.Transaction, request: QueryRequest, target: AnyVector | Examples,
    keys: frozenset[PointKey], rest: Filter | None, mask: tuple[Mask | None, int],
) -> Found | None:  # fmt: skip
    """Give the best (limit + offset) of the points with these keys; None if a row went while it was looked for."""
    slot = space.params.slot
    found = get_many(txn, index.store.ids, list(keys))
    number_bytes = list(found.values())
    stored = get_many(txn, index.store.records, number_bytes)
    values = [stored[number] for number in number_bytes]
    records, numbers = read_records(values, slot + 1), np.frombuffer(b"".join(number_bytes), "<u4")
    wanted = records["ops"][:, slot] != 0
    if rest is not None:
        wanted[wanted] = _passing(index, txn, rest, numbers[wanted], records[wanted], *mask)
    places = np.flatnonzero(wanted)
    internal, known, seen = space.score(target, numbers[places], records["ops"][places, slot], request.params)
    if not known.all():
        return None
    places = places[seen]
    distance = space.params.distance
    scores, ascending = reported(internal[seen], target, distance), ascends(target, distance)
    best = _best(scores if not ascending else -scores, request.limit + request.offset)
    scores, places = scores[best], places[best]
    held = [values[place] for place in places.tolist()]
    points = [Point(key_in(value), version_in(value), shown) for value, shown in zip(held, scores, strict=True)]
    order = ranked(points, scores, ascending=ascending, threshold=request.score_threshold)
    order = order[: request.limit + request.offset]
    return [points[at] for at in order], [held[at] for at in order], numbers[places[order]]


def _passing(
    index: Index,
    txn: lmdb.Transaction,
    rest: Filter,
    numbers: Numbers,
    records: Records,
    mask: Mask | None,
    seen_op: int,
) -> Mask:
    """Which points pass the rest of the filter: by a mask of it as far as that is new enough, else by their payloads."""
    passing: Mask = np.zeros(len(numbers), np.bool_)
    asked = np.ones(len(numbers), np.bool_) if mask is None else (records["version"] > seen_op) | (numbers >= len(mask))
    if mask is not None:
        passing[~asked] = mask[numbers[~asked]]
    if asked.any():
        passing[asked] = index.filtering.matches(txn, index.population, rest, numbers[asked])
    return passing


def _best(goodness: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.intp]:
    """The places of the `count` largest, largest first, and of all that equal the last of them."""
    order = np.argsort(-goodness, kind="stable")
    if len(order) > count > 0:
        falling = -goodness[order]
        return order[: int(np.searchsorted(falling, falling[count - 1], side="right"))]
    return order
