"""Evaluating a tree of stages over the searches of a collection, as steps.

The points that the tree names as examples are looked up first, all at once. Then the stages are evaluated from the leaves: a leaf is
one search; a stage above combines the lists of its prefetches, or searches again among the points in them.

Points of this collection that are examples anywhere in the tree are found nowhere in it: a leaf's search leaves them out, or
its filter where points are listed. A stage that searches again looks at the points of its prefetches alone, which have passed all
filters already. Combining happens at the node that was asked, over what all shards have found, so that the number of shards does not show.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from qnode.models.filter import Filter, HasId, MinShould
from qnode.models.formula import Formula
from qnode.models.point_id import PointKey
from qnode.models.query import (
    NO_PAYLOAD,
    NO_VECTORS,
    Examples,
    Nearest,
    Point,
    QueryRequest,
    RetrieveRequest,
    VectorSelector,
)
from qnode.models.reads import OrderedRequest, SampleRequest
from qnode.models.universal import Dbsf, Lookup, Mmr, OrderBy, Rrf, Sample, Stage, UniversalRequest
from qnode.shards.kinds import Settings
from qnode.shards.querying import diversity, structure
from qnode.shards.querying.examples import Found, looked_up, named_in, search_of, source_of
from qnode.shards.querying.fusion import distribution_based_fusion, reciprocal_rank_fusion, scores_of
from qnode.shards.querying.rescoring import rescored
from qnode.shards.querying.steps import Ask, Steps, asked, beside
from qnode.shards.resolve import named

MOST_WANTED = 2**63
"""More points than this are never asked for: peers could not be told so."""

LISTED_SCORE = np.float32(1.0)
"""What points score that were listed, not ranked."""

Points = Sequence[Point]


def evaluate(root: UniversalRequest, settings: Settings, own: Collection[Lookup]) -> Steps[Points]:
    """Answer a query. `own`: which of its lookups lead to the collection that is searched."""
    examples = named_in(root)
    looked = yield from looked_up(examples, root.shards)
    structure.check(root)
    excluded = frozenset(
        key for source, keys in examples.items() if source.place is None or source.place in own for key in keys
    )
    return (yield from _Evaluation(root, settings, looked, excluded).answer())


class _Evaluation:
    """One evaluation, after the examples were looked up."""

    def __init__(
        self, root: UniversalRequest, settings: Settings, looked: Found, excluded: frozenset[PointKey]
    ) -> None:
        self._root = root
        self._settings = settings
        self._looked = looked
        self._excluded = excluded

    def answer(self) -> Steps[Points]:
        root = self._root
        offset = 0 if isinstance(root.query, Sample) and not root.prefetches else root.offset
        points = yield from self._found(root, None, min(offset + root.limit, MOST_WANTED))
        points = points[offset:]
        is_shown = root.with_payload.enabled or root.with_vector.enabled
        if is_shown and points and isinstance(root.query, Rrf | Dbsf | Formula | Mmr):
            points = yield from self._filled(points)
        return points

    def _found(self, stage: Stage, outer: Filter | None, wanted: int) -> Steps[Points]:
        """Give the first `wanted` points of a stage."""
        chosen = both(outer, stage.filter)
        if not stage.prefetches:
            return (yield from self._searched(stage, chosen, wanted, self._excluded))
        sources = yield from beside([self._found(below, chosen, below.limit) for below in stage.prefetches])
        if isinstance(stage.query, Rrf | Dbsf | Formula):
            return (yield from self._combined(stage, stage.query, sources))[:wanted]
        keys = frozenset(point.key for points in sources for point in points)
        if not keys:
            return []
        return (yield from self._searched(stage, Filter(must=(HasId(keys),)), wanted, frozenset()))

    def _combined(self, stage: Stage, query: Rrf | Dbsf | Formula, sources: list[Points]) -> Steps[Points]:
        points: Points
        match query:
            case Rrf(k, weights):
                points = reciprocal_rank_fusion(sources, k, weights)
            case Dbsf():
                points = distribution_based_fusion(sources)
            case Formula():
                points = yield from rescored(query, sources, self._settings.fields, self._root.shards)
        if stage.score_threshold is None:
            return points
        return points[: int((scores_of(points) >= stage.score_threshold).sum())]  # best first

    def _searched(
        self, stage: Stage, chosen: Filter | None, wanted: int, excluded: frozenset[PointKey]
    ) -> Steps[Points]:
        """Search once, among the points that pass a filter."""
        query, root = stage.query, self._root
        assert not isinstance(query, Rrf | Dbsf | Formula)
        params = replace(stage.params, exact=True) if stage.prefetches else stage.params
        if isinstance(query, Mmr):
            return (yield from self._diverse(stage, query, chosen, wanted, excluded))
        if excluded and (query is None or isinstance(query, OrderBy | Sample)):
            chosen = both(chosen, Filter(must_not=(HasId(excluded),)))
        if isinstance(query, OrderBy | Sample):
            return (yield from self._listed(stage, query, chosen, wanted))
        target, bound = None, stage.score_threshold
        if query is not None:
            vector = named(self._settings.vectors, stage.using)
            target = replace(search_of(query, vector, source_of(stage), self._looked), excluded=excluded)
            if isinstance(target, Examples) and vector.distance.smaller_is_better:
                bound = None  # of all shards together: see `leading`
        request = QueryRequest(
            target,
            stage.using,
            chosen,
            params,
            bound,
            min(wanted, MOST_WANTED),
            with_payload=root.with_payload if stage is root else NO_PAYLOAD,
            with_vector=root.with_vector if stage is root else NO_VECTORS,
            shards=root.shards,
        )
        points = yield from asked(Ask(request))
        return points if bound == stage.score_threshold else leading(points, stage.score_threshold)

    def _listed(self, stage: Stage, query: OrderBy | Sample, chosen: Filter | None, wanted: int) -> Steps[Points]:
        """List points that are not ranked by a score."""
        root = self._root
        payload = root.with_payload if stage is root else NO_PAYLOAD
        vectors = root.with_vector if stage is root else NO_VECTORS
        request: OrderedRequest | SampleRequest
        if isinstance(query, Sample):
            request = SampleRequest(wanted, chosen, payload, vectors, root.shards)
        else:
            request = OrderedRequest(
                query.field, query.direction, query.start_from, wanted, chosen, payload, vectors, root.shards
            )
        points = yield from asked(Ask(request))
        return [replace(point, score=LISTED_SCORE) for point in points[:wanted]]

    def _diverse(
        self, stage: Stage, query: Mmr, chosen: Filter | None, wanted: int, excluded: frozenset[PointKey]
    ) -> Steps[Points]:
        """Choose among the nearest."""
        params = named(self._settings.vectors, stage.using)
        nearest = search_of(query.nearest, params, source_of(stage), self._looked)
        assert isinstance(nearest, Nearest)
        candidates = stage.limit if query.candidates is None else query.candidates
        request = QueryRequest(
            replace(nearest, excluded=excluded),
            stage.using,
            chosen,
            stage.params,
            stage.score_threshold,
            min(candidates, MOST_WANTED),
            with_vector=VectorSelector(True, (stage.using,)),
            shards=self._root.shards,
        )
        points = yield from asked(Ask(request))
        vectors = [point.vectors[stage.using] for point in points if point.vectors is not None]
        assert nearest.vector is not None
        places = diversity.chosen(nearest.vector, vectors, params.distance, query.diversity, wanted)
        return [replace(points[place], vectors=None) for place in places]

    def _filled(self, points: Points) -> Steps[Points]:
        """Give the points what is to be returned of them; one that has been deleted since it was found goes."""
        root = self._root
        keys = tuple(point.key for point in points)
        read = yield from asked(Ask(RetrieveRequest(keys, root.with_payload, root.with_vector, root.shards)))
        held = {point.key: point for point in read}
        return [
            replace(held[point.key], score=point.score, shard_key=point.shard_key)
            for point in points
            if point.key in held
        ]


def leading(points: Points, threshold: float | None) -> Points:
    """The first points, as long as their scores are below a threshold.

    Scores by several examples descend for every distance, and Qdrant compares them as the distance is compared: for those of
    which a smaller one is better, nothing is left where the best score is not below the threshold.
    """
    assert threshold is not None
    is_beyond = scores_of(points) >= np.float32(threshold)
    return points[: int(is_beyond.argmax())] if is_beyond.any() else points


def both(outer: Filter | None, inner: Filter | None) -> Filter | None:
    """Join the filters of a stage and of one below it clause by clause, as Qdrant does: what one of both `should` is enough."""
    if outer is None or inner is None:
        return inner if outer is None else outer
    counted = outer.min_should or inner.min_should
    if outer.min_should is not None and inner.min_should is not None:
        conditions = outer.min_should.conditions + inner.min_should.conditions
        counted = MinShould(conditions, max(outer.min_should.min_count, inner.min_should.min_count))
    return Filter(outer.must + inner.must, outer.should + inner.should, outer.must_not + inner.must_not, counted)
