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
"""Posting lists are added up for so many rows at a time: their sums stay in the nearest caches."""

GROUP_ROWS = 64
"""So many sums are looked at together, since nearly all are too small."""

ROW_COST = 200
"""To score a row by its own numbers costs as much as so many postings do."""


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
def reach(rows_at: int, cursor: int, count: int, row: int) -> int:
    """Return the first place from `cursor` on of a posting list whose row is `row` or larger."""
    step, low = 1, cursor
    high = cursor
    while high < count and native.load_i32(rows_at + 4 * high) < row:
        low = high + 1
        high += step
        step <<= 1
    high = min(high, count)
    while low < high:
        middle = (low + high) >> 1
        if native.load_i32(rows_at + 4 * middle) < row:
            low = middle + 1
        else:
            high = middle
    return low


@native.compiled
def add(rows_at: int, weights_at: int, begin: int, end: int, asked: np.float32, first: int, sums_at: int) -> None:
    """Add a piece of a posting list to the sums of rows from `first` on."""
    base = sums_at - 4 * first
    for at in range(begin, end):
        sum_at = base + 4 * native.load_i32(rows_at + 4 * at)
        product = np.float32(asked * native.load_f32(weights_at + 4 * at))
        native.store_f32(sum_at, np.float32(native.load_f32(sum_at) + np.float32(product + ZERO)))


@native.compiled
def count_from(sums: npt.NDArray[np.float32], first: int, last: int, least: np.float32) -> int:
    """Count the sums in [first, last) that are no smaller than `least`; compiled to vector instructions."""
    count, piece = 0, sums[first:last]
    for place in range(len(piece)):
        count += 1 if piece[place] >= least else 0
    return count


@native.compiled
def split(
    limits: npt.NDArray[np.float32],
    order: npt.NDArray[np.int64],
    worst: np.float32,
    slack: float,
    late: npt.NDArray[np.bool_],
) -> float:
    """Choose the lists that alone cannot lift a row above `worst`, those first that come first in `order`.

    limits: what each can add at most. late: set for them. Returns what they can add together, 0 if there are none.
    """
    late[:] = False
    total = 0.0
    for number in order:
        if not total + limits[number] + slack < worst:
            break
        total += limits[number]
        late[number] = True
    return total


@native.compiled
def search_postings(
    offsets_at: int,
    indices_at: int,
    values_at: int,
    query_indices: npt.NDArray[np.uint32],
    query_values: npt.NDArray[np.float32],
    rows_at: npt.NDArray[np.int64],
    weights_at: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    asked: npt.NDArray[np.float32],
    limits: npt.NDArray[np.float32],
    order: npt.NDArray[np.int64],
    slack: float,
    first: int,
    last: int,
    alive_at: int,
    points_at: int,
    selected_at: int,
    capacity: int,
    k: int,
    floor: np.float32,
    best: npt.NDArray[np.uint64],
    found: int,
) -> int:
    """Offer the wanted ones of rows [first, last), by the posting lists of the query's indices, which ascend.

    rows_at, weights_at, counts, asked: (lists,), of each list, whose rows ascend and begin at `first` or behind, and the
    query's value. limits, order: see `split`; slack: how much sums in two orders can differ. Rows of a score of no more
    than the k-th best, or below `floor`, are passed over. Returns how many are among the best.

    Lists that cannot lift a row above the k-th best (max score, Turtle & Flood 1995) are left out of a block's sums, as
    long as few rows might be lifted by them together with the others; what remains is scored by its own numbers.
    """
    sums = np.empty(BLOCK_ROWS, np.float32)
    sums_at = sums.ctypes.data
    cursors, late = np.zeros(len(counts), np.int64), np.zeros(len(counts), np.bool_)
    worst = floor
    if found == k:
        worst = max(worst, native.score_in(best[0]))
    for start in range(first, last, BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, last)
        sums[: stop - start] = NOTHING
        lifted = split(limits, order, worst, slack, late)
        for number in range(len(counts)):
            if not late[number]:
                end = reach(rows_at[number], cursors[number], counts[number], stop)
                add(rows_at[number], weights_at[number], cursors[number], end, asked[number], start, sums_at)
                cursors[number] = end
        is_partial = bool(late.any())
        least = worst
        if is_partial:
            least = np.float32(worst - lifted - slack)
            postings = 0
            for number in range(len(counts)):
                if late[number]:
                    cursors[number] = reach(rows_at[number], cursors[number], counts[number], start)
                    postings += min(counts[number] - cursors[number], stop - start)
            if count_from(sums, 0, stop - start, least) * ROW_COST > postings:
                for number in range(len(counts)):
                    if late[number]:
                        end = reach(rows_at[number], cursors[number], counts[number], stop)
                        add(rows_at[number], weights_at[number], cursors[number], end, asked[number], start, sums_at)
                        cursors[number] = end
                least = np.float32(worst - slack)
        for group in range(0, stop - start, GROUP_ROWS):
            group_end = min(group + GROUP_ROWS, stop - start)
            if count_from(sums, group, group_end, least) == 0:
                continue
            for place in range(group, group_end):
                score, row = sums[place], start + place
                if score < least or native.bits_of(score) == NOTHING_BITS:
                    continue
                if not is_wanted(row, alive_at, points_at, selected_at, capacity):
                    continue
                if is_partial:
                    offset_at = offsets_at + 8 * row
                    begin, end = native.load_i64(offset_at), native.load_i64(offset_at + 8)
                    score = dot(indices_at, values_at, begin, end, query_indices, query_values)
                found = offer(best, found, k, score, row)
                if found == k:
                    worst = max(worst, native.score_in(best[0]))
                    if not is_partial:
                        least = worst
    return found


