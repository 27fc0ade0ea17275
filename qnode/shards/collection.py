"""A collection: its settings, its shards, and the routing of reads and writes over them.

Some of the shards are on this node (`shards`), the others on peers. As long as all can be read here nothing of the routing is met: `query_now`
and the reads beside it look at the local shards directly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from qnode.errors import BadInput, NotFound, QnodeError, TimedOut, Unavailable
from qnode.index.vectors import is_warm
from qnode.models.collection import CollectionConfig, CollectionInfo
from qnode.models.field_schema import FieldSchema
from qnode.models.point_id import PointKey, id_of
from qnode.models.query import (
    Consistency,
    CountRequest,
    Nearest,
    Point,
    QueryRequest,
    RetrieveRequest,
    ScrollRequest,
    Vector,
)
from qnode.models.shard_calls import FieldsRequest, InfoRequest, VectorRequest
from qnode.models.shard_choice import ShardChoice
from qnode.models.topology import CollectionEntry
from qnode.models.vector_params import VectorParams
from qnode.models.write import UpdateResult, UpdateStatus, WriteRequest
from qnode.shards import local_reads
from qnode.shards.delivery import Delivery, forget, retold
from qnode.shards.local_reads import Part
from qnode.shards.local_shard import LocalShard
from qnode.shards.place import Place
from qnode.shards.readings import CountReading, Numbers, PointsReading, RetrieveReading, ValueReading
from qnode.shards.resolve import check
from qnode.shards.routes import Routes
from qnode.shards.scatter import Scatter

QUICK_LIMIT = 1000
"""A query that returns at most so many points, without filter and exact scan, is answered on the event loop."""

QUICK_DETAILED_LIMIT = 100
"""… or this many with their vectors or a part of their payloads."""

QUICK_EF = 512
"""… and looks at no more candidates than this."""

QUICK_SCAN_BYTES = 12 << 20
"""… and reads no more than this of segments without a graph, a millisecond and a half at 8 GB/s."""


class Collection:
    """One collection as this node serves it. `shards`: those that this node holds a replica of, by number."""

    def __init__(self, name: str, entry: CollectionEntry, place: Place, *, is_current: bool) -> None:
        """`is_current`: whether the entry is no older than anything that this node did before it was started."""
        self.name = name
        self.shards: dict[int, LocalShard] = {}
        self.fields: dict[str, FieldSchema] = {}
        self.is_removed = False
        self._place = place
        self.reconfigure(CollectionConfig.from_json(entry.config))
        self.follow(entry, is_current=is_current)

    @property
    def folder(self) -> str:
        return self._routes.entry.folder

    @property
    def entry(self) -> CollectionEntry:
        """What the topology says of the collection."""
        return self._routes.entry

    def reconfigure(self, config: CollectionConfig) -> None:
        """Take over changed settings; the shards have done so already."""
        self.config = config
        self._vectors: dict[str, VectorParams] = {vector.name: vector for vector in config.index_params().vectors}

    def follow(self, entry: CollectionEntry, *, is_current: bool) -> None:
        """Route by what the topology says now. To be told again when `shards` has changed."""
        self.is_current = is_current
        self._place.freshness.follow(entry)
        self._routes = Routes(self._place.me, entry)
        active = frozenset(number for number in self.shards if self._place.me in self._routes.active(number))
        self._readable = active if is_current else frozenset[int]()
        self._spare = frozenset[int]() if is_current else active
        self._sole = frozenset(number for number, shard in entry.shards.items() if len(shard.replicas) <= 1)
        self._is_complete = (
            not self._routes.is_custom and bool(self.shards) and self._readable.issuperset(self._routes.numbers)
        )
        self._all_parts = [
            Part(number, self.shards[number], None) for number in self._routes.numbers if self._is_complete
        ]

    @property
    def is_all_here(self) -> bool:
        """Whether all shards may be read here, now."""
        return self._is_complete and (self._routes.most_replicas <= 1 or self._place.freshness.holds())

    # Writes

    async def write(self, request: WriteRequest, *, wait: bool, timeout_seconds: float | None = None) -> UpdateResult:
        """Log and apply a request on every shard that it concerns; all parts that stay here are queued before the first waits.

        Raises BadInput for a wrong vector, NotFound for an unknown point in any part before any part is queued. On a node that runs alone only who waits can run out of
        time: without `wait`, too, the answer comes when the write is durable.
        """
        check(request, self._vectors)
        parts = self._routes.split(request)
        if not parts:
            return UpdateResult(self.last_op, UpdateStatus.COMPLETED if wait else UpdateStatus.ACKNOWLEDGED)
        delivery = Delivery(
            self._current_routes, self.shards, self._place.remote, self._place.news,
            wait=wait, timeout_seconds=timeout_seconds, settled=self.settled,
        )  # fmt: skip
        if len(parts) > 1:
            await delivery.check_existing(request, parts)
        answered = [delivery.begin(shard, part) for shard, part in parts.items()]
        _, pending = await asyncio.wait(answered, timeout=delivery.longest_seconds)
        if pending:
            for waiting in pending:
                waiting.add_done_callback(forget)
            return UpdateResult(self.last_op, UpdateStatus.WAIT_TIMEOUT)
        faults = [error for part in answered if (error := part.exception()) is not None]
        if faults:
            if len(answered) > 1 and len(faults) < len(answered) and isinstance(faults[0], QnodeError):
                text = f"{len(faults)} out of {len(answered)} shards failed to apply operation. First error captured: "
                raise retold(faults[0], text)
            raise faults[0]
        op_nums = [part.result() for part in answered]
        if None in op_nums:
            return UpdateResult(self.last_op, UpdateStatus.WAIT_TIMEOUT)
        op_num = max(op_num for op_num in op_nums if op_num is not None)
        return UpdateResult(op_num, UpdateStatus.COMPLETED if wait else UpdateStatus.ACKNOWLEDGED)

    def submit_here(self, number: int, request: WriteRequest, *, wait: bool) -> asyncio.Future[int]:
        """Queue a write of another peer; raise NotPrimary and whatever else it is refused with."""
        check(request, self._vectors)
        return self.shards[number].submit(request, wait=wait)

    async def settled(self, number: int, seconds: float | None) -> bool:
        """Wait until what a shard shows now is what any node would read of it; False if that takes longer."""
        return await self._place.freshness.settled(self.folder, number, seconds)

    def _current_routes(self) -> Routes:
        if self.is_removed:
            raise Unavailable("the collection was deleted")
        return self._routes

    @property
    def last_op(self) -> int:
        """The last operation that any shard here has applied."""
        return max((shard.last_op for shard in self.shards.values()), default=0)

    # Reads

    def query_now(self, request: QueryRequest) -> Sequence[Point] | None:
        """Answer a query that is sure to be quick, without leaving the event loop; None for any other."""
        if not self.is_all_here or request.shards is not None or not self.is_quick(request):
            return None
        return self._query(request)

    def is_quick(self, request: QueryRequest) -> bool:
        """Tell whether the shards here answer a query in so little time that it may be done on the event loop."""
        if request.query is None or request.filter is not None or request.params.exact or not is_warm():
            return False
        if (
            request.limit + request.offset > (QUICK_LIMIT if _shows_little(request) else QUICK_DETAILED_LIMIT)
            or (request.params.hnsw_ef or 0) > QUICK_EF
        ):
            return False
        params = self._vectors.get(request.using)
        return params is not None and self._scan_bytes(params.slot) <= QUICK_SCAN_BYTES

    async def query(self, request: QueryRequest, consistency: Consistency | None = None) -> Sequence[Point]:
        """Answer a query."""
        if self._is_direct(request.shards, consistency):
            return await asyncio.to_thread(self._query, request)
        points = await self._ranked(request, consistency)
        return points[request.offset : request.offset + request.limit]

    async def query_several(
        self, requests: Sequence[QueryRequest], consistency: Consistency | None = None
    ) -> list[Sequence[Point]]:
        """Answer queries one after the other, in one thread; those for other peers beside each other."""
        if all(self._is_direct(request.shards, consistency) for request in requests):
            return await asyncio.to_thread(lambda: [self._query(request) for request in requests])
        return list(await asyncio.gather(*(self.query(request, consistency) for request in requests)))

    def _is_direct(self, choice: ShardChoice | None, consistency: Consistency | None) -> bool:
        """Tell whether a read is about shards here alone."""
        return self.is_all_here and choice is None and (consistency in (None, 1) or self._routes.most_replicas == 1)

    def _scan_bytes(self, slot: int) -> int:
        scan_bytes = 0
        for shard in self.shards.values():
            for part in shard.index.spaces[slot].shown.parts:
                if not part.segment.indexed:
                    scan_bytes += part.segment.scan_bytes
        return scan_bytes

    def _query(self, request: QueryRequest) -> Sequence[Point]:
        """Answer a query from the shards here, which are all."""
        vector = None
        if request.query is not None and (vector := self._given_vector(request)) is None:
            assert request.query.example is not None
            owner = self._routes.split_keys([request.query.example], self._routes.numbers)
            vector = local_reads.vector_of(self.local(tuple(owner)), request.query.example, request.using)
        points = self.query_here(self._routes.numbers, request, vector)
        if not request.offset and len(points) <= request.limit:
            return points
        return points[request.offset : request.offset + request.limit]

    def query_here(self, numbers: Numbers, request: QueryRequest, vector: Vector | None) -> Sequence[Point]:
        """Give the first (limit + offset) points of shards here; without a vector by id."""
        if vector is None:
            return local_reads.listed(self.local(numbers), request)
        params = self._vectors[request.using]
        return local_reads.search(self.local(numbers), request, vector, params)

    async def _ranked(self, request: QueryRequest, consistency: Consistency | None) -> Sequence[Point]:
        """Give the first (limit + offset) points of all shards concerned."""
        numbers = self._routes.read_from(request.shards)
        limit, vector = request.limit + request.offset, None
        if request.query is None:
            merge = partial(local_reads.merge_pages, limit=limit)
        else:
            vector = self._given_vector(request)
            if vector is None:
                assert request.query.example is not None
                vector = await self._vector_of(request.query.example, request.using, numbers)
                request = replace(request, query=Nearest(vector, request.query.example))
            merge = partial(local_reads.merge_hits, params=self._vectors[request.using], limit=limit)
        if request.shards is not None:
            request = replace(request, shards=None)
        read = lambda numbers: self.query_here(numbers, request, vector)  # noqa: E731
        return await self._points(numbers, PointsReading(request, read, merge), consistency)

    def _given_vector(self, request: QueryRequest) -> Vector | None:
        """Give the vector that a query carries, if it does; raise BadInput if the collection has no such vectors."""
        assert request.query is not None
        params = self._vectors.get(request.using)
        if params is None:
            raise BadInput(f"Not existing vector name error: {request.using}")
        vector = request.query.vector
        if vector is not None and len(vector) != params.size:
            raise BadInput(f"Vector dimension error: expected dim: {params.size}, got {len(vector)}")
        return vector

    async def _vector_of(self, key: PointKey, name: str, shards: Numbers) -> Vector:
        read = lambda numbers: local_reads.vector_of(self.local(numbers), key, name)  # noqa: E731
        reading: ValueReading[Vector] = ValueReading(VectorRequest(key, name), read, np.ndarray)
        missing = NotFound(f"No point with id {id_of(key)} found")
        for number in self._routes.split_keys([key], shards):  # with custom sharding it may be in any of several
            try:
                return (await self._scatter().read((number,), reading))[0]
            except NotFound as error:
                missing = error
        raise missing

    async def scroll(
        self, request: ScrollRequest, consistency: Consistency | None = None
    ) -> tuple[Sequence[Point], PointKey | None]:
        """Read a page in the order of ids, and the id at which the next page begins."""
        if self._is_direct(request.shards, consistency):
            points: Sequence[Point] = await asyncio.to_thread(self.scroll_here, self._routes.numbers, request)
        else:
            numbers = self._routes.read_from(request.shards)
            request = replace(request, shards=None)
            merge = partial(local_reads.merge_pages, limit=request.limit + 1)
            read = lambda numbers: self.scroll_here(numbers, request)  # noqa: E731
            points = await self._points(numbers, PointsReading(request, read, merge), consistency)
        if len(points) > request.limit:
            return points[: request.limit], points[request.limit].key
        return points, None

    def scroll_here(self, numbers: Numbers, request: ScrollRequest) -> Sequence[Point]:
        """Read up to limit + 1 points of shards here in the order of ids."""
        return local_reads.scroll(self.local(numbers), request)

    async def retrieve(self, request: RetrieveRequest, consistency: Consistency | None = None) -> Sequence[Point]:
        """Read points by id, in the order asked."""
        numbers = self._routes.read_from(request.shards)
        keys = self._routes.split_keys(request.keys, numbers)
        if not self._is_direct(request.shards, consistency):
            read = partial(self.retrieve_here, request=request, keys=keys)
            reading = RetrieveReading(request, read, local_reads.joined, keys)
            points = await self._points(tuple(keys), reading, consistency)
        elif len(request.keys) <= (QUICK_LIMIT if _shows_little(request) else QUICK_DETAILED_LIMIT):
            points = self.retrieve_here(tuple(keys), request, keys)
        else:
            points = await asyncio.to_thread(self.retrieve_here, tuple(keys), request, keys)
        if len(keys) <= 1:
            return points
        found = {point.key: point for point in points}
        return [found[key] for key in dict.fromkeys(request.keys) if key in found]

    def retrieve_here(
        self, numbers: Numbers, request: RetrieveRequest, keys: Mapping[int, Sequence[PointKey]] | None
    ) -> Sequence[Point]:
        """Read points by id from shards here; `keys`: which of them each shard may have, None all."""
        return local_reads.retrieve(self.local(numbers), request, keys)

    async def count(self, request: CountRequest, consistency: Consistency | None = None) -> int:
        """Count the points that pass the filter."""
        if self._is_direct(request.shards, consistency):
            if request.filter is None:
                return self.count_here(self._routes.numbers, request)
            each = [asyncio.to_thread(self.count_here, (number,), request) for number in self._routes.numbers]
            return sum(await asyncio.gather(*each))
        numbers = self._routes.read_from(request.shards)
        request = replace(request, shards=None)
        reading = CountReading(request, lambda numbers: self.count_here(numbers, request), int)
        return sum(await self._scatter().read(numbers, reading, consistency))

    def count_here(self, numbers: Numbers, request: CountRequest) -> int:
        """Count the points of shards here that pass the filter."""
        return local_reads.count(self.local(numbers), request)

    async def _points(
        self, numbers: Numbers, reading: PointsReading, consistency: Consistency | None
    ) -> Sequence[Point]:
        return reading.merge(await self._scatter().read(numbers, reading, consistency))

    def _scatter(self) -> Scatter:
        return Scatter(self._routes, self._place, self._readable, self._spare, self._sole)

    def can_answer(self, numbers: Numbers) -> Iterator[int]:
        """Give those of the shards that may be read here."""
        here = (
            (self._readable | self._spare)
            if self._place.freshness.holds()
            else self._sole & (self._readable | self._spare)
        )
        return (number for number in numbers if number in here)

    def local(self, numbers: Numbers) -> list[Part]:
        """Give shards of this node, each with the shard key that its points show."""
        if self._is_complete and numbers is self._routes.numbers:
            return self._all_parts
        return local_reads.parts_of(self.shards, numbers, self._routes.key_of)

    # How it stands

    async def info(self) -> CollectionInfo:
        """Tell how the collection stands on all nodes: one replica of each shard counts."""
        if self._is_complete or not self._routes.numbers:
            return self.local_info()
        reading = ValueReading(InfoRequest(), self.info_here, CollectionInfo)
        return local_reads.merge_infos(await self._scatter().read(self._routes.numbers, reading))

    def local_info(self) -> CollectionInfo:
        """Tell how what this node holds of the collection stands."""
        return self.info_here(tuple(self.shards))

    def info_here(self, numbers: Numbers) -> CollectionInfo:
        """Tell how shards here stand."""
        return local_reads.info([part.shard for part in self.local(numbers)], self._vectors, self.fields)

    async def wait_for_fields(self, timeout_seconds: float | None) -> None:
        """Return when the payload indexes are built, wherever there is an Active replica that can be reached; raise TimedOut."""
        me, remote = self._place.me, self._place.remote
        waits: list[Coroutine[Any, Any, Any]] = [self.wait_for_fields_here(tuple(self.shards))]
        elsewhere: dict[int, list[int]] = {}
        for number in self._routes.numbers:
            for peer in self._routes.active(number):
                if peer != me and remote.is_connected(peer):
                    elsewhere.setdefault(peer, []).append(number)
        waits += [remote.read(peer, self.folder, tuple(shards), FieldsRequest()) for peer, shards in elsewhere.items()]
        try:
            async with asyncio.timeout(timeout_seconds):
                outcomes = await asyncio.gather(*waits, return_exceptions=True)
        except TimeoutError:
            raise TimedOut("the payload index is still being built") from None
        if isinstance(outcomes[0], BaseException):
            raise outcomes[0]

    async def wait_for_fields_here(self, numbers: Numbers) -> None:
        """Return when the payload indexes of shards here are built."""
        await asyncio.gather(*(self.shards[number].wait_for_fields() for number in numbers))

    async def close(self) -> None:
        await asyncio.gather(*(shard.close() for shard in self.shards.values()))


def _shows_little(request: QueryRequest | RetrieveRequest) -> bool:
    """Whether a point that is found costs no more than a look-up: no vectors, and no payload to take apart."""
    payload = request.with_payload
    return not request.with_vector.enabled and payload.include is None and payload.exclude is None
