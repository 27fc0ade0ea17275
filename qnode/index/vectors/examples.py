"""Several examples of a search, prepared once for all segments that it visits.

How candidates are found was chosen by recall on real texts (benchmarks/examples.py); all are scored by their vectors, against
every example, before the best are taken:

    SUM_SCORES, FEEDBACK  a weighted sum of dot products is the dot product with the sum: one walk towards that, but a wide
                          one, since the sum is no direction that has many points; with other metrics by the combined score
    BEST_SCORE            one walk towards each positive example, else the nearest to one of them crowd out those of the
                          others; and one by the combined score, for what negative examples make worse
    DISCOVER              a wide one towards the target, as if the pairs were a filter, and one by the combined score
    CONTEXT               by the combined score

Left out: the bounds and sketches that let a scan pass over rows. A scan scores every wanted row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from qnode.index.vectors import native
from qnode.index.vectors.combining import COMBINED, HALF, MARGIN, ONE, ZERO, Entry, table_of
from qnode.index.vectors.query import Query, own_codes_factor, prepare_query
from qnode.index.vectors.scoring import Scorer
from qnode.index.vectors.view import Codes, View
from qnode.models.query import Examples, ExamplesKind
from qnode.models.vector_params import Datatype, Distance, VectorParams

Addressed = tuple[tuple[int, int, int, int, float], int]
"""What scores exactly: kind, function, address and stride of the rows, and a factor; the query's address."""

Floats = npt.NDArray[np.float32]
LARGEST = np.finfo(np.float32).max

LINEAR = (ExamplesKind.SUM_SCORES, ExamplesKind.FEEDBACK)
"""Kinds that are weighted sums of similarities."""


WIDEST = 4
"""So many times the candidates that are kept for one vector are kept where one walk must serve all examples."""


@dataclass(frozen=True, slots=True)
class Approach:
    """What a walk compares with. near: kind, function, address, stride and dimensions of the rows; query_at: the query or table.

    narrowed: it keeps one in so many of the candidates that the widest keeps.
    """

    near: tuple[int, int, int, int, int]
    factor: float
    query_at: int
    narrowed: int

    @property
    def is_combined(self) -> bool:
        return self.near[0] == COMBINED


class ExamplesQuery:
    """The examples in the forms that segments compare with; for one search at a time.

    weights: what each similarity counts in a sum. begins: near which examples a walk begins.
    """

    __slots__ = ("_codes", "_exact", "_merged", "_queries", "begins", "kind", "params", "positives", "weights")

    def __init__(self, params: VectorParams, examples: Examples) -> None:
        self.params, self.kind = params, examples.kind
        self.positives = len(examples.positive)
        vectors = [*examples.positive, *examples.negative]
        weights = [1.0] * self.positives + [-1.0] * len(examples.negative)
        begins = [True] * self.positives + [False] * len(examples.negative)
        if examples.target is not None:
            vectors, weights, begins = [examples.target], [examples.target_weight], [True]
        for number, (positive, negative) in enumerate(examples.pairs):
            weight = examples.pair_weights[number] if examples.pair_weights else 1.0
            vectors += [positive, negative]
            weights += [weight, -weight]
            begins += [True, False]
        self._queries = [prepare_query(params, vector) for vector in vectors if isinstance(vector, np.ndarray)]
        assert len(self._queries) == len(vectors)
        self.weights, self.begins = weights, begins
        self._exact: tuple[Scorer, npt.NDArray[np.uint8]] | None = None
        self._codes: dict[object, npt.NDArray[np.uint8]] = {}
        self._merged: Query | None = None

    def exactly(self, view: View) -> Addressed:
        """What scores a segment's rows by their vectors."""
        found = self._exact
        if found is None or found[0] is not view.exact:
            table = self._table(view.exact, lambda query: (query.address, view.exact.factor))
            found = self._exact = (view.exact, table)
        return (COMBINED, 0, view.vectors_at, view.stride, 1.0), native.address_of(found[1])

    def walks(self, view: View, *, on_codes: bool, by_vectors: bool) -> list[Approach]:
        """How a walk finds candidates in a segment. by_vectors: whether what was found is scored by the vectors then."""
        if self._is_sum(view.codes if on_codes else None):
            return [self._by_sum(view, on_codes=on_codes)]
        together = self._together(view, on_codes=on_codes)
        if not by_vectors or self.kind is ExamplesKind.CONTEXT:
            return [together]
        if self.kind is ExamplesKind.BEST_SCORE:
            near = [_alone(view, query, WIDEST, on_codes=on_codes) for query in self._queries[: self.positives]]
            if not near:
                return [replace(together, narrowed=1)]
            return near if self.positives == len(self._queries) else [*near, together]
        together = replace(together, narrowed=1 if self.kind in LINEAR else 2)
        if self.kind is ExamplesKind.DISCOVER:
            return [_alone(view, self._queries[0], 1, on_codes=on_codes), together]
        return [together]

    def _together(self, view: View, *, on_codes: bool) -> Approach:
        """By the combined score."""
        if not on_codes:
            (kind, function, vectors_at, stride, factor), table_at = self.exactly(view)
            return Approach((kind, function, vectors_at, stride, self.params.size), factor, table_at, WIDEST)
        coded, scorer = view.codes, view.code_scorer
        assert coded is not None
        assert scorer is not None
        table = self._codes.get((coded.kind, coded.limit))
        if table is None:

            def encoded(query: Query) -> tuple[int, float]:
                address, scale = query.encoded(coded.kind, coded.limit)
                return address, scorer.factor * scale

            table = self._codes[coded.kind, coded.limit] = self._table(scorer, encoded)
        near = (COMBINED, 0, view.codes_at, view.code_stride, self.params.size)
        return Approach(near, 1.0, native.address_of(table), WIDEST)

    def _table(self, scorer: Scorer, form: Callable[[Query], tuple[int, float]]) -> npt.NDArray[np.uint8]:
        entries = [
            Entry(*form(query), weight, begins)
            for query, weight, begins in zip(self._queries, self.weights, self.begins, strict=True)
        ]
        has_target = len(entries) % 2 == 1 and self.kind not in (ExamplesKind.BEST_SCORE, ExamplesKind.SUM_SCORES)
        return table_of(self.kind, scorer.kind, scorer.function, entries, self.positives, has_target)

    def _is_sum(self, coded: Codes | None) -> bool:
        """Whether a walk of such codes (None: of the vectors) may go by the sum of the examples."""
        if self.kind not in LINEAR or self.params.datatype is Datatype.UINT8:
            return False
        if self.params.distance not in (Distance.DOT, Distance.COSINE):
            return False
        return coded is None or own_codes_factor(self.params.distance, coded.kind, coded.limit) is not None

    def _by_sum(self, view: View, *, on_codes: bool) -> Approach:
        if self._merged is None:
            summed = sum(
                np.float64(weight) * query.floats for weight, query in zip(self.weights, self._queries, strict=True)
            )
            self._merged = Query(self.params, np.asarray(summed, np.float32), normalise=False)
        return _alone(view, self._merged, 1, on_codes=on_codes)


