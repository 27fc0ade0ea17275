"""All rows of one named multivector: a `DenseSpace` in which a point has several rows.

Everything about segments, which of their rows are alive, and building is as in `DenseSpace`; only what is about points and not
about rows stands here: finding, reading and counting them, and the search.

A search of a segment with a graph first looks for candidates: for each row of the query it walks to the nearest rows. The
points of these are ranked by the sum of what was found, where a row of the query found nothing of a point by the worst that
it did find (as in XTR, Lee et al. 2023): no row that was not found is better than that. The best of the candidates are
scored exactly. Where that would compare no fewer rows than there are, all points are scored exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from qnode.index.dense_space import DenseSpace
from qnode.index.population import Mask
from qnode.index.segments import OpNums, Sealed
from qnode.index.space import Candidates, Part, Rows, Shown, ShownPart
from qnode.index.store import Numbers
from qnode.index.vectors import Query, SealedSegment, prepare_query
from qnode.index.vectors.examples import combine
from qnode.index.vectors.multi import begins, best_runs, whole_runs
from qnode.index.vectors.native import address_of
from qnode.index.vectors.search import COMPARED_PER_EF, LISTED_SHARE
from qnode.index.vectors.winners import take
from qnode.models.query import AnyVector, Examples, SearchParams, Vector

NEAREST_PER_K, NEAREST_PER_EF = 8, 2
"""For each row of the query so many times k rows are looked for, and so many times hnsw_ef at least."""

WALK_COST = 10
"""Comparing a row in a walk costs as much as scoring so many one after the other."""

CANDIDATES_PER_NEAREST = 2
"""So many times as many points are scored exactly.

