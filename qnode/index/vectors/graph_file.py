"""usearch's file format (2.x), read into flat arrays, and written from them so that usearch can go on adding.

    u32 rows, u32 bytes a vector, the vectors
    64 bytes of head: "usearch", u16 major, minor, patch version, 4 kinds, u64 rows, u64 deleted rows, dimensions
    u64 size, m, 2m, top level, entry slot;  i16 level of each slot
    each node: u64 key, i16 level, then for each level from 0 up: u32 count, room for 2m (level 0) or m u32 slots

The layout is not promised by usearch, so everything that can be checked is: a file that differs in any count is refused.
A slot is a node's place in the file, a key is what `add` was given, which here is the row; the arrays are by row. The head
of a written file is that of a file that usearch has just made with the same settings, so its kinds are not known here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qnode.errors import InternalError

MAGIC = b"usearch"
SUPPORTED_MAJOR = 2
HEAD_BYTES = 64
COUNTS_AT = 17
SLICE_ROWS = 1 << 15

Ints = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class FlatGraph:
    """links (rows, 2m), upper (n, m): rows, -1 behind the last. first (rows,): where a row's upper levels begin, or -1."""

    links: Ints
    upper: Ints
    first: Ints
    entry: int
    top: int

    @property
    def levels(self) -> npt.NDArray[np.int64]:
        """How many levels above level 0 each row has."""
        tall = np.flatnonzero(self.first >= 0)
        order = np.argsort(self.first[tall], kind="stable")
        levels = np.zeros(len(self.first), np.int64)
        levels[tall[order]] = np.diff(np.append(self.first[tall[order]], len(self.upper)))
        return levels


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise InternalError(f"This version of usearch writes a graph file of an unknown layout ({what})")


def flatten(path: Path, rows: int, vector_bytes: int, m: int) -> FlatGraph:
    """Read the graph of a usearch index whose keys are 0..rows-1; raise InternalError for an unknown layout."""
    raw: npt.NDArray[np.uint8] = np.memmap(path, np.uint8, "r")
    _require(len(raw) >= 8 and raw[:8].view("<u4").tolist() == [rows, vector_bytes], "vectors")
    at = 8 + rows * vector_bytes
    _require(len(raw) >= at + HEAD_BYTES + 40 + 2 * rows, "length")
    _require(raw[at : at + 7].tobytes() == MAGIC, "magic")
    _require(int(raw[at + 7 : at + 9].copy().view("<u2")[0]) == SUPPORTED_MAJOR, "version")
    at += HEAD_BYTES
    size, degree, base_degree, top, entry = raw[at : at + 40].copy().view("<u8").tolist()
    _require((size, degree, base_degree) == (rows, m, 2 * m), "counts")
    _require(entry < rows, "entry")
    at += 40
    levels = raw[at : at + 2 * rows].copy().view("<i2").astype(np.int64)
    _require(bool(levels.min() >= 0) and int(levels[entry]) == top == int(levels.max()), "levels")
    at += 2 * rows
    node_bytes = 10 + (4 + 8 * m) + (4 + 4 * m) * levels
    ends = at + np.cumsum(node_bytes)
    _require(int(ends[-1]) == len(raw), "length")
    starts = ends - node_bytes
    keys = _column(raw, starts, 8).view("<u8").ravel().astype(np.int64)
    _require(bool(np.array_equal(_column(raw, starts + 8, 2).view("<i2").ravel(), levels)), "node levels")
    _require(bool(np.array_equal(np.sort(keys), np.arange(rows))), "keys")
    links = np.empty((rows, 2 * m), np.int32)
    for begin in range(0, rows, SLICE_ROWS):
        part = slice(begin, begin + SLICE_ROWS)
        links[keys[part]] = _neighbours(raw, starts[part] + 10, 2 * m, keys)
    upper, first = _upper_levels(raw, starts + 10 + 4 + 8 * m, levels, keys, m)
    return FlatGraph(links, upper, first, int(keys[entry]), top)


def _column(raw: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], width: int) -> npt.NDArray[Any]:
    """Read `width` bytes at each start."""
    column: npt.NDArray[Any] = raw[starts[:, None] + np.arange(width)]
    return column


def _neighbours(raw: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], room: int, keys: npt.NDArray[Any]) -> Ints:
    """Read the neighbour lists at `starts`: (n, room) rows, -1 behind the last."""
    counts = _column(raw, starts, 4).view("<u4").ravel()
    _require(bool(np.all(counts <= room)), "neighbour counts")
    slots = _column(raw, starts + 4, 4 * room).view("<u4").astype(np.int64)
    unused = np.arange(room) >= counts[:, None]
    slots[unused] = 0
    _require(bool(np.all(slots < len(keys))), "neighbours")
    found = keys[slots].astype(np.int32)
    found[unused] = -1
    return found


