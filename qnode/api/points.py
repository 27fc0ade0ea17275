"""The hot endpoints: everything that reads or writes points.

An endpoint takes a `Call` and gives the bytes of the answer; it knows neither routes nor headers. Large bodies are
parsed in a thread, so that the loop can answer others between the steps; small ones at once, which is cheaper than the
way to a thread and back; the same holds for answers. A body is read before the collection is looked up, as Qdrant does.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from qnode import deadline
from qnode.api import answers, number_scan, older_json, query_json, reads_json, recurring, writes_json
from qnode.api.http import (
    JSON,
    SMALL_BODY_BYTES,
    Call,
    Parameters,
    json_of,
    read_parameters,
    unsigned_of,
    write_parameters,
)
from qnode.api.issues import Issues
from qnode.api.strict_reads import check_read
from qnode.api.strict_writes import check_write, pay_for_write
from qnode.api.writes_json import Sizes
from qnode.errors import BadInput, NotFound, QnodeError, TimedOut
from qnode.models.point_id import PointKey, id_of, key_of
from qnode.models.query import ALL_PAYLOAD, ALL_VECTORS, Point, QueryRequest, RetrieveRequest
from qnode.models.reads import OrderedRequest
from qnode.models.universal import UniversalRequest
from qnode.models.write import UpdateResult, WriteRequest, needs_space
from qnode.quotas import Quotas
from qnode.shards import kinds
from qnode.shards.querying import search, search_now

if TYPE_CHECKING:
    from qnode.shards.collection import Collection
    from qnode.shards.collections import Collections

Endpoint = Callable[[Call], Awaitable[bytes]]
Later = Callable[[bytes | None], None]
Withdraw = Callable[[], None]
DirectEndpoint = Callable[[Call, Later], bytes | Withdraw | None]
"""Gives the answer; or what withdraws the call, and the answer later; or None. The answer that is given later may be None too."""

Search = QueryRequest | UniversalRequest
Result = TypeVar("Result")

_INLINE_QUERIES = 8
"""A batch of so many queries may be answered on the event loop."""

_PIECE_QUERIES = 16
"""A thread takes so many queries of a larger batch at once, so that other reads get their turn."""


def checked(endpoint: Endpoint, issues: Issues) -> Endpoint:
    """Let an endpoint tell when its collection was deleted meanwhile, and notice why it was slow."""

    async def answer(call: Call) -> bytes:
        answer = await _unless_removed(call, endpoint(call))
        issues.look(call)
        return answer

    return answer


async def _unless_removed(call: Call, answer: Awaitable[bytes]) -> bytes:
    """Say that the collection is not there, if that is why there is no answer: it was deleted meanwhile."""
    try:
        return await answer
    except Exception:
        if call.collection is not None and call.collection.is_removed:
            raise NotFound(f"Collection `{call.name}` doesn't exist!") from None
        raise


class Points:
    """The endpoints of points over the node's collections. `parsers` runs the parsing of large bodies.

    read_timeout_seconds: when a read is given up whose client has not said it; None never.
    """

    def __init__(
        self, collections: Collections, parsers: Executor, read_timeout_seconds: int | None, quotas: Quotas
    ) -> None:
        self._collections = collections
        self._quotas = quotas
        self.issues = Issues()
        self._parsers = parsers
        self._read_timeout_seconds = read_timeout_seconds

    def routes(self) -> dict[tuple[str, str], Endpoint]:
        """List the endpoints by method and by what follows the collection's name."""
        endpoints = {
            ("POST", "points/query"): self.query,
            ("POST", "points/query/batch"): self.query_batch,
            ("POST", "points/search"): self._older(older_json.parse_search),
            ("POST", "points/search/batch"): self._older_batch(older_json.parse_search),
            ("POST", "points/recommend"): self._older(older_json.parse_recommend),
            ("POST", "points/recommend/batch"): self._older_batch(older_json.parse_recommend),
            ("POST", "points/discover"): self._older(older_json.parse_discover),
            ("POST", "points/discover/batch"): self._older_batch(older_json.parse_discover),
            ("POST", "points/scroll"): self.scroll,
            ("POST", "points/count"): self.count,
            ("POST", "points"): self.retrieve,
            ("PUT", "points"): self._writing(writes_json.parse_upsert),
            ("POST", "points/delete"): self._writing(writes_json.parse_delete),
            ("PUT", "points/vectors"): self._writing(writes_json.parse_update_vectors),
            ("POST", "points/vectors/delete"): self._writing(writes_json.parse_delete_vectors),
            ("POST", "points/payload"): self._writing(writes_json.parse_set_payload),
            ("PUT", "points/payload"): self._writing(writes_json.parse_overwrite_payload),
            ("POST", "points/payload/delete"): self._writing(writes_json.parse_delete_payload),
            ("POST", "points/payload/clear"): self._writing(writes_json.parse_clear_payload),
            ("POST", "points/batch"): self.batch,
        }
        return {route: checked(endpoint, self.issues) for route, endpoint in endpoints.items()}

    def direct_routes(self) -> dict[tuple[str, str], DirectEndpoint]:
        """List those that can answer a small body at once, or not at all; any fault is left to the endpoints."""
        return {("POST", "points/query"): self.query_now, ("POST", "points/search"): self.search_now}

    def query_now(self, call: Call, later: Later) -> bytes | Withdraw | None:
        """Answer one query that is sure to be quick."""
        return self._answer_now(call, later, query_json.parse_query, _query_answer)

    def search_now(self, call: Call, later: Later) -> bytes | Withdraw | None:
        """Answer one search in the older form that is sure to be quick."""
        return self._answer_now(call, later, older_json.parse_search, _search_answer)

    def _answer_now(
        self, call: Call, later: Later, parse: recurring.Parse, written: Callable[[Call, Sequence[Point]], bytes]
    ) -> bytes | Withdraw | None:
        collection = self._collection(call)
        if collection.strict is not None:
            return None
        request = recurring.read(call.body, parse) or recurring.read_small(call.body, parse)
        if request is None or request.with_vector.enabled or request.limit > answers.QUICK_POINTS:
            return None
        if isinstance(request, UniversalRequest):
            points = search_now(collection, request, self.finder(call))
            return None if points is None else written(call, points)
        if collection.all_here is not None:
            points = collection.query_now(request)
            return None if points is None else written(call, points)

        def found(points: Sequence[Point] | None) -> None:
            try:
                answer = None if points is None else written(call, points)
            except Exception:  # it will be met again on the ordinary way, and told there
                answer = None
            later(answer)

        return collection.query_soon(request, self._read_timeout_seconds, found)

    async def query(self, call: Call) -> bytes:
        """Answer one query."""
        request, collection = await self._read_search(call, query_json.parse_query)
        points = await self.found(call, collection, request)
        return await written(call, lambda: {"points": answers.listed(points, answers.hit)}, points)

    async def query_batch(self, call: Call) -> bytes:
        """Answer several queries, in order."""
        requests, collection = await self.read(call, query_json.parse_query_batch)
        found = await self._all_found(call, collection, requests)
        show = lambda: [{"points": answers.listed(points, answers.hit)} for points in found]  # noqa: E731
        return await written(call, show, *found)

    def _older(self, parse: recurring.Parse) -> Endpoint:
        """Make the endpoint of one search in an older form from the reader of its body."""

        async def search(call: Call) -> bytes:
            request, collection = await self._read_search(call, parse)
            points = await self.found(call, collection, request)
            return await written(call, lambda: answers.listed(points, answers.hit), points)

        return search

    def _older_batch(self, parse: older_json.Parse) -> Endpoint:
        """Make the endpoint of several searches in an older form, answered in order."""

        async def search(call: Call) -> bytes:
            requests, collection = await self.read(call, lambda body: older_json.parse_batch(body, parse))
            found = await self._all_found(call, collection, requests)
            return await written(call, lambda: [answers.listed(points, answers.hit) for points in found], *found)

        return search

    async def scroll(self, call: Call) -> bytes:
        """Give one page of points."""
        request, collection = await self.read(call, reads_json.parse_scroll)
        if isinstance(request, OrderedRequest):
            ordered = await in_time(call, collection.read(kinds.ORDERED, request, call.consistency))
            return await written(call, lambda: answers.page(ordered, None), ordered)
        points, following = await in_time(call, collection.scroll(request, call.consistency))
        return await written(call, lambda: answers.page(points, following), points)

    async def count(self, call: Call) -> bytes:
        """Count points."""
        request, collection = await self.read(call, reads_json.parse_count)
        return answers.ok({"count": await in_time(call, collection.count(request, call.consistency))}, call.started)

    async def retrieve(self, call: Call) -> bytes:
        """Give points by id."""
        request, collection = await self.read(call, reads_json.parse_retrieve)
        points = await in_time(call, collection.retrieve(request, call.consistency))
        return await written(call, lambda: answers.listed(points, answers.record), points)

    async def point(self, call: Call, shown_id: str) -> bytes:
        """Give one point, whole."""
        return await _unless_removed(call, self._point(call, shown_id))

    async def _point(self, call: Call, shown_id: str) -> bytes:
        key = _key_of_text(shown_id)
        self._read_parameters(call)
        request = RetrieveRequest((key,), ALL_PAYLOAD, ALL_VECTORS)
        collection = self._admitting(call, request)
        points = await in_time(call, collection.retrieve(request, call.consistency))
        if not points:
            raise NotFound(f"Point with id {id_of(key)} does not exists!")
        return answers.ok(answers.record(points[0]), call.started)

    async def batch(self, call: Call) -> bytes:
        """Run writes in order; stop at the first that fails."""
        parameters = write_parameters(call.query_string)
        requests = await self._parsed(
            call, lambda body: writes_json.parse_operations(body, self._sizes(call)), number_scan.parse
        )
        collection = self._collection(call)
        for request in requests:
            await self._check_write(collection, request, parameters)
        results = [await _written(collection, request, parameters) for request in requests]
        return answers.ok([answers.update(result) for result in results], call.started)

    def _writing(self, parse: Callable[[object, Sizes], WriteRequest]) -> Endpoint:
        """Make the endpoint of a write from the reader of its body."""

        async def write(call: Call) -> bytes:
            parameters = write_parameters(call.query_string)
            request = await self._parsed(call, lambda body: parse(body, self._sizes(call)), number_scan.parse)
            collection = self._collection(call)
            await self._check_write(collection, request, parameters)
            result = await _written(collection, request, parameters)
            return answers.ok(answers.update(result), call.started)

        return write

    def _collection(self, call: Call) -> Collection:
        call.collection = self._collections.get(call.name)
        return call.collection

    def _admitting(self, call: Call, request: Any) -> Collection:
        """Give the collection of a read, if it admits it; remember what was asked, for the issues."""
        collection, call.asked = self._collection(call), request
        if collection.strict is not None:
            check_read(collection.strict, collection, request, read_parameters(call.query_string).timeout_seconds)
        return collection

    async def _check_write(self, collection: Collection, request: WriteRequest, parameters: Parameters) -> None:
        if needs_space(request):
            self._quotas.check()
        if collection.strict is not None:
            await check_write(collection.strict, collection, request, parameters.timeout_seconds)

    def finder(self, call: Call) -> Callable[[str], Collection]:
        """Make the function that finds another collection for a call that names it."""

        def find(name: str) -> Collection:
            if call.access is not None:
                call.access.check_collection(name)
            return self._collections.get(name)

        return find

    def _sizes(self, call: Call) -> Sizes:
        def sizes() -> dict[str, int]:
            config = self._collections.get(call.name).config
            return {vector.name: vector.size for vector in config.index_params().vectors}

        return sizes

    async def read(self, call: Call, parse: Callable[[object], Result]) -> tuple[Result, Collection]:
        """Read the body and the parameters of a read, then find the collection."""
        self._read_parameters(call)
        request = await self._parsed(call, parse)
        return request, self._admitting(call, request)

    async def found(self, call: Call, collection: Collection, request: Search) -> Sequence[Point]:
        """Run a query: on the loop when it is quick, else where it may take its time."""
        if isinstance(request, UniversalRequest):
            return await in_time(call, search(collection, request, self.finder(call), call.consistency))
        points = collection.query_now(request) if call.consistency is None else None
        if points is None:
            points = await in_time(call, collection.query(request, call.consistency))
        return points

    async def _all_found(self, call: Call, collection: Collection, requests: Sequence[Search]) -> list[Sequence[Point]]:
        """Run the queries of a batch; of a large one, some at a time, and the rest not at all if one fails."""
        if len(requests) <= _INLINE_QUERIES:
            return list(await asyncio.gather(*(self.found(call, collection, request) for request in requests)))
        return await in_time(call, self._found_in_pieces(call, collection, requests))

    async def _found_in_pieces(
        self, call: Call, collection: Collection, requests: Sequence[Search]
    ) -> list[Sequence[Point]]:
        pieces = [requests[begin : begin + _PIECE_QUERIES] for begin in range(0, len(requests), _PIECE_QUERIES)]
        at_once = os.cpu_count() or 1
        found: list[Sequence[Point]] = []
        for begin in range(0, len(pieces), at_once):
            asked = [self._found_piece(call, collection, piece) for piece in pieces[begin : begin + at_once]]
            for part in await asyncio.gather(*asked):
                found += part
        return found

    async def _found_piece(
        self, call: Call, collection: Collection, requests: Sequence[Search]
    ) -> Sequence[Sequence[Point]]:
        plain = [request for request in requests if isinstance(request, QueryRequest)]
        if len(plain) == len(requests):
            return await collection.query_several(plain, call.consistency)
        find = self.finder(call)
        return [await search(collection, request, find, call.consistency) for request in requests]

    async def _read_search(self, call: Call, parse: recurring.Parse) -> tuple[Search, Collection]:
        if call.content_type == JSON and len(call.body) <= SMALL_BODY_BYTES:
            request = recurring.read(call.body, parse)
            if request is not None:
                self._read_parameters(call)
                return request, self._admitting(call, request)
        return await self.read(call, parse)

    def _read_parameters(self, call: Call) -> None:
        call.timeout_seconds = self._read_timeout_seconds
        if call.query_string:
            parameters = read_parameters(call.query_string)
            call.consistency = parameters.consistency
            if parameters.timeout_seconds is not None:
                call.timeout_seconds = parameters.timeout_seconds

    async def _parsed(
        self, call: Call, parse: Callable[[object], Result], decode_large: Callable[[bytes], Any] = orjson.loads
    ) -> Result:
        if len(call.body) <= SMALL_BODY_BYTES:
            return parse(json_of(call))
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._parsers, lambda: parse(json_of(call, decode_large)))


