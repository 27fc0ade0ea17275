"""Reading shards that are on this node, several as if they were one.

These functions block, and know neither peers nor the topology: the collection calls them for its own clients, and for those of other
peers. What they give has the form in which it is merged once more, with what other peers gave.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qnode.errors import NotFound, Unavailable
from qnode.index import ordering, ranking, reading, sampling
from qnode.index.space import Space
from qnode.models.collection import CollectionInfo, CollectionStatus
from qnode.models.field_schema import FieldSchema
from qnode.models.point_id import PointKey
from qnode.models.query import (
    AnyVector,
    CountRequest,
    Examples,
    Hits,
    Point,
    QueryRequest,
    RetrieveRequest,
    ScrollRequest,
)
from qnode.models.reads import (
    Direction,
    FacetCounts,
    FacetRequest,
    Frequencies,
    FrequenciesRequest,
    OrderedRequest,
    SampleRequest,
    merge_facets,
)
from qnode.models.shard_choice import ShardKey
from qnode.models.vector_params import SlotParams
from qnode.shards.local_shard import LocalShard

_STATUSES = (CollectionStatus.GREEN, CollectionStatus.GREY, CollectionStatus.YELLOW, CollectionStatus.RED)


@dataclass(frozen=True, slots=True)
class Part:
    """A shard on this node; `key` is what its points show as their shard key."""

    number: int
    shard: LocalShard
    key: ShardKey | None


def parts_of(
    shards: Mapping[int, LocalShard], numbers: Sequence[int], key_of: Callable[[int], ShardKey | None]
) -> list[Part]:
    """Find shards by number; raise Unavailable for one that has left this node since it was asked for."""
    parts = []
    for number in numbers:
        if (shard := shards.get(number)) is None:
            raise Unavailable(f"shard {number} is not on this node any more")
        parts.append(Part(number, shard, key_of(number)))
    return parts


def query(parts: Sequence[Part], request: QueryRequest, vectors: Mapping[str, SlotParams]) -> Sequence[Point]:
    """Give the first (limit + offset) points of a query; its example, if any, must stand in it as a vector."""
    if request.query is None:
        return listed(parts, request)
    assert request.target is not None
    return search(parts, request, request.target, vectors[request.using])


def search(
    parts: Sequence[Part], request: QueryRequest, target: AnyVector | Examples, params: SlotParams
) -> Sequence[Point]:
    """Find the (limit + offset) points that are best for a vector or for examples, best first.

    Those that the request's query leaves out are not among them.
    """
    assert request.query is not None
    left_out = request.query.left_out
    found = [_shown(part, reading.search(part.shard.index, request, target, left_out)) for part in parts]
    return merge_hits(found, params, request.limit + request.offset, target)


def vector_of(parts: Sequence[Part], key: PointKey, name: str) -> AnyVector:
    """Give the vector of a point that is in one of the shards; raise NotFound."""
    missing: NotFound | None = None
    for part in parts:
        try:
            return reading.vector_of(part.shard.index, key, name)
        except NotFound as error:
            missing = missing or error
    assert missing is not None
    raise missing


def listed(parts: Sequence[Part], request: QueryRequest) -> Sequence[Point]:
    """List the first (limit + offset) points by id, for a query without a vector; each scores 1."""
    page = ScrollRequest(
        limit=request.limit + request.offset,
        filter=request.filter,
        with_payload=request.with_payload,
        with_vector=request.with_vector,
    )
    points = scroll(parts, page)[: page.limit]
    for point in points:
        point.score = np.float32(1.0)
    return points


def scroll(parts: Sequence[Part], request: ScrollRequest) -> Sequence[Point]:
    """Read up to limit + 1 points in the order of their ids."""
    pages = [_shown(part, reading.scroll(part.shard.index, request)) for part in parts]
    return merge_pages(pages, request.limit + 1)


def retrieve(parts: Sequence[Part], request: RetrieveRequest) -> Sequence[Point]:
    """Read points by id, each from every shard that has it; of several shards in no order."""
    return joined([_shown(part, reading.retrieve(part.shard.index, request)) for part in parts])


def ordered(parts: Sequence[Part], request: OrderedRequest) -> Sequence[Point]:
    """Read the first points in the order of a field's values."""
    return merge_ordered([_shown(part, ordering.ordered(part.shard.index, request)) for part in parts], request)


def sample(parts: Sequence[Part], request: SampleRequest) -> Sequence[Point]:
    """Read points at random."""
    return merge_samples([_shown(part, sampling.sample(part.shard.index, request)) for part in parts], request.limit)


def facet(parts: Sequence[Part], request: FacetRequest) -> FacetCounts:
    """Count the points of each value of a field."""
    return merge_facets([sampling.facet(part.shard.index, request) for part in parts])


def frequencies(parts: Sequence[Part], request: FrequenciesRequest) -> Frequencies:
    """Count the points that have each index in a sparse vector."""
    return merge_frequencies([sampling.frequencies(part.shard.index, request) for part in parts])


def merge_frequencies(found: Sequence[Frequencies]) -> Frequencies:
    """Add up counts of different points."""
    return Frequencies(sum(one.points for one in found), np.sum([one.counts for one in found], axis=0, dtype=np.int64))


def count(parts: Sequence[Part], request: CountRequest) -> int:
    """Count the points that pass the filter."""
    return sum(reading.count(part.shard.index, request) for part in parts)


