"""All rows of one named dense vector: a `Space` whose sealed segments may have graphs to walk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from qnode.index.population import Mask
from qnode.index.segments import Dense, OpNums
from qnode.index.space import Candidates, Part, Shown, ShownPart, Space
from qnode.index.store import Numbers
from qnode.index.vectors import ExamplesQuery, Query, SealedSegment, prepare
from qnode.index.vectors.walks import Walked, Walks, plan_walks
from qnode.index.vectors.winners import take
from qnode.models.query import AnyVector, Examples, SearchParams, SparseVector
from qnode.models.vector_params import IndexParams, SlotParams, VectorParams

DEFAULT_EF_FLOOR = 64
"""A search without hnsw_ef looks at least at this many candidates, and at no fewer than ef_construct."""

REMEMBERED_WALKS = 64


def _walked(part: ShownPart) -> Walked:
    assert isinstance(part.segment, SealedSegment)
    return Walked(part.segment.view, part.alive, part.points_at, part.op_nums_at)


class DenseSpace(Space):
    """The segments of one slot of dense vectors."""

    def __init__(self, params: VectorParams, index: IndexParams, parts: tuple[Part, ...] = ()) -> None:
        super().__init__(parts)
        self.configure(params, index)

    @property
    def params(self) -> VectorParams:
        return self._params

    def configure(self, params: SlotParams, index: IndexParams) -> None:
        """Take over changed settings.

        A part with no more than `_small_bytes` of vectors needs no graph, also for `indexed_only`.
        """
        assert isinstance(params, VectorParams)
        self._params = params
        self._small_bytes = max(index.indexing_threshold_kb, params.full_scan_threshold_kb) * 1024

    def search(
        self,
        shown: Shown,
        target: AnyVector | Examples,
        k: int,
        params: SearchParams,
        selected: Mask | None,
        selected_count: int,
    ) -> Candidates:
        """Find the k alive rows that are best for the target, of the selected points if `selected` (capacity,) is given."""
        assert not isinstance(target, SparseVector)
        if isinstance(target, np.ndarray) and selected is None and not params.exact:
            walks = self._walks(shown, k, params)
            found_by_walks = None if walks is None else walks.search(target)
            if found_by_walks is not None:
                return Candidates(*found_by_walks)
        query = prepare(self._params, target)
        scores, numbers, ops = np.empty(k, np.float32), np.empty(k, np.uint32), np.empty(k, np.uint64)
        count = 0
        for part in shown.parts:
            floor = float(scores[k - 1]) if count == k else -np.inf
            found, rows = self.search_part(part, query, k, params, selected, selected_count, floor)
            count = take(found, rows, part.points_at, part.op_nums_at, scores, numbers, ops, count)
        return Candidates(scores[:count], numbers[:count], ops[:count])

    def search_part(
        self,
        part: ShownPart,
        query: Query | ExamplesQuery,
        k: int,
        params: SearchParams,
        selected: Mask | None,
        selected_count: int,
        floor: float = -np.inf,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
        """Find the k most similar alive rows of one part: (similarities, rows), best first.

        Rows less similar than `floor`, the worst winner so far, may be left out.
        """
        segment = part.dense
        if params.indexed_only and self._awaits_graph(segment):
            return np.empty(0, np.float32), np.empty(0, np.int32)
        return segment.search(
            query,
            k,
            self._ef(k, params),
            part.alive,
            selected,
            selected_count,
            exact=params.exact,
            quantization=params.quantization,
            floor=floor,
        )

    @property
    def left_out(self) -> int:
        """How many vectors a search with `indexed_only` does not look at."""
        return sum(self._living(part) for part in self.parts if self._awaits_graph(part.dense))

    def _awaits_graph(self, segment: Dense) -> bool:
        return not segment.indexed and segment.vector_bytes > self._small_bytes

    def _ef(self, k: int, params: SearchParams) -> int:
        return max(params.hnsw_ef or max(self._params.ef_construct, DEFAULT_EF_FLOOR), k)

    def _walks(self, shown: Shown, k: int, params: SearchParams) -> Walks | None:
        asked = (k, params.hnsw_ef, params.quantization)
        if asked in shown.walks:
            return shown.walks[asked]
        if len(shown.walks) >= REMEMBERED_WALKS:
            shown.walks.clear()
        planned, graphs = None, [_walked(part) for part in shown.parts if isinstance(part.segment, SealedSegment)]
        if len(graphs) == len(shown.parts):
            planned = plan_walks(self._params, graphs, k, self._ef(k, params), params.quantization)
        shown.walks[asked] = planned
        return planned

    def score(
        self, target: AnyVector | Examples, numbers: Numbers, ops: OpNums, params: SearchParams
    ) -> tuple[npt.NDArray[np.float32], Mask, Mask]:
        """Score current vectors as an exact search does.

        (n,) internal similarities; which of them were found; and of those, which a search with these params looks at.
        """
        assert not isinstance(target, SparseVector)
        query = prepare(self._params, target)
        scores = np.zeros(len(numbers), np.float32)
        known, seen = np.zeros(len(numbers), np.bool_), np.zeros(len(numbers), np.bool_)
        for part, rows, at in self.locate(numbers, ops):
            known[at] = True
            if not (params.indexed_only and self._awaits_graph(part.dense)):
                scores[at] = part.dense.score(query, rows)
                seen[at] = True
        return scores, known, seen

    def read(self, numbers: Numbers, ops: OpNums) -> tuple[Sequence[AnyVector], Mask]:
        """Read current vectors, of each point one, and (n,) which of them were found."""
        vectors = np.zeros((len(numbers), self._params.size), np.float32)
        known = np.zeros(len(numbers), np.bool_)
        for part, rows, at in self.locate(numbers, ops):
            vectors[at] = part.dense.read(rows)
            known[at] = True
        return cast("Sequence[AnyVector]", vectors), known
