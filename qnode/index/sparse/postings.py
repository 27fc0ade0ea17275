"""Sparse rows in two forms, and the exact search of them.

The forward form has the numbers of each row, the inverted one, `Postings`, has for each index the rows that have it: in a list, or,
if they are many, in a column of all rows, which is added up by vector instructions. A segment
is searched by its postings where it has them, and by the forward form where that is less work: a growing segment's last
rows, and rows of a narrow filter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from qnode.index.sparse import inverting, kernel
from qnode.index.vectors.native import LANES, address_of
from qnode.index.vectors.scan import list_selected
from qnode.models.columns import offsets_of
from qnode.models.query import SparseVector

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Offsets = npt.NDArray[np.int64]

HEAVY_SHARE = 4
"""An index that one of so many rows has, or more, gets a column instead of a list."""

LISTED_COST = 3
"""To compare a number of a row with a query costs so many times what a posting does."""


@dataclass(frozen=True, slots=True, eq=False)
class Postings:
    """The inverted form of rows [first, last): of each index a list of the rows that have it, or a column of all rows.

    dims: (lists,) uint32 ascending. starts: (lists + 1,) where the list of each begins in `rows`, (nnz,) int32 ascending within a
    list, and in `weights`, (nnz,) float32. heavy: (columns,) uint32 ascending, none of them in `dims`. held: (columns,) how many
    rows have each. columns: (columns, `padded(last - first)`) float32, NOTHING where a row does not have the index.
    """

    first: int
    last: int
    dims: npt.NDArray[np.uint32]
    starts: Offsets
    rows: npt.NDArray[np.int32]
    weights: Floats
    heavy: npt.NDArray[np.uint32]
    held: Offsets
    columns: Floats

    @property
    def fields(self) -> tuple[int, ...]:
        """Describe it as kernels want it."""
        lists = (address_of(self.dims), len(self.dims), address_of(self.starts))
        numbers = (address_of(self.rows), address_of(self.weights))
        heavy = (address_of(self.heavy), len(self.heavy), address_of(self.held))
        columns = (address_of(self.columns), 4 * self.columns.shape[1])
        return (self.first, self.last, *lists, *numbers, *heavy, *columns)


NO_COLUMNS = (np.empty(0, np.uint32), np.empty(0, np.int64), np.empty((0, 0), np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Inverted:
    """Postings of the first rows of a segment, one behind the other. table: (runs, RUN_FIELDS) int64, what kernels see of them."""

    runs: tuple[Postings, ...]
    table: npt.NDArray[np.int64]

    @classmethod
    def of(cls, *runs: Postings) -> Inverted:
        table = np.array([run.fields for run in runs], np.int64).reshape(len(runs), kernel.RUN_FIELDS)
        return cls(runs, table)

    @property
    def last(self) -> int:
        """The first row that has no postings."""
        return self.runs[-1].last if self.runs else 0


def padded(rows: int) -> int:
    """How many numbers a column of so many rows has."""
    return -(-rows // LANES) * LANES


def homes_of(counts: Offsets, rows: int) -> tuple[npt.NDArray[np.bool_], Offsets, Offsets]:
    """Give each index, of which so many rows have it, a list or a column: which are heavy, where lists begin, the homes."""
    heavy = counts * HEAVY_SHARE >= rows
    starts = offsets_of(counts[~heavy])
    homes = np.empty(len(counts), np.int64)
    homes[~heavy] = starts[:-1]
    homes[heavy] = -1 - np.arange(np.count_nonzero(heavy))
    return heavy, starts, homes


def postings_of(first: int, lengths: Offsets, indices: npt.NDArray[np.uint32], values: Floats) -> Postings:
    """Invert rows from `first` on, into lists alone; lengths: how many numbers each has."""
    rows = np.repeat(np.arange(first, first + len(lengths), dtype=np.int32), lengths)
    order = np.argsort(indices, kind="stable")
    ordered = indices[order]
    begins = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])
    starts = np.append(begins, len(ordered)).astype(np.int64)
    last = first + len(lengths)
    return Postings(first, last, ordered[begins], starts, rows[order], values[order], *NO_COLUMNS)


def joined(parts: Sequence[Postings]) -> Postings:
    """Put the postings of rows together that follow each other."""
    assert all(part.last == behind.first for part, behind in pairwise(parts))
    first, last = parts[0].first, parts[-1].last
    dims = np.unique(np.concatenate([array for part in parts for array in (part.dims, part.heavy)]))
    counts = np.zeros(len(dims), np.int64)
    table = Inverted.of(*parts).table
    for run in table:
        inverting.count_numbers(run, dims, counts)
    heavy, starts, homes = homes_of(counts, last - first)
    rows, weights = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.float32)
    columns = np.full((np.count_nonzero(heavy), padded(last - first)), kernel.NOTHING, np.float32)
    for run in table:
        inverting.move(run, dims, first, homes, rows, weights, columns)
    return Postings(first, last, dims[~heavy], starts, rows, weights, dims[heavy], counts[heavy], columns)


@dataclass(frozen=True, slots=True, eq=False)
class Forward:
    """Rows by their own numbers. offsets: (rows + 1,); indices: (nnz,) uint32, ascending within a row; values: (nnz,) float32."""

    offsets: Offsets
    indices: npt.NDArray[np.uint32]
    values: Floats

    @property
    def addresses(self) -> tuple[int, int, int]:
        return address_of(self.offsets), address_of(self.indices), address_of(self.values)

    def read(self, rows: npt.NDArray[np.int64]) -> list[SparseVector]:
        """Return copies of vectors."""
        bounds = zip(self.offsets[rows].tolist(), self.offsets[rows + 1].tolist(), strict=True)
        return [SparseVector(self.indices[begin:end].copy(), self.values[begin:end].copy()) for begin, end in bounds]

    def score(self, query: SparseVector, rows: npt.NDArray[np.int64]) -> Floats:
        """Return the scores of rows; NOTHING of those that have no index in common with the query."""
        scores = np.empty(len(rows), np.float32)
        kernel.score_rows(*self.addresses, rows, query.indices, query.values, scores)
        return scores


@dataclass(frozen=True, slots=True, eq=False)
class SparseView:
    """A segment in one state. points: (rows,). inverted: postings of its first rows; perhaps of more rows than there are."""

    rows: int
    points: npt.NDArray[np.uint32]
    forward: Forward
    inverted: Inverted
    ascending: bool

    @property
    def inverted_rows(self) -> int:
        """How many rows, from the first on, have postings."""
        return min(self.inverted.last, self.rows)


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """Which rows of a segment may be found. alive: (rows,). selected: (capacity,) by point number, None for all."""

    alive: Mask
    selected: Mask | None
    selected_count: int

    def addresses(self, view: SparseView) -> tuple[int, int, int, int]:
        if self.selected is None:
            return address_of(self.alive), address_of(view.points), 0, 0
        return address_of(self.alive), address_of(view.points), address_of(self.selected), len(self.selected)

    def rows(self, view: SparseView) -> npt.NDArray[np.int64]:
        """List them."""
        alive = self.alive[: view.rows]
        if self.selected is None:
            return np.flatnonzero(alive)
        points = view.points[: view.rows]
        inside = alive & (points < len(self.selected))
        inside[inside] = self.selected[points[inside]]
        return np.flatnonzero(inside)


def search(
    view: SparseView, query: SparseVector, k: int, wanted: Wanted, floor: float
) -> tuple[Floats, npt.NDArray[np.int32]]:
    """Return (scores, rows) of the best k wanted rows that have an index in common with the query, best first, ties by row.

    Rows that score less than `floor` may be left out.
    """
    best, found = np.empty(max(k, 1), np.uint64), 0
    where, asked = wanted.addresses(view), (query.indices, query.values)
    if k and len(query.indices):
        if (listed := _listed(view, wanted, query)) is not None:
            found = kernel.search_rows(
                *view.forward.addresses, address_of(listed), 0, len(listed), *asked, *where, k, best, found
            )
        else:
            least = np.float32(floor)
            found = kernel.search_postings(view.inverted.table, *asked, view.rows, *where, k, least, best, found)
            if (first := view.inverted_rows) < view.rows:
                found = kernel.search_rows(*view.forward.addresses, 0, first, view.rows, *asked, *where, k, best, found)
    scores, rows = np.empty(found, np.float32), np.empty(found, np.int32)
    kernel.take_best(best, found, scores, rows)
    return scores, rows


def _listed(view: SparseView, wanted: Wanted, query: SparseVector) -> npt.NDArray[np.int32] | None:
    """List the selected rows, ascending, if to score them one by one is less work than the postings are."""
    if wanted.selected is None:
        return None
    each = len(view.forward.indices) / max(view.rows, 1)
    work = kernel.count_postings(view.inverted.table, query.indices) + view.rows - view.inverted_rows
    if LISTED_COST * wanted.selected_count * each > work:
        return None
    if not view.ascending:
        return wanted.rows(view).astype(np.int32)
    listed = np.empty(min(wanted.selected_count, view.rows) + 1, np.int32)
    count = list_selected(
        address_of(wanted.selected), len(wanted.selected), address_of(view.points), view.rows, address_of(listed)
    )
    return listed[:count]


def similarities(view: SparseView, query: SparseVector, rows: npt.NDArray[np.int64]) -> Floats:
    """Return the scores of many rows; 0 of those that have no index in common with the query."""
    each = len(view.forward.indices) / max(view.rows, 1)
    work = kernel.count_postings(view.inverted.table, query.indices) + view.rows
    if LISTED_COST * len(rows) * each <= work:
        return view.forward.score(query, rows) + kernel.ZERO
    sums = np.full(view.rows + LANES, kernel.NOTHING, np.float32)
    kernel.add_postings(view.inverted.table, query.indices, query.values, view.rows, address_of(sums))
    behind = np.arange(view.inverted_rows, view.rows)
    sums[behind] = view.forward.score(query, behind)
    return sums[rows] + kernel.ZERO


def frequencies(view: SparseView, indices: npt.NDArray[np.uint32], wanted: Wanted) -> npt.NDArray[np.int64]:
    """Count the wanted rows that have each of these indices, (n,)."""
    counted = np.zeros(len(indices), np.int64)
    whole = [
        wanted.selected is None and run.last <= view.rows and bool(wanted.alive[run.first : run.last].all())
        for run in view.inverted.runs
    ]
    rows, mask = wanted.rows(view), wanted.alive
    if wanted.selected is not None:
        mask = np.zeros(view.rows, np.bool_)
        mask[rows] = True
    kernel.count_wanted(view.inverted.table, np.array(whole, np.bool_), indices, view.rows, address_of(mask), counted)
    behind = rows[rows >= view.inverted_rows]
    if len(behind):
        found = np.concatenate([vector.indices for vector in view.forward.read(behind)])
        places = np.searchsorted(indices, found)
        places[places == len(indices)] = 0
        hit = places[indices[places] == found] if len(indices) else places[:0]
        counted += np.bincount(hit, minlength=len(indices))
    return counted
