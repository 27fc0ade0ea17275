"""Read requests and their answers, as the floors pass them on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import overload

import numpy as np
import numpy.typing as npt

from qnode.models.filter import Filter
from qnode.models.payload_path import PayloadPath
from qnode.models.point_id import PointKey, key_of
from qnode.models.shard_choice import ShardChoice, ShardKey

UNNAMED = ""
"""The name of a collection's single unnamed vector."""

DEFAULT_LIMIT = 10

Vector = npt.NDArray[np.float32]
"""(dim,) float32; of a multivector (n, dim)."""


@dataclass(frozen=True, slots=True, eq=False)
class SparseVector:
    """A vector of which only what is not zero is kept. indices: (nnz,) uint32 ascending, each once. values: (nnz,) float32."""

    indices: npt.NDArray[np.uint32]
    values: npt.NDArray[np.float32]


AnyVector = Vector | SparseVector


class Agreement(StrEnum):
    """How many replicas a read asks: all of them (majority, all) or just more than half (quorum).

    What it gives is in every answer, with `majority` in more than half of them.
    """

    MAJORITY = "majority"
    QUORUM = "quorum"
    ALL = "all"


Consistency = Agreement | int
"""A number: so many replicas are asked, and what the read gives is in every answer."""


@dataclass(frozen=True, slots=True)
class PayloadSelector:
    """Which part of a payload to return. Neither list: all of it, or nothing if `enabled` is False."""

    enabled: bool
    include: tuple[PayloadPath, ...] | None = None
    exclude: tuple[PayloadPath, ...] | None = None


@dataclass(frozen=True, slots=True)
class VectorSelector:
    """Which vectors to return: none, all, or those named."""

    enabled: bool
    names: tuple[str, ...] | None = None


NO_PAYLOAD, ALL_PAYLOAD = PayloadSelector(False), PayloadSelector(True)
NO_VECTORS, ALL_VECTORS = VectorSelector(False), VectorSelector(True)


@dataclass(frozen=True, slots=True)
class QuantizationParams:
    """How a search uses the quantised vectors."""

    ignore: bool = False
    rescore: bool | None = None
    oversampling: float | None = None


@dataclass(frozen=True, slots=True)
class Idf:
    """Among which points a search counts how many have an index: those that pass a filter, None for all."""

    corpus: Filter | None = None


@dataclass(frozen=True, slots=True)
class SearchParams:
    """How hard a search tries. idf: None where the collection's settings say whether it counts."""

    hnsw_ef: int | None = None
    exact: bool = False
    indexed_only: bool = False
    quantization: QuantizationParams = field(default_factory=QuantizationParams)
    idf: Idf | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """The points nearest to a vector, or to the vector of the point `example` (then left out).

    excluded: these points are left out, too.
    """

    vector: AnyVector | None = None
    example: PointKey | None = None
    excluded: frozenset[PointKey] = frozenset()

    @property
    def count(self) -> int:
        """How many vectors points are compared with."""
        return 1

    @property
    def left_out(self) -> frozenset[PointKey]:
        """The points that are never found."""
        return self.excluded if self.example is None else self.excluded | {self.example}


class ExamplesKind(StrEnum):
    """How similarities to several examples become one score. s: internal similarity, larger is better; σ(x) = ½(x/(1+|x|)+1).

    BEST_SCORE  p, n: the largest s to a positive and to a negative (no such: -infinity); σ(p) if p > n else -σ(n)
    SUM_SCORES  Σ s(positive) - Σ s(negative)
    DISCOVER    Σ over pairs sign(s(positive) - s(negative)), plus σ(s(target))
    CONTEXT     Σ over pairs g(min(s(positive) - s(negative) - ε, 0)), g(x) = x/(1+|x|), ε = 2^-23
    FEEDBACK    target_weight · s(target) + Σ over pairs weight · (s(positive) - s(negative))
    """

    BEST_SCORE = "best_score"
    SUM_SCORES = "sum_scores"
    DISCOVER = "discover"
    CONTEXT = "context"
    FEEDBACK = "feedback"


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """The points of the best score against several vectors, each as in `Nearest`; scores descend for every metric.

    pair_weights: FEEDBACK alone, one for each pair. excluded: points that are left out, as those that the examples are.
    """

    kind: ExamplesKind
    target: AnyVector | None = None
    positive: tuple[AnyVector, ...] = ()
    negative: tuple[AnyVector, ...] = ()
    pairs: tuple[tuple[AnyVector, AnyVector], ...] = ()
    target_weight: float = 1.0
    pair_weights: tuple[float, ...] = ()
    excluded: frozenset[PointKey] = frozenset()

    @property
    def count(self) -> int:
        """How many vectors points are compared with."""
        return len(self.positive) + len(self.negative) + 2 * len(self.pairs) + (self.target is not None)

    @property
    def left_out(self) -> frozenset[PointKey]:
        """The points that are never found."""
        return self.excluded

    @property
    def vectors(self) -> Sequence[AnyVector]:
        """All vectors."""
        paired = [vector for pair in self.pairs for vector in pair]
        return [*([] if self.target is None else [self.target]), *self.positive, *self.negative, *paired]


