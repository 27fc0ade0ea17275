"""Sparse rows in two forms, and the exact search of them.

The forward form has the numbers of each row, the inverted one, `Postings`, has for each index the rows that have it. A segment
is searched by its postings where it has them, and by the forward form where that is less work: a growing segment's last
rows, and rows of a narrow filter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qnode.index.sparse import kernel
from qnode.index.vectors.native import address_of
from qnode.index.vectors.scan import list_selected
from qnode.models.query import SparseVector

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Offsets = npt.NDArray[np.int64]

ROUNDING = float(np.finfo(np.float32).eps)

LISTED_COST = 3
"""To compare a number of a row with a query costs so many times what a posting does."""


@dataclass(frozen=True, slots=True, eq=False)
class Lists:
    """The posting lists that a query meets, in the ascending order of its indices: addresses, lengths, the query's values.

    limits: what each can add to a score at most. slack: how much two sums of the same products can differ by their order.
    """

    rows_at: Offsets
    weights_at: Offsets
    counts: Offsets
    asked: Floats
    places: npt.NDArray[np.intp]
    limits: Floats
    slack: float

    @property
    def order(self) -> npt.NDArray[np.int64]:
        """In which order lists are best left out: those first that add least for their length."""
        return np.argsort(self.limits / self.counts, kind="stable")

    @property
    def work(self) -> int:
        """How many postings there are."""
        return int(self.counts.sum())


@dataclass(frozen=True, slots=True, eq=False)
class Postings:
    """The inverted form of rows [first, last).

    dims: (lists,) uint32 ascending. starts: (lists + 1,) where the list of each begins in `rows`, (nnz,) int32 ascending within a
    list, and in `weights`, (nnz,) float32. extremes: (lists, 2) float32, the smallest and the largest weight of each.
    """

    first: int
    last: int
    dims: npt.NDArray[np.uint32]
    starts: Offsets
    rows: npt.NDArray[np.int32]
    weights: Floats
    extremes: Floats

    def of(self, query: SparseVector) -> Lists:
        """Find the lists of a query's indices."""
        if not len(self.dims):
            places = present = np.empty(0, np.intp)
        else:
            places = np.searchsorted(self.dims, query.indices)
            places[places == len(self.dims)] = 0
            present = np.flatnonzero(self.dims[places] == query.indices)
            places = places[present]
        begins, asked = self.starts[places], query.values[present]
        products = self.extremes[places] * asked[:, None]
        return Lists(
            address_of(self.rows) + 4 * begins,
            address_of(self.weights) + 4 * begins,
            self.starts[places + 1] - begins,
            asked,
            present,
            np.maximum(products.max(1, initial=0), 0),
            2 * (len(asked) + 2) * ROUNDING * float(np.abs(products).max(1, initial=0).sum()),
        )


def postings_of(first: int, lengths: Offsets, indices: npt.NDArray[np.uint32], values: Floats) -> Postings:
    """Invert rows from `first` on; lengths: how many numbers each has."""
    rows = np.repeat(np.arange(first, first + len(lengths), dtype=np.int32), lengths)
    order = np.argsort(indices, kind="stable")
    return _grouped(first, first + len(lengths), indices[order], rows[order], values[order])


def merged(before: Postings, behind: Postings) -> Postings:
    """Put the postings of rows together that follow each other."""
    assert before.last == behind.first
    dims = np.concatenate([np.repeat(part.dims, np.diff(part.starts)) for part in (before, behind)])
    order = np.argsort(dims, kind="stable")
    rows = np.concatenate([before.rows, behind.rows])[order]
    return _grouped(
        before.first, behind.last, dims[order], rows, np.concatenate([before.weights, behind.weights])[order]
    )


def _grouped(
    first: int, last: int, dims: npt.NDArray[np.uint32], rows: npt.NDArray[np.int32], weights: Floats
) -> Postings:
    """Make postings of numbers in the order of their indices."""
    begins = np.flatnonzero(np.append(True, dims[1:] != dims[:-1])[: len(dims)])
    starts = np.append(begins, len(dims)).astype(np.int64)
    return Postings(first, last, dims[begins], starts, rows, weights, extremes_of(starts, weights))