def _alone(view: View, query: Query, narrowed: int, *, on_codes: bool) -> Approach:
    """By the similarity to one vector."""
    if not on_codes:
        return Approach(view.near_vectors, view.exact.factor, query.address, narrowed)
    assert view.codes is not None
    assert view.code_scorer is not None
    address, scale = query.encoded(view.codes.kind, view.codes.limit)
    return Approach(view.near_codes, view.code_scorer.factor * scale, address, narrowed)


def combine(examples: Examples, similar: Sequence[Floats]) -> Floats:
    """Combine similarities, (n,) to each of `examples.vectors`, as `combining` does row by row; for what no kernel scores."""
    rest = iter(similar)
    target = next(rest) if examples.target is not None else np.zeros_like(similar[0])
    positive, negative = [next(rest) for _ in examples.positive], [next(rest) for _ in examples.negative]
    pairs = [(next(rest), next(rest)) for _ in examples.pairs]
    none, lowest = np.zeros_like(target), np.full_like(target, -LARGEST)
    if examples.kind is ExamplesKind.BEST_SCORE:
        near, far = np.maximum.reduce([lowest, *positive]), np.maximum.reduce([lowest, *negative])
        return np.where(near > far, _squashed(near), -_squashed(far)) + ZERO
    if examples.kind is ExamplesKind.SUM_SCORES:
        return sum(positive, none) - sum(negative, none) + ZERO
    if examples.kind is ExamplesKind.DISCOVER:
        return sum((np.sign(good - bad) for good, bad in pairs), none) + _squashed(target)
    if examples.kind is ExamplesKind.CONTEXT:
        return sum((_softened(np.minimum(good - bad - MARGIN, ZERO)) for good, bad in pairs), none) + ZERO
    total: Floats = np.float32(examples.target_weight) * target
    for (good, bad), weight in zip(pairs, examples.pair_weights, strict=True):
        total = total + np.float32(weight) * (good - bad)
    return total + ZERO


def _softened(values: Floats) -> Floats:
    return np.asarray(values / (ONE + np.abs(values)), np.float32)


def _squashed(values: Floats) -> Floats:
    return HALF * (_softened(values) + ONE)


def prepare(params: VectorParams, target: npt.NDArray[np.float32] | Examples) -> Query | ExamplesQuery:
    """Convert what a search is about to the stored type; see `prepare_query`."""
    return ExamplesQuery(params, target) if isinstance(target, Examples) else prepare_query(params, target)
