"""The kinds of reads over shards: for each class of request, how shards here answer it and how answers are put together.

A kind knows neither peers nor threads. The collection reads with it for its own clients, `answering` for those of other peers, and
`readings` puts replicas' answers side by side. So a new kind of read is a class of requests in `models/`, a function over local parts
(`local_reads` or beside it), a merge, an entry of `KINDS`, and a number in `models/wire.py`.

Invariant: a merge of one answer gives that answer, and a merge of merges is the merge of all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import numpy as np

from qnode.models.collection import CollectionInfo
from qnode.models.field_schema import FieldSchema
from qnode.models.query import (
    AnyVector,
    CountRequest,
    Hits,
    Point,
    QueryRequest,
    RetrieveRequest,
    ScrollRequest,
    SparseVector,
)
from qnode.models.reads import (
    FacetCounts,
    FacetRequest,
    Frequencies,
    FrequenciesRequest,
    OrderedRequest,
    SampleRequest,
    merge_facets,
)
from qnode.models.shard_calls import InfoRequest, Table, VectorRequest, points_of, table_of
from qnode.models.vector_params import SlotParams
from qnode.shards import local_reads, quick
from qnode.shards.local_reads import Part

Request = TypeVar("Request")
Answer = TypeVar("Answer")
Points = Sequence[Point]


@dataclass(frozen=True, slots=True, eq=False)
class Settings:
    """What a read has to know of the collection: its vectors by name, its payload indexes by field."""

    vectors: Mapping[str, SlotParams]
    fields: Mapping[str, FieldSchema]


@dataclass(frozen=True, slots=True, eq=False)
class Kind(Generic[Request, Answer]):
    """One kind of read.

    read: what shards here answer; blocks. merge: one answer of several, of which none has more than the whole would.
    agree: of the answers of several replicas of one shard, what at least so many of them have in common, to be merged.
    sent, arrived: the answer as peers send it, one of the classes `wired`, and back.
    is_quick: whether `read` takes so little time that it may be done on the event loop.
    is_spread: whether the shards here are worth a thread each.
    """

    read: Callable[[Sequence[Part], Request, Settings], Answer]
    merge: Callable[[Sequence[Answer], Request, Settings], Answer]
    agree: Callable[[Sequence[Answer], int], Sequence[Answer]]
    wired: Any
    sent: Callable[[Answer], object] = lambda answer: answer
    arrived: Callable[[Any], Answer] = lambda answer: answer
    is_quick: Callable[[Sequence[Part], Request, Settings], bool] = lambda parts, request, settings: False
    is_spread: bool = False


def first_answer(answers: Sequence[Answer], needed: int) -> Sequence[Answer]:
    """Trust any replica: the answers cannot be compared."""
    return answers[:1]


def middle_number(answers: Sequence[int], needed: int) -> Sequence[int]:
    """Of counts, give the smallest when all must agree, else the one in the middle."""
    ordered = sorted(answers)
    return [ordered[0] if needed == len(answers) else ordered[len(answers) // 2]]


def common_points(answers: Sequence[Points], needed: int) -> Sequence[Points]:
    """Keep the points that are equal in enough of the answers."""
    seen = Counter(mark for points in answers for mark in {_mark(point) for point in points})
    kept: dict[Any, Point] = {}
    for points in answers:
        for point in points:
            mark = _mark(point)
            if seen[mark] >= needed:
                kept.setdefault(mark, point)
    return [[point] for point in kept.values()] or [[]]


def points_kind(
    read: Callable[[Sequence[Part], Request, Settings], Points],
    merge: Callable[[Sequence[Points], Request, Settings], Points],
    is_quick: Callable[[Sequence[Part], Request, Settings], bool] = lambda parts, request, settings: False,
) -> Kind[Request, Points]:
    """Make a kind of read that gives points."""
    return Kind(read, merge, common_points, Table | Hits, table_of, points_of, is_quick)


def _merge_found(found: Sequence[Points], request: QueryRequest, settings: Settings) -> Points:
    limit = request.limit + request.offset
    if request.query is None:
        return local_reads.merge_pages(found, limit)
    assert request.target is not None
    return local_reads.merge_hits(found, settings.vectors[request.using], limit, request.target)


def _mark(point: Point) -> tuple[object, ...]:
    """Make what is equal exactly for equal points."""
    vectors = None
    if point.vectors is not None:
        vectors = tuple(sorted((name, *_mark_of_vector(vector)) for name, vector in point.vectors.items()))
    score = None if point.score is None else float(point.score)
    return point.key, point.version, score, point.payload, vectors, point.shard_key, point.order_value


def _mark_of_vector(vector: AnyVector) -> tuple[bytes, ...]:
    if isinstance(vector, SparseVector):
        return vector.indices.tobytes(), vector.values.tobytes()
    return (vector.tobytes(),)


QUERY: Final[Kind[QueryRequest, Points]] = points_kind(
    lambda parts, request, settings: local_reads.query(parts, request, settings.vectors),
    _merge_found,
    lambda parts, request, settings: quick.is_quick_query(parts, request, settings.vectors),
)
"""The first (limit + offset) points of a query whose example, if any, stands in the request as a vector."""

SCROLL: Final[Kind[ScrollRequest, Points]] = points_kind(
    lambda parts, request, settings: local_reads.scroll(parts, request),
    lambda pages, request, settings: local_reads.merge_pages(pages, request.limit + 1),
)
"""Up to limit + 1 points in the order of ids."""

RETRIEVE: Final[Kind[RetrieveRequest, Points]] = points_kind(
    lambda parts, request, settings: local_reads.retrieve(parts, request),
    lambda found, request, settings: local_reads.joined(found),
)
"""Points by id, in no order."""

ORDERED: Final[Kind[OrderedRequest, Points]] = points_kind(
    lambda parts, request, settings: local_reads.ordered(parts, request),
    lambda found, request, settings: local_reads.merge_ordered(found, request),
)
"""The first points in the order of a field's values, each with its `order_value`."""