def extremes_of(starts: Offsets, weights: Floats) -> Floats:
    """The smallest and the largest weight of each list, none of which is empty."""
    if not len(weights):
        return np.empty((0, 2), np.float32)
    return np.stack([np.minimum.reduceat(weights, starts[:-1]), np.maximum.reduceat(weights, starts[:-1])], 1)


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
    """A segment in one state. points: (rows,). runs: postings of its first rows, one behind the other; perhaps of more rows."""

    rows: int
    points: npt.NDArray[np.uint32]
    forward: Forward
    runs: tuple[Postings, ...]
    ascending: bool

    @property
    def inverted_rows(self) -> int:
        """How many rows, from the first on, have postings."""
        return min(self.runs[-1].last, self.rows) if self.runs else 0


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
    where = wanted.addresses(view)
    if k and len(query.indices):
        met = [(run, run.of(query)) for run in view.runs]
        if (listed := _listed(view, wanted, met)) is not None:
            found = kernel.search_rows(
                *view.forward.addresses, address_of(listed), 0, len(listed), query.indices, query.values, *where, k,
                best, found,
            )  # fmt: skip
        else:
            least = np.float32(floor)
            for run, lists in met:
                last = min(run.last, view.rows)
                if len(lists.counts) and run.first < last:
                    found = kernel.search_postings(
                        *view.forward.addresses, query.indices, query.values, lists.rows_at, lists.weights_at,
                        lists.counts, lists.asked, lists.limits, lists.order, lists.slack, run.first, last, *where, k,
                        least, best, found,
                    )  # fmt: skip
            found = kernel.search_rows(
                *view.forward.addresses, 0, view.inverted_rows, view.rows, query.indices, query.values, *where, k,
                best, found,
            )  # fmt: skip
    scores, rows = np.empty(found, np.float32), np.empty(found, np.int32)
    kernel.take_best(best, found, scores, rows)
    return scores, rows


def _listed(view: SparseView, wanted: Wanted, met: Sequence[tuple[Postings, Lists]]) -> npt.NDArray[np.int32] | None:
    """List the selected rows, ascending, if to score them one by one is less work than the postings are."""
    if wanted.selected is None:
        return None
    each = len(view.forward.indices) / max(view.rows, 1)
    work = sum(lists.work for _, lists in met) + view.rows - view.inverted_rows
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
    met = [(run, run.of(query)) for run in view.runs]
    each = len(view.forward.indices) / max(view.rows, 1)
    if LISTED_COST * len(rows) * each <= sum(lists.work for _, lists in met) + view.rows:
        return view.forward.score(query, rows) + kernel.ZERO
    sums = np.full(view.rows, kernel.NOTHING, np.float32)
    for run, lists in met:
        last = min(run.last, view.rows)
        kernel.add_postings(lists.rows_at, lists.weights_at, lists.counts, lists.asked, last, address_of(sums))
    behind = np.arange(view.inverted_rows, view.rows)
    sums[behind] = view.forward.score(query, behind)
    return sums[rows] + kernel.ZERO


def frequencies(view: SparseView, indices: npt.NDArray[np.uint32], wanted: Wanted) -> npt.NDArray[np.int64]:
    """Count the wanted rows that have each of these indices, (n,)."""
    counted = np.zeros(len(indices), np.int64)
    query = SparseVector(indices, np.ones(len(indices), np.float32))
    for run in view.runs:
        lists = run.of(query)
        met = np.zeros(len(lists.counts), np.int64)
        if run.last <= view.rows and wanted.selected is None and wanted.alive[run.first : run.last].all():
            met = lists.counts
        else:
            kernel.count_wanted(lists.rows_at, lists.counts, view.rows, *wanted.addresses(view), met)
        counted[lists.places] += met
    first = view.inverted_rows
    behind = wanted.rows(view)
    behind = behind[behind >= first]
    if len(behind):
        found = np.concatenate([vector.indices for vector in view.forward.read(behind)])
        places = np.searchsorted(indices, found)
        places[places == len(indices)] = 0
        hit = places[indices[places] == found] if len(indices) else places[:0]
        counted += np.bincount(hit, minlength=len(indices))
    return counted
