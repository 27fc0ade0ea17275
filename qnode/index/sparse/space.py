"""All rows of one named sparse vector: a `Space` whose searches are exact, whatever they are told to look at.

A point that has no index in common with a query is not found by it; several examples give every point a score. What a
query's values are multiplied by (`idf`) has been done before it comes here: it depends on all shards (`frequencies`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from qnode.index.population import Mask
from qnode.index.segments import OpNums, Sparse
from qnode.index.space import Candidates, Part, Shown, ShownPart, Space
from qnode.index.sparse.kernel import NOTHING, ZERO
from qnode.index.sparse.postings import SparseView, Wanted, frequencies, search, similarities
from qnode.index.store import Numbers
from qnode.index.vectors.examples import combine
from qnode.index.vectors.winners import take
from qnode.models.query import AnyVector, Examples, SearchParams, SparseVector
from qnode.models.vector_params import IndexParams, SlotParams, SparseParams

NO_VECTOR = SparseVector(np.empty(0, np.uint32), np.empty(0, np.float32))

Floats = npt.NDArray[np.float32]


class SparseSpace(Space):
    """The segments of one slot of sparse vectors."""

    def __init__(self, params: SparseParams, parts: tuple[Part, ...] = ()) -> None:
        super().__init__(parts)
        self._params = params

    @property
    def params(self) -> SparseParams:
        return self._params

    def configure(self, params: SlotParams, index: IndexParams) -> None:
        """Take over changed settings."""
        assert isinstance(params, SparseParams)
        self._params = params

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
        scores, numbers, ops = np.empty(k, np.float32), np.empty(k, np.uint32), np.empty(k, np.uint64)
        count = 0
        for part in shown.parts:
            view, wanted = _view(part), Wanted(part.alive, selected, selected_count)
            if isinstance(target, Examples):
                found, rows = _best_for_examples(view, target, k, wanted)
            else:
                floor = float(scores[k - 1]) if k and count == k else -np.inf
                found, rows = search(view, _sparse(target), k, wanted, floor)
            count = take(found, rows, part.points_at, part.op_nums_at, scores, numbers, ops, count)
        return Candidates(scores[:count], numbers[:count], ops[:count])

    def score(
        self, target: AnyVector | Examples, numbers: Numbers, ops: OpNums, params: SearchParams
    ) -> tuple[Floats, Mask, Mask]:
        """Score current vectors; see `Space.score`. What a search does not find is not looked at."""
        scores = np.zeros(len(numbers), np.float32)
        known, seen = np.zeros(len(numbers), np.bool_), np.zeros(len(numbers), np.bool_)
        for part, rows, at in self.locate(numbers, ops):
            known[at] = True
            forward = _segment(part).forward
            if isinstance(target, Examples):
                scores[at] = combine(target, [forward.score(_sparse(one), rows) + ZERO for one in target.vectors])
                seen[at] = True
            else:
                found = forward.score(_sparse(target), rows)
                scores[at], seen[at] = found + ZERO, ~((found == NOTHING) & np.signbit(found))
        return scores, known, seen

    def read(self, numbers: Numbers, ops: OpNums) -> tuple[Sequence[AnyVector], Mask]:
        """Read current vectors, of each point one, and (n,) which of them were found."""
        vectors: list[AnyVector] = [NO_VECTOR] * len(numbers)
        known = np.zeros(len(numbers), np.bool_)
        for part, rows, at in self.locate(numbers, ops):
            known[at] = True
            for place, vector in zip(at.tolist(), _segment(part).read(rows), strict=True):
                vectors[place] = vector
        return vectors, known

    def frequencies(
        self, indices: npt.NDArray[np.uint32], selected: Mask | None, selected_count: int
    ) -> tuple[int, npt.NDArray[np.int64]]:
        """Count the selected points that have a vector, and those of them whose vector has each of these indices."""
        total, counts = 0, np.zeros(len(indices), np.int64)
        for part in self.shown.parts:
            view, wanted = _view(part), Wanted(part.alive, selected, selected_count)
            total += len(wanted.rows(view))
            counts += frequencies(view, indices, wanted)
        return total, counts


def _sparse(vector: AnyVector) -> SparseVector:
    """Give a query as kernels take it: arrays of a peer's message cannot be written, and kernels would be compiled anew for them."""
    assert isinstance(vector, SparseVector)
    if vector.indices.flags.writeable and vector.values.flags.writeable:
        return vector
    return SparseVector(vector.indices.copy(), vector.values.copy())


def _segment(part: Part | ShownPart) -> Sparse:
    segment = part.segment
    assert isinstance(segment, Sparse)
    return segment


def _view(part: ShownPart) -> SparseView:
    return _segment(part).view_of(len(part.alive))


def _best_for_examples(
    view: SparseView, target: Examples, k: int, wanted: Wanted
) -> tuple[Floats, npt.NDArray[np.int32]]:
    """Return (scores, rows) of the best k wanted rows, best first, ties by row."""
    rows = wanted.rows(view)
    combined = combine(target, [similarities(view, _sparse(vector), rows) for vector in target.vectors])
    best = np.argsort(-combined, kind="stable")[:k]
    return combined[best], rows[best].astype(np.int32)
