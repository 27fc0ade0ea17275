"""From found rows to their points' records, in one compiled step: the way of a search that returns ids and scores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qnode.index.vectors import native


@native.compiled
def copy_heads(
    rows: npt.NDArray[np.int32],
    points_at: int,
    op_nums_at: int,
    records_at: int,
    record_bytes: int,
    records: int,
    op_offset: int,
    head_bytes: int,
    heads: npt.NDArray[np.uint8],
) -> bool:
    """Copy the first bytes of the record of each row's point to `heads`, (n * head_bytes,), in the order of the rows.

    points_at, op_nums_at: a segment's arrays. records_at: `records` records of `record_bytes`, by point number; at
    `op_offset` stands the operation that set the vector. False if a row is not its point's current one.
    """
    written = 0
    for row in rows:
        point = native.load_u32(points_at + 4 * np.int64(row))
        if point >= records:
            return False
        record = records_at + point * record_bytes
        if native.load_u64(record + op_offset) != native.load_u64(op_nums_at + 8 * np.int64(row)):
            return False
        for i in range(head_bytes):
            heads[written + i] = native.load_u8(record + i)
        written += head_bytes
    return True