def _upper_levels(
    raw: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    levels: npt.NDArray[np.int64],
    keys: npt.NDArray[np.int64],
    m: int,
) -> tuple[Ints, Ints]:
    """Read all lists above level 0, a row's levels one behind the other; starts: where each slot's level 1 begins."""
    tall = np.flatnonzero(levels)
    begins = np.concatenate([[0], np.cumsum(levels[tall])]).astype(np.int64)
    first = np.full(len(levels), -1, np.int32)
    first[keys[tall]] = begins[:-1]
    level = np.arange(begins[-1]) - np.repeat(begins[:-1], levels[tall])
    at = np.repeat(starts[tall], levels[tall]) + level * (4 + 4 * m)
    upper = _neighbours(raw, at, m, keys) if len(at) else np.empty((0, m), np.int32)
    return upper, first


def restore(
    path: Path, graph: FlatGraph, keys: npt.NDArray[np.int64], vectors: Iterable[npt.NDArray[Any]], head: bytes
) -> None:
    """Write a file that usearch loads as this graph.

    keys (rows,): what usearch shall call each row. vectors: all rows' in pieces, as usearch stores them. head: see
    `head_of`.
    """
    rows, m = len(graph.links), graph.upper.shape[1]
    levels = graph.levels
    with path.open("wb") as file:
        file.seek(8)
        for piece in vectors:
            file.write(np.ascontiguousarray(piece).data)
        vector_bytes, rest = divmod(file.tell() - 8, rows)
        assert rest == 0
        file.write(head[:COUNTS_AT] + np.array([rows, 0], "<u8").tobytes() + head[COUNTS_AT + 16 :])
        file.write(np.array([rows, m, 2 * m, graph.top, graph.entry], "<u8").tobytes())
        file.write(levels.astype("<i2").tobytes())
        for first in range(0, rows, SLICE_ROWS):
            file.write(_nodes(graph, keys, levels, slice(first, first + SLICE_ROWS)).data)
        file.seek(0)
        file.write(np.array([rows, vector_bytes], "<u4").tobytes())


def head_of(sample: Path) -> bytes:
    """Take the head from a file that usearch saved of one vector, with the settings of the file to be written."""
    raw = sample.read_bytes()
    _require(len(raw) >= 8 + HEAD_BYTES and raw[:4] == b"\x01\0\0\0", "a single row")
    head = raw[8 + int.from_bytes(raw[4:8], "little") :][:HEAD_BYTES]
    _require(head[:7] == MAGIC and int.from_bytes(head[7:9], "little") == SUPPORTED_MAJOR, "version")
    _require(np.frombuffer(head[COUNTS_AT : COUNTS_AT + 16], "<u8").tolist() == [1, 0], "counts in the head")
    return head


def _nodes(
    graph: FlatGraph, keys: npt.NDArray[np.int64], levels: npt.NDArray[np.int64], part: slice
) -> npt.NDArray[np.uint8]:
    """Lay out some rows' nodes one behind the other."""
    m = graph.upper.shape[1]
    heights = levels[part]
    base_bytes, level_bytes = 4 + 8 * m, 4 + 4 * m
    ends = np.cumsum(10 + base_bytes + level_bytes * heights)
    starts = ends - (10 + base_bytes + level_bytes * heights)
    raw = np.zeros(int(ends[-1]), np.uint8)
    _put(raw, starts, keys[part, None].astype("<u8"))
    _put(raw, starts + 8, heights[:, None].astype("<i2"))
    _put(raw, starts + 10, _lists(graph.links[part]))
    tall = np.flatnonzero(heights)
    level = np.arange(heights.sum()) - np.repeat(np.cumsum(heights[tall]) - heights[tall], heights[tall])
    lists = graph.upper[np.repeat(graph.first[part][tall], heights[tall]) + level]
    _put(raw, np.repeat(starts[tall], heights[tall]) + 10 + base_bytes + level * level_bytes, _lists(lists))
    return raw


def _lists(links: Ints) -> npt.NDArray[Any]:
    """Put each list's length before it, and 0 where it is not used."""
    used = np.count_nonzero(links >= 0, axis=1)
    lists: npt.NDArray[Any] = np.column_stack([used, np.maximum(links, 0)]).astype("<u4")
    return lists


def _put(raw: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], values: npt.NDArray[Any]) -> None:
    """Write a row of values at each start."""
    width = values.dtype.itemsize * values.shape[1]
    raw[starts[:, None] + np.arange(width)] = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), width)
