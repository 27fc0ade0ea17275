"""The distances within a random sample of points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qnode.models.filter import Filter, HasId, HasVector
from qnode.models.point_id import PointKey
from qnode.models.query import Consistency, Nearest, Point, QueryRequest, SearchParams, VectorSelector
from qnode.models.reads import MatrixRequest, SampleRequest
from qnode.shards import kinds
from qnode.shards.collection import Collection
from qnode.shards.grouping import narrowed
from qnode.shards.resolve import named


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """A sample by id, and for each of its points the nearest others, best first."""

    keys: list[PointKey]
    nearest: list[Sequence[Point]]


async def matrix_of(collection: Collection, request: MatrixRequest, consistency: Consistency | None) -> Matrix:
    """Draw a sample of points that have the vector, and compare them; empty for fewer than two."""
    named(collection.settings.vectors, request.using)
    having = narrowed(request.filter, Filter(must=(HasVector(request.using),)))
    wanted = SampleRequest(
        request.sample, having, with_vector=VectorSelector(True, (request.using,)), shards=request.shards
    )
    drawn = {point.key: point for point in await collection.read(kinds.SAMPLE, wanted, consistency)}
    if len(drawn) < 2:
        return Matrix([], [])
    keys = sorted(drawn)
    among = Filter(must=(HasId(frozenset(keys)),))
    searches = []
    for key in keys:
        vectors = drawn[key].vectors
        assert vectors is not None
        nearest = Nearest(vectors[request.using], key)
        searches.append(
            QueryRequest(
                nearest, request.using, among, SearchParams(exact=True), limit=request.limit, shards=request.shards
            )
        )
    return Matrix(keys, await collection.query_several(searches, consistency))
