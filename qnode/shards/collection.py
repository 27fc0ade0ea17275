"""A collection: its settings, its shards, and the routing of reads and writes over them.

Some of the shards are on this node (`shards`), the others on peers. As long as all can be read here nothing of the routing is met: `query_now`
and the reads beside it look at the local shards directly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import numpy as np

from qnode.errors import NotFound, TimedOut, Unavailable
from qnode.models.collection import CollectionConfig, CollectionInfo
from qnode.models.field_schema import FieldSchema
from qnode.models.point_id import PointKey, id_of
from qnode.models.query import (
    AnyVector,
    Consistency,
    CountRequest,
    Examples,
    Nearest,
    Point,
    QueryRequest,
    RetrieveRequest,
    ScrollRequest,
)
from qnode.models.reads import FrequenciesRequest, OrderedRequest, SampleRequest
from qnode.models.shard_calls import FieldsRequest, InfoRequest, VectorRequest
from qnode.models.shard_choice import ShardChoice
from qnode.models.strict_mode import StrictMode
from qnode.models.topology import CollectionEntry
from qnode.models.write import UpdateResult, UpdateStatus, WriteRequest
from qnode.shards import kinds, local_reads, quick
from qnode.shards.delivery import Delivery
from qnode.shards.kinds import Kind, Settings
from qnode.shards.local_reads import Part
from qnode.shards.local_shard import LocalShard
from qnode.shards.place import Place
from qnode.shards.readings import KindReading, Numbers, RetrieveReading
from qnode.shards.resolve import check, check_query, named
from qnode.shards.routes import Routes
from qnode.shards.scatter import Scatter
from qnode.shards.strictness import Strictness
from qnode.shards.swift import Found, Swift, Withdraw
from qnode.shards.weighing import counted_for, weighed


class Chosen(Protocol):
    """A request that may be about some of the shards."""

    @property
    def shards(self) -> ShardChoice | None: ...


Request = TypeVar("Request", bound=Chosen)
Answer = TypeVar("Answer")
PointsRequest = QueryRequest | RetrieveRequest | OrderedRequest | SampleRequest


class Collection:
    """One collection as this node serves it. `shards`: those that this node holds a replica of, by number."""

    def __init__(self, name: str, entry: CollectionEntry, place: Place, *, is_current: bool) -> None:
        """`is_current`: whether the entry is no older than anything that this node did before it was started."""
        self.name = name
        self.shards: dict[int, LocalShard] = {}
        self.settings = Settings({}, {})
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
        self.settings = Settings(config.index_params().by_name, self.settings.fields)
        bounds = StrictMode.of(config.strict_mode)
        self.strict = None if bounds is None else Strictness(bounds)

    @property
    def fields(self) -> Mapping[str, FieldSchema]:
        """The payload indexes by field."""
        return self.settings.fields

    def index_fields(self, fields: Mapping[str, FieldSchema]) -> None:
        """Take over which payload indexes there are; the shards have done so already."""
        self.settings = Settings(self.settings.vectors, fields)

    def follow(self, entry: CollectionEntry, *, is_current: bool) -> None:
        """Route by what the topology says now. To be told again when `shards` has changed."""
        self.is_current = is_current
        self._place.freshness.follow(entry)
        self._routes = Routes(self._place.me, entry)
        active = frozenset(number for number in self.shards if self._place.me in self._routes.active(number))
        self._active_here = active
        self._readable = active if is_current else frozenset[int]()
        self._spare = frozenset[int]() if is_current else active
        self._sole = frozenset(number for number, shard in entry.shards.items() if len(shard.replicas) <= 1)
        self._swift = Swift(self._routes, self._scatter(), self._place.remote)
        is_complete = not self._routes.is_custom and self.shards and self._readable.issuperset(self._routes.numbers)
        # All shards, or None if some are elsewhere; threads that read take it once, for it may change under them.
        self._all_parts = (
            [Part(number, self.shards[number], None) for number in self._routes.numbers] if is_complete else None
        )

    @property
    def all_here(self) -> list[Part] | None:
        """Give all shards, if all may be read here, now."""
        is_new = self._routes.most_replicas <= 1 or self._place.freshness.holds()
        return self._all_parts if is_new else None

    # Writes

    async def write(self, request: WriteRequest, *, wait: bool, timeout_seconds: float | None = None) -> UpdateResult:
        """Log and apply a request on every shard that it concerns; all parts that stay here are queued before the first waits.

        Raises BadInput for a wrong vector, NotFound for an unknown point in any part before any part is queued. On a node that runs alone only who waits can run out of
        time: without `wait`, too, the answer comes when the write is durable.
        """
        check(request, self.settings.vectors)
        parts = self._routes.split(request)
        if not parts:
            return UpdateResult(self.last_op, UpdateStatus.COMPLETED if wait else UpdateStatus.ACKNOWLEDGED)
        delivery = Delivery(
            self._current_routes, self.shards, self._place.remote, self._place.news,
            wait=wait, timeout_seconds=timeout_seconds, settled=self.settled, is_sure=self.is_sure,
        )  # fmt: skip
        if len(parts) > 1:
            await delivery.check_existing(request, parts)
        op_num = await delivery.deliver(parts)
        if op_num is None:
            return UpdateResult(self.last_op, UpdateStatus.WAIT_TIMEOUT)
        return UpdateResult(op_num, UpdateStatus.COMPLETED if wait else UpdateStatus.ACKNOWLEDGED)

    def submit_here(self, number: int, request: WriteRequest, *, wait: bool) -> asyncio.Future[int]:
        """Queue a write of another peer; raise NotPrimary and whatever else it is refused with."""
        check(request, self.settings.vectors)
        return self.shards[number].submit(request, wait=wait)

    async def settled(self, number: int, seconds: float | None) -> bool:
        """Wait until what a shard shows now is what any node would read of it; False if that takes longer."""
        return await self._place.freshness.settled(self.folder, number, seconds)

    def _current_routes(self) -> Routes:
        if self.is_removed:
            raise Unavailable("the collection was deleted")
        return self._routes

    def parts_of(self, request: WriteRequest) -> dict[int, WriteRequest]:
        """Give each shard its part of a write."""
        return self._routes.split(request)

    def shards_read(self, choice: ShardChoice | None) -> Numbers:
        """List the shards that a read is about."""
        return self._routes.read_from(choice)

    @property
    def last_op(self) -> int:
        """The last operation that any shard here has applied."""
        return max((shard.last_op for shard in self.shards.values()), default=0)

    # Reads

    async def read(
        self, kind: Kind[Request, Answer], request: Request, consistency: Consistency | None = None
    ) -> Answer:
        """Answer a request of a kind from all shards that it is about."""
        numbers = self.shards_read(request.shards)
        if (parts := self.direct_parts(request.shards, consistency)) is None:
            return await self._gathered(kind, request, numbers, consistency)
        settings = self.settings
        if kind.is_quick(parts, request, settings):
            return kind.read(parts, request, settings)
        if kind.is_spread and len(parts) > 1:
            each = [asyncio.to_thread(kind.read, (part,), request, settings) for part in parts]
            return kind.merge(await asyncio.gather(*each), request, settings)
        return await asyncio.to_thread(kind.read, parts, request, settings)

    async def _gathered(
        self, kind: Kind[Any, Answer], request: Any, numbers: Numbers, consistency: Consistency | None = None
    ) -> Answer:
        """Read shards wherever they are."""
        reading: KindReading[Any, Answer] = KindReading(kind, request, self.settings, self.local)
        return reading.merged(await self._scatter().read(numbers, reading, consistency))

    def query_now(self, request: QueryRequest) -> Sequence[Point] | None:
        """Answer a query that is sure to be quick, without leaving the event loop; None for any other."""
        if request.shards is not None or (parts := self.all_here) is None:
            return None
        if not quick.is_quick_query(parts, request, self.settings.vectors):
            return None
        return self._query(parts, request)

    def query_soon(self, request: QueryRequest, seconds: float | None, found: Found) -> Withdraw | None:
        """Begin a query that is sure to be quick wherever it is, without a task; `found` gets its points, or None if that did not go well.

        Gives what withdraws it; None if it is no such query. Raises BadInput as `query` does, and Unreached.
        """
        parts = self.local(tuple(self.shards))
        if request.shards is not None or not quick.is_quick_query(parts, request, self.settings.vectors):
            return None
        if request.query is None or request.query.left_out or not isinstance(self._given(request), np.ndarray):
            return None
        reading = KindReading(kinds.QUERY, request, self.settings, self.local)
        return self._swift.search(
            request, seconds, reading.here, lambda hits: reading.merged(hits)[request.offset :], found
        )

    async def query(self, request: QueryRequest, consistency: Consistency | None = None) -> Sequence[Point]:
        """Answer a query."""
        if (parts := self.direct_parts(request.shards, consistency)) is not None:
            return await asyncio.to_thread(self._query, parts, request)
        numbers = self._routes.read_from(request.shards)
        if request.query is not None and self._given(request) is None:
            vector = await self._vector_of(request.example, request.using, numbers)
            request = replace(request, query=Nearest(vector, excluded=request.query.left_out))
        if (asked := self._counted_for(request)) is not None:
            request = weighed(request, asked, await self._gathered(kinds.FREQUENCIES, asked, numbers))
        points = await self._gathered(kinds.QUERY, request, numbers, consistency)
        return points[request.offset : request.offset + request.limit]

    async def query_several(
        self, requests: Sequence[QueryRequest], consistency: Consistency | None = None
    ) -> list[Sequence[Point]]:
        """Answer queries one after the other, in one thread; those for other peers beside each other."""
        direct = [self.direct_parts(request.shards, consistency) for request in requests]
        if all(direct):
            pairs = list(zip(direct, requests, strict=True))
            return await asyncio.to_thread(lambda: [self._query(parts or [], request) for parts, request in pairs])
        return list(await asyncio.gather(*(self.query(request, consistency) for request in requests)))

    def direct_parts(self, choice: ShardChoice | None, consistency: Consistency | None) -> list[Part] | None:
        """Give all shards if a read is about shards here alone, and may be answered from them: `answered_here`."""
        is_of_one = choice is None and (consistency in (None, 1) or self._routes.most_replicas == 1)
        return self.all_here if is_of_one else None

    def _query(self, parts: list[Part], request: QueryRequest) -> Sequence[Point]:
        """Answer a query from all shards."""
        if request.query is not None and self._given(request) is None:
            owner = self._routes.split_keys([request.example], self._routes.numbers)
            holding = [part for part in parts if part.number in owner]
            vector = local_reads.vector_of(holding, request.example, request.using)
            request = replace(request, query=Nearest(vector, excluded=request.query.left_out))
        if (asked := self._counted_for(request)) is not None:
            request = weighed(request, asked, local_reads.frequencies(parts, asked))
        points = local_reads.query(parts, request, self.settings.vectors)
        if not request.offset and len(points) <= request.limit:
            return points
        return points[request.offset : request.offset + request.limit]

    def _given(self, request: QueryRequest) -> AnyVector | Examples | None:
        """Give the vector or the examples that a query carries; raise BadInput if the collection has no such vectors."""
        params, target = named(self.settings.vectors, request.using), request.target
        for vector in target.vectors if isinstance(target, Examples) else () if target is None else (target,):
            check_query(vector, params)
        return target

    def _counted_for(self, request: QueryRequest) -> FrequenciesRequest | None:
        return None if request.query is None else counted_for(request, self.settings.vectors[request.using])

    async def _vector_of(self, key: PointKey, name: str, shards: Numbers) -> AnyVector:
        missing = NotFound(f"No point with id {id_of(key)} found")
        for number in self._routes.split_keys([key], shards):  # with custom sharding it may be in any of several
            try:
                return await self._gathered(kinds.VECTOR, VectorRequest(key, name), (number,))
            except NotFound as error:
                missing = error
        raise missing

    async def scroll(
        self, request: ScrollRequest, consistency: Consistency | None = None
    ) -> tuple[Sequence[Point], PointKey | None]:
        """Read a page in the order of ids, and the id at which the next page begins."""
        points = await self.read(kinds.SCROLL, request, consistency)
        if len(points) > request.limit:
            return points[: request.limit], points[request.limit].key
        return points, None

    async def retrieve(self, request: RetrieveRequest, consistency: Consistency | None = None) -> Sequence[Point]:
        """Read points by id, in the order asked."""
        if (parts := self.direct_parts(request.shards, consistency)) is not None:
            if quick.is_quick_retrieve(request):
                return self._retrieve(parts, request)
            return await asyncio.to_thread(self._retrieve, parts, request)
        reading = self._retrieving(request)
        found = await self._scatter().read(tuple(reading.keys), reading, consistency)
        return _as_asked(reading.merged(found), request)

    def _retrieve(self, parts: list[Part], request: RetrieveRequest) -> Sequence[Point]:
        """Read points by id from all shards."""
        reading = self._retrieving(request)
        return _as_asked(reading.read([part for part in parts if part.number in reading.keys]), request)

    def _retrieving(self, request: RetrieveRequest) -> RetrieveReading:
        keys = self._routes.split_keys(request.keys, self._routes.read_from(request.shards))
        return RetrieveReading(kinds.RETRIEVE, request, self.settings, self.local, keys)

    def answered_now(self, parts: list[Part], request: PointsRequest) -> Sequence[Point] | None:
        """Answer a read from all shards without leaving the event loop, if it is sure to be quick; else None."""
        if isinstance(request, QueryRequest):
            return self.query_now(request)
        is_quick = isinstance(request, RetrieveRequest) and quick.is_quick_retrieve(request)
        return self.answered_here(parts, request) if is_quick else None

    def answered_here(self, parts: list[Part], request: PointsRequest) -> Sequence[Point]:
        """Answer a read from all shards, as `direct_parts` gave them; blocks."""
        match request:
            case QueryRequest():
                return self._query(parts, request)
            case RetrieveRequest():
                return self._retrieve(parts, request)
            case OrderedRequest():
                return kinds.ORDERED.read(parts, request, self.settings)
            case SampleRequest():
                return kinds.SAMPLE.read(parts, request, self.settings)

    async def count(self, request: CountRequest, consistency: Consistency | None = None) -> int:
        """Count the points that pass the filter."""
        return await self.read(kinds.COUNT, request, consistency)

    def _scatter(self) -> Scatter:
        return Scatter(self._routes, self._place, self._readable, self._spare, self._sole)

    def can_answer(self, numbers: Numbers) -> Iterator[int]:
        """Give those of the shards that may be read here."""
        is_new, sole = self._place.freshness.holds(), self._sole
        return (number for number in numbers if number in self._active_here and (is_new or number in sole))

    def is_sure(self, number: int) -> bool:
        """Tell whether what a replica here shows is all that anybody has of a shard, if it is Active."""
        return number in self._sole or self._place.freshness.holds()

    def local(self, numbers: Numbers) -> list[Part]:
        """Give shards of this node, each with the shard key that its points show."""
        if numbers is self._routes.numbers and (parts := self._all_parts) is not None:
            return parts
        return local_reads.parts_of(self.shards, numbers, self._routes.key_of)

    # How it stands

    async def info(self) -> CollectionInfo:
        """Tell how the collection stands on all nodes: one replica of each shard counts."""
        if self._all_parts is not None or not self._routes.numbers:
            return self.local_info()
        return await self._gathered(kinds.INFO, InfoRequest(), self._routes.numbers)

    def local_info(self) -> CollectionInfo:
        """Tell how what this node holds of the collection stands."""
        return self.info_here(tuple(self.shards))

    def info_here(self, numbers: Numbers) -> CollectionInfo:
        """Tell how shards here stand."""
        return kinds.INFO.read(self.local(numbers), InfoRequest(), self.settings)

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

    async def wait_for_fields_here(self, numbers: Iterable[int]) -> None:
        """Return when the payload indexes of shards here are built."""
        await asyncio.gather(*(self.shards[number].wait_for_fields() for number in numbers))

    async def close(self) -> None:
        await asyncio.gather(*(shard.close() for shard in self.shards.values()))


def _as_asked(points: Sequence[Point], request: RetrieveRequest) -> Sequence[Point]:
    """Put points that were asked for by id in the order of the request, each once."""
    if len(points) <= 1:
        return points
    found = {point.key: point for point in points}
    return [found[key] for key in dict.fromkeys(request.keys) if key in found]
