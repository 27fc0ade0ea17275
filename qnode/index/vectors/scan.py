"""The exact scan: the best k of all rows, or of a list of rows; exact whatever it skips.

Where rows have int8 codes with bounds, a row is scored exactly only if its bound reaches the k-th best so far:
with x = x̂ + e and q = q̂ + g,  |x·q - x̂·q̂| ≤ |e||q| + |x̂||g|, and |x̂| ≤ |x| + |e|.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qnode.index.vectors import native
from qnode.index.vectors.codes import BOUND_BYTES
from qnode.index.vectors.combining import score_row
from qnode.index.vectors.traverse import fetch, is_wanted

AHEAD = 12
"""How many rows before its turn a listed row is fetched."""


@native.compiled
def reach(
    bounds_at: int,
    row: int,
    product: int,
    euclid: bool,
    query_scale: float,
    query_missed: float,
    query_length: float,
    slack: float,
) -> float:
    """Return what the row's exact similarity cannot exceed, given the dot product of the codes."""
    at = bounds_at + BOUND_BYTES * row
    scale = np.float64(native.load_f32(at))
    missed = np.float64(native.load_f32(at + 4))
    length = np.float64(native.load_f32(at + 8))
    dot = scale * query_scale * product
    error = missed * query_length + (length + missed) * query_missed
    if euclid:
        longest = length + query_length
        return float(2 * (dot + error) - length * length - query_length * query_length + slack * longest * longest)
    return float(dot + error + slack * length * query_length)


@native.compiled
def scan(
    kind: int,
    function: int,
    vectors_at: int,
    stride: int,
    dimensions: int,
    factor: float,
    query_at: int,
    coded_rows: int,
    codes_at: int,
    code_stride: int,
    code_function: int,
    code_query_at: int,
    bounds_at: int,
    euclid: bool,
    query_scale: float,
    query_missed: float,
    query_length: float,
    slack: float,
    list_at: int,
    count: int,
    alive_at: int,
    points_at: int,
    selected_at: int,
    capacity: int,
    k: int,
    floor: float,
    best: npt.NDArray[np.uint64],
    out_scores: npt.NDArray[np.float32],
    out_rows: npt.NDArray[np.int32],
    cell: int,
) -> int:
    """Write the best k wanted rows to the outputs; return how many. list_at 0: rows [0, count), else a list of rows.

    Rows below `coded_rows` have codes and bounds. Rows that score less than `floor` may be left out.
    """
    found = 0
    worst = floor
    for i in range(count):
        row = i
        if list_at != 0:
            row = native.load_i32(list_at + 4 * i)
            if i + AHEAD < count:
                later = native.load_i32(list_at + 4 * (i + AHEAD))
                at, length = vectors_at + later * stride, stride
                if later < coded_rows:
                    at, length = codes_at + later * code_stride, code_stride
                    native.prefetch(bounds_at + BOUND_BYTES * later)
                fetch(at, length)
        if not is_wanted(row, alive_at, points_at, selected_at, capacity):
            continue
        if row < coded_rows and (found == k or floor > -np.inf):
            native.call(code_function, codes_at + row * code_stride, code_query_at, dimensions, cell)
            product = native.load_i32(cell)
            limit = reach(bounds_at, row, product, euclid, query_scale, query_missed, query_length, slack)
            if limit < worst:
                continue
        s = score_row(kind, function, vectors_at + row * stride, query_at, dimensions, factor, cell)
        key = native.key_of(s, row)
        if found < k:
            native.push(best, found, key)
            found += 1
        elif key > best[0]:
            native.replace_first(best, found, key)
        if found == k:
            worst = max(floor, np.float64(native.score_in(best[0])))
    native.sort_best_first(best, found)
    for j in range(found):
        out_scores[j] = native.score_in(best[j])
        out_rows[j] = native.row_in(best[j])
    return found


@native.compiled
def list_selected(selected_at: int, capacity: int, points_at: int, rows: int, list_at: int) -> int:
    """List the rows whose points are selected, ascending; points ascend. Returns how many.

    Runs over the selection by words, so it is cheap where few points are selected.
    """
    found = 0
    low = 0
    whole = capacity >> 3
    for word in range(whole + 1):
        start = word << 3
        if word < whole and native.load_u64(selected_at + start) == 0:
            continue
        for point in range(start, min(start + 8, capacity)):
            if native.load_u8(selected_at + point) == 0:
                continue
            step = 1
            high = low
            while high < rows and native.load_u32(points_at + 4 * high) < point:
                low = high + 1
                high = high + step
                step = step * 2
            high = min(high, rows)
            while low < high:
                middle = (low + high) >> 1
                if native.load_u32(points_at + 4 * middle) < point:
                    low = middle + 1
                else:
                    high = middle
            if low == rows:
                return found
            if native.load_u32(points_at + 4 * low) == point:
                native.store_i32(list_at + 4 * found, np.int32(low))
                found += 1
    return found
