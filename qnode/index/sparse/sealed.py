"""Sealed segments of sparse vectors: immutable files, written by `build`, mapped here.

    segment.json   one line of JSON and its checksum: shape, and size and checksum of every file below
    points.bin     (rows,) uint32, ascending, each once
    op_nums.bin    (rows,) uint64
    offsets.bin    (rows + 1,) int64: where the numbers of each row stand in the next two
    indices.bin    (nnz,) uint32, ascending within a row
    values.bin     (nnz,) float32
    dims.bin       (lists,) uint32, ascending: the indices that have lists
    starts.bin     (lists + 1,) int64: where the posting list of each stands in the next two
    rows.bin       (nnz,) int32, ascending within a list
    weights.bin    (nnz,) float32
    heavy.bin      (columns,) uint32, ascending: the indices that have columns instead, because many rows have them
    held.bin       (columns,) int64: how many rows have each of them
    columns.bin    (columns, rows, padded to whole steps of vector instructions) float32: the negative zero where a row does not have
                   the index; of no columns there are no such files

Version 1 had no columns, so all indices have lists, and some of its segments have an extremes.bin, of which nothing is read.
Opening maps the files. Sizes, the description's checksum, and whatever would lead a search out of an array are always checked, the
contents only if asked.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qnode.errors import Corruption
from qnode.index.sparse import inverting
from qnode.index.sparse.postings import NO_COLUMNS, Forward, Inverted, Postings, SparseView, padded
from qnode.index.vectors import files
from qnode.index.vectors.native import address_of
from qnode.index.vectors.sealed import rows_of
from qnode.models.query import SparseVector
from qnode.models.vector_params import SparseParams

DESCRIPTION = "segment.json"
FORMAT_VERSION = 2


@dataclass(frozen=True, slots=True)
class Description:
    """segment.json."""

    version: int
    rows: int
    numbers: int
    lists: int
    files: dict[str, files.FileFacts]

    @property
    def listed(self) -> int:
        """How many numbers stand in lists."""
        return self.files["rows.bin"].bytes // 4

    @property
    def heavies(self) -> int:
        """How many columns there are."""
        return self.files["heavy.bin"].bytes // 4 if "heavy.bin" in self.files else 0

    def write(self, path: Path) -> None:
        """Write and fsync."""
        files.write_description(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Description:
        """Read and check; raise Corruption."""
        fields = files.read_description(path, FORMAT_VERSION)
        if set(fields) != set(cls.__slots__):
            raise Corruption(path, "it belongs to another kind of vector", files.WAY_OUT_SEGMENT)
        return cls(**fields)


class SparseSealed:
    """An immutable segment; safe to search from any number of threads and processes."""

    indexed = True
    is_sealed = True

    def __init__(self, directory: Path, description: Description, view: SparseView) -> None:
        self.directory, self.rows = directory, description.rows
        self._view = view
        self.points = view.points
        self.op_nums: npt.NDArray[np.uint64] = files.map_array(directory / "op_nums.bin", "<u8", (self.rows,))
        self.vector_bytes = view.forward.indices.nbytes + view.forward.values.nbytes
        self.disk_bytes = sum(facts.bytes for facts in description.files.values())

    @classmethod
    def open(cls, directory: Path, params: SparseParams, *, verify: bool) -> SparseSealed:
        """Map a segment; raise Corruption naming the damaged file. verify: check the contents of all files too."""
        description = Description.read(directory / DESCRIPTION)
        for name, facts in description.files.items():
            files.check(directory / name, facts, contents=verify)
        rows, numbers, lists = description.rows, description.numbers, description.lists

        def mapped(name: str, dtype: str, length: int) -> npt.NDArray[Any]:
            return files.map_array(directory / name, dtype, (length,))

        points = mapped("points.bin", "<u4", rows)
        forward = Forward(
            mapped("offsets.bin", "<i8", rows + 1),
            mapped("indices.bin", "<u4", numbers),
            mapped("values.bin", "<f4", numbers),
        )
        listed, heavies = description.listed, description.heavies
        starts, weights = mapped("starts.bin", "<i8", lists + 1), mapped("weights.bin", "<f4", listed)
        _check_bounds(directory, "offsets.bin", forward.offsets, numbers)
        _check_bounds(directory, "starts.bin", starts, listed)
        dims, inverted = mapped("dims.bin", "<u4", lists), mapped("rows.bin", "<i4", listed)
        columns = NO_COLUMNS
        if heavies:
            shaped = files.map_array(directory / "columns.bin", "<f4", (heavies, padded(rows)))
            columns = (mapped("heavy.bin", "<u4", heavies), mapped("held.bin", "<i8", heavies), shaped)
        postings = Postings(0, rows, dims, starts, inverted, weights, *columns)
        if listed and not inverting.ascend_within(np.array(postings.starts), address_of(postings.rows), rows):
            raise Corruption(directory / "rows.bin", "a list of rows does not ascend", files.WAY_OUT_SEGMENT)
        _check_ascending(directory, "points.bin", points)
        _check_ascending(directory, "dims.bin", postings.dims)
        _check_ascending(directory, "heavy.bin", postings.heavy)
        return cls(directory, description, SparseView(rows, points, forward, Inverted.of(postings), ascending=True))

    @property
    def forward(self) -> Forward:
        return self._view.forward

    def view_of(self, rows: int) -> SparseView:
        """Give the segment as it was when it had so many rows: all."""
        assert rows == self.rows
        return self._view

    def find(self, points: npt.NDArray[np.uint32], op_nums: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Return the row that each operation made of each point, or -1."""
        return rows_of(points, op_nums, self.points, self.op_nums)

    def read(self, rows: npt.NDArray[np.int64]) -> list[SparseVector]:
        """Return vectors."""
        return self._view.forward.read(rows)


def _check_bounds(directory: Path, name: str, bounds: npt.NDArray[np.int64], end: int) -> None:
    if bounds[0] != 0 or bounds[-1] != end or np.any(np.diff(bounds) < 0):
        raise Corruption(directory / name, "it leads out of another file", files.WAY_OUT_SEGMENT)


def _check_ascending(directory: Path, name: str, values: npt.NDArray[np.uint32]) -> None:
    if np.any(values[1:] <= values[:-1]):
        raise Corruption(directory / name, "it does not ascend", files.WAY_OUT_SEGMENT)
