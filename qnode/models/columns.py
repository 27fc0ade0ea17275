"""Columns of vectors of any kind: made of single vectors, taken apart, and restricted to some of their points."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from qnode.models.operation import Column, MultiColumn, SparseColumn, VectorColumn
from qnode.models.query import AnyVector, SparseVector, Vector

Places = npt.NDArray[np.intp]
Offsets = npt.NDArray[np.int64]


def column_of(at: npt.NDArray[np.int32], vectors: Sequence[AnyVector]) -> Column:
    """Put vectors of one kind, at least one, into a column; vectors[i] is that of point at[i]."""
    first = vectors[0]
    if isinstance(first, SparseVector):
        sparse = cast("Sequence[SparseVector]", vectors)
        offsets = offsets_of([len(vector.values) for vector in sparse])
        indices, values = ([getattr(vector, name) for vector in sparse] for name in ("indices", "values"))
        return SparseColumn(at, offsets, np.concatenate(indices), np.concatenate(values))
    dense = cast("Sequence[Vector]", vectors)
    if first.ndim == 1:
        return VectorColumn(at, np.stack(dense))
    return MultiColumn(at, offsets_of([len(vector) for vector in dense]), np.concatenate(dense))


def vectors_of(column: Column) -> Iterable[AnyVector]:
    """Give the vectors of a column one by one; they are views of it."""
    if isinstance(column, VectorColumn):
        return column.values
    bounds = zip(column.offsets[:-1].tolist(), column.offsets[1:].tolist(), strict=True)
    if isinstance(column, MultiColumn):
        return (column.values[begin:end] for begin, end in bounds)
    return (SparseVector(column.indices[begin:end], column.values[begin:end]) for begin, end in bounds)


def chosen(column: Column, at: npt.NDArray[np.int32], places: Places) -> Column:
    """Take the vectors at some places of a column, and give them to the points `at`, (n,) ascending."""
    if isinstance(column, VectorColumn):
        return VectorColumn(at, column.values[places])
    offsets, taken = spread(column.offsets, places)
    if isinstance(column, MultiColumn):
        return MultiColumn(at, offsets, column.values[taken])
    return SparseColumn(at, offsets, column.indices[taken], column.values[taken])


def joined(columns: Sequence[Column]) -> Column:
    """Put columns of one kind, at least one, one behind the other; `at` counts on."""
    first = columns[0]
    if len(columns) == 1:
        return first
    at = np.arange(sum(len(column.at) for column in columns), dtype=np.int32)
    values = np.concatenate([column.values for column in columns])
    if isinstance(first, VectorColumn):
        return VectorColumn(at, values)
    pieces = cast("Sequence[MultiColumn | SparseColumn]", columns)
    offsets = offsets_of(np.concatenate([np.diff(column.offsets) for column in pieces]))
    if isinstance(first, MultiColumn):
        return MultiColumn(at, offsets, values)
    sparse = cast("Sequence[SparseColumn]", columns)
    return SparseColumn(at, offsets, np.concatenate([column.indices for column in sparse]), values)


def as_multi(column: VectorColumn | MultiColumn) -> MultiColumn:
    """See each dense vector as a multivector of one row."""
    if isinstance(column, MultiColumn):
        return column
    return MultiColumn(column.at, np.arange(len(column.at) + 1, dtype=np.int64), column.values)


def offsets_of(lengths: Sequence[int] | Offsets) -> Offsets:
    """Say where pieces of these lengths begin when they stand one after the other, and where the last one ends."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def spread(offsets: Offsets, places: Places) -> tuple[Offsets, Places]:
    """Turn pieces, given by their places, into what is in them: (the offsets of what was taken, the items taken)."""
    begins, lengths = offsets[places], offsets[places + 1] - offsets[places]
    made = offsets_of(lengths)
    return made, np.arange(made[-1], dtype=np.intp) + np.repeat(begins - made[:-1], lengths)


def size_bytes(column: Column) -> int:
    """Tell how much memory a column keeps."""
    return sum(getattr(column, name).nbytes for name in type(column).__slots__)
