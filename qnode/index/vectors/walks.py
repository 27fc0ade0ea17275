"""The usual search in one call: every segment has a graph, nothing is filtered, and vectors are float32.

Preparing the query, walking each graph and merging what they give are the kernels of `query`, `traverse` and `winners`,
put one after the other in compiled code: between them, Python took a quarter of the time of a search over a small graph.

Invariant: the result is the one that `search` gives segment by segment, bit by bit; where it is not certain (a segment
whose scan is cheaper, or that gives fewer rows than it has), nothing is given and the caller goes that way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qnode.index.vectors import native, scoring
from qnode.index.vectors.codes import BOUND_BYTES, CodeKind, code_bytes
from qnode.index.vectors.query import own_codes_factor, prepare
from qnode.index.vectors.scratch import scratch
from qnode.index.vectors.search import plan_for_all
from qnode.index.vectors.traverse import graph_search
from qnode.index.vectors.view import Bools, View
from qnode.index.vectors.winners import take
from qnode.models.query import QuantizationParams
from qnode.models.vector_params import Datatype, VectorParams

FELL_SHORT = -1

MOST_GRAPHS = 64

LINKS_WIDTH = 9
OWN_CODES, WANTED, EF, RESCORED, BUDGET, ALIVE, POINTS, OP_NUMS = range(15, 23)
"""Places in a row of the table: one of what `View` has, near (4), exact (4) and graph (7), and those behind it."""


@dataclass(frozen=True, slots=True, eq=False)
class Walked:
    """One graph to walk. alive: (rows,). points_at, op_nums_at: where the segment's arrays lie."""

    view: View
    alive: Bools
    points_at: int
    op_nums_at: int


class Walks:
    """The walks of all segments for one k, as far as they do not depend on the query. Keeps what its addresses point to."""

    __slots__ = (
        "_factors",
        "_keep",
        "_kept",
        "_normalise",
        "_params",
        "_query_bytes",
        "_rows",
        "_table",
        "_width",
        "k",
    )

    def __init__(self, params: VectorParams, k: int, graphs: Sequence[Walked], table: list[list[int]], factors: Any):
        self.k = k
        self._params, self._normalise = params, scoring.normalises(params)
        self._query_bytes = 4 * params.size + code_bytes(CodeKind.INT8, params.size) + BOUND_BYTES
        self._keep = graphs
        self._table, self._factors = np.array(table, np.int64), np.array(factors, np.float64)
        self._rows = max(graph.view.rows for graph in graphs)
        self._kept = max(k, int(self._table[:, EF].max()))
        self._width = int(self._table[:, LINKS_WIDTH].max())

    def search(
        self, vector: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint32], npt.NDArray[np.uint64]] | None:
        """Find the k best: similarities, point numbers, and the operations that made their rows; best first."""
        assert vector.shape == (self._params.size,)
        values = np.array(vector, np.float32)  # a copy: it is normalised in place
        buffer = np.empty(self._query_bytes, np.uint8)
        scores, numbers, ops = np.empty(self.k, np.float32), np.empty(self.k, np.uint32), np.empty(self.k, np.uint64)
        scratch.reserve(self._rows, self._kept, self._width)
        count = walk_all(
            values,
            buffer,
            self._normalise,
            self._table,
            self._factors,
            scratch.next_marks(len(self._table)),
            scratch.marks,
            scratch.frontier,
            scratch.best,
            scratch.fresh,
            scratch.scores,
            scratch.found,
            scratch.cell_at,
            scores,
            numbers,
            ops,
        )
        if count == FELL_SHORT:
            return None
        return (scores, numbers, ops) if count == self.k else (scores[:count], numbers[:count], ops[:count])


def plan_walks(
    params: VectorParams, graphs: Sequence[Walked], k: int, ef: int, quantization: QuantizationParams
) -> Walks | None:
    """Plan the walks of these graphs; None if `search` must do them one by one."""
    if params.datatype is not Datatype.FLOAT32 or not 0 < len(graphs) <= MOST_GRAPHS:
        return None
    table, factors = [], []
    for graph in graphs:
        view = graph.view
        wanted = min(k, view.rows)
        plan = plan_for_all(view, wanted, ef, quantization) if view.graph is not None and wanted > 0 else None
        if plan is None:
            return None
        near, factor, has_own_codes = view.near_vectors, view.exact.factor, False
        if plan.on_codes:
            coded, scorer = view.codes, view.code_scorer
            assert coded is not None
            assert scorer is not None
            own_factor = own_codes_factor(params.distance, coded.kind, coded.limit)
            if own_factor is None:
                return None
            near, factor, has_own_codes = view.near_codes, scorer.factor * own_factor, True
        table.append(
            [
                *near[:4],
                *view.exactly[:4],
                *view.graph_arguments,
                has_own_codes,
                wanted,
                plan.ef,
                plan.rescored,
                plan.budget,
                view.alive_at(graph.alive),
                graph.points_at,
                graph.op_nums_at,
            ]
        )
        factors.append([factor, view.exact.factor])
    return Walks(params, k, graphs, table, factors)


@native.compiled
def walk_all(
    values: npt.NDArray[np.float32],
    buffer: npt.NDArray[np.uint8],
    normalise: bool,
    table: npt.NDArray[np.int64],
    factors: npt.NDArray[np.float64],
    mark: int,
    marks: npt.NDArray[np.uint8],
    frontier: npt.NDArray[np.uint64],
    best: npt.NDArray[np.uint64],
    fresh: npt.NDArray[np.int64],
    found: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int32],
    cell: int,
    scores: npt.NDArray[np.float32],
    numbers: npt.NDArray[np.uint32],
    ops: npt.NDArray[np.uint64],
) -> int:
    """Fill the winners' arrays; return how many there are, or FELL_SHORT."""
    dimensions = len(values)
    query_at, scale, _, _ = prepare(values, buffer, dimensions, normalise)
    count = 0
    for i in range(len(table)):
        graph = table[i]
        near_at, factor = query_at, factors[i, 0]
        if graph[OWN_CODES] != 0:
            near_at, factor = query_at + 4 * dimensions, factor * scale
        got = graph_search(
            graph[0],
            graph[1],
            graph[2],
            graph[3],
            dimensions,
            factor,
            near_at,
            graph[4],
            graph[5],
            graph[6],
            graph[7],
            factors[i, 1],
            query_at,
            graph[8],
            graph[LINKS_WIDTH],
            graph[10],
            graph[11],
            graph[12],
            graph[13],
            graph[14],
            graph[ALIVE],
            graph[POINTS],
            0,
            0,
            graph[EF],
            graph[WANTED],
            graph[RESCORED],
            graph[BUDGET],
            1.0,
            mark + i,
            marks,
            frontier,
            best,
            fresh,
            found,
            rows,
            cell,
        )
        if got < graph[WANTED]:
            return FELL_SHORT
        count = take(found[:got], rows[:got], graph[POINTS], graph[OP_NUMS], scores, numbers, ops, count)
    return count
