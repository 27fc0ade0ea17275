"""Writing a sealed segment of sparse vectors, in the builder process.

The rows are copied, then inverted: a first pass counts how long the list of each index will be, a second one puts each number where its
list goes on. The heap holds the indices that there are, and one chunk of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qnode.disk import sync_file
from qnode.index.sparse import inverting, sealed
from qnode.index.sparse.growing import SparseGrowing
from qnode.index.sparse.kernel import NOTHING
from qnode.index.sparse.postings import Forward, homes_of, padded
from qnode.index.sparse.sealed import Description, SparseSealed
from qnode.index.vectors import files
from qnode.models.columns import offsets_of, spread

CHUNK_ROWS = 8192

Segment = SparseGrowing | SparseSealed


def write(
    directory: Path,
    segments: Sequence[Segment],
    origin: npt.NDArray[np.int32],
    row: npt.NDArray[np.int64],
    points: npt.NDArray[np.uint32],
    op_nums: npt.NDArray[np.uint64],
) -> None:
    """Write all files of a segment out of rows `row` of the segments `origin`, in this order."""
    names = ("points.bin", "op_nums.bin", "offsets.bin", "indices.bin", "values.bin")
    writers = {name: files.ArrayWriter(directory / name) for name in names}
    writers["points.bin"].write(points.astype("<u4"))
    writers["op_nums.bin"].write(op_nums.astype("<u8"))
    lengths = np.empty(len(row), np.int64)
    dims, counts = np.empty(0, np.uint32), np.empty(0, np.int64)
    for first in range(0, len(row), CHUNK_ROWS):
        chunk = slice(first, first + CHUNK_ROWS)
        taken = _read(segments, origin[chunk], row[chunk])
        lengths[chunk] = np.diff(taken.offsets)
        writers["indices.bin"].write(taken.indices.astype("<u4", copy=False))
        writers["values.bin"].write(taken.values.astype("<f4", copy=False))
        dims, counts = _counted(dims, counts, taken.indices)
    offsets = offsets_of(lengths)
    heavy, starts, homes = homes_of(counts, len(row))
    writers["offsets.bin"].write(offsets.astype("<i8", copy=False))
    inverted: list[tuple[str, npt.NDArray[Any], str]] = [
        ("dims.bin", dims[~heavy], "<u4"),
        ("starts.bin", starts, "<i8"),
    ]
    if heavy.any():
        inverted += [("heavy.bin", dims[heavy], "<u4"), ("held.bin", counts[heavy], "<i8")]
    for name, array, kind in inverted:
        writers[name] = files.ArrayWriter(directory / name)
        writers[name].write(array.astype(kind, copy=False))
    facts = {name: files.FileFacts(writer.bytes, writer.close()) for name, writer in writers.items()}
    facts |= _invert(directory, offsets, dims, heavy, homes, int(starts[-1]))
    Description(sealed.FORMAT_VERSION, len(row), int(offsets[-1]), len(starts) - 1, facts).write(
        directory / sealed.DESCRIPTION
    )


def _read(segments: Sequence[Segment], origin: npt.NDArray[np.int32], row: npt.NDArray[np.int64]) -> Forward:
    """Put rows of several segments together."""
    lengths = np.empty(len(row), np.int64)
    for number, segment in enumerate(segments):
        mine = origin == number
        lengths[mine] = segment.forward.offsets[row[mine] + 1] - segment.forward.offsets[row[mine]]
    offsets = offsets_of(lengths)
    indices, values = np.empty(offsets[-1], np.uint32), np.empty(offsets[-1], np.float32)
    for number, segment in enumerate(segments):
        mine = np.flatnonzero(origin == number)
        if len(mine):
            _, from_places = spread(segment.forward.offsets, row[mine])
            _, to_places = spread(offsets, mine)
            indices[to_places] = segment.forward.indices[from_places]
            values[to_places] = segment.forward.values[from_places]
    return Forward(offsets, indices, values)


def _counted(
    dims: npt.NDArray[np.uint32], counts: npt.NDArray[np.int64], indices: npt.NDArray[np.uint32]
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """Add to how often each index has been met."""
    met, times = np.unique(indices, return_counts=True)
    together, place = np.unique(np.concatenate([dims, met]), return_inverse=True)
    total = np.zeros(len(together), np.int64)
    np.add.at(total, place, np.concatenate([counts, times]))
    return together, total


def _invert(
    directory: Path,
    offsets: npt.NDArray[np.int64],
    dims: npt.NDArray[np.uint32],
    heavy: npt.NDArray[np.bool_],
    homes: npt.NDArray[np.int64],
    listed: int,
) -> dict[str, files.FileFacts]:
    """Write the posting lists and columns of the rows that were written; dims, heavy, homes: see `homes_of`."""
    rows: npt.NDArray[np.int32] = _made(directory / "rows.bin", "<i4", (listed,))
    weights: npt.NDArray[np.float32] = _made(directory / "weights.bin", "<f4", (listed,))
    written: list[tuple[str, npt.NDArray[Any]]] = [("rows.bin", rows), ("weights.bin", weights)]
    columns = np.empty((0, 0), np.float32)
    if heavy.any():
        columns = _made(directory / "columns.bin", "<f4", (int(np.count_nonzero(heavy)), padded(len(offsets) - 1)))
        columns[:] = NOTHING
        written.append(("columns.bin", columns))
    for first, bounds, indices, values in _chunks(directory, offsets):
        inverting.scatter(np.searchsorted(dims, indices), bounds, values, first, homes, rows, weights, columns)
    facts = {}
    for name, array in written:
        if isinstance(array, np.memmap):
            array.flush()
        sync_file(directory / name)
        facts[name] = files.FileFacts(array.nbytes, files.checksum_of(directory / name))
    return facts


def _made(path: Path, dtype: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Make a file of zeros and map it for writing; an empty one cannot be mapped."""
    path.touch(exist_ok=False)
    return np.memmap(path, dtype, "w+", shape=shape) if np.prod(shape) else np.empty(shape, dtype)


def _chunks(
    directory: Path, offsets: npt.NDArray[np.int64]
) -> Iterator[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.uint32], npt.NDArray[np.float32]]]:
    """Read the rows that were written: the first row of each chunk, and its offsets, indices and values."""
    numbers = int(offsets[-1])
    indices = files.map_array(directory / "indices.bin", "<u4", (numbers,))
    values = files.map_array(directory / "values.bin", "<f4", (numbers,))
    for first in range(0, len(offsets) - 1, CHUNK_ROWS):
        bounds = offsets[first : first + CHUNK_ROWS + 1]
        begin, end = int(bounds[0]), int(bounds[-1])
        yield first, bounds - begin, np.array(indices[begin:end]), np.array(values[begin:end])
