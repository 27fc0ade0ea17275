"""From what the segments found to an order of points: what is current, what scores are shown, what ties mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import lmdb
import numpy as np
import numpy.typing as npt

from qnode.index.index import Index
from qnode.index.records import HEAD_BYTES, version_in
from qnode.index.space import Candidates
from qnode.index.store import number_keys
from qnode.models.filter import Filter
from qnode.models.query import AnyVector, Examples, Point
from qnode.models.vector_params import Distance

LARGEST_SCORE = float(np.finfo(np.float32).max)
"""What stands for an infinite score; negative also for one that is no number, as of a sum of both infinities."""


def ascends(target: AnyVector | Examples, distance: Distance) -> bool:
    """Whether a smaller score is a better one."""
    return distance.smaller_is_better and not isinstance(target, Examples)


def reported(
    internal: npt.NDArray[np.float32], target: AnyVector | Examples, distance: Distance
) -> npt.NDArray[np.float32]:
    """Turn what segments find into the scores that users see; JSON has no number for sums that have overflowed."""
    scores = scores_of(internal, target, distance)
    return scores if np.isfinite(scores).all() else np.nan_to_num(scores, nan=-LARGEST_SCORE)


def scores_of(
    internal: npt.NDArray[np.float32], target: AnyVector | Examples, distance: Distance
) -> npt.NDArray[np.float32]:
    """Turn what segments find into scores as they are; `reported` sees to it that they are numbers."""
    if isinstance(target, Examples):
        return internal
    if distance is Distance.EUCLID:
        return np.sqrt(np.abs(internal))
    return np.abs(internal) if distance is Distance.MANHATTAN else internal


def current(index: Index, txn: lmdb.Transaction, found: Candidates, slot: int) -> tuple[list[bytes], list[int]]:
    """The records of those candidates that are current, and their places among the candidates."""
    get, records = txn.get, index.store.records
    begin = HEAD_BYTES + 8 * slot
    end = begin + 8
    keys, ops = number_keys(found.numbers), found.ops.tobytes()
    values: list[bytes] = []
    places: list[int] = []
    for place, key in enumerate(keys):
        value = get(key, db=records)
        if value is not None and value[begin:end] == ops[8 * place : 8 * place + 8]:
            values.append(cast("bytes", value))
            places.append(place)
    return values, places


def rechecked(
    index: Index, txn: lmdb.Transaction, chosen: Filter, found: Candidates, values: list[bytes], places: list[int],
    seen_op: int,
) -> tuple[list[bytes], list[int]]:  # fmt: skip
    """Leave out those that changed after the filter's mask was made and do not pass it any more."""
    newer = [at for at, value in enumerate(values) if version_in(value) > seen_op]
    if not newer:
        return values, places
    passing = index.filtering.matches(txn, index.population, chosen, found.numbers[[places[at] for at in newer]])
    gone = {at for at, passes in zip(newer, passing.tolist(), strict=True) if not passes}
    kept = [at for at in range(len(values)) if at not in gone]
    return [values[at] for at in kept], [places[at] for at in kept]


def ranked(
    points: Sequence[Point], scores: npt.NDArray[np.float32], *, ascending: bool, threshold: float | None
) -> list[int]:
    """The places of those better than the threshold, best first; they come sorted, but for ties.

    Among equal scores the larger id comes first where scores descend, else the smaller one.
    """
    order = list(range(len(points)))
    if threshold is not None:
        limit = np.float32(threshold)
        order = np.flatnonzero(scores < limit if ascending else scores > limit).tolist()
    known = scores.tolist()
    if len(set(known)) < len(known):
        order.sort(key=lambda place: points[place].key, reverse=not ascending)
        order.sort(key=known.__getitem__, reverse=not ascending)
    return order
