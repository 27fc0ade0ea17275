"""The universal query as a value: a tree of searches whose results are combined, rescored, or turned into one another.

A stage searches by itself, or combines what its prefetches have found; `QueryRequest` is what is left of a stage when nothing is to
be combined and its query is a vector. Invariant: everything here is checked as far as it can be without the collection; what
contradicts itself only as a whole (`shards.querying.structure`) is refused after the points that it names were looked up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from qnode.models.filter import Filter
from qnode.models.formula import Formula
from qnode.models.point_id import PointKey
from qnode.models.query import (
    DEFAULT_LIMIT,
    NO_PAYLOAD,
    NO_VECTORS,
    UNNAMED,
    AnyVector,
    Nearest,
    PayloadSelector,
    SearchParams,
    VectorSelector,
)
from qnode.models.reads import Direction
from qnode.models.shard_choice import ShardChoice

DEFAULT_RRF_K = 2
DEFAULT_DIVERSITY = 0.5

Given = AnyVector | PointKey
"""An example: a vector, or the point whose vector is meant."""

Pair = tuple[Given, Given]
"""A positive example and a negative one."""


class Strategy(StrEnum):
    """How examples to come near to and to stay away from make a search."""

    AVERAGE_VECTOR = "average_vector"
    BEST_SCORE = "best_score"
    SUM_SCORES = "sum_scores"


@dataclass(frozen=True, slots=True, eq=False)
class Mmr:
    """The nearest points, chosen so that they also differ from each other (maximal marginal relevance, Carbonell & Goldstein 1998).

    candidates: among how many of the nearest to choose; None as many as are wanted.
    """

    nearest: Nearest
    diversity: float = DEFAULT_DIVERSITY
    candidates: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Recommend:
    """Points like the positive examples and unlike the negative ones."""

    positive: tuple[Given, ...] = ()
    negative: tuple[Given, ...] = ()
    strategy: Strategy = Strategy.AVERAGE_VECTOR


@dataclass(frozen=True, slots=True, eq=False)
class Discover:
    """Points near the target, on the positive side of as many pairs as possible."""

    target: Given
    pairs: tuple[Pair, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """Points on the positive side of all pairs."""

    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Feedback:
    """Points near the target, corrected by how well examples were judged to answer; a, b, c: the weights of Qdrant's naive strategy."""

    target: Given
    judged: tuple[tuple[Given, float], ...]
    a: float
    b: float
    c: float


@dataclass(frozen=True, slots=True)
class Rrf:
    """Reciprocal rank fusion of the prefetches (Cormack, Clarke & Buettcher 2009)."""

    k: int = DEFAULT_RRF_K
    weights: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Dbsf:
    """Fusion of the prefetches by their scores, each list brought to the same mean and spread."""


@dataclass(frozen=True, slots=True)
class OrderBy:
    """Points in the order of an indexed field, as `OrderedRequest` has it."""

    field: str
    direction: Direction = Direction.ASCENDING
    start_from: int | float | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """Points at random."""


Query = Nearest | Mmr | Recommend | Discover | Context | Feedback | OrderBy | Sample | Rrf | Dbsf | Formula


@dataclass(frozen=True, slots=True)
class Lookup:
    """Where the vectors of points given as examples are looked up; vector None: the one that is searched by."""

    collection: str
    vector: str | None = None
    shards: ShardChoice | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """A node of the tree. `filter` holds for the stages below, too; `query` None lists points by id."""

    query: Query | None = None
    prefetches: tuple[Stage, ...] = ()
    using: str = UNNAMED
    filter: Filter | None = None
    params: SearchParams = field(default_factory=SearchParams)
    score_threshold: float | None = None
    limit: int = DEFAULT_LIMIT
    lookup: Lookup | None = None


@dataclass(frozen=True, slots=True, eq=False)
class UniversalRequest(Stage):
    """The root of the tree, and what to return of the points."""

    offset: int = 0
    with_payload: PayloadSelector = NO_PAYLOAD
    with_vector: VectorSelector = NO_VECTORS
    shards: ShardChoice | None = None
