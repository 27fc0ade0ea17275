"""Queries by examples as searches that an index knows: the vectors of points are looked up, means are taken, pairs are weighed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from qnode.errors import BadRequest, NotFound
from qnode.models.point_id import PointKey, id_of
from qnode.models.query import (
    NO_PAYLOAD,
    AnyVector,
    Examples,
    ExamplesKind,
    Nearest,
    Point,
    RetrieveRequest,
    VectorSelector,
)
from qnode.models.shard_choice import ShardChoice
from qnode.models.universal import (
    Context,
    Discover,
    Feedback,
    Given,
    Lookup,
    Mmr,
    Pair,
    Query,
    Recommend,
    Stage,
    Strategy,
)
from qnode.models.vector_params import SlotParams, VectorParams
from qnode.shards.querying.averages import average
from qnode.shards.querying.steps import Ask, Steps
from qnode.shards.querying.structure import stages_of
from qnode.shards.resolve import check_query

ExampleQuery = Nearest | Recommend | Discover | Context | Feedback

_LARGEST = float(np.finfo(np.float32).max)

_KINDS = {Strategy.BEST_SCORE: ExamplesKind.BEST_SCORE, Strategy.SUM_SCORES: ExamplesKind.SUM_SCORES}


@dataclass(frozen=True, slots=True)
class Source:
    """Which vectors points are looked up for. place: None is the collection that is searched."""

    place: Lookup | None
    name: str


def source_of(stage: Stage) -> Source:
    """Tell where a stage's points are looked up."""
    if stage.lookup is None or stage.lookup.vector is None:
        return Source(stage.lookup, stage.using)
    return Source(stage.lookup, stage.lookup.vector)


def given_in(query: Query | None) -> tuple[Given, ...]:
    """List the examples of a query."""
    match query:
        case Mmr(nearest):
            return given_in(nearest)
        case Nearest(vector, example):
            given = vector if example is None else example
            assert given is not None
            return (given,)
        case Recommend(positive, negative):
            return positive + negative
        case Discover(target, pairs):
            return (target, *(given for pair in pairs for given in pair))
        case Context(pairs):
            return tuple(given for pair in pairs for given in pair)
        case Feedback(target, judged):
            return (target, *(given for given, _ in judged))
    return ()


Found = Mapping[tuple[Source, PointKey], AnyVector]


def named_in(root: Stage) -> dict[Source, tuple[PointKey, ...]]:
    """List the points that are examples anywhere in a tree, by where they are looked up."""
    named: dict[Source, dict[PointKey, None]] = {}
    for stage in stages_of(root):
        keys = [given for given in given_in(stage.query) if isinstance(given, bytes)]
        if keys:
            named.setdefault(source_of(stage), {}).update(dict.fromkeys(keys))
    return {source: tuple(keys) for source, keys in named.items()}


def looked_up(named: Mapping[Source, tuple[PointKey, ...]], shards: ShardChoice | None) -> Steps[Found]:
    """Read the vectors of points; raise NotFound for one that is not there, or lacks the vector."""
    if not named:
        return {}
    asks = []
    for source, keys in named.items():
        chosen = shards if source.place is None else source.place.shards
        selector = VectorSelector(True, (source.name,))
        asks.append(Ask(RetrieveRequest(keys, NO_PAYLOAD, selector, chosen), source.place))
    answers = yield asks
    vectors: dict[tuple[Source, PointKey], AnyVector] = {}
    for (source, keys), points in zip(named.items(), answers, strict=True):
        vectors.update(_vectors_of(source, keys, points))
    return vectors


def _vectors_of(
    source: Source, keys: Iterable[PointKey], points: Iterable[Point]
) -> dict[tuple[Source, PointKey], AnyVector]:
    held = {point.key: point.vectors or {} for point in points}
    vectors = {}
    for key in keys:
        if key not in held:
            raise NotFound(f"No point with id {id_of(key)} found")
        if source.name not in held[key]:
            raise NotFound(f'Vector with name "{source.name}" for point not found')
        vectors[source, key] = held[key][source.name]
    return vectors


def search_of(query: ExampleQuery, params: SlotParams, source: Source, looked: Found) -> Nearest | Examples:
    """Make the search of a query; raise BadInput or BadRequest for examples that do not make one."""

    def vector_of(given: Given) -> AnyVector:
        vector = looked[source, given] if isinstance(given, bytes) else given
        check_query(vector, params)
        if isinstance(params, VectorParams) and params.multivector and isinstance(vector, np.ndarray):
            return vector.reshape(-1, params.size)
        return vector

    def vectors_of(several: Sequence[Given]) -> tuple[AnyVector, ...]:
        return tuple(vector_of(given) for given in several)

    def sides_of(pairs: Sequence[Pair]) -> tuple[tuple[AnyVector, AnyVector], ...]:
        return tuple((vector_of(positive), vector_of(negative)) for positive, negative in pairs)

    match query:
        case Nearest():
            return Nearest(vector_of(given_in(query)[0]))
        case Recommend(positive, negative, strategy):
            if strategy is not Strategy.AVERAGE_VECTOR:
                return Examples(_KINDS[strategy], positive=vectors_of(positive), negative=vectors_of(negative))
            if not positive:
                raise BadRequest("Positive vectors should not be empty with `average` strategy")
            return Nearest(average(vectors_of(positive), vectors_of(negative)))
        case Discover(target, pairs):
            return Examples(ExamplesKind.DISCOVER, vector_of(target), pairs=sides_of(pairs))
        case Context(pairs):
            if not pairs:
                raise BadRequest("A context query needs at least one pair of examples")
            return Examples(ExamplesKind.CONTEXT, pairs=sides_of(pairs))
        case Feedback(target, judged):
            weights = tendencies([score for _, score in judged], query.b, query.c)
            order = sorted(range(len(judged)), key=lambda at: -judged[at][1])
            ranked = [vector_of(judged[at][0]) for at in order]
            return Examples(
                ExamplesKind.FEEDBACK,
                vector_of(target),
                pairs=tuple(pairwise(ranked)),
                target_weight=query.a,
                pair_weights=weights,
            )


def tendencies(scores: Sequence[float], b: float, c: float) -> tuple[float, ...]:
    """Weigh neighbours among the judged examples, in descending order of their scores, as all pairs of them together weigh.

    Each pair counts c · (score - lower)^b for the better one and as much against the other, so what examples count adds up to
    nothing, and the differences of neighbours alone make the same sum: n - 1 of them instead of n².
    """
    given = np.sort(np.array(scores, np.float64))[::-1]
    counted = np.zeros(len(given), np.float64)
    with np.errstate(over="ignore"):
        for at, score in enumerate(given):
            gained = np.clip(c * np.minimum((score - given[at + 1 :]) ** b, _LARGEST), -_LARGEST, _LARGEST)
            gained[given[at + 1 :] == score] = 0.0
            counted[at] += gained.sum()
            counted[at + 1 :] -= gained
    return tuple(np.clip(np.cumsum(counted)[:-1], -_LARGEST, _LARGEST).tolist())
