"""What can be appended to: files that grow in steps, the entries of rows, by which a point's rows are found, and segments of both.

One writer; any number of threads read. Arrays are only appended to, or replaced as a whole.
"""

from __future__ import annotations

import mmap
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
import numpy.typing as npt
import xxhash

from qnode.disk import fault_of, sync_directory
from qnode.errors import Corruption
from qnode.index.vectors import files
from qnode.models.vector_params import SlotParams

Params = TypeVar("Params", bound=SlotParams)

FIRST_STEP_BYTES = 1 << 20
LARGEST_STEP_BYTES = 1 << 28


def grown(array: npt.NDArray[Any], keep: int, size: int, fill: int | None = None) -> npt.NDArray[Any]:
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


class AppendedEntries:
    """Whose the rows are and which operations made them, and for each point its rows from the last one back."""

    def __init__(self) -> None:
        self.points = np.empty(0, np.uint32)
        self.op_nums = np.empty(0, np.uint64)
        self._latest = np.empty(0, np.int32)
        self._previous = np.empty(0, np.int32)

    def take(self, before: int, points: npt.NDArray[np.uint32], op_nums: npt.NDArray[np.uint64]) -> None:
        """Hold these rows, all that there are, of which the first `before` are known; `note` must follow.

        The arrays have room for more rows than these.
        """
        rows = len(points)
        known = min(before, rows)
        if rows < before:  # what comes in place of the rows behind must not show to who searches them still
            self.points, self.op_nums = self.points.copy(), self.op_nums.copy()
        self.points = grown(self.points, known, rows)
        self.op_nums = grown(self.op_nums, known, rows)
        self.points[known:rows], self.op_nums[known:rows] = points[known:], op_nums[known:]

    def note(self, before: int, rows: int) -> None:
        """Let `find` know the rows [0, rows), of which it knows [0, before)."""
        if rows < before:
            self._note_latest(np.empty(0, np.int32), 0, rows)
        else:
            self._note_latest(self._latest, before, rows)

    def find(self, points: npt.NDArray[np.uint32], op_nums: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Return the published row that each operation made of each point, or -1.

        Also of one that a later row has replaced: until that one is committed, readers need the row before.
        """
        latest = self._latest
        inside = points < len(latest)
        rows = np.full(len(points), -1, np.int64)
        rows[inside] = latest[points[inside]]
        previous, ops = self._previous, self.op_nums  # after `latest`: they reach as far as its rows
        at = np.flatnonzero(rows >= 0)
        while len(at):
            held = ops[rows[at]]
            rows[at[held < op_nums[at]]] = -1
            at = at[held > op_nums[at]]
            rows[at] = previous[rows[at]]
            at = at[rows[at] >= 0]
        return rows

    def _note_latest(self, latest: npt.NDArray[np.int32], first: int, last: int) -> None:
        """Note in `latest` the last row of each point, and of rows [first, last) the row of the same point before."""
        points = self.points[first:last]
        if len(points):
            latest = grown(latest, len(latest), int(points.max()) + 1, fill=-1)
            before = latest[points]
            order = np.argsort(points, kind="stable")
            again = np.flatnonzero(points[order[1:]] == points[order[:-1]])
            before[order[again + 1]] = first + order[again]
            self._previous = grown(self._previous, first, last)
            self._previous[first:last] = before
            latest[points] = np.arange(first, last, dtype=np.int32)
        self._latest = latest


class AppendedFile:
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


class Appendable(ABC, Generic[Params]):
    """A segment that rows are appended to, in files that grow. NAMES: what these are.

    Only the owner appends and publishes; a read-only one publishes what the owner has committed. One that is not `for_search` is
    there to read rows from.
    """

    NAMES: ClassVar[tuple[str, ...]]
    is_sealed = False

    def __init__(self, directory: Path, params: Params, *, read_only: bool, for_search: bool = True) -> None:
        self.directory, self.params = directory, params
        self._for_search = for_search
        flags = os.O_RDONLY if read_only else os.O_RDWR
        self._files = {name: AppendedFile(directory / name, flags) for name in self.NAMES}
        self._entries = AppendedEntries()
        self._pending = 0
        self.rows = 0

    @classmethod
    def create(cls, directory: Path, params: Params) -> Self:
        """Make an empty segment; the directory must not exist."""
        directory.mkdir(parents=True)
        for name in cls.NAMES:
            files.ArrayWriter(directory / name).close()
        sync_directory(directory)
        sync_directory(directory.parent)
        return cls(directory, params, read_only=False)

    @classmethod
    def open(
        cls, directory: Path, params: Params, rows: int, *, read_only: bool = False, for_search: bool = True
    ) -> Self:
        """Open with the first `rows` rows published; raise Corruption if there are not so many."""
        segment = cls(directory, params, read_only=read_only, for_search=for_search)
        segment.publish(rows)
        return segment

    @abstractmethod
    def publish(self, rows: int) -> None:
        """Let searches see rows [0, rows); pending ones behind them are forgotten. Raise Corruption."""

    @abstractmethod
    def lengths_bytes(self, rows: int) -> dict[str, int]:
        """Tell how much of each of its files the first `rows` rows are, pending ones included."""

    @property
    def disk_bytes(self) -> int:
        return sum(file.size for file in self._files.values())

    def checksum(self, first: int, last: int) -> int:
        """Return a 64-bit checksum of the bytes of rows [first, last), pending ones included."""
        digest = xxhash.xxh3_64()
        begins, ends = self.lengths_bytes(first), self.lengths_bytes(last)
        for name, file in self._files.items():
            for at in range(begins[name], ends[name], files.CHUNK_BYTES):
                digest.update(file.read(at, min(files.CHUNK_BYTES, ends[name] - at)))
        return digest.intdigest()

    def find(self, points: npt.NDArray[np.uint32], op_nums: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Return the published row that each operation made of each point, or -1; see `AppendedEntries.find`."""
        return self._entries.find(points, op_nums)

    def _sync(self) -> None:
        for file in self._files.values():
            file.sync()
