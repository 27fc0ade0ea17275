"""How much of what a search should find it does find: a sample of searches held against an exact scan.

Queries are vectors of the index's own, each without the point that it is of. They are searched for as users do who say nothing
of how; then rows, in windows that are drawn once each, are scored exactly. A row that is better than the worst of what
was found, and was not found, was missed. Of M missed and F found, F / (F + M) estimates the recall. Where not all windows are
scanned, a missed row stands for as many as the share that was scanned says.

What is found by scanning is exact, so a vector without any graph is not probed. Left out: searches with filters, and queries that are
unlike all points, of which a graph finds less.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qnode.index.index import Index
from qnode.index.space import Shown, ShownPart, Space
from qnode.index.store import Numbers
from qnode.index.vectors.multi import begins
from qnode.models.query import AnyVector, SearchParams
from qnode.models.vector_params import VectorParams

WINDOW_ROWS = 1024
"""So many neighbouring rows are scored at a time: that costs a millisecond or few, and is read from disk in one go."""

_AS_USERS_DO = SearchParams()

Scores = npt.NDArray[np.float32]
OpNums = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Tally:
    """What probes have come to. found: by the searches. missed: rows that these should have found, estimated. scanned: share of rows."""

    found: int
    missed: float
    scanned: float

    @property
    def recall(self) -> float:
        return self.found / (self.found + self.missed) if self.found else 1.0


@dataclass(frozen=True, slots=True, eq=False)
class _Probe:
    """A query, what was found for it (and the query's own point), and the exact similarity of the worst of it."""

    vector: AnyVector
    known: Numbers
    found: int
    worst: float


def has_graph(space: Space) -> bool:
    """Tell whether searches of a vector may miss something."""
    return isinstance(space.params, VectorParams) and any(part.is_indexed for part in space.parts)


def probe(
    index: Index, slot: int, queries: int, k: int, most_rows: int, random: np.random.Generator
) -> Iterator[Tally | None]:
    """Measure the recall at `k` of a vector in small steps, one for each turn of the iterator: the last one gives the result.

    Each step blocks for milliseconds. Ends without a result where there is nothing to measure.
    """
    space = index.spaces.get(slot)
    if space is None or not has_graph(space):
        return
    shown = space.shown
    probes = []
    for number, op_num in _drawn(shown, queries, random):
        begun = _begun(space, shown, number, op_num, k)
        if begun is not None:
            probes.append(begun)
        yield None
    windows = [(part, first) for part in shown.parts for first in range(0, len(part.alive), WINDOW_ROWS)]
    order = random.permutation(len(windows))[: math.ceil(most_rows / WINDOW_ROWS)]
    missed, scanned = 0, 0
    for at in order.tolist():
        numbers, ops, living = _living(*windows[at])
        scanned += living
        missed += sum(_count_missed(space, one, numbers, ops) for one in probes)
        yield None
    alive = sum(int(np.count_nonzero(part.alive)) for part in shown.parts)
    found = sum(one.found for one in probes)
    if found and scanned:
        yield Tally(found, missed * alive / scanned, scanned / alive)


def _drawn(shown: Shown, count: int, random: np.random.Generator) -> list[tuple[int, int]]:
    """Draw living rows: point number and op_num of each."""
    drawn = []
    for at in sorted(random.integers(0, max(shown.rows, 1), count).tolist()):
        row = at
        for part in shown.parts:
            if row < len(part.alive):
                if part.alive[row]:
                    drawn.append((int(part.points[row]), int(part.op_nums[row])))
                break
            row -= len(part.alive)
    return drawn


def _begun(space: Space, shown: Shown, number: int, op_num: int, k: int) -> _Probe | None:
    """Search for what is nearest to a point; None if it is gone, or there are too few points to miss one."""
    vectors, known = space.read(np.array([number], np.uint32), np.array([op_num], np.uint64))
    if not known[0]:
        return None
    vector = vectors[0]
    found = space.search(shown, vector, k + 1, _AS_USERS_DO, None, 0)
    others = np.flatnonzero(found.numbers != number)[:k]
    if len(others) < k:
        return None
    numbers, ops = found.numbers[others], found.ops[others]
    scores, still, _ = space.score(vector, numbers, ops, _AS_USERS_DO)
    if not still.all():
        return None
    return _Probe(vector, np.append(numbers, np.uint32(number)), k, float(scores.min()))


def _living(part: ShownPart, first: int) -> tuple[Numbers, OpNums, int]:
    """Give the points whose vectors begin in a window, of a multivector with its first row, and how many of its rows are alive."""
    rows = slice(first, first + WINDOW_ROWS)
    points, ops, alive = part.points[rows], part.op_nums[rows], part.alive[rows]
    kept = alive & begins(points, ops)
    if first > 0 and part.points[first - 1] == points[0] and part.op_nums[first - 1] == ops[0]:
        kept[0] = False
    return points[kept], ops[kept], int(np.count_nonzero(alive))


def _count_missed(space: Space, one: _Probe, numbers: Numbers, ops: OpNums) -> int:
    scores, known, _ = space.score(one.vector, numbers, ops, _AS_USERS_DO)
    better = known & (scores > one.worst)
    return int(np.count_nonzero(better & ~np.isin(numbers, one.known)))
