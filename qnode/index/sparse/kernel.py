"""The compiled loops of the sparse search: rows scored by their own numbers, and all rows at once by posting lists.

A score is the sum of the products of common indices in their ascending order, each rounded to float32, wherever it is computed.
NOTHING, the negative zero, is the score of a row that has no index in common with the query; no sum gives it, since products
that are zero are made positive ones.

Addresses instead of arrays, as in `vectors.native`: whoever calls keeps the arrays alive and vouches for their shapes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qnode.index.vectors import native
from qnode.index.vectors.traverse import is_wanted

NOTHING = np.float32(-0.0)
ZERO = np.float32(0.0)
NOTHING_BITS = np.uint32(0x80000000)

BLOCK_ROWS = 8192
"""Postings are added up for so many rows at a time: their sums stay in the nearest caches."""

UNROLLED = 8
"""So many postings are added at a time: their rows ascend, so the last one alone tells whether all belong to a block."""

COLUMN_GAIN = 8
"""A row of a column costs a search so many times less than a posting of a list."""

RUN_FIELDS = 12
FIRST, LAST, DIMS_AT, DIMS, STARTS_AT, ROWS_AT, WEIGHTS_AT, HEAVY_AT, HEAVY, HELD_AT, COLUMNS_AT, COLUMN_BYTES = range(
    12
)
"""A run of `postings.Postings` as kernels take it, as int64."""


@native.compiled
def dot(
    indices_at: int,
    values_at: int,
    begin: int,
    end: int,
    query_indices: npt.NDArray[np.uint32],
    query_values: npt.NDArray[np.float32],
) -> np.float32:
    """Return the score of a row whose numbers stand at [begin, end)."""
    total = NOTHING
    at, asked_at, asked_end = begin, 0, len(query_indices)
    while at < end and asked_at < asked_end:
        index, asked = native.load_u32(indices_at + 4 * at), np.int64(query_indices[asked_at])
        if index == asked:
            product = np.float32(query_values[asked_at] * native.load_f32(values_at + 4 * at))
            total = np.float32(total + np.float32(product + ZERO))
            at += 1
            asked_at += 1
        elif index < asked:
            at += 1
        else:
            asked_at += 1
    return total


@native.compiled
def score_rows(
    offsets_at: int,
    indices_at: int,
    values_at: int,
    rows: npt.NDArray[np.int64],
    query_indices: npt.NDArray[np.uint32],
    query_values: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
) -> None:
    """Score these rows, in their order, by their own numbers."""
    for i in range(len(rows)):
        offset_at = offsets_at + 8 * rows[i]
        begin, end = native.load_i64(offset_at), native.load_i64(offset_at + 8)
        scores[i] = dot(indices_at, values_at, begin, end, query_indices, query_values)


@native.compiled
def offer(best: npt.NDArray[np.uint64], found: int, k: int, score: np.float32, row: int) -> int:
    """Put a row among the best k if it is one of them; return how many there are."""
    key = native.key_of(score, row)
    if found < k:
        native.push(best, found, key)
        return found + 1
    if key > best[0]:
        native.replace_first(best, found, key)
    return found


@native.compiled
def search_rows(
    offsets_at: int,
    indices_at: int,
    values_at: int,
    list_at: int,
    first: int,
    last: int,
    query_indices: npt.NDArray[np.uint32],
    query_values: npt.NDArray[np.float32],
    alive_at: int,
    points_at: int,
    selected_at: int,
    capacity: int,
    k: int,
    best: npt.NDArray[np.uint64],
    found: int,
) -> int:
    """Offer the wanted ones of rows [first, last), or of those places of a list; return how many are among the best."""
    for i in range(first, last):
        row = i
        if list_at != 0:
            row = native.load_i32(list_at + 4 * i)
        if not is_wanted(row, alive_at, points_at, selected_at, capacity):
            continue
        offset_at = offsets_at + 8 * row
        begin, end = native.load_i64(offset_at), native.load_i64(offset_at + 8)
        score = dot(indices_at, values_at, begin, end, query_indices, query_values)
        if native.bits_of(score) != NOTHING_BITS:
            found = offer(best, found, k, score, row)
    return found


@native.compiled
def place_in(indices_at: int, low: int, count: int, index: np.int64) -> int:
    """Return the first place from `low` on of ascending indices whose index is `index` or larger."""
    high = count
    while low < high:
        middle = (low + high) >> 1
        if native.load_u32(indices_at + 4 * middle) < index:
            low = middle + 1
        else:
            high = middle
    return low


@native.compiled
def meet(
    run: npt.NDArray[np.int64],
    indices: npt.NDArray[np.uint32],
    rows_at: npt.NDArray[np.int64],
    weights_at: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
) -> int:
    """Find the posting lists and columns of ascending indices; return how many there are.

    rows_at, weights_at, counts: (n,), of each list; `rows_at` of a column is 0. places: (n,), of each its place among the indices.
    """
    met, column, place = 0, 0, 0
    for at in range(len(indices)):
        index = np.int64(indices[at])
        column = place_in(run[HEAVY_AT], column, run[HEAVY], index)
        if column < run[HEAVY] and native.load_u32(run[HEAVY_AT] + 4 * column) == index:
            rows_at[met] = 0
            weights_at[met] = run[COLUMNS_AT] + column * run[COLUMN_BYTES]
            counts[met] = native.load_i64(run[HELD_AT] + 8 * column)
        else:
            place = place_in(run[DIMS_AT], place, run[DIMS], index)
            if place == run[DIMS] or native.load_u32(run[DIMS_AT] + 4 * place) != index:
                continue
            start_at = run[STARTS_AT] + 8 * place
            begin = native.load_i64(start_at)
            rows_at[met] = run[ROWS_AT] + 4 * begin
            weights_at[met] = run[WEIGHTS_AT] + 4 * begin
            counts[met] = native.load_i64(start_at + 8) - begin
        places[met] = at
        met += 1
    return met


@native.compiled
def add_posting(posting: int, rows_at: int, weights_at: int, asked: np.float32, base: int) -> None:
    """Add one posting to the sum of its row; base: where the sum of row 0 would be."""
    sum_at = base + 4 * native.load_i32(rows_at + 4 * posting)
    product = np.float32(asked * native.load_f32(weights_at + 4 * posting))
    native.store_f32(sum_at, np.float32(native.load_f32(sum_at) + np.float32(product + ZERO)))


@native.compiled
def add_list(
    rows_at: int, weights_at: int, cursor: int, count: int, asked: np.float32, first: int, stop: int, sums_at: int
) -> int:
    """Add a posting list, from `cursor` to row `stop`, to the sums of rows from `first` on; return where it goes on."""
    base = sums_at - 4 * first
    while cursor + UNROLLED <= count and native.load_i32(rows_at + 4 * (cursor + UNROLLED - 1)) < stop:
        for offset in range(UNROLLED):
            add_posting(cursor + offset, rows_at, weights_at, asked, base)
        cursor += UNROLLED
    while cursor < count and native.load_i32(rows_at + 4 * cursor) < stop:
        add_posting(cursor, rows_at, weights_at, asked, base)
        cursor += 1
    return cursor


@native.compiled
def add_column(column_at: int, rows: int, asked: np.float32, sums_at: int) -> None:
    """Add a piece of a column to the sums of its rows, and nothing to those behind it up to the next multiple of LANES."""
    for row in range(0, rows, native.LANES):
        native.add_present(sums_at + 4 * row, column_at + 4 * row, asked)


@native.compiled
def search_postings(
    runs: npt.NDArray[np.int64],
    query_indices: npt.NDArray[np.uint32],
    query_values: npt.NDArray[np.float32],
    rows: int,
    alive_at: int,
    points_at: int,
    selected_at: int,
    capacity: int,
    k: int,
    floor: np.float32,
    best: npt.NDArray[np.uint64],
    found: int,
) -> int:
    """Offer the wanted ones of the rows before `rows` that have postings; return how many are among the best.

    runs: (runs, RUN_FIELDS). Rows of a score of no more than the k-th best, or below `floor`, are passed over. Whole blocks of rows
    are added up, list by list, and then looked through while their sums are still near.
    """
    size = len(query_indices)
    sums = np.empty(BLOCK_ROWS, np.float32)
    sums_at = sums.ctypes.data
    rows_at, weights_at, counts = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int64)
    places, cursors = np.empty(size, np.int64), np.empty(size, np.int64)
    worst = floor
    for number in range(len(runs)):
        run = runs[number]
        first, last = run[FIRST], min(run[LAST], rows)
        met = meet(run, query_indices, rows_at, weights_at, counts, places)
        if met == 0:
            continue
        cursors[:met] = 0
        for start in range(first, last, BLOCK_ROWS):
            stop = min(start + BLOCK_ROWS, last)
            sums[:] = NOTHING
            for at in range(met):
                asked = query_values[places[at]]
                if rows_at[at] == 0:
                    add_column(weights_at[at] + 4 * (start - first), stop - start, asked, sums_at)
                else:
                    cursors[at] = add_list(
                        rows_at[at], weights_at[at], cursors[at], counts[at], asked, start, stop, sums_at
                    )
            for group in range(0, stop - start, native.LANES):
                present = native.present_from(sums_at + 4 * group, worst)
                while present != 0:
                    place = group + int(native.popcount((present & -present) - np.uint64(1)))
                    present &= present - np.uint64(1)
                    score, row = sums[place], start + place
                    if row >= stop or score < worst:
                        continue
                    if is_wanted(row, alive_at, points_at, selected_at, capacity):
                        found = offer(best, found, k, score, row)
                        if found == k:
                            worst = max(worst, native.score_in(best[0]))
    return found


@native.compiled
def add_postings(
    runs: npt.NDArray[np.int64],
    query_indices: npt.NDArray[np.uint32],
    query_values: npt.NDArray[np.float32],
    rows: int,
    sums_at: int,
) -> None:
    """Add all postings to the sums of the rows before `rows`; behind them there is room for LANES more."""
    size = len(query_indices)
    rows_at, weights_at, counts = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int64)
    places = np.empty(size, np.int64)
    for number in range(len(runs)):
        run = runs[number]
        first, last = run[FIRST], min(run[LAST], rows)
        for at in range(meet(run, query_indices, rows_at, weights_at, counts, places)):
            asked = query_values[places[at]]
            if rows_at[at] == 0:
                add_column(weights_at[at], last - first, asked, sums_at + 4 * first)
            else:
                add_list(rows_at[at], weights_at[at], 0, counts[at], asked, 0, last, sums_at)


@native.compiled
def count_postings(runs: npt.NDArray[np.int64], indices: npt.NDArray[np.uint32]) -> int:
    """Count the postings that a search adds up; a column's rows cost less than those of a list."""
    size, postings = len(indices), 0
    rows_at, weights_at, counts = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int64)
    places = np.empty(size, np.int64)
    for number in range(len(runs)):
        all_rows = runs[number, LAST] - runs[number, FIRST]
        for at in range(meet(runs[number], indices, rows_at, weights_at, counts, places)):
            postings += all_rows // COLUMN_GAIN if rows_at[at] == 0 else counts[at]
    return postings