8 000 texts of 35 rows of 64 dimensions (made), queries of 16 rows, recall@10 and milliseconds, beside 132 ms for all points:
64 nearest rows and 64 points .95, 5.3; 128 and 128 .993, 7.0; 256 and 256 1.0, 12.3.
"""


class MultiSpace(DenseSpace):
    """The segments of one vector slot that holds multivectors."""

    def search(
        self,
        shown: Shown,
        target: AnyVector | Examples,
        k: int,
        params: SearchParams,
        selected: Mask | None,
        selected_count: int,
    ) -> Candidates:
        """Find the k points of the largest max_sim; a vector that is no multivector counts as one row.

        For examples all points are scored.
        """
        if isinstance(target, Examples):
            return self._search_for_examples(shown, target, k, params, selected, selected_count)
        queries = self._queries(target)
        scores, numbers, ops = np.empty(k, np.float32), np.empty(k, np.uint32), np.empty(k, np.uint64)
        count = 0
        for part in shown.parts:
            if params.indexed_only and self._awaits_graph(part.dense):
                continue
            candidates = self._candidates(part, queries, k, params, selected, selected_count)
            view = part.dense.view_of(len(part.alive))
            found, rows = best_runs(view, part.op_nums_at, queries, k, part.alive, selected, selected_count, candidates)
            count = take(found, rows, part.points_at, part.op_nums_at, scores, numbers, ops, count)
        return Candidates(scores[:count], numbers[:count], ops[:count])

    def _search_for_examples(
        self, shown: Shown, target: Examples, k: int, params: SearchParams, selected: Mask | None, selected_count: int
    ) -> Candidates:
        scores, numbers, ops = np.empty(k, np.float32), np.empty(k, np.uint32), np.empty(k, np.uint64)
        count = 0
        for part in shown.parts:
            if params.indexed_only and self._awaits_graph(part.dense):
                continue
            view, similar = part.dense.view_of(len(part.alive)), []
            rows = np.empty(0, np.int32)
            for vector in target.vectors:
                found, rows = best_runs(
                    view, part.op_nums_at, self._queries(vector), view.rows, part.alive, selected, selected_count, None
                )
                order = np.argsort(rows)
                rows = rows[order]
                similar.append(found[order])
            combined = combine(target, similar)
            best = np.argsort(-combined, kind="stable")[:k]
            count = take(combined[best], rows[best], part.points_at, part.op_nums_at, scores, numbers, ops, count)
        return Candidates(scores[:count], numbers[:count], ops[:count])

    def score(
        self, target: AnyVector | Examples, numbers: Numbers, ops: OpNums, params: SearchParams
    ) -> tuple[npt.NDArray[np.float32], Mask, Mask]:
        """Score the current vectors of points, each once, as an exact search does; see `Space.score`."""
        scores = np.zeros(len(numbers), np.float32)
        known, seen = np.zeros(len(numbers), np.bool_), np.zeros(len(numbers), np.bool_)
        vectors = target.vectors if isinstance(target, Examples) else [target]
        for part, rows, at in super().locate(numbers, ops):
            known[at] = True
            if params.indexed_only and self._awaits_graph(part.dense):
                continue
            similar = [self._max_sims(part, vector, rows) for vector in vectors]
            scores[at] = combine(target, similar) if isinstance(target, Examples) else similar[0]
            seen[at] = True
        return scores, known, seen

    def _max_sims(self, part: Part, vector: AnyVector, rows: Rows) -> npt.NDArray[np.float32]:
        """The max_sim of the points that some rows are of, one row for each point."""
        segment = part.dense
        view, asked = segment.view_of(segment.rows), np.sort(rows).astype(np.int32)
        op_nums, alive = segment.op_nums, np.ones(view.rows, np.bool_)
        found, firsts = best_runs(view, address_of(op_nums), self._queries(vector), len(rows), alive, None, 0, asked)
        by_row, by_asked = np.argsort(firsts), np.argsort(rows)
        ordered = np.empty(len(rows), np.float32)
        ordered[by_asked] = found[by_row]
        return ordered

    def _queries(self, vector: AnyVector) -> list[Query]:
        assert isinstance(vector, np.ndarray)
        return [prepare_query(self._params, row) for row in np.atleast_2d(vector)]

    def _candidates(
        self,
        part: ShownPart,
        queries: Sequence[Query],
        k: int,
        params: SearchParams,
        selected: Mask | None,
        selected_count: int,
    ) -> npt.NDArray[np.int32] | None:
        """Find rows, ascending, whose points are probably the best; None if all are to be scored."""
        segment = part.dense
        if params.exact or not segment.indexed:
            return None
        assert isinstance(segment, SealedSegment)
        rows_each = segment.rows / max(segment.runs, 1)
        wanted = segment.rows if selected is None else min(int(selected_count * rows_each), segment.rows)
        nearest = max(NEAREST_PER_K * k, NEAREST_PER_EF * self._ef(k, params))
        kept = CANDIDATES_PER_NEAREST * nearest
        compared = COMPARED_PER_EF * nearest * segment.rows / max(wanted, 1)
        if WALK_COST * compared + kept * rows_each > wanted or wanted * LISTED_SHARE <= segment.rows:
            return None
        found = [self.search_part(part, query, nearest, params, selected, wanted) for query in queries]
        return np.sort(_most_promising(part.points, found, kept))

    def locate(self, numbers: Numbers, ops: OpNums) -> list[tuple[Part, Rows, npt.NDArray[np.intp]]]:
        """Find all current rows of points whose vectors were set by `ops`, in their order: per part, and whose they are."""
        located = []
        for part, rows, at in super().locate(numbers, ops):
            each, origin = whole_runs(part.segment.points, part.segment.op_nums, rows)
            located.append((part, each, at[origin]))
        return located

    def read(self, numbers: Numbers, ops: OpNums) -> tuple[Sequence[AnyVector], Mask]:
        """Read current vectors, each (n, dim) float32, and (n,) which of them were found."""
        vectors: list[Vector] = [np.empty((0, self._params.size), np.float32)] * len(numbers)
        known = np.zeros(len(numbers), np.bool_)
        for part, rows, at in self.locate(numbers, ops):
            first = np.flatnonzero(np.append(True, at[1:] != at[:-1]))
            for place, run in zip(at[first].tolist(), np.split(part.dense.read(rows), first[1:]), strict=True):
                vectors[place] = run
            known[at] = True
        return vectors, known

    def rows_of(self, segment: Sealed, numbers: Numbers, ops: OpNums) -> Rows:
        """Give all rows that these operations made of these points in a segment."""
        found = super().rows_of(segment, numbers, ops)
        return np.unique(whole_runs(segment.points, segment.op_nums, found)[0])

    def _living(self, part: Part) -> int:
        alive, points, op_nums = part.alive, part.segment.points, part.segment.op_nums
        rows = min(len(alive), len(points), len(op_nums))  # the writer may be at work
        return int(np.count_nonzero(begins(points[:rows], op_nums[:rows]) & alive[:rows]))


def _most_promising(
    points: Numbers, found: Sequence[tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]], kept: int
) -> npt.NDArray[np.int32]:
    """Choose one row of each of the `kept` best points, of what each row of the query found: (similarities, rows)."""
    rows = np.concatenate([rows for _, rows in found])
    names, first, place = np.unique(points[rows], return_index=True, return_inverse=True)
    total = np.zeros(len(names), np.float64)
    begin = 0
    for similarities, own in found:
        if not len(own):
            continue
        best = np.full(len(names), similarities[-1], np.float64)
        np.maximum.at(best, place[begin : begin + len(own)], similarities)
        total += best
        begin += len(own)
    chosen = np.argpartition(-total, kept)[:kept] if len(names) > kept else np.arange(len(names))
    return rows[first[chosen]]
