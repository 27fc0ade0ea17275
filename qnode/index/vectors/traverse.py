"""The graph walk: best-first search of one HNSW graph, with deadness and the filter applied inside.

Rows that are dead or not selected are walked through but never returned. The walk gives up when it has compared more
rows than its budget allows, or when it sees that filter and query disagree; the caller then scans. Order: the upper
levels greedily, level 0 best-first with two heaps of keys (score and row in one integer), then rescoring of the best by
the exact routine.

The links are trusted: whoever opens a graph checks that they stay within it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from qnode.index.vectors import native
from qnode.index.vectors.combining import COMBINED, ENTRY_BYTES, HEAD_BYTES, score_row

OUT_OF_BUDGET = -1

LEAST_PASSED, DISAGREEMENT = 512, 3.0
"""Filter (or deletions) and query disagree when, of at least so many rows that were near enough to keep, not even a third of
the expected share may be returned. The walk would settle on whatever it found first, so it gives up."""

AHEAD = 4
"""How many rows before its turn a row is fetched: enough to hide memory, few enough to stay in the first cache."""

FETCH_BYTES = 1024
RESCORED_FETCH_BYTES = 256
"""How much of a row is fetched; the hardware follows from there."""


@native.compiled
def fetch(address: int, length: int) -> None:
    """Ask for the start of a row."""
    for line in range(0, min(length, FETCH_BYTES), native.CACHE_LINE):
        native.prefetch(address + line)


@native.compiled
def is_wanted(row: int, alive_at: int, points_at: int, selected_at: int, capacity: int) -> bool:
    """Say whether a row may be returned."""
    if native.load_u8(alive_at + row) == 0:
        return False
    if selected_at == 0:
        return True
    point = native.load_u32(points_at + 4 * row)
    return bool(point < capacity and native.load_u8(selected_at + point) != 0)


@native.compiled
def descend(
    kind: int,
    function: int,
    codes_at: int,
    stride: int,
    dimensions: int,
    factor: float,
    query_at: int,
    upper_at: int,
    first_at: int,
    m: int,
    entry: int,
    top: int,
    cell: int,
) -> int:
    """Walk the upper levels greedily; return the row to start level 0 from."""
    node = entry
    best = score_row(kind, function, codes_at + node * stride, query_at, dimensions, factor, cell)
    for level in range(top, 0, -1):
        moved = True
        while moved:
            moved = False
            links = upper_at + 4 * m * (native.load_i32(first_at + 4 * node) + level - 1)
            for j in range(m):
                other = native.load_i32(links + 4 * j)
                if other < 0:
                    break
                s = score_row(kind, function, codes_at + other * stride, query_at, dimensions, factor, cell)
                if s > best:
                    node, best, moved = other, s, True
    return node


@native.compiled
def descend_to_example(
    number: int,
    table_at: int,
    rows_at: int,
    stride: int,
    dimensions: int,
    upper_at: int,
    first_at: int,
    m: int,
    entry: int,
    top: int,
    cell: int,
) -> int:
    """Descend to one of several examples alone; -1 if no walk begins near it."""
    example = table_at + HEAD_BYTES + ENTRY_BYTES * number
    if native.load_i64(example + 16) == 0:
        return -1
    return descend(
        native.load_i64(table_at + 8),
        native.load_i64(table_at + 16),
        rows_at,
        stride,
        dimensions,
        np.float64(native.load_f32(example + 8)),
        native.load_i64(example),
        upper_at,
        first_at,
        m,
        entry,
        top,
        cell,
    )


@native.compiled
def rescore(
    kind: int,
    function: int,
    vectors_at: int,
    stride: int,
    dimensions: int,
    factor: float,
    query_at: int,
    candidates: npt.NDArray[np.uint64],
    count: int,
    k: int,
    best: npt.NDArray[np.uint64],
    cell: int,
) -> int:
    """Score `count` candidates exactly and leave the best k in `best`, as a heap; return how many."""
    for j in range(count):
        fetch(vectors_at + native.row_in(candidates[j]) * stride, min(stride, RESCORED_FETCH_BYTES))
    found = 0
    for j in range(count):
        row = native.row_in(candidates[j])
        s = score_row(kind, function, vectors_at + row * stride, query_at, dimensions, factor, cell)
        key = native.key_of(s, row)
        if found < k:
            native.push(best, found, key)
            found += 1
        elif key > best[0]:
            native.replace_first(best, found, key)
    return found


@native.compiled
def graph_search(
    kind: int,
    function: int,
    codes_at: int,
    stride: int,
    dimensions: int,
    factor: float,
    query_at: int,
    exact_kind: int,
    exact_function: int,
    vectors_at: int,
    vector_stride: int,
    exact_factor: float,
    exact_query_at: int,
    links_at: int,
    width: int,
    upper_at: int,
    first_at: int,
    m: int,
    entry: int,
    top: int,
    alive_at: int,
    points_at: int,
    selected_at: int,
    capacity: int,
    ef: int,
    k: int,
    rescored: int,
    budget: int,
    share: float,
    mark: int,
    marks: npt.NDArray[np.uint8],
    frontier: npt.NDArray[np.uint64],
    best: npt.NDArray[np.uint64],
    fresh: Any,
    out_scores: npt.NDArray[np.float32],
    out_rows: npt.NDArray[np.int32],
    cell: int,
) -> int:
    """Find the k best wanted rows; return how many were written to the outputs, or OUT_OF_BUDGET.

    rescored: how many of the walk's best to score exactly; 0 reports the codes' scores. share: of rows that are wanted.
    """
    seen = np.uint8(mark)
    waiting, kept, compared, passed, wanted = 0, 0, 1, 0, 0
    for start in range(1 + (native.load_i64(query_at + 24) if kind == COMBINED else 0)):
        if start == 0:
            node = descend(
                kind, function, codes_at, stride, dimensions, factor, query_at, upper_at, first_at, m, entry, top, cell
            )
        else:  # what is best together may be near any of the examples
            node = descend_to_example(
                start - 1, query_at, codes_at, stride, dimensions, upper_at, first_at, m, entry, top, cell
            )
        if node < 0 or marks[node] == seen:
            continue
        marks[node] = seen
        s = score_row(kind, function, codes_at + node * stride, query_at, dimensions, factor, cell)
        key = native.key_of(s, node)
        native.push(frontier, waiting, ~key)  # the heaps give their smallest first, the frontier must give its best
        waiting += 1
        if is_wanted(node, alive_at, points_at, selected_at, capacity):
            if kept < ef:
                native.push(best, kept, key)
                kept += 1
            elif key > best[0]:
                native.replace_first(best, kept, key)
    while waiting > 0:
        key = ~frontier[0]
        if kept == ef and key < best[0]:
            break
        if compared > budget or (passed > LEAST_PASSED and wanted * DISAGREEMENT < share * passed):
            return OUT_OF_BUDGET
        waiting -= 1
        native.replace_first(frontier, waiting, frontier[waiting])
        links = links_at + 4 * width * native.row_in(key)
        count = 0
        for j in range(width):
            other = native.load_i32(links + 4 * j)
            if other < 0:
                break
            if marks[other] != seen:
                marks[other] = seen
                fresh[count] = other
                count += 1
                if count <= AHEAD:
                    fetch(codes_at + other * stride, stride)
        compared += count
        for j in range(count):
            row = fresh[j]
            if j + AHEAD < count:
                fetch(codes_at + fresh[j + AHEAD] * stride, stride)
            s = score_row(kind, function, codes_at + row * stride, query_at, dimensions, factor, cell)
            key = native.key_of(s, row)
            if kept < ef or key > best[0]:
                native.push(frontier, waiting, ~key)
                waiting += 1
                passed += 1
                if is_wanted(row, alive_at, points_at, selected_at, capacity):
                    wanted += 1
                    if kept < ef:
                        native.push(best, kept, key)
                        kept += 1
                    else:
                        native.replace_first(best, kept, key)
    native.sort_best_first(best, kept)
    if rescored > 0:
        found = rescore(
            exact_kind,
            exact_function,
            vectors_at,
            vector_stride,
            dimensions,
            exact_factor,
            exact_query_at,
            best,
            min(kept, rescored),
            k,
            frontier,
            cell,
        )
        native.sort_best_first(frontier, found)
        for j in range(found):
            out_scores[j] = native.score_in(frontier[j])
            out_rows[j] = native.row_in(frontier[j])
        return found
    found = min(kept, k)
    for j in range(found):
        out_scores[j] = native.score_in(best[j])
        out_rows[j] = native.row_in(best[j])
    return found
