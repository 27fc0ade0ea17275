"""What one peer asks another about shards, and what it answers; `wire` gives them bytes.

A shard is named by the folder of its collection, which is unique for ever, and its number. `seconds`: so long the asker waits.
The asker has decided who is asked: nothing of this is ever passed on to a third.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qnode.models.columns import column_of, vectors_of
from qnode.models.operation import Column
from qnode.models.point_id import PointKey
from qnode.models.query import (
    AnyVector,
    CountRequest,
    Hits,
    Point,
    QueryRequest,
    RetrieveRequest,
    ScrollRequest,
    Vector,
)
from qnode.models.reads import FacetRequest, FrequenciesRequest, OrderedRequest, SampleRequest
from qnode.models.shard_choice import ShardKey
from qnode.models.write import WriteRequest


@dataclass(frozen=True, slots=True)
class VectorRequest:
    """The current vector of a point."""

    key: PointKey
    name: str


@dataclass(frozen=True, slots=True)
class InfoRequest:
    """How the shards stand, as one `CollectionInfo`."""


@dataclass(frozen=True, slots=True)
class FieldsRequest:
    """None, when all payload indexes of the shards are built."""


@dataclass(frozen=True, slots=True)
class ReachedRequest:
    """None, when the peer's collections are what the topology of this index, or a later one, says. No shard is named."""

    index: int


@dataclass(frozen=True, slots=True)
class RoutedRequest:
    """None, when the peer routes by the topology of this index, or a later one, and all its earlier writes are over.

    Of the collection that the call names, no shard.
    """

    index: int


ReadRequest = (
    QueryRequest
    | ScrollRequest
    | RetrieveRequest
    | CountRequest
    | OrderedRequest
    | SampleRequest
    | FacetRequest
    | FrequenciesRequest
    | VectorRequest
    | InfoRequest
    | FieldsRequest
)


@dataclass(frozen=True, slots=True, eq=False)
class ReadCall:
    """Read these shards and merge what they give. A query gives its first (limit + offset) points, a scroll one more than its limit."""

    folder: str
    shards: tuple[int, ...]
    request: ReadRequest | ReachedRequest | RoutedRequest
    seconds: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class WriteCall:
    """Log a request in a shard whose primary the peer is. Answered with its op_num, or None if `seconds` were not enough."""

    folder: str
    shard: int
    request: WriteRequest
    wait: bool
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class NotServed:
    """The peer does not serve these of the shards; the others may be asked for again."""

    shards: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Points by columns. scores, payloads, vectors, shard_keys, order_values: None if no point has one."""

    keys: list[PointKey]
    versions: list[int]
    scores: Vector | None
    payloads: list[bytes | None] | None
    vectors: Mapping[str, Column] | None
    shard_keys: list[ShardKey | None] | None = None
    order_values: list[int | float | None] | None = None


def table_of(points: Sequence[Point]) -> Table | Hits:
    """Put points into columns."""
    if isinstance(points, Hits):
        return points
    first = points[0] if points else None
    return Table(
        [point.key for point in points],
        [point.version for point in points],
        None if first is None or first.score is None else np.array([point.score for point in points], np.float32),
        None if first is None or first.payload is None else [point.payload for point in points],
        None if first is None or first.vectors is None else _columns(points),
        None if first is None or first.shard_key is None else [point.shard_key for point in points],
        None if first is None or first.order_value is None else [point.order_value for point in points],
    )


def points_of(table: Table | Hits) -> Sequence[Point]:
    """Take points out of columns."""
    if isinstance(table, Hits):
        return table
    points = [Point(key, version) for key, version in zip(table.keys, table.versions, strict=True)]
    if table.scores is not None:
        for point, score in zip(points, table.scores, strict=True):
            point.score = score
    if table.payloads is not None:
        for point, payload in zip(points, table.payloads, strict=True):
            point.payload = payload
    if table.shard_keys is not None:
        for point, shard_key in zip(points, table.shard_keys, strict=True):
            point.shard_key = shard_key
    if table.order_values is not None:
        for point, order_value in zip(points, table.order_values, strict=True):
            point.order_value = order_value
    if table.vectors is not None:
        named: list[dict[str, AnyVector]] = [{} for _ in points]
        for name, column in table.vectors.items():
            for at, vector in zip(column.at.tolist(), vectors_of(column), strict=True):
                named[at][name] = vector
        for point, vectors in zip(points, named, strict=True):
            point.vectors = vectors
    return points


def _columns(points: Sequence[Point]) -> dict[str, Column]:
    gathered: dict[str, tuple[list[int], list[AnyVector]]] = {}
    for at, point in enumerate(points):
        for name, vector in (point.vectors or {}).items():
            places, vectors = gathered.setdefault(name, ([], []))
            places.append(at)
            vectors.append(vector)
    return {name: column_of(np.array(at, np.int32), vectors) for name, (at, vectors) in gathered.items()}