@native.compiled
def count_in_column(column_at: int, rows: int, wanted_at: int) -> int:
    """Count the wanted ones of a column's first rows that have a number."""
    count, steps = 0, rows - rows % native.LANES
    for row in range(0, steps, native.LANES):
        count += native.count_present(column_at + 4 * row, wanted_at + row)
    for row in range(steps, rows):
        if native.load_u32(column_at + 4 * row) != NOTHING_BITS and native.load_u8(wanted_at + row) != 0:
            count += 1
    return count


@native.compiled
def count_wanted(
    runs: npt.NDArray[np.int64],
    whole: npt.NDArray[np.bool_],
    indices: npt.NDArray[np.uint32],
    rows: int,
    wanted_at: int,
    wanted: npt.NDArray[np.int64],
) -> None:
    """Add to `wanted` how many wanted rows before `rows` have each index.

    whole: (runs,), set where all rows of a run are wanted. wanted_at: of (rows,), a byte for each row, not 0 if it is wanted.
    """
    size = len(indices)
    rows_at, weights_at, counts = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int64)
    places = np.empty(size, np.int64)
    for number in range(len(runs)):
        run = runs[number]
        first, last = run[FIRST], min(run[LAST], rows)
        for at in range(meet(run, indices, rows_at, weights_at, counts, places)):
            if whole[number]:
                wanted[places[at]] += counts[at]
            elif rows_at[at] == 0:
                wanted[places[at]] += count_in_column(weights_at[at], last - first, wanted_at + first)
            else:
                for posting in range(counts[at]):
                    row = native.load_i32(rows_at[at] + 4 * posting)
                    if row >= last:
                        break
                    wanted[places[at]] += 1 if native.load_u8(wanted_at + row) != 0 else 0


@native.compiled
def take_best(
    best: npt.NDArray[np.uint64], found: int, scores: npt.NDArray[np.float32], rows: npt.NDArray[np.int32]
) -> None:
    """Write the best to the outputs, best first, ties by row."""
    native.sort_best_first(best, found)
    for i in range(found):
        scores[i] = native.score_in(best[i])
        rows[i] = native.row_in(best[i])
