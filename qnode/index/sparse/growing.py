"""Growing segments of sparse vectors: rows are appended, and can be searched at once.

    entries.bin    (rows,) of op_num uint64, end uint64, point uint32; end: where the row's numbers end in the other files
    indices.bin    (nnz,) uint32, ascending within a row
    values.bin     (nnz,) float32

As of `vectors.growing`: one writer; `append` makes rows durable, `publish` lets searches see them, and what lies behind the published
rows counts for nothing and is overwritten.

Postings of the rows are kept in the heap, in runs that grow by merging as those of a log-structured tree do, so that no
number is moved often. The last rows, fewer than RUN_ROWS, have none.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from qnode.errors import Corruption
from qnode.index.sparse.postings import Forward, Inverted, SparseView, joined, postings_of
from qnode.index.vectors import files
from qnode.index.vectors.appended import Appendable, grown
from qnode.models.operation import SparseColumn
from qnode.models.query import SparseVector
from qnode.models.vector_params import SparseParams

ENTRY = np.dtype([("op_num", "<u8"), ("end", "<u8"), ("point", "<u4")])
NUMBER_BYTES = 4

RUN_ROWS = 256
"""Rows get postings when there are so many that have none."""

RUN_FACTOR = 2
"""A run is merged with the one behind it unless it is more than so many times as long."""


class SparseGrowing(Appendable[SparseParams]):
    """An appendable segment. One that is not `for_search` makes no postings."""

    NAMES = ("entries.bin", "indices.bin", "values.bin")
    indexed = True

    def __init__(self, directory: Path, params: SparseParams, *, read_only: bool, for_search: bool = True) -> None:
        super().__init__(directory, params, read_only=read_only, for_search=for_search)
        self._entry_file, self._index_file, self._value_file = self._files.values()
        self._offsets = np.zeros(1, np.int64)
        self._pending_end = 0
        self._view = self._make_view(0, Inverted.of())

    @property
    def points(self) -> npt.NDArray[np.uint32]:
        return self._view.points

    @property
    def op_nums(self) -> npt.NDArray[np.uint64]:
        return self._entries.op_nums[: self._view.rows]

    @property
    def forward(self) -> Forward:
        return self._view.forward

    @property
    def vector_bytes(self) -> int:
        return 2 * NUMBER_BYTES * int(self._offsets[self.rows])

    def lengths_bytes(self, rows: int) -> dict[str, int]:
        """Tell how much of each of its files the first `rows` rows are, pending ones included."""
        numbers = self._end_of(rows) * NUMBER_BYTES
        return {"entries.bin": rows * ENTRY.itemsize, "indices.bin": numbers, "values.bin": numbers}

    def append(self, points: npt.NDArray[np.uint32], op_nums: npt.NDArray[np.uint64], column: SparseColumn) -> int:
        """Write rows behind the pending ones and make them durable; return the first one's number.

        Raises OutOfSpace; then nothing counts as appended.
        """
        assert len(column.offsets) == len(points) + 1 == len(op_nums) + 1
        first, begin = self._pending, self._pending_end
        entries = np.empty(len(points), ENTRY)
        entries["op_num"], entries["point"] = op_nums, points
        entries["end"] = begin + column.offsets[1:] - column.offsets[0]
        self._index_file.write(begin * NUMBER_BYTES, column.indices.astype("<u4", copy=False))
        self._value_file.write(begin * NUMBER_BYTES, column.values.astype("<f4", copy=False))
        self._entry_file.write(first * ENTRY.itemsize, entries)
        self._sync()
        self._pending, self._pending_end = first + len(points), begin + len(column.indices)
        return first

    def publish(self, rows: int) -> None:
        """Let searches see rows [0, rows); pending ones behind them are forgotten. Raise Corruption."""
        before, known = self.rows, min(self.rows, rows)
        entries = np.frombuffer(self._entry_file.mapped(rows * ENTRY.itemsize), ENTRY, rows)
        self._entries.take(before, entries["point"], entries["op_num"])
        if rows < before:  # as `take` does
            self._offsets = self._offsets.copy()
        self._offsets = grown(self._offsets, known + 1, rows + 1)
        self._offsets[known + 1 : rows + 1] = entries["end"][known:]
        if np.any(np.diff(self._offsets[known : rows + 1]) < 0):
            raise Corruption(self._entry_file.path, "its rows end before they begin", files.WAY_OUT_SEGMENT)
        self._view = self._make_view(rows, self._inverted(rows))
        self.rows = self._pending = rows
        self._pending_end = int(self._offsets[rows])
        self._entries.note(before, rows)

    def read(self, rows: npt.NDArray[np.int64]) -> list[SparseVector]:
        """Return vectors."""
        return self._view.forward.read(rows)

    def view_of(self, rows: int) -> SparseView:
        """Give the segment as it was when it had so many rows, or all that it has if they are fewer."""
        view = self._view
        return SparseView(rows, view.points, view.forward, view.inverted, ascending=False) if rows < view.rows else view

    def _end_of(self, rows: int) -> int:
        """Where the numbers of the first `rows` rows end, pending ones included."""
        if rows == 0:
            return 0
        entry = np.frombuffer(self._entry_file.read((rows - 1) * ENTRY.itemsize, ENTRY.itemsize), ENTRY)
        return int(entry["end"][0])

    def _make_view(self, rows: int, inverted: Inverted) -> SparseView:
        return SparseView(rows, self._entries.points[:rows], self._forward(rows), inverted, ascending=False)

    def _forward(self, rows: int) -> Forward:
        numbers = int(self._offsets[rows])
        indices, values = (file.mapped(numbers * NUMBER_BYTES) for file in (self._index_file, self._value_file))
        return Forward(
            self._offsets[: rows + 1],
            np.frombuffer(indices, "<u4", numbers),
            np.frombuffer(values, "<f4", numbers),
        )

    def _inverted(self, rows: int) -> Inverted:
        """Make postings of what has none among the first `rows` rows, if that is much."""
        kept = [run for run in self._view.inverted.runs if run.last <= rows]
        first = kept[-1].last if kept else 0
        if not self._for_search or rows - first < RUN_ROWS:
            return Inverted.of(*kept)
        forward = self._forward(rows)
        begin = int(forward.offsets[first])
        lengths = np.diff(forward.offsets[first:])
        parts = [postings_of(first, lengths, forward.indices[begin:], forward.values[begin:])]
        while kept and kept[-1].last - kept[-1].first <= RUN_FACTOR * (rows - kept[-1].last):
            parts.insert(0, kept.pop())
        return Inverted.of(*kept, joined(parts))
