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

import mmap
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from qnode.disk import fault_of, sync_directory
from qnode.errors import Corruption
from qnode.index.vectors import codes, files, hadamard, scoring, sketches
from qnode.index.vectors.codes import BOUND_VALUES, CodeKind, code_bytes
from qnode.index.vectors.lookups import BLOCK_ROWS
from qnode.index.vectors.query import Query
from qnode.index.vectors.search import search
from qnode.index.vectors.sketches import Sketches
from qnode.index.vectors.view import Codes, View
from qnode.models.query import QuantizationParams
from qnode.models.vector_params import Distance, VectorParams

ENTRY = np.dtype([("op_num", "<u8"), ("point", "<u4")])

CODED_FROM = 2048
CODED_BLOCK = 1024
"""So many rows are encoded at once, at most."""

FIRST_STEP_BYTES = 1 << 20
LARGEST_STEP_BYTES = 1 << 28

USUAL_BYTES = 36 << 20
"""Room is made at once for the codes of so many bytes of vectors."""

CHECKSUM_ROWS = 4096


class GrowingSegment:
    """An appendable segment. Only the owner appends and publishes; a read-only one publishes what the owner has committed.

    One that is not `for_search` makes no codes and no sketches: it is there to read rows from, and scans slowly.
    """

    indexed = False

    def __init__(self, directory: Path, params: VectorParams, *, read_only: bool, for_search: bool = True) -> None:
        self.directory, self.params = directory, params
        self._for_search = for_search
        self._dtype = scoring.STORED_TYPE[params.datatype]
        self._row_bytes = self._dtype.itemsize * params.size
        flags = os.O_RDONLY if read_only else os.O_RDWR
        self._vector_file = _File(directory / "vectors.bin", flags)
        self._entry_file = _File(directory / "entries.bin", flags)
        self._pending = 0
        self.rows = 0
        self._points = np.empty(0, np.uint32)
        self._op_nums = np.empty(0, np.uint64)
        self._latest = np.empty(0, np.int32)
        self._previous = np.empty(0, np.int32)
        self._vectors = np.empty((0, params.size), self._dtype)
        width = code_bytes(CodeKind.INT8, params.size)
        self._coded = Codes(
            CodeKind.INT8, 0.0, 0, np.empty((0, width), np.int8), np.empty((0, BOUND_VALUES), np.float32)
        )
        self._sketched: Sketches | None = None
        self._view = self._make_view(0)

    @classmethod
    def create(cls, directory: Path, params: VectorParams) -> GrowingSegment:
        """Make an empty segment; the directory must not exist."""
        directory.mkdir(parents=True)
        for name in ("vectors.bin", "entries.bin"):
            files.ArrayWriter(directory / name).close()
        sync_directory(directory)
        sync_directory(directory.parent)
        return cls(directory, params, read_only=False)

    @classmethod
    def open(
        cls, directory: Path, params: VectorParams, rows: int, *, read_only: bool = False, for_search: bool = True
    ) -> GrowingSegment:
        """Open with the first `rows` rows published; raise Corruption if there are not so many."""
        segment = cls(directory, params, read_only=read_only, for_search=for_search)
        segment._pending = rows
        segment.publish(rows)
        return segment

    @property
    def points(self) -> npt.NDArray[np.uint32]:
        return self._view.points

    @property
    def op_nums(self) -> npt.NDArray[np.uint64]:
        return self._op_nums[: self._view.rows]

    @property
    def disk_bytes(self) -> int:
        return self._vector_file.size + self._entry_file.size

    @property
    def vector_bytes(self) -> int:
        return self.rows * self._row_bytes

    @property
    def scan_bytes(self) -> int:
        """How much a scan of all rows reads."""
        return self._view.scan_bytes

    def lengths_bytes(self, rows: int) -> dict[str, int]:
        """Tell how much of each of its files the first `rows` rows are."""
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
        self._vector_file.sync()
        self._entry_file.sync()
        self._pending = first + len(points)
        return first

    def publish(self, rows: int) -> None:
        """Let searches see rows [0, rows); pending ones behind them are forgotten."""
        before = self.rows
        vectors = self._vector_file.mapped(rows * self._row_bytes)
        entries = np.frombuffer(self._entry_file.mapped(rows * ENTRY.itemsize), ENTRY, rows)
        known = min(before, rows)
        if rows < before:  # what comes in place of the rows behind must not show to who searches them still
            self._points, self._op_nums = self._points.copy(), self._op_nums.copy()
        self._points = _grown(self._points, known, rows)
        self._op_nums = _grown(self._op_nums, known, rows)
        self._points[known:rows] = entries["point"][known:]
        self._op_nums[known:rows] = entries["op_num"][known:]
        if rows > before:
            flat = np.frombuffer(vectors, self._dtype, rows * self.params.size)
            self._vectors = flat.reshape(rows, self.params.size)
        self._encode(rows)
        self._view = self._make_view(rows)
        self.rows = self._pending = rows
        if rows < before:
            self._note_latest(np.empty(0, np.int32), 0, rows)
        else:
            self._note_latest(self._latest, before, rows)

    def checksum(self, first: int, last: int) -> int:
        """Return a 64-bit checksum of the bytes of rows [first, last), pending ones included."""
        digest = xxhash.xxh3_64()
        for file, width in ((self._vector_file, self._row_bytes), (self._entry_file, ENTRY.itemsize)):
            for start in range(first, last, CHECKSUM_ROWS):
                end = min(start + CHECKSUM_ROWS, last)
                digest.update(file.read(start * width, (end - start) * width))
        return digest.intdigest()

    def find(self, points: npt.NDArray[np.uint32], op_nums: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Return the published row that each operation made of each point, or -1.

        Also of one that a later row has replaced: until that one is committed, readers need the row before.
        """
        latest = self._latest
        inside = points < len(latest)
        rows = np.full(len(points), -1, np.int64)
        rows[inside] = latest[points[inside]]
        previous, ops = self._previous, self._op_nums  # after `latest`: they reach as far as its rows
        at = np.flatnonzero(rows >= 0)
        while len(at):
            held = ops[rows[at]]
            rows[at[held < op_nums[at]]] = -1
            at = at[held > op_nums[at]]
            rows[at] = previous[rows[at]]
            at = at[rows[at] >= 0]
        return rows

    def read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return the stored vectors as (n, dim) float32."""
        return self._vectors[rows].astype(np.float32, copy=False)

    def search(
        self,
        query: Query,
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
            self._points[:rows],
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
        """Return `_grown`, with room for as many rows as a segment usually gets: memory that is not used costs nothing."""
        if len(array) >= size:
            return array
        return _grown(array, keep, max(size, USUAL_BYTES // (self._row_bytes * rows_each)))

    def _note_latest(self, latest: npt.NDArray[np.int32], first: int, last: int) -> None:
        """Note in `latest` the last row of each point, and of rows [first, last) the row of the same point before."""
        points = self._points[first:last]
        if len(points):
            latest = _grown(latest, len(latest), int(points.max()) + 1, fill=-1)
            before = latest[points]
            order = np.argsort(points, kind="stable")
            again = np.flatnonzero(points[order[1:]] == points[order[:-1]])
            before[order[again + 1]] = first + order[again]
            self._previous = _grown(self._previous, first, last)
            self._previous[first:last] = before
            latest[points] = np.arange(first, last, dtype=np.int32)
        self._latest = latest


def _grown(array: npt.NDArray[Any], keep: int, size: int, fill: int | None = None) -> npt.NDArray[Any]:
    """Return an array of at least `size` rows with the first `keep` kept: the same one if it has room.

    With `fill` the length is `size` itself or more, and every new row holds it.
    """
    if len(array) >= size:
        return array
    larger = np.empty((max(size, 2 * len(array)), *array.shape[1:]), array.dtype)
    larger[:keep] = array[:keep]
    if fill is not None:
        larger[keep:] = fill
    return larger


class _File:
    """A file that grows in steps and is mapped as a whole."""

    def __init__(self, path: Path, flags: int) -> None:
        self.path = path
        try:
            self._handle = os.open(path, flags)
        except FileNotFoundError as error:
            raise Corruption(path, "it is missing", files.WAY_OUT_SEGMENT) from error
        self._map: mmap.mmap | None = None
        self.size = os.fstat(self._handle).st_size

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            os.close(self._handle)

    def write(self, at: int, values: npt.NDArray[Any]) -> None:
        """Write all bytes at a place; raise OutOfSpace if they find no room, InternalError for any other fault."""
        data = files.bytes_of(values)
        try:
            if at + len(data) > self.size:
                step = min(max(FIRST_STEP_BYTES, self.size), LARGEST_STEP_BYTES)
                os.ftruncate(self._handle, max(self.size + step, at + len(data)))
                self.size = os.fstat(self._handle).st_size
            while data:
                written = os.pwrite(self._handle, data, at)
                data, at = data[written:], at + written
        except OSError as error:
            raise fault_of(error, f"{self.path} could not be written") from error

    def sync(self) -> None:
        try:
            os.fdatasync(self._handle)
        except OSError as error:
            raise fault_of(error, f"{self.path} could not be written") from error

    def read(self, at: int, count: int) -> bytes:
        """Read exactly so many bytes; raise Corruption if the file ends before."""
        data = os.pread(self._handle, count, at)
        if len(data) != count:
            raise Corruption(self.path, f"it ends at byte {at + len(data)}", files.WAY_OUT_SEGMENT)
        return data

    def mapped(self, wanted: int) -> mmap.mmap | bytes:
        """Return a mapping of at least so many bytes; raise Corruption if the file is shorter."""
        if wanted == 0:
            return b""
        if self._map is None or len(self._map) < wanted:
            self.size = os.fstat(self._handle).st_size
            if self.size < wanted:
                raise Corruption(self.path, f"it has {self.size} bytes of {wanted}", files.WAY_OUT_SEGMENT)
            self._map = mmap.mmap(self._handle, self.size, prot=mmap.PROT_READ)
        return self._map
