"""The segments of any kind of vector: made, opened, and appended to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from qnode.index.sparse import SparseGrowing, SparseSealed
from qnode.index.store import Numbers
from qnode.index.vectors import GrowingSegment, SealedSegment
from qnode.models.operation import Column, MultiColumn, SparseColumn
from qnode.models.vector_params import SlotParams, SparseParams

Dense = GrowingSegment | SealedSegment
Sparse = SparseGrowing | SparseSealed
Growing = GrowingSegment | SparseGrowing
Sealed = SealedSegment | SparseSealed
Segment = Growing | Sealed

OpNums = npt.NDArray[np.uint64]


def create_growing(folder: Path, params: SlotParams) -> Growing:
    """Make an empty segment; the folder must not exist."""
    if isinstance(params, SparseParams):
        return SparseGrowing.create(folder, params)
    return GrowingSegment.create(folder, params)


def open_growing(folder: Path, params: SlotParams, rows: int, *, read_only: bool, for_search: bool = True) -> Growing:
    """Open with the first `rows` rows; raise Corruption if there are not so many."""
    if isinstance(params, SparseParams):
        return SparseGrowing.open(folder, params, rows, read_only=read_only, for_search=for_search)
    return GrowingSegment.open(folder, params, rows, read_only=read_only, for_search=for_search)


def open_sealed(folder: Path, params: SlotParams, *, verify: bool) -> Sealed:
    """Map a segment; raise Corruption naming the damaged file. verify: check the contents of all files too."""
    if isinstance(params, SparseParams):
        return SparseSealed.open(folder, params, verify=verify)
    return SealedSegment.open(folder, params, verify=verify)


def append(segment: Growing, numbers: Numbers, ops: OpNums, column: Column) -> tuple[int, int]:
    """Append the vectors of points, set by `ops`, and make them durable; give the first new row, and the one behind the last."""
    if isinstance(segment, SparseGrowing):
        assert isinstance(column, SparseColumn)
        first = segment.append(numbers, ops, column)
        return first, first + len(numbers)
    assert not isinstance(column, SparseColumn)
    if isinstance(column, MultiColumn):
        lengths = np.diff(column.offsets)
        numbers, ops = np.repeat(numbers, lengths), np.repeat(ops, lengths)
    first = segment.append(numbers, ops, column.values)
    return first, first + len(numbers)
