"""Multivectors: a point's vector is a run of rows, and how similar it is to a query of several rows (max_sim).

A run is the rows, one behind the other and in their order, that one operation made of one point; so segments of multivectors
are segments of rows like any others, and what is said here of runs is true of single vectors too: runs of one row.

max_sim = Σ over the query's rows of the similarity of the run's row that is most similar to it, added up as float32 in the
order of the query's rows (Khattab and Zaharia 2020, "ColBERT").
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from qnode.index.vectors import native
from qnode.index.vectors.query import Query
from qnode.index.vectors.scan import list_selected
from qnode.index.vectors.scoring import score
from qnode.index.vectors.search import LISTED_SHARE, scratch
from qnode.index.vectors.traverse import is_wanted
from qnode.index.vectors.view import Bools, View

Rows = npt.NDArray[np.int64]
Places = npt.NDArray[np.intp]


def begins(points: npt.NDArray[np.uint32], op_nums: npt.NDArray[np.uint64]) -> Bools:
    """Say which rows begin a run: (rows,)."""
    first = np.ones(len(points), np.bool_)
    first[1:] = (points[1:] != points[:-1]) | (op_nums[1:] != op_nums[:-1])
    return first


def whole_runs(points: npt.NDArray[np.uint32], op_nums: npt.NDArray[np.uint64], rows: Rows) -> tuple[Rows, Places]:
    """Give all rows of the runs that some rows are in, and for each of them which of `rows` it is for."""
    bounds = np.empty((len(rows), 2), np.int64)
    run_bounds(native.address_of(points), native.address_of(op_nums), len(points), rows, bounds)
    lengths = bounds[:, 1] - bounds[:, 0]
    behind = np.cumsum(lengths)
    each = np.arange(behind[-1] if len(behind) else 0) + np.repeat(bounds[:, 0] - (behind - lengths), lengths)
    return each, np.repeat(np.arange(len(rows), dtype=np.intp), lengths)


def best_runs(
    view: View,
    op_nums_at: int,
    queries: Sequence[Query],
    k: int,
    alive: Bools,
    selected: Bools | None,
    selected_count: int,
    candidates: npt.NDArray[np.int32] | None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Give the best k wanted runs, exactly: (max_sim, first row), best first.

    candidates: rows, ascending, of whose runs alone the best are wanted; None all. selected: (capacity,) by point number.
    """
    k = min(k, view.rows)
    if k <= 0:
        return np.empty(0, np.float32), np.empty(0, np.int32)
    scratch.reserve(view.rows, k, 0)
    selected_at, capacity = view.selected_at(selected), 0 if selected is None else len(selected)
    list_at, count = 0, view.rows
    if candidates is not None:
        list_at, count = native.address_of(candidates), len(candidates)
    elif selected is not None and view.ascending and selected_count * LISTED_SHARE <= view.rows:
        list_at = scratch.list_at
        count = list_selected(selected_at, capacity, view.points_at, view.rows, list_at)
    found = scan_runs(
        *view.exactly,
        view.params.size,
        np.array([query.address for query in queries], np.int64),
        list_at,
        count,
        view.rows,
        view.alive_at(alive),
        view.points_at,
        op_nums_at,
        selected_at,
        capacity,
        k,
        scratch.best,
        scratch.scores,
        scratch.found,
        scratch.cell_at,
    )
    return scratch.scores[:found].copy(), scratch.found[:found].copy()


@native.compiled
def same_run(points_at: int, op_nums_at: int, row: int, other: int) -> bool:
    """Say whether two neighbouring rows are of one run."""
    same_point = native.load_u32(points_at + 4 * row) == native.load_u32(points_at + 4 * other)
    return bool(same_point and native.load_u64(op_nums_at + 8 * row) == native.load_u64(op_nums_at + 8 * other))


@native.compiled
def run_bounds(
    points_at: int, op_nums_at: int, count: int, rows: npt.NDArray[np.int64], bounds: npt.NDArray[np.int64]
) -> None:
    """Write where the runs of some rows begin and end, (n, 2); `count`: how many rows the segment has."""
    for at in range(len(rows)):
        begin, end = rows[at], rows[at] + 1
        while begin > 0 and same_run(points_at, op_nums_at, begin, begin - 1):
            begin -= 1
        while end < count and same_run(points_at, op_nums_at, end - 1, end):
            end += 1
        bounds[at, 0], bounds[at, 1] = begin, end


@native.compiled
def scan_runs(
    kind: int,
    function: int,
    vectors_at: int,
    stride: int,
    factor: float,
    dimensions: int,
    queries: npt.NDArray[np.int64],
    list_at: int,
    count: int,
    rows: int,
    alive_at: int,
    points_at: int,
    op_nums_at: int,
    selected_at: int,
    capacity: int,
    k: int,
    best: npt.NDArray[np.uint64],
    out_scores: npt.NDArray[np.float32],
    out_rows: npt.NDArray[np.int32],
    cell: int,
) -> int:
    """Write the best k wanted runs to the outputs, by their first rows; return how many.

    queries: the addresses of the query's rows. list_at 0: all runs, else those of `count` listed rows, which ascend.
    """
    found, at, end = 0, 0, 0
    while at < count:
        begin = at
        if list_at != 0:
            begin = native.load_i32(list_at + 4 * at)
            at += 1
            if begin < end:
                continue
            while begin > 0 and same_run(points_at, op_nums_at, begin, begin - 1):
                begin -= 1
        end = begin + 1
        while end < rows and same_run(points_at, op_nums_at, end - 1, end):
            end += 1
        if list_at == 0:
            at = end
        if not is_wanted(begin, alive_at, points_at, selected_at, capacity):
            continue
        total = np.float32(0)
        for query in queries:
            nearest = score(kind, function, vectors_at + begin * stride, query, dimensions, factor, cell)
            for row in range(begin + 1, end):
                s = score(kind, function, vectors_at + row * stride, query, dimensions, factor, cell)
                nearest = max(nearest, s)
            total += nearest
        key = native.key_of(total, begin)
        if found < k:
            native.push(best, found, key)
            found += 1
        elif key > best[0]:
            native.replace_first(best, found, key)
    native.sort_best_first(best, found)
    for j in range(found):
        out_scores[j] = native.score_in(best[j])
        out_rows[j] = native.row_in(best[j])
    return found
