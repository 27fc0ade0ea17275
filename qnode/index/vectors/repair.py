"""Taking rows out of a graph: who pointed at them is given their neighbours instead.

As in FreshDiskANN (Singh et al. 2021, "Delete"): a list that names rows which go gets, as candidates, what these rows
pointed at on the same level. It takes those that are nearer to the list's owner than to a row that it keeps, the most
similar first, and fills up with the others to its old length, not beyond. (Without filling up, lists shrink with every
repair: recall@10 of 10 000 texts at ef 64 was half a point lower when all of them had been replaced in steps of a
tenth.) Rows are compared by their stored vectors, exactly.

Lists of rows that go are only read, those of rows that stay only written by their owner's turn: so threads may share the
work. A row whose whole neighbourhood goes may become unreachable; how much may go is for the caller to bound.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from qnode.index.vectors import native, scoring
from qnode.index.vectors.graph_file import FlatGraph
from qnode.index.vectors.scoring import Scorer

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int32]

MOST_CANDIDATES = 256
TURN_LISTS = 1 << 12
"""Lists that a thread repairs at a time."""


def without(
    graph: FlatGraph, stays: Bools, vectors: npt.NDArray[np.generic], scorer: Scorer, threads: int
) -> FlatGraph:
    """Return the graph of the rows that stay, at least one, numbered anew in their order."""
    rows, levels = np.arange(len(stays), dtype=np.int32), graph.levels
    order = np.argsort(np.repeat(graph.first, levels), kind="stable")
    owners = np.repeat(rows, levels)[order]  # of each list of `upper`
    level = np.arange(len(owners), dtype=np.int32) - graph.first[owners]
    links, upper = np.array(graph.links), np.array(graph.upper)
    work: list[tuple[Ints, Ints, Ints, Ints, Ints]] = [
        (links, rows[stays], rows, np.zeros_like(rows), rows),
        (upper, np.flatnonzero(stays[owners]).astype(np.int32), owners, level, graph.first),
    ]
    with ThreadPoolExecutor(threads) as pool:
        turns = []
        for lists, chosen, owner, at_level, first in work:
            broken = chosen[np.any((lists[chosen] >= 0) & ~stays[lists[chosen]], axis=1)]
            for begin in range(0, len(broken), TURN_LISTS):
                turn = broken[begin : begin + TURN_LISTS]
                turns.append(pool.submit(_repair, lists, turn, owner, at_level, first, stays, vectors, scorer))
        for done in turns:
            done.result()
    return _renumbered(graph, stays, links, upper[stays[owners]], levels)


def _repair(
    lists: Ints,
    turn: Ints,
    owner: Ints,
    level: Ints,
    first: Ints,
    stays: Bools,
    vectors: npt.NDArray[np.generic],
    scorer: Scorer,
) -> None:
    stride = vectors.dtype.itemsize * vectors.shape[1]
    near = (scorer.kind, scorer.function, native.address_of(vectors), stride, vectors.shape[1], scorer.factor)
    repair_lists(lists, turn, owner, level, first, stays, np.zeros(2, np.uint64), *near)


@native.compiled
def repair_lists(
    lists: Ints,
    turn: Ints,
    owner: Ints,
    level: Ints,
    first: Ints,
    stays: Bools,
    cell: npt.NDArray[np.uint64],
    kind: int,
    function: int,
    vectors_at: int,
    stride: int,
    dimensions: int,
    factor: float,
) -> None:
    """Replace rows that go in the lists named by `turn`; list first[row] + level is that of a row on a level."""
    width = lists.shape[1]
    found = np.empty(MOST_CANDIDATES, np.int32)
    similar = np.empty(MOST_CANDIDATES, np.float32)
    cell_at = cell.ctypes.data
    for at in turn:
        row_at = vectors_at + stride * int(owner[at])
        length, kept, count = 0, 0, 0
        while length < width and lists[at, length] >= 0:
            length += 1
        for place in range(length):
            gone = lists[at, place]
            if stays[gone]:
                continue
            source = first[gone] + level[at]
            for other in lists[source]:
                if other < 0 or count == MOST_CANDIDATES:
                    break
                known = not stays[other] or other == owner[at]
                for i in range(length):
                    known = known or lists[at, i] == other
                for i in range(count):
                    known = known or found[i] == other
                if not known:
                    found[count] = other
                    similar[count] = scoring.score(
                        kind, function, vectors_at + stride * int(other), row_at, dimensions, factor, cell_at
                    )
                    count += 1
        for place in range(length):
            if stays[lists[at, place]]:
                lists[at, kept] = lists[at, place]
                kept += 1
        order = np.argsort(-similar[:count])
        for best in order:
            if kept == length:
                break
            other_at = vectors_at + stride * int(found[best])
            is_near = True
            for i in range(kept):
                rival = vectors_at + stride * int(lists[at, i])
                if scoring.score(kind, function, other_at, rival, dimensions, factor, cell_at) > similar[best]:
                    is_near = False
                    break
            if is_near:
                lists[at, kept] = found[best]
                found[best] = -1
                kept += 1
        for best in order:
            if kept == length:
                break
            if found[best] >= 0:
                lists[at, kept] = found[best]
                kept += 1
        for place in range(kept, length):
            lists[at, place] = -1


def _renumbered(graph: FlatGraph, stays: Bools, links: Ints, upper: Ints, levels: npt.NDArray[np.int64]) -> FlatGraph:
    number = np.cumsum(stays, dtype=np.int32) - np.int32(1)
    kept = np.flatnonzero(stays)
    heights = levels[kept]
    first = np.full(len(kept), -1, np.int32)
    tall = np.flatnonzero(heights)
    # `upper` is in the order of the old beginnings, which need not be that of the rows.
    order = tall[np.argsort(graph.first[kept[tall]], kind="stable")]
    first[order] = np.cumsum(heights[order]) - heights[order]
    entry, top = graph.entry, graph.top
    if not stays[entry]:
        tallest = int(np.argmax(heights))
        entry, top = int(kept[tallest]), int(heights[tallest])
    return FlatGraph(
        np.where(links[kept] >= 0, number[links[kept]], np.int32(-1)),
        np.where(upper >= 0, number[upper], np.int32(-1)),
        first,
        int(number[entry]),
        top,
    )