async def _written(collection: Collection, request: WriteRequest, parameters: Parameters) -> UpdateResult:
    """Write what was checked, if the rate of writes allows it."""
    if collection.strict is not None:
        await pay_for_write(collection.strict, collection, request)
    return await collection.write(request, wait=parameters.wait, timeout_seconds=parameters.timeout_seconds)


async def written(call: Call, show: Callable[[], object], *found: Sequence[Point]) -> bytes:
    """Write the answer: on the loop when it is quick, else beside it."""
    if len(found) <= _INLINE_QUERIES and all(map(answers.is_quick, found)):
        return answers.ok(show(), call.started)
    return await asyncio.to_thread(lambda: answers.ok(show(), call.started))


async def in_time(call: Call, answer: Awaitable[Result]) -> Result:
    """Wait for an answer, no longer than the client wants to; a read may be cancelled at any time.

    What was begun for it in a thread goes on to the next look at the deadline.
    """
    if call.timeout_seconds is None:
        return await answer
    try:
        left_seconds = call.timeout_seconds - call.waited_seconds
        with deadline.within(left_seconds):
            async with asyncio.timeout(left_seconds):
                return await answer
    except (TimeoutError, TimedOut):
        raise TimedOut(f"Operation timed out after {call.timeout_seconds} seconds") from None


def _query_answer(call: Call, points: Sequence[Point]) -> bytes:
    return answers.ok({"points": answers.listed(points, answers.hit)}, call.started)


def _search_answer(call: Call, points: Sequence[Point]) -> bytes:
    return answers.ok(answers.listed(points, answers.hit), call.started)


def _key_of_text(shown_id: str) -> PointKey:
    number = unsigned_of(shown_id)
    try:
        return key_of(shown_id if number is None else number)
    except QnodeError:
        raise BadInput(f'Can not recognize "{shown_id}" as point id') from None
