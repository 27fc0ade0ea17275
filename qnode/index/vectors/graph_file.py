"""usearch's file format (2.x), read into flat arrays.

    u32 rows, u32 bytes a vector, the vectors
    64 bytes of head: "usearch", u16 major, minor, patch version, kinds, counts
    u64 size, m, 2m, top level, entry slot;  i16 level of each slot
    each node: u64 key, i16 level, then for each level from 0 up: u32 count, room for 2m (level 0) or m u32 slots

The layout is not promised by usearch, so everything that can be checked is: a file that differs in any count is refused.
A slot is a node's place in the file, a key is what `add` was given, which here is the row; the arrays are by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qnode.errors import InternalError

MAGIC = b"usearch"
SUPPORTED_MAJOR = 2
HEAD_BYTES = 64
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
