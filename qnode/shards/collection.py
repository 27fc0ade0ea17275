"""A collection: its settings, its shards, and the routing of reads and writes over them."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from qnode.errors import BadInput, QnodeError, TimedOut
from qnode.index import reading
from qnode.index.vectors import is_warm
from qnode.models.collection import CollectionConfig, CollectionInfo, CollectionStatus
from qnode.models.field_schema import FieldSchema
from qnode.models.point_id import PointKey
from qnode.models.query import CountRequest, Point, QueryRequest, RetrieveRequest, ScrollRequest, Vector
from qnode.models.vector_params import VectorParams
from qnode.models.write import UpdateResult, UpdateStatus, WriteRequest
from qnode.shards.local_shard import LocalShard
from qnode.shards.resolve import check
from qnode.shards.routing import Ring

QUICK_LIMIT = 1000
"""A query that returns at most so many points, without filter and exact scan, is answered on the event loop."""

QUICK_DETAILED_LIMIT = 100
"""… or this many with their vectors or a part of their payloads."""

QUICK_EF = 512
"""… and looks at no more candidates than this."""

QUICK_SCAN_BYTES = 24 << 20
"""… and scans no more bytes of vectors without a graph than this."""


class Collection:
    """One collection as this node serves it."""

    def __init__(
        self, name: str, config: CollectionConfig, fields: dict[str, FieldSchema], shards: dict[int, LocalShard]
    ) -> None:
        self.name = name
        self.config = config
        self.fields = fields
        self.shards = shards
        self.is_removed = False
        self._ring = Ring(sorted(shards))
        self._vectors: dict[str, VectorParams] = {vector.name: vector for vector in config.index_params().vectors}

    def reconfigure(self, config: CollectionConfig) -> None:
        self.config = config
        self._vectors = {vector.name: vector for vector in config.index_params().vectors}

    # Writes

    async def write(self, request: WriteRequest, *, wait: bool, timeout_seconds: float | None = None) -> UpdateResult:
        """Log and apply a request on every shard that it concerns; all parts are queued before the first waits.

        Raises BadInput for a wrong vector in any part before any part is queued. Only who waits can run out of time:
        without `wait`, too, the answer comes when the write is durable.
        """
        check(request, self._vectors)
        parts = self._ring.split(request)
        if not parts:
            return UpdateResult(self._last_op(), UpdateStatus.COMPLETED if wait else UpdateStatus.ACKNOWLEDGED)
        answered = [self._submitted(shard, part) for shard, part in parts.items()]
        _, pending = await asyncio.wait(answered, timeout=timeout_seconds if wait else None)
        if pending:
            for waiting in pending:
                waiting.add_done_callback(lambda late: late.exception())
            return UpdateResult(self._last_op(), UpdateStatus.WAIT_TIMEOUT)
        faults = [error for part in answered if (error := part.exception()) is not None]
        if faults:
            if len(answered) > 1 and len(faults) < len(answered) and isinstance(faults[0], QnodeError):
                text = f"{len(faults)} out of {len(answered)} shards failed to apply operation. First error captured: "
                raise _retold(faults[0], text)
            raise faults[0]
        op_num = max(part.result() for part in answered)
        return UpdateResult(op_num, UpdateStatus.COMPLETED if wait else UpdateStatus.ACKNOWLEDGED)

    def _submitted(self, shard: int, part: WriteRequest) -> asyncio.Future[int]:
        """Queue a part; a refusal is its answer, for the parts of other shards may be under way."""
        try:
            return self.shards[shard].submit(part)
        except QnodeError as refusal:
            answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            answered.set_exception(refusal)
            return answered

    def _last_op(self) -> int:
        return max(shard.last_op for shard in self.shards.values())

    # Reads

    def query_now(self, request: QueryRequest) -> Sequence[Point] | None:
        """Answer a query that is sure to be quick, without leaving the event loop; None for any other."""
        if request.query is None or request.filter is not None or request.params.exact or not is_warm():
            return None
        if (
            request.limit + request.offset > (QUICK_LIMIT if _shows_little(request) else QUICK_DETAILED_LIMIT)
            or (request.params.hnsw_ef or 0) > QUICK_EF
        ):
            return None
        params = self._vectors.get(request.using)
        if params is None or self._unindexed_bytes(params.slot) > QUICK_SCAN_BYTES:
            return None
        return self._query(request)

    async def query(self, request: QueryRequest) -> Sequence[Point]:
        """Answer a query."""
        return await asyncio.to_thread(self._query, request)

    async def query_several(self, requests: Sequence[QueryRequest]) -> list[Sequence[Point]]:
        """Answer queries one after the other, in one thread."""
        return await asyncio.to_thread(lambda: [self._query(request) for request in requests])

    def _unindexed_bytes(self, slot: int) -> int:
        unindexed_bytes = 0
        for shard in self.shards.values():
            for part in shard.index.spaces[slot].shown.parts:
                if not part.segment.indexed:
                    unindexed_bytes += part.segment.vector_bytes
        return unindexed_bytes

    def _query(self, request: QueryRequest) -> Sequence[Point]:
        if request.query is None:
            return self._listed(request)
        params = self._vectors.get(request.using)
        if params is None:
            raise BadInput(f"Not existing vector name error: {request.using}")
        vector, excluded = request.query.vector, request.query.example
        if vector is None:
            assert excluded is not None
            vector = self._vector_of(excluded, request.using)
        elif len(vector) != params.size:
            raise BadInput(f"Vector dimension error: expected dim: {params.size}, got {len(vector)}")
        found = [reading.search(shard.index, request, vector, excluded) for shard in self.shards.values()]
        points = found[0] if len(found) == 1 else _merged(found, params, request.limit + request.offset)
        if not request.offset and len(points) <= request.limit:
            return points
        return points[request.offset : request.offset + request.limit]

    def _vector_of(self, key: PointKey, name: str) -> Vector:
        return reading.vector_of(self.shards[self._ring.shard_of(key)].index, key, name)

    def _listed(self, request: QueryRequest) -> list[Point]:
        """A query without a vector lists points by id; each scores 1."""
        page = ScrollRequest(
            limit=request.limit + request.offset,
            filter=request.filter,
            with_payload=request.with_payload,
            with_vector=request.with_vector,
        )
        points = self._scroll(page)[request.offset : request.offset + request.limit]
        for point in points:
            point.score = np.float32(1.0)
        return points

    async def scroll(self, request: ScrollRequest) -> tuple[list[Point], PointKey | None]:
        """Read a page in the order of ids, and the id at which the next page begins."""
        points = await asyncio.to_thread(self._scroll, request)
        if len(points) > request.limit:
            return points[: request.limit], points[request.limit].key
        return points, None

    def _scroll(self, request: ScrollRequest) -> list[Point]:
        pages = [reading.scroll(shard.index, request) for shard in self.shards.values()]
        if len(pages) == 1:
            return pages[0]
        return list(heapq.merge(*pages, key=lambda point: point.key))[: request.limit + 1]

    async def retrieve(self, request: RetrieveRequest) -> list[Point]:
        """Read points by id, in the order asked."""
        if len(request.keys) > (QUICK_LIMIT if _shows_little(request) else QUICK_DETAILED_LIMIT):
            return await asyncio.to_thread(self._retrieve, request)
        return self._retrieve(request)

    def _retrieve(self, request: RetrieveRequest) -> list[Point]:
        if len(self.shards) == 1:
            return reading.retrieve(next(iter(self.shards.values())).index, request)
        found = {
            point.key: point
            for shard, keys in self._ring.split_keys(request.keys).items()
            for point in reading.retrieve(self.shards[shard].index, replace(request, keys=tuple(keys)))
        }
        return [found[key] for key in dict.fromkeys(request.keys) if key in found]

    async def count(self, request: CountRequest) -> int:
        """Count the points that pass the filter."""
        if request.filter is None:
            return sum(shard.index.points_count for shard in self.shards.values())
        counts = [asyncio.to_thread(reading.count, shard.index, request) for shard in self.shards.values()]
        return sum(await asyncio.gather(*counts))

    # How it stands

    def info(self) -> CollectionInfo:
        """Tell how the collection stands."""
        shards = list(self.shards.values())
        parts = [part for shard in shards for space in shard.index.spaces.values() for part in space.parts]
        error = next(
            (shard.fault or shard.optimizer_error for shard in shards if shard.fault or shard.optimizer_error), None
        )
        status = CollectionStatus.GREEN
        if any(shard.is_building or shard.needs_build or shard.queue_length for shard in shards):
            status = CollectionStatus.YELLOW
        if error is not None:
            status = CollectionStatus.RED
        schema = {
            field: (schema, sum(shard.index.field_points(field) for shard in shards))
            for field, schema in self.fields.items()
        }
        by_name = {
            name: sum(part.living for shard in shards for part in shard.index.spaces[params.slot].parts)
            for name, params in self._vectors.items()
        }
        return CollectionInfo(
            status,
            error,
            points_count=sum(shard.index.points_count for shard in shards),
            indexed_vectors_count=sum(part.living for part in parts if part.is_indexed),
            segments_count=max(len(parts), len(shards)),
            payload_schema=schema,
            update_queue_length=sum(shard.queue_length for shard in shards),
            vectors_count_by_name=by_name,
            vectors_size_bytes=sum(part.segment.disk_bytes for part in parts),
            payloads_size_bytes=sum(shard.index.store.disk_bytes for shard in shards),
        )

    async def wait_for_fields(self, timeout_seconds: float | None) -> None:
        """Return when the payload indexes are built; raise TimedOut."""
        waits = asyncio.gather(*(shard.wait_for_fields() for shard in self.shards.values()))
        try:
            await asyncio.wait_for(waits, timeout_seconds)
        except TimeoutError:
            raise TimedOut("the payload index is still being built") from None

    async def close(self) -> None:
        await asyncio.gather(*(shard.close() for shard in self.shards.values()))


def _shows_little(request: QueryRequest | RetrieveRequest) -> bool:
    """Whether a point that is found costs no more than a look-up: no vectors, and no payload to take apart."""
    payload = request.with_payload
    return not request.with_vector.enabled and payload.include is None and payload.exclude is None


def _merged(found: Sequence[Sequence[Point]], params: VectorParams, limit: int) -> list[Point]:
    """Merge the shards' hits, each best first, by the reported score; ties as within a shard."""
    points = [point for hits in found for point in hits]
    descending = not params.distance.smaller_is_better
    points.sort(key=lambda point: point.key, reverse=descending)
    points.sort(key=lambda point: float(point.score or 0.0), reverse=descending)
    return points[:limit]


def _retold(error: QnodeError, text: str) -> QnodeError:
    """The same kind of error with a text in front."""
    told = error.__class__.__new__(error.__class__)
    told.__dict__.update(error.__dict__)
    Exception.__init__(told, f"{error.prefix}{text}{error}")
    return told
