"""The compiled loops that make posting lists and columns out of rows, or out of others, and check them.

Where the numbers of an index go on is one integer, its home: a place in the lists' arrays, which advances; or -1 - c for column c.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qnode.index.sparse.kernel import (
    COLUMN_BYTES,
    COLUMNS_AT,
    DIMS,
    DIMS_AT,
    FIRST,
    HEAVY,
    HEAVY_AT,
    HELD_AT,
    LAST,
    NOTHING_BITS,
    ROWS_AT,
    STARTS_AT,
    WEIGHTS_AT,
    ZERO,
    place_in,
)
from qnode.index.vectors import native


@native.compiled
def put(
    home: int,
    row: int,
    weight: np.float32,
    first: int,
    rows: npt.NDArray[np.int32],
    weights: npt.NDArray[np.float32],
    columns: npt.NDArray[np.float32],
) -> int:
    """Put a number where it belongs, in a run that begins at row `first`; return where its index goes on."""
    if home < 0:
        columns[-1 - home, row - first] = np.float32(weight + ZERO)  # a negative zero would be no weight
        return home
    rows[home], weights[home] = row, weight
    return home + 1


@native.compiled
def scatter(
    lists: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    values: npt.NDArray[np.float32],
    first_row: int,
    homes: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int32],
    weights: npt.NDArray[np.float32],
    columns: npt.NDArray[np.float32],
) -> None:
    """Put the numbers of rows from `first_row` on, of a run that begins at row 0, behind what is there already.

    lists: (n,) of each number which of the homes its index has; they advance. offsets: (rows + 1,).
    """
    for row in range(len(offsets) - 1):
        for at in range(offsets[row], offsets[row + 1]):
            homes[lists[at]] = put(homes[lists[at]], first_row + row, values[at], 0, rows, weights, columns)


@native.compiled
def count_numbers(run: npt.NDArray[np.int64], dims: npt.NDArray[np.uint32], counts: npt.NDArray[np.int64]) -> None:
    """Add to `counts` how many rows of a run have each of these ascending indices; they include all of the run's."""
    place = 0
    for at in range(run[DIMS]):
        place = place_in(dims.ctypes.data, place, len(dims), native.load_u32(run[DIMS_AT] + 4 * at))
        start_at = run[STARTS_AT] + 8 * at
        counts[place] += native.load_i64(start_at + 8) - native.load_i64(start_at)
    place = 0
    for at in range(run[HEAVY]):
        place = place_in(dims.ctypes.data, place, len(dims), native.load_u32(run[HEAVY_AT] + 4 * at))
        counts[place] += native.load_i64(run[HELD_AT] + 8 * at)


@native.compiled
def move(
    run: npt.NDArray[np.int64],
    dims: npt.NDArray[np.uint32],
    first: int,
    homes: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int32],
    weights: npt.NDArray[np.float32],
    columns: npt.NDArray[np.float32],
) -> None:
    """Put the numbers of a run behind what is there already of a longer one, which begins at row `first`; dims: (homes,)."""
    place = 0
    for at in range(run[DIMS]):
        place = place_in(dims.ctypes.data, place, len(dims), native.load_u32(run[DIMS_AT] + 4 * at))
        start_at, home = run[STARTS_AT] + 8 * at, homes[place]
        for posting in range(native.load_i64(start_at), native.load_i64(start_at + 8)):
            row, weight = native.load_i32(run[ROWS_AT] + 4 * posting), native.load_f32(run[WEIGHTS_AT] + 4 * posting)
            home = put(home, row, weight, first, rows, weights, columns)
        homes[place] = home
    place = 0
    for at in range(run[HEAVY]):
        place = place_in(dims.ctypes.data, place, len(dims), native.load_u32(run[HEAVY_AT] + 4 * at))
        column_at, home = run[COLUMNS_AT] + at * run[COLUMN_BYTES], homes[place]
        for row in range(run[LAST] - run[FIRST]):
            if native.load_u32(column_at + 4 * row) != NOTHING_BITS:
                weight = native.load_f32(column_at + 4 * row)
                home = put(home, run[FIRST] + row, weight, first, rows, weights, columns)
        homes[place] = home


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
