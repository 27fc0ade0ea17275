"""Which rows of a segment may be among the best k, from their sketches alone.

First the similarity that each row may have at most is written down (`sketches` has the formula): its reach. Then the k
wanted rows that reach farthest are scored exactly: nearly no other row beats the least of these scores, and only rows
that reach it are listed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qnode.index.vectors import lookups, native
from qnode.index.vectors.lookups import BLOCK_ROWS, LARGEST_ENTRY, LARGEST_SUM, TABLE_BYTES
from qnode.index.vectors.scoring import score
from qnode.index.vectors.sketches import block_bytes
from qnode.index.vectors.traverse import is_wanted


@native.compiled
def fill_tables(turned_at: int, centre_at: int, padded: int, work_at: int) -> tuple[float, float, float]:
    """Write a table of 16 bytes for every four dimensions of turned - centre. work: 8 * padded bytes, the tables first.

    Returns (step, offset, square): step · sum of entries + offset is no less than the true sum, and how long the vector is.
    """
    groups = padded // 4
    values_at = work_at + 4 * padded
    widest, square = 0.0, 0.0
    for group in range(groups):
        width = 0.0
        for i in range(4 * group, 4 * group + 4):
            value = native.load_f32(turned_at + 4 * i) - native.load_f32(centre_at + 4 * i)
            native.store_f32(values_at + 4 * i, value)
            width += abs(np.float64(value))
            square += np.float64(value) * np.float64(value)
        widest = max(widest, 2 * width)
    top = min(LARGEST_ENTRY, LARGEST_SUM // groups)
    step = np.float32(widest / (top - 0.49)) if widest > 0 else np.float32(1)
    offset = 0.0
    for group in range(groups):
        least, missed = lookups.fill_table(values_at + 16 * group, step, work_at + TABLE_BYTES * group)
        offset += np.float64(least) + np.float64(missed)
    return np.float64(step), offset, square


@native.compiled
def reach_all(
    blocks_at: int,
    blocks: int,
    padded: int,
    tables_at: int,
    step: float,
    offset: float,
    spread: float,
    base: float,
    reaches_at: int,
    tops_at: int,
) -> None:
    """Write each row's reach, (64 · blocks,) float32, and the largest of each block."""
    width = padded // 8
    for block in range(blocks):
        at = blocks_at + block * block_bytes(padded)
        factors_at = at + BLOCK_ROWS * width
        constants_at = factors_at + 4 * BLOCK_ROWS
        widest = np.float64(native.load_f32(constants_at + 4 * BLOCK_ROWS))
        top = lookups.reach_block(
            at,
            tables_at,
            width,
            factors_at,
            constants_at,
            np.float32(step),
            np.float32(offset + spread * widest),
            np.float32(base),
            reaches_at + 4 * BLOCK_ROWS * block,
        )
        native.store_f32(tops_at + 4 * block, top)


@native.compiled
def farthest(
    blocks: int,
    reaches_at: int,
    tops_at: int,
    alive_at: int,
    points_at: int,
    selected_at: int,
    capacity: int,
    k: int,
    floor: float,
    best: npt.NDArray[np.uint64],
) -> int:
    """Leave the k wanted rows that reach farthest, and no less than `floor`, in `best`, as a heap; return how many."""
    found = 0
    least = np.float32(floor)
    for block in range(blocks):
        if native.load_f32(tops_at + 4 * block) < least:
            continue
        rest = lookups.reaching(reaches_at + 4 * BLOCK_ROWS * block, least)
        while rest != 0:
            row = BLOCK_ROWS * block + lookups.lowest_bit(rest)
            rest &= rest - np.uint64(1)
            key = native.key_of(native.load_f32(reaches_at + 4 * row), row)
            if found == k and key <= best[0]:
                continue
            if not is_wanted(row, alive_at, points_at, selected_at, capacity):
                continue
            if found < k:
                native.push(best, found, key)
                found += 1
            else:
                native.replace_first(best, found, key)
            if found == k:
                least = native.score_in(best[0])
    return found


@native.compiled
def list_reaching(
    blocks: int,
    reaches_at: int,
    tops_at: int,
    least: float,
    alive_at: int,
    points_at: int,
    selected_at: int,
    capacity: int,
    list_at: int,
    count: int,
) -> int:
    """Add the wanted rows that reach `least` to a list of `count` rows; return how many it has then."""
    for block in range(blocks):
        if native.load_f32(tops_at + 4 * block) < least:
            continue
        rest = lookups.reaching(reaches_at + 4 * BLOCK_ROWS * block, np.float32(least))
        while rest != 0:
            row = BLOCK_ROWS * block + lookups.lowest_bit(rest)
            rest &= rest - np.uint64(1)
            if is_wanted(row, alive_at, points_at, selected_at, capacity):
                native.store_i32(list_at + 4 * count, np.int32(row))
                count += 1
    return count


@native.compiled
def shortlist(
    kind: int,
    function: int,
    vectors_at: int,
    stride: int,
    dimensions: int,
    factor: float,
    query_at: int,
    sketched_rows: int,
    blocks_at: int,
    padded: int,
    centre_at: int,
    turned_centre_at: int,
    centre_length: float,
    longest: float,
    floats_at: int,
    turned_at: int,
    query_length: float,
    euclid: bool,
    certainty: float,
    slack: float,
    floor: float,
    rows: int,
    alive_at: int,
    points_at: int,
    selected_at: int,
    capacity: int,
    k: int,
    best: npt.NDArray[np.uint64],
    work_at: int,
    reaches_at: int,
    list_at: int,
    cell: int,
) -> int:
    """List the wanted rows that may be among the best k and score no less than `floor`, then those without sketches.

    floats: the query as float32; turned: the same rotated. work: 8 * padded bytes; reaches: 8 * rows. Returns how many rows
    are listed; none is listed twice, and those that reach farthest come first.
    """
    blocks = sketched_rows // BLOCK_ROWS
    tops_at = reaches_at + 4 * sketched_rows
    step, offset, square = fill_tables(turned_at, turned_centre_at, padded, work_at)
    away = np.sqrt(square)
    spread = certainty * away * np.sqrt(padded / (padded - 1.0))
    if euclid:
        length = centre_length + longest + away
        base = slack * length * length - square
        reach_all(blocks_at, blocks, padded, work_at, 2 * step, 2 * offset, 2 * spread, base, reaches_at, tops_at)
    else:
        base = slack * (centre_length + longest) * (centre_length + query_length)
        base += np.float64(native.dot_f32(centre_at, floats_at, dimensions))
        reach_all(blocks_at, blocks, padded, work_at, step, offset, spread, base, reaches_at, tops_at)
    count = farthest(blocks, reaches_at, tops_at, alive_at, points_at, selected_at, capacity, k, floor, best)
    worst = np.inf
    for j in range(count):
        row = native.row_in(best[j])
        worst = min(
            worst, np.float64(score(kind, function, vectors_at + row * stride, query_at, dimensions, factor, cell))
        )
        native.store_i32(list_at + 4 * j, np.int32(row))
        native.store_f32(reaches_at + 4 * row, np.float32(np.nan))  # so that it is not listed again
    if count == k:  # else all that reach the floor are listed
        count = list_reaching(
            blocks, reaches_at, tops_at, max(worst, floor), alive_at, points_at, selected_at, capacity, list_at, count
        )
    for row in range(sketched_rows, rows):
        native.store_i32(list_at + 4 * count, np.int32(row))
        count += 1
    return count
