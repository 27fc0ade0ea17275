"""Sealed segments: immutable files, written by `build`, mapped here.

    segment.json   one line of JSON and its checksum: shape, codes, graph, and size and checksum of every file below
    vectors.bin    (rows, dim) in the stored type
    points.bin     (rows,) uint32, ascending; each once, but for multivectors, whose rows stand one behind the other
    op_nums.bin    (rows,) uint64
    codes.bin      (rows, width), see `codes`; bounds.bin (rows, 3) float32 beside int8
    links.bin      (rows, 2m) int32, -1 behind the last; upper.bin (n, m) int32; first.bin (rows,) int32: where a row's upper
                   levels begin in upper.bin, or -1

Opening maps the files. Sizes, the description's checksum and the bounds of the links are always checked, the contents
only if asked.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qnode.errors import Corruption
from qnode.index.vectors import files, multi, scoring
from qnode.index.vectors.codes import BOUND_VALUES, CodeKind, code_bytes, has_bounds
from qnode.index.vectors.examples import ExamplesQuery
from qnode.index.vectors.query import Query
from qnode.index.vectors.search import score, search
from qnode.index.vectors.view import Codes, Graph, View
from qnode.models.query import QuantizationParams
from qnode.models.vector_params import Quantization, VectorParams

DESCRIPTION = "segment.json"
FORMAT_VERSION = 1

MOST_REMOVED = 0.05
"""A graph is extended while no larger share of its rows has been taken out since it was made of nothing: each one costs a
little recall (with a quarter at a time, 10 000 texts rewritten six times were found .4 to .8 points worse)."""


@dataclass(frozen=True, slots=True)
class Description:
    """segment.json. m 0: no graph. quantization: the user's settings that the codes were made for, see `named`.

    removed: how many rows were taken out of the graph since it was made of nothing.
    """

    version: int
    rows: int
    dimensions: int
    datatype: str
    distance: str
    codes: str
    code_limit: float
    quantization: str
    m: int
    ef_construct: int
    upper_rows: int
    entry: int
    top: int
    files: dict[str, files.FileFacts]
    removed: int = 0

    def write(self, path: Path) -> None:
        """Write and fsync."""
        files.write_description(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Description:
        """Read and check; raise Corruption."""
        return cls(**files.read_description(path, FORMAT_VERSION))


class SealedSegment:
    """An immutable segment; safe to search from any number of threads and processes."""

    is_sealed = True

    def __init__(self, directory: Path, params: VectorParams, description: Description, view: View) -> None:
        self.directory, self.params, self.rows = directory, params, description.rows
        self.description = description
        self._view = view
        self.points: npt.NDArray[np.uint32] = view.points
        self.op_nums: npt.NDArray[np.uint64] = files.map_array(directory / "op_nums.bin", "<u8", (self.rows,))
        self.indexed = view.graph is not None
        self.vector_bytes = self.rows * view.stride
        self.disk_bytes = sum(facts.bytes for facts in description.files.values())

    @classmethod
    def open(cls, directory: Path, params: VectorParams, *, verify: bool) -> SealedSegment:
        """Map a segment; raise Corruption naming the damaged file. verify: check the contents of all files too."""
        description = Description.read(directory / DESCRIPTION)
        fits = (params.size, params.datatype.value, params.distance.value)
        if fits != (description.dimensions, description.datatype, description.distance):
            raise Corruption(directory / DESCRIPTION, "it belongs to another kind of vector", files.WAY_OUT_SEGMENT)
        for name, facts in description.files.items():
            files.check(directory / name, facts, contents=verify)
        rows = description.rows
        points = files.map_array(directory / "points.bin", "<u4", (rows,))
        if verify and not _ascend(points, params):
            raise Corruption(directory / "points.bin", "its points do not ascend", files.WAY_OUT_SEGMENT)
        vectors = files.map_array(directory / "vectors.bin", scoring.STORED_TYPE[params.datatype], (rows, params.size))
        view = View(
            params,
            vectors,
            points,
            ascending=True,
            coded=_map_codes(directory, params, description),
            graph=_map_graph(directory, description),
        )
        return cls(directory, params, description, view)

    @cached_property
    def runs(self) -> int:
        """How many vectors there are; of multivectors fewer than rows."""
        return int(np.count_nonzero(multi.begins(self.points, self.op_nums)))

    def view_of(self, rows: int) -> View:
        """Give the segment as it was when it had so many rows: all."""
        assert rows == self.rows
        return self._view

    @property
    def graph(self) -> Graph | None:
        return self._view.graph

    @property
    def vectors(self) -> npt.NDArray[Any]:
        """(rows, dim) in the stored type, mapped."""
        return self._view.vectors

    def fits(self, params: VectorParams) -> bool:
        """Say whether the graph and the codes are what these settings ask for."""
        asked = (params.m, params.ef_construct)
        has = (self.description.m, self.description.ef_construct)
        return (not self.indexed or has == asked) and self.description.quantization == named(params.quantization)

    def is_extendable(self, params: VectorParams, stays: int) -> bool:
        """Say whether a graph can be made from this one by adding rows to those `stays` of its rows that stay."""
        has = (self.description.m, self.description.ef_construct)
        return (
            self.indexed
            and has == (params.m, params.ef_construct)
            and self.removed_with(stays) <= MOST_REMOVED * self.rows
        )

    def removed_with(self, stays: int) -> int:
        """Count the rows that will have been taken out of the graph when all but `stays` of them were."""
        return self.description.removed + self.rows - stays

    def find(self, points: npt.NDArray[np.uint32], op_nums: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Return the row that each operation made of each point, or -1."""
        return rows_of(points, op_nums, self.points, self.op_nums)

    def read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return the stored vectors as (n, dim) float32."""
        return self._view.vectors[rows].astype(np.float32, copy=False)

    @property
    def view(self) -> View:
        """The segment as the kernels see it."""
        return self._view

    @property
    def scan_bytes(self) -> int:
        """How much a scan of all rows reads."""
        return self._view.scan_bytes

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
        """Return (similarities, rows) of the best k, best first, ties by row.

        alive: (rows,), False for dead rows. selected: (capacity,) by point number, None for no filter; selected_count:
        how many points of the shard are selected. Both contiguous. floor: a similarity; rows of a smaller one may be
        left out.
        """
        return search(
            self._view,
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


def rows_of(
    points: npt.NDArray[np.uint32],
    op_nums: npt.NDArray[np.uint64],
    own_points: npt.NDArray[np.uint32],
    own_op_nums: npt.NDArray[np.uint64],
) -> npt.NDArray[np.int64]:
    """Find each point, as its operation made it, among the rows of a sealed segment, whose points ascend; -1: it is not there."""
    if not len(own_points):
        return np.full(len(points), -1, np.int64)
    rows = np.searchsorted(own_points, points)
    rows[rows == len(own_points)] = 0
    return np.where((own_points[rows] == points) & (own_op_nums[rows] == op_nums), rows, -1)


def _ascend(points: npt.NDArray[np.uint32], params: VectorParams) -> bool:
    behind, before = points[1:], points[:-1]
    return bool(np.all(behind >= before if params.multivector else behind > before))


def named(quantization: Quantization | None) -> str:
    """Name quantization settings, so that changed ones are told from the same ones."""
    if quantization is None:
        return ""
    if quantization.two_bits:
        return f"{quantization.kind.value}:two_bits"
    return (
        quantization.kind.value
        if quantization.quantile is None
        else f"{quantization.kind.value}:{quantization.quantile}"
    )


def _map_codes(directory: Path, params: VectorParams, description: Description) -> Codes | None:
    kind, rows = CodeKind(description.codes), description.rows
    if kind is CodeKind.NONE:
        return None
    dtype: Any = {CodeKind.INT8: np.int8, CodeKind.BF16: np.dtype("<u2")}.get(kind, np.uint8)
    width = code_bytes(kind, params.size) // np.dtype(dtype).itemsize
    values = files.map_array(directory / "codes.bin", dtype, (rows, width))
    bounds = None
    if kind is CodeKind.INT8 and has_bounds(params):
        bounds = files.map_array(directory / "bounds.bin", "<f4", (rows, BOUND_VALUES))
    return Codes(kind, description.code_limit, rows, values, bounds)


def _map_graph(directory: Path, description: Description) -> Graph | None:
    """Map the links and check that none leads out of the graph."""
    if description.m == 0:
        return None
    rows, m = description.rows, description.m
    links = files.map_array(directory / "links.bin", "<i4", (rows, 2 * m))
    upper = files.map_array(directory / "upper.bin", "<i4", (description.upper_rows, m))
    first = files.map_array(directory / "first.bin", "<i4", (rows,))
    for name, targets, end in (
        ("links.bin", links, rows),
        ("upper.bin", upper, rows),
        ("first.bin", first, len(upper)),
    ):
        if targets.size and (targets.min() < -1 or targets.max() >= end):
            raise Corruption(directory / name, "a link leads nowhere", files.WAY_OUT_SEGMENT)
    if not 0 <= description.entry < rows:
        raise Corruption(directory / DESCRIPTION, "its entry is no row", files.WAY_OUT_SEGMENT)
    _check_levels(directory, description, upper, first)
    return Graph(links, upper, first, description.entry, description.top)


def _check_levels(
    directory: Path, description: Description, upper: npt.NDArray[np.int32], first: npt.NDArray[np.int32]
) -> None:
    """Check that a descent stays on rows that have the level it is on."""
    tall = np.flatnonzero(first >= 0)
    order = np.argsort(first[tall], kind="stable")
    starts = np.append(first[tall][order], len(upper))
    levels = np.zeros(description.rows, np.int64)
    levels[tall[order]] = np.diff(starts)
    owner_level = levels[np.repeat(tall[order], np.diff(starts))] if len(tall) else np.empty(0, np.int64)
    level = np.arange(len(upper)) - np.repeat(starts[:-1], np.diff(starts)) + 1
    assert owner_level.shape == level.shape
    reached = np.where(upper >= 0, levels[upper], level[:, None] if len(level) else 0)
    if levels[description.entry] < description.top or np.any(reached < level[:, None]):
        raise Corruption(directory / "upper.bin", "a link leads to a row without that level", files.WAY_OUT_SEGMENT)