def info(
    shards: Sequence[LocalShard], vectors: Mapping[str, SlotParams], fields: Mapping[str, FieldSchema]
) -> CollectionInfo:
    """Tell how the shards stand; quick."""
    spaces = [space for shard in shards for space in shard.index.spaces.values()]
    parts = [part for space in spaces for part in space.parts]
    faults = [fault for shard in shards if (fault := shard.fault or shard.optimizer_error)]
    status = CollectionStatus.GREEN
    if any(shard.is_building or shard.needs_build or shard.queue_length for shard in shards):
        status = CollectionStatus.YELLOW
    if faults:
        status = CollectionStatus.RED
    return CollectionInfo(
        status,
        faults[0] if faults else None,
        points_count=sum(shard.index.points_count for shard in shards),
        indexed_vectors_count=sum(space.indexed_count for space in spaces),
        segments_count=max(len(parts), len(shards)),
        payload_schema={
            field: (schema, sum(shard.index.field_points(field) for shard in shards))
            for field, schema in fields.items()
        },
        update_queue_length=sum(shard.queue_length for shard in shards),
        vectors_count_by_name={
            name: sum(space.count for space in _spaces_of(shards, params)) for name, params in vectors.items()
        },
        vectors_size_bytes=sum(part.segment.disk_bytes for part in parts),
        payloads_size_bytes=sum(shard.index.store.disk_bytes for shard in shards),
        deferred_points_count=sum(shard.deferred_points_count for shard in shards),
    )


def left_out(shards: Iterable[LocalShard], vectors: Iterable[SlotParams]) -> dict[str, int]:
    """Count, by the names of vectors, those that a search with `indexed_only` does not look at."""
    held = list(shards)
    return {params.name: sum(space.left_out for space in _spaces_of(held, params)) for params in vectors}


def _spaces_of(shards: Iterable[LocalShard], params: SlotParams) -> list[Space]:
    """Find the spaces of a vector, where it is there still."""
    spaces = (shard.index.spaces.get(params.slot) for shard in shards)
    return [space for space in spaces if space is not None]


def merge_hits(
    found: Sequence[Sequence[Point]], params: SlotParams, limit: int, target: AnyVector | Examples
) -> Sequence[Point]:
    """Merge hits, each best first, by the reported score; ties as within a shard."""
    if len(found) == 1:
        return found[0] if len(found[0]) <= limit else found[0][:limit]
    descending = not ranking.ascends(target, params.distance)
    columns = [hits for hits in found if isinstance(hits, Hits)]
    if columns and len(columns) == len(found):
        merged = _merged_columns(columns, limit, descending=descending)
        if merged is not None:
            return merged
    points = [point for hits in found for point in hits]
    points.sort(key=lambda point: point.key, reverse=descending)
    points.sort(key=lambda point: float(point.score or 0.0), reverse=descending)
    return points[:limit]


def _merged_columns(found: Sequence[Hits], limit: int, *, descending: bool) -> Hits | None:
    """Merge hits by columns; None if scores are equal, so that keys decide."""
    scores = np.concatenate([hits.scores for hits in found])
    order = np.argsort(-scores if descending else scores, kind="stable")
    ordered = scores[order]
    if (ordered[1:] == ordered[:-1]).any():
        return None
    ids = [point_id for hits in found for point_id in hits.ids]
    versions = [version for hits in found for version in hits.versions]
    first = order[:limit].tolist()
    return Hits([ids[at] for at in first], [versions[at] for at in first], ordered[:limit])


def joined(found: Sequence[Sequence[Point]]) -> Sequence[Point]:
    """Put points together that have no order."""
    return found[0] if len(found) == 1 else [point for points in found for point in points]


def merge_pages(pages: Sequence[Sequence[Point]], limit: int) -> Sequence[Point]:
    """Merge pages, each in the order of ids, up to `limit` points."""
    if len(pages) == 1:
        return pages[0][:limit]
    return list(heapq.merge(*pages, key=lambda point: point.key))[:limit]


def merge_ordered(found: Sequence[Sequence[Point]], request: OrderedRequest) -> Sequence[Point]:
    """Merge points in the order of their values, then of their ids."""
    if len(found) == 1:
        return found[0][: request.limit]
    points = [point for own in found for point in own]
    points.sort(key=_place_in_order, reverse=request.direction is Direction.DESCENDING)
    return points[: request.limit]


def _place_in_order(point: Point) -> tuple[int | float, PointKey]:
    assert point.order_value is not None
    return point.order_value, point.key


def merge_samples(found: Sequence[Sequence[Point]], limit: int) -> Sequence[Point]:
    """Make one sample of those of several shards."""
    if len(found) == 1:
        return found[0][:limit]
    return sorted((point for points in found for point in points), key=lambda point: float(point.score or 0))[:limit]


def _shown(part: Part, points: Sequence[Point]) -> Sequence[Point]:
    """Put the shard's key on its points, if it has one."""
    if part.key is None:
        return points
    shown = list(points)
    for point in shown:
        point.shard_key = part.key
    return shown


def merge_infos(infos: Sequence[CollectionInfo]) -> CollectionInfo:
    """Sum up how shards on several nodes stand; the worst status is the collection's."""
    first, *others = infos
    for other in others:
        schema = {
            field: (kind, count + other.payload_schema.get(field, (kind, 0))[1])
            for field, (kind, count) in first.payload_schema.items()
        }
        by_name = {
            name: count + other.vectors_count_by_name.get(name, 0)
            for name, count in first.vectors_count_by_name.items()
        }
        first = CollectionInfo(
            max(first.status, other.status, key=_STATUSES.index),
            first.optimizer_error or other.optimizer_error,
            first.points_count + other.points_count,
            first.indexed_vectors_count + other.indexed_vectors_count,
            first.segments_count + other.segments_count,
            schema,
            first.update_queue_length + other.update_queue_length,
            by_name,
            first.vectors_size_bytes + other.vectors_size_bytes,
            first.payloads_size_bytes + other.payloads_size_bytes,
            first.deferred_points_count + other.deferred_points_count,
        )
    return first
