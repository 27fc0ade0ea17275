"""A segment as the kernels see it: its arrays and their addresses, and the plans made for it.

Making a view costs microseconds, so it is made when a segment changes, not when it is searched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qnode.index.vectors import codes, hadamard, native, scoring
from qnode.index.vectors.codes import BOUND_BYTES, CodeKind
from qnode.index.vectors.lookups import BLOCK_ROWS
from qnode.index.vectors.scoring import Scorer
from qnode.index.vectors.sketches import Sketches
from qnode.models.query import QuantizationParams
from qnode.models.vector_params import VectorParams

Bools = npt.NDArray[np.bool_]

REACH_BYTES = 8
"""A row's reach is written and read."""


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A flattened HNSW graph. links: (rows, width) int32, upper: (n, m) int32, first: (rows,) int32, ends padded with -1."""

    links: npt.NDArray[np.int32]
    upper: npt.NDArray[np.int32]
    first: npt.NDArray[np.int32]
    entry: int
    top: int


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """The first `rows` rows as codes; bounds (rows, 3) only for int8."""

    kind: CodeKind
    limit: float
    rows: int
    values: npt.NDArray[Any]
    bounds: npt.NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Plan:
    """How to walk the graph: kept candidates, of them scored exactly (0: none), rows it may compare, share wanted."""

    ef: int
    rescored: int
    budget: int
    share: float
    on_codes: bool


class View:
    """The rows of a segment that a search sees, with the addresses that the kernels take."""

    def __init__(
        self,
        params: VectorParams,
        vectors: npt.NDArray[Any],
        points: npt.NDArray[np.uint32],
        *,
        ascending: bool,
        coded: Codes | None = None,
        graph: Graph | None = None,
        sketched: Sketches | None = None,
    ) -> None:
        self.params, self.rows, self.ascending = params, len(points), ascending
        self.vectors, self.points, self.codes, self.graph = vectors, points, coded, graph
        self.exact: Scorer = scoring.exact_scorer(params.distance, params.datatype)
        self.vectors_at, self.points_at = native.address_of(vectors), native.address_of(points)
        self.stride = vectors.dtype.itemsize * params.size
        self.codes_at = native.address_of(coded.values) if coded else 0
        self.code_stride = coded.values.dtype.itemsize * coded.values.shape[1] if coded else 0
        self.bounds_at = native.address_of(coded.bounds) if coded and coded.bounds is not None else 0
        self.code_scorer = codes.code_scorer(coded.kind, params.distance) if coded else None
        self.plans: dict[tuple[int, int, QuantizationParams], Plan | None] = {}
        self._alive: tuple[Bools | None, int] = (None, 0)
        self._selected: tuple[Bools | None, int] = (None, 0)
        exact, scorer = self.exact, self.code_scorer
        self.exactly = (exact.kind, exact.function, self.vectors_at, self.stride, exact.factor)
        self.near_vectors = (exact.kind, exact.function, self.vectors_at, self.stride, params.size)
        if scorer is not None:
            self.near_codes = (scorer.kind, scorer.function, self.codes_at, self.code_stride, params.size)
        self.sketched = sketched
        if sketched is not None:
            rotation = hadamard.rotation_of(params.size)
            self.sketch_work_bytes = 8 * rotation.padded
            self.sketches_at = (
                sketched.rows,
                native.address_of(sketched.blocks),
                rotation.padded,
                native.address_of(sketched.centre.values),
                native.address_of(sketched.centre.turned),
            )
        if graph is not None:
            self.graph_arguments = (
                native.address_of(graph.links),
                graph.links.shape[1],
                native.address_of(graph.upper),
                native.address_of(graph.first),
                graph.upper.shape[1],
                graph.entry,
                graph.top,
            )

    @property
    def scan_bytes(self) -> int:
        """How much a scan of all rows reads and notes down, but for the few rows that it scores."""
        sketched = self.sketched.rows if self.sketched is not None else 0
        size = sketched * REACH_BYTES
        if self.sketched is not None:
            size += sketched // BLOCK_ROWS * self.sketched.blocks.shape[1]
        coded = max(self.codes.rows, sketched) if self.codes is not None and self.bounds_at else sketched
        return size + (coded - sketched) * (self.code_stride + BOUND_BYTES) + (self.rows - coded) * self.stride

    def alive_at(self, alive: Bools) -> int:
        """Return the array's address; remembered, since asking numpy costs microseconds and arrays come back."""
        known = self._alive
        if known[0] is not alive:
            known = self._alive = (alive, native.address_of(alive))
        return known[1]

    def selected_at(self, selected: Bools | None) -> int:
        """Return the array's address, 0 for None; remembered like that of `alive`."""
        if selected is None:
            return 0
        known = self._selected
        if known[0] is not selected:
            known = self._selected = (selected, native.address_of(selected))
        return known[1]
