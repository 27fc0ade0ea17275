"""What follows the search of the segments, compiled: one list of winners of all of them, and their points' records."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qnode.index.vectors import native


@native.compiled
def take(
    found: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int32],
    points_at: int,
    op_nums_at: int,
    scores: npt.NDArray[np.float32],
    numbers: npt.NDArray[np.uint32],
    ops: npt.NDArray[np.uint64],
    known: int,
) -> int:
    """Merge what a segment gave into the winners, as many as there is room for; return how many there are now.

    found, rows: (n,), best first. points_at, op_nums_at: the segment's arrays. scores, numbers, ops: (k,), the first
    `known` filled, best first; of equal ones those come first that were there before.
    """
    total = min(known + len(rows), len(scores))
    kept, taken = 0, 0
    while kept + taken < total:
        if kept < known and (taken == len(rows) or not found[taken] > scores[kept]):
            kept += 1
        else:
            taken += 1
    for at in range(total - 1, -1, -1):  # from behind, so that nothing is overwritten that is still needed
        if taken == 0:
            break
        if kept > 0 and found[taken - 1] > scores[kept - 1]:
            kept -= 1
            scores[at], numbers[at], ops[at] = scores[kept], numbers[kept], ops[kept]
        else:
            taken -= 1
            row = np.int64(rows[taken])
            scores[at] = found[taken]
            numbers[at] = native.load_u32(points_at + 4 * row)
            ops[at] = native.load_u64(op_nums_at + 8 * row)
    return total


@native.compiled
def copy_heads(
    numbers: npt.NDArray[np.uint32],
    ops: npt.NDArray[np.uint64],
    records_at: int,
    record_bytes: int,
    records: int,
    op_offset: int,
    head_bytes: int,
    heads: npt.NDArray[np.uint8],
) -> bool:
    """Copy the first bytes of each point's record to `heads`, (n * head_bytes,), in the order of the points.

    records_at: `records` records of `record_bytes`, by point number; at `op_offset` stands the operation that set the
    vector. False if that is not the one in `ops`.
    """
    written = 0
    for i in range(len(numbers)):
        point = np.int64(numbers[i])
        if point >= records:
            return False
        record = records_at + point * record_bytes
        if native.load_u64(record + op_offset) != ops[i]:
            return False
        for j in range(head_bytes):
            heads[written + j] = native.load_u8(record + j)
        written += head_bytes
    return True