@dataclass(frozen=True, slots=True, eq=False)
class QueryRequest:
    """One search; `query` None lists points by id. `score_threshold` is strict, on the reported score."""

    query: Nearest | Examples | None
    using: str = UNNAMED
    filter: Filter | None = None
    params: SearchParams = field(default_factory=SearchParams)
    score_threshold: float | None = None
    limit: int = DEFAULT_LIMIT
    offset: int = 0
    with_payload: PayloadSelector = NO_PAYLOAD
    with_vector: VectorSelector = NO_VECTORS
    shards: ShardChoice | None = None

    @property
    def target(self) -> AnyVector | Examples | None:
        """What points are compared with, as far as the request itself says so."""
        return self.query.vector if isinstance(self.query, Nearest) else self.query

    @property
    def example(self) -> PointKey:
        """The point whose vector the query is about."""
        assert isinstance(self.query, Nearest)
        assert self.query.example is not None
        return self.query.example

    def nearest_to(self, vector: Vector) -> QueryRequest:
        """Ask the same about another vector."""
        return QueryRequest(
            Nearest(vector), self.using, self.filter, self.params, self.score_threshold, self.limit, self.offset,
            self.with_payload, self.with_vector, self.shards,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ScrollRequest:
    """A page of points in the order of their ids, from `offset` on (inclusive)."""

    offset: PointKey | None = None
    limit: int = DEFAULT_LIMIT
    filter: Filter | None = None
    with_payload: PayloadSelector = ALL_PAYLOAD
    with_vector: VectorSelector = NO_VECTORS
    shards: ShardChoice | None = None


@dataclass(frozen=True, slots=True)
class RetrieveRequest:
    """Points by id, in this order; unknown ones are passed over."""

    keys: tuple[PointKey, ...]
    with_payload: PayloadSelector = NO_PAYLOAD
    with_vector: VectorSelector = NO_VECTORS
    shards: ShardChoice | None = None


@dataclass(frozen=True, slots=True)
class CountRequest:
    """How many points pass the filter."""

    filter: Filter | None = None
    exact: bool = True
    shards: ShardChoice | None = None


@dataclass(slots=True, eq=False)
class Point:
    """A point as an answer holds it.

    score: float32, as reported to the user (None when nothing was scored).
    payload: JSON bytes, None when not asked for. vectors: by name, None when not asked for. shard_key: None without custom sharding.
    order_value: what the point was ordered by, if it was.
    """

    key: PointKey
    version: int
    score: np.float32 | None = None
    payload: bytes | None = None
    vectors: dict[str, AnyVector] | None = None
    shard_key: ShardKey | None = None
    order_value: int | float | None = None


class Hits(Sequence[Point]):
    """What a search for ids and scores alone found, by columns, best first.

    To make a `Point` of each costs more than to answer.

    scores: (n,) float32, as reported to the user.
    """

    __slots__ = ("ids", "scores", "versions")

    def __init__(self, ids: list[int | str], versions: list[int], scores: Vector) -> None:
        assert len(ids) == len(versions) == len(scores)
        self.ids, self.versions, self.scores = ids, versions, scores

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, place: int) -> Point: ...
    @overload
    def __getitem__(self, place: slice) -> Hits: ...

    def __getitem__(self, place: int | slice) -> Point | Hits:
        if isinstance(place, slice):
            return Hits(self.ids[place], self.versions[place], self.scores[place])
        return Point(key_of(self.ids[place]), self.versions[place], self.scores[place])