@native.compiled
def add_postings(
    rows_at: npt.NDArray[np.int64],
    weights_at: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    asked: npt.NDArray[np.float32],
    last: int,
    sums_at: int,
) -> None:
    """Add all posting lists to the sums of rows [0, last)."""
    for number in range(len(counts)):
        end = reach(rows_at[number], 0, counts[number], last)
        add(rows_at[number], weights_at[number], 0, end, asked[number], 0, sums_at)


@native.compiled
def count_wanted(
    rows_at: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    last: int,
    alive_at: int,
    points_at: int,
    selected_at: int,
    capacity: int,
    wanted: npt.NDArray[np.int64],
) -> None:
    """Add to `wanted` how many wanted rows before `last` are in each posting list."""
    for number in range(len(counts)):
        for at in range(counts[number]):
            row = native.load_i32(rows_at[number] + 4 * at)
            if row >= last:
                break
            if is_wanted(row, alive_at, points_at, selected_at, capacity):
                wanted[number] += 1


@native.compiled
def take_best(
    best: npt.NDArray[np.uint64], found: int, scores: npt.NDArray[np.float32], rows: npt.NDArray[np.int32]
) -> None:
    """Write the best to the outputs, best first, ties by row."""
    native.sort_best_first(best, found)
    for i in range(found):
        scores[i] = native.score_in(best[i])
        rows[i] = native.row_in(best[i])


@native.compiled
def scatter(
    lists: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    values: npt.NDArray[np.float32],
    first_row: int,
    cursors: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int32],
    weights: npt.NDArray[np.float32],
) -> None:
    """Put the numbers of rows from `first_row` on behind what their posting lists hold already.

    lists: (n,) of each number its list. offsets: (rows + 1,). cursors: where each list goes on; they advance.
    """
    for row in range(len(offsets) - 1):
        for at in range(offsets[row], offsets[row + 1]):
            place = cursors[lists[at]]
            cursors[lists[at]] = place + 1
            rows[place] = first_row + row
            weights[place] = values[at]


@native.compiled
def ascend_within(starts: npt.NDArray[np.int64], values_at: int, end: int) -> bool:
    """Whether in each piece [starts[i], starts[i + 1]) the integers ascend strictly, and all are below `end`; end 0: any."""
    for i in range(len(starts) - 1):
        before = np.int64(-1)
        for at in range(starts[i], starts[i + 1]):
            value = native.load_u32(values_at + 4 * at)
            if value <= before or (end != 0 and value >= end):
                return False
            before = value
    return True
