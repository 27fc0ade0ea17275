"""Growing segments: rows are appended, and searched by exact scan.

    vectors.bin    (rows, dim) in the stored type
    entries.bin    (rows,) of op_num uint64, point uint32

One writer; any number of threads and processes search. `append` makes rows durable, `publish` lets searches see them:
the caller commits in between. What lies behind the published rows counts for nothing and is overwritten. Files grow in
steps, so they are longer than their rows.

From `CODED_FROM` rows on, int8 codes with bounds and sketches are kept in the heap, in whole blocks of 64 rows. A scan
passes over nearly all rows by their sketches, and over nearly all others by their codes. Codes never err; sketches make
a search that does not ask to be exact lose a row once in a million (`sketches`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qnode.index.vectors import codes, hadamard, scoring, sketches
from qnode.index.vectors.appended import Appendable, grown
from qnode.index.vectors.codes import BOUND_VALUES, CodeKind, code_bytes
from qnode.index.vectors.examples import ExamplesQuery
from qnode.index.vectors.lookups import BLOCK_ROWS
from qnode.index.vectors.query import Query
from qnode.index.vectors.search import score, search
from qnode.index.vectors.sketches import Sketches
from qnode.index.vectors.view import Codes, View
from qnode.models.query import QuantizationParams
from qnode.models.vector_params import Distance, VectorParams

ENTRY = np.dtype([("op_num", "<u8"), ("point", "<u4")])

CODED_FROM = 2048
CODED_BLOCK = 1024
"""So many rows are encoded at once, at most."""

USUAL_BYTES = 36 << 20
"""Room is made at once for the codes of so many bytes of vectors."""


class GrowingSegment(Appendable[VectorParams]):
    """An appendable segment. One that is not `for_search` makes no codes and no sketches, and scans slowly."""

    NAMES = ("vectors.bin", "entries.bin")
    indexed = False

    def __init__(self, directory: Path, params: VectorParams, *, read_only: bool, for_search: bool = True) -> None:
        super().__init__(directory, params, read_only=read_only, for_search=for_search)
        self._dtype = scoring.STORED_TYPE[params.datatype]
        self._row_bytes = self._dtype.itemsize * params.size
        self._vector_file, self._entry_file = self._files.values()
        self._vectors = np.empty((0, params.size), self._dtype)
        width = code_bytes(CodeKind.INT8, params.size)
        self._coded = Codes(
            CodeKind.INT8, 0.0, 0, np.empty((0, width), np.int8), np.empty((0, BOUND_VALUES), np.float32)
        )
        self._sketched: Sketches | None = None
        self._view = self._make_view(0)

    @property
    def points(self) -> npt.NDArray[np.uint32]:
        return self._view.points

    @property
    def op_nums(self) -> npt.NDArray[np.uint64]:
        return self._entries.op_nums[: self._view.rows]

    @property
    def vector_bytes(self) -> int:
        return self.rows * self._row_bytes

    @property
    def scan_bytes(self) -> int:
        """How much a scan of all rows reads."""
        return self._view.scan_bytes

    def lengths_bytes(self, rows: int) -> dict[str, int]:
        """Tell how much of each of its files the first `rows` rows are, pending ones included."""
        return {"vectors.bin": rows * self._row_bytes, "entries.bin": rows * ENTRY.itemsize}

    def append(
        self, points: npt.NDArray[np.uint32], op_nums: npt.NDArray[np.uint64], values: npt.NDArray[np.float32]
    ) -> int:
        """Write rows behind the pending ones and make them durable; return the first one's number.

        Raises OutOfSpace; then nothing counts as appended.
        """
        assert values.shape == (len(points), self.params.size)
        assert len(op_nums) == len(points)
        first = self._pending
        entries = np.empty(len(points), ENTRY)
        entries["op_num"], entries["point"] = op_nums, points
        stored = scoring.to_stored(values, self.params.datatype)
        self._vector_file.write(first * self._row_bytes, stored)
        self._entry_file.write(first * ENTRY.itemsize, entries)
        self._sync()
        self._pending = first + len(points)
        return first

    def publish(self, rows: int) -> None:
        """Let searches see rows [0, rows); pending ones behind them are forgotten."""
        before = self.rows
        vectors = self._vector_file.mapped(rows * self._row_bytes)
        entries = np.frombuffer(self._entry_file.mapped(rows * ENTRY.itemsize), ENTRY, rows)
        self._entries.take(before, entries["point"], entries["op_num"])
        if rows > before:
            flat = np.frombuffer(vectors, self._dtype, rows * self.params.size)
            self._vectors = flat.reshape(rows, self.params.size)
        self._encode(rows)
        self._view = self._make_view(rows)
        self.rows = self._pending = rows
        self._entries.note(before, rows)

    def read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return the stored vectors as (n, dim) float32."""
        return self._vectors[rows].astype(np.float32, copy=False)

    def score(self, query: Query | ExamplesQuery, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return the exact similarities of these rows, in their order."""
        return score(self._view, query, rows)

    def search(
        self,
        query: Query | ExamplesQuery,
        k: int,
        ef: int,
        alive: npt.NDArray[np.bool_],
        selected: npt.NDArray[np.bool_] | None,
        selected_count: int,
        *,
        exact: bool,
        quantization: QuantizationParams,
        floor: float = -np.inf,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
        """Return (similarities, rows) of the best k, best first, ties by row; but for sketches, exact.

        See SealedSegment.search. Searches the rows that both `alive` and the segment know, so a search that began
        before a publish may end after it.
        """
        return search(
            self.view_of(len(alive)),
            query,
            k,
            ef,
            alive,
            selected,
            selected_count,
            exact=exact,
            quantization=quantization,
            floor=floor,
        )

    def view_of(self, rows: int) -> View:
        """Give the segment as it was when it had so many rows, or all that it has if they are fewer."""
        return self._make_view(rows) if rows < self._view.rows else self._view

    def _make_view(self, rows: int) -> View:
        coded, sketched = self._coded if self._coded.rows else None, self._sketched
        if sketched is not None and sketched.rows > rows:
            sketched = replace(sketched, rows=rows // BLOCK_ROWS * BLOCK_ROWS)
        return View(
            self.params,
            self._vectors[:rows],
            self._entries.points[:rows],
            ascending=False,
            coded=coded,
            sketched=sketched,
        )

    def _encode(self, rows: int) -> None:
        """Bring codes and sketches up to date with the whole blocks of the first `rows` rows."""
        whole = rows // BLOCK_ROWS * BLOCK_ROWS
        if not self._for_search or rows < CODED_FROM or not codes.has_bounds(self.params):
            whole = 0
        old = self._coded
        done = min(old.rows, whole)
        if whole == old.rows:
            return
        assert old.bounds is not None
        values, bounds = self._roomy(old.values, done, whole), self._roomy(old.bounds, done, whole)
        for start in range(done, whole, CODED_BLOCK):
            block = slice(start, min(start + CODED_BLOCK, whole))
            values[block], bounds[block] = codes.to_int8(self._floats(block), 0.0)
        self._coded = Codes(CodeKind.INT8, 0.0, whole, values, bounds)
        self._sketched = self._sketch(done, whole) if whole and sketches.has_sketches(self.params) else None

    def _sketch(self, done: int, whole: int) -> Sketches:
        """Sketch rows [done, whole), around a centre that is taken from the segment's first rows."""
        old = self._sketched
        if old is None:
            done = 0
            centre = sketches.centre_of(self._vectors[:CODED_FROM])
            width = sketches.block_bytes(hadamard.rotation_of(self.params.size).padded)
            old = Sketches(0, np.empty((0, width), np.uint8), centre, 0.0)
        blocks = self._roomy(old.blocks, done // BLOCK_ROWS, whole // BLOCK_ROWS, BLOCK_ROWS)
        longest, euclid = old.longest, self.params.distance is Distance.EUCLID
        for start in range(done, whole, CODED_BLOCK):
            end = min(start + CODED_BLOCK, whole)
            floats, target = self._floats(slice(start, end)), blocks[start // BLOCK_ROWS : end // BLOCK_ROWS]
            longest = max(longest, sketches.sketch(floats, old.centre, euclid, target))
        return Sketches(whole, blocks, old.centre, longest)

    def _floats(self, rows: slice) -> npt.NDArray[np.float32]:
        return np.ascontiguousarray(self._vectors[rows], np.float32)

    def _roomy(self, array: npt.NDArray[Any], keep: int, size: int, rows_each: int = 1) -> npt.NDArray[Any]:
        """Return `grown`, with room for as many rows as a segment usually gets: memory that is not used costs nothing."""
        if len(array) >= size:
            return array
        return grown(array, keep, max(size, USUAL_BYTES // (self._row_bytes * rows_each)))