SAMPLE: Final[Kind[SampleRequest, Points]] = Kind(
    lambda parts, request, settings: local_reads.sample(parts, request),
    lambda found, request, settings: local_reads.merge_samples(found, request.limit),
    first_answer,
    Table | Hits,
    table_of,
    points_of,
)
"""Points at random, by random scores."""

FACET: Final[Kind[FacetRequest, FacetCounts]] = Kind(
    lambda parts, request, settings: local_reads.facet(parts, request),
    lambda found, request, settings: merge_facets(found),
    first_answer,
    FacetCounts,
    is_spread=True,
)

FREQUENCIES: Final[Kind[FrequenciesRequest, Frequencies]] = Kind(
    lambda parts, request, settings: local_reads.frequencies(parts, request),
    lambda found, request, settings: local_reads.merge_frequencies(found),
    first_answer,
    Frequencies,
)

COUNT: Final[Kind[CountRequest, int]] = Kind(
    lambda parts, request, settings: local_reads.count(parts, request),
    lambda counts, request, settings: sum(counts),
    middle_number,
    int,
    is_quick=lambda parts, request, settings: request.filter is None,
    is_spread=True,
)

VECTOR: Final[Kind[VectorRequest, AnyVector]] = Kind(
    lambda parts, request, settings: local_reads.vector_of(parts, request.key, request.name),
    lambda vectors, request, settings: vectors[0],
    first_answer,
    np.ndarray | SparseVector,
)

INFO: Final[Kind[InfoRequest, CollectionInfo]] = Kind(
    lambda parts, request, settings: local_reads.info(
        [part.shard for part in parts], settings.vectors, settings.fields
    ),
    lambda infos, request, settings: local_reads.merge_infos(infos),
    first_answer,
    CollectionInfo,
    is_quick=lambda parts, request, settings: True,
)

KINDS: Final[dict[type, Kind[Any, Any]]] = {
    QueryRequest: QUERY,
    ScrollRequest: SCROLL,
    RetrieveRequest: RETRIEVE,
    CountRequest: COUNT,
    OrderedRequest: ORDERED,
    SampleRequest: SAMPLE,
    FacetRequest: FACET,
    FrequenciesRequest: FREQUENCIES,
    VectorRequest: VECTOR,
    InfoRequest: INFO,
}
"""Every kind that one peer may ask another for."""
