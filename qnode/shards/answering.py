"""Answering other peers from the shards of this node: the far end of `remote`.

What is asked of this node is answered by it, or not at all: nothing is passed on. A read of a shard that is not Active here, as far as
this node knows, is not served; a write is the shard's own to refuse. The asker's time goes on here: `deadline`.
A quick query is answered on the event loop, as one of this node's own clients would be; one that came as a small search, before
there is a task for it.

Cancellation: a read may be cancelled when the asker has gone; a write that was queued is carried out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from functools import partial

from qnode import deadline
from qnode.channel import Channel
from qnode.errors import NotPrimary
from qnode.models import search_wire, wire
from qnode.models.query import QueryRequest
from qnode.models.shard_calls import FieldsRequest, NotServed, ReachedRequest, ReadCall, WriteCall, table_of
from qnode.shards.collection import Collection
from qnode.shards.delivery import finished
from qnode.shards.kinds import KINDS, QUERY, Settings
from qnode.shards.local_reads import Part
from qnode.shards.topics import Topic


class Answering:
    """Answers the calls of peers. `find` gives a collection by its folder, `reached` waits for an index of the topology."""

    def __init__(
        self,
        channel: Channel,
        find: Callable[[str], Collection | None],
        reached: Callable[[int, float | None], Awaitable[None]],
    ) -> None:
        self._find = find
        self._reached = reached
        channel.on_call(Topic.READ, self._read)
        channel.on_call(Topic.SEARCH, self._search, self._search_now)
        channel.on_call(Topic.WRITE, self._write)

    async def _read(self, peer: int, content: bytes) -> bytes:
        call = wire.decode(content)
        if not isinstance(call, ReadCall):
            raise wire.BadWire(f"peer {peer} has sent a {type(call).__name__} as a read")
        if isinstance(call.request, ReachedRequest):
            await self._reached(call.request.index, call.seconds)
            return wire.encode(None)
        if isinstance(call.request, FieldsRequest):  # of whatever is here, whether it may be read or not
            if (held := self._find(call.folder)) is not None:
                await held.wait_for_fields_here([number for number in call.shards if number in held.shards])
            return wire.encode(None)
        collection = self._serving(call)
        if isinstance(collection, NotServed):
            return wire.encode(collection)
        with nullcontext() if call.seconds is None else deadline.within(call.seconds):
            return await self._answer(collection, call)

    def _serving(self, call: ReadCall) -> Collection | NotServed:
        collection = self._find(call.folder)
        served = () if collection is None else tuple(collection.can_answer(call.shards))
        if collection is None or len(served) < len(call.shards):
            return NotServed(tuple(number for number in call.shards if number not in served))
        return collection

    def _search_now(self, peer: int, content: bytes) -> bytes | None:
        """Do a small search that is sure to be quick, or say that it is not served; None for any other."""
        call, request = search_wire.decode_search(content)
        collection = self._serving(call)
        if isinstance(collection, NotServed):
            return search_wire.encode_found(collection)
        parts, settings = collection.local(call.shards), collection.settings
        return _found(parts, request, settings) if QUERY.is_quick(parts, request, settings) else None

    async def _search(self, peer: int, content: bytes) -> bytes:
        call, request = search_wire.decode_search(content)
        collection = self._serving(call)
        if isinstance(collection, NotServed):
            return search_wire.encode_found(collection)
        with nullcontext() if call.seconds is None else deadline.within(call.seconds):
            return await asyncio.to_thread(_found, collection.local(call.shards), request, collection.settings)

    async def _answer(self, collection: Collection, call: ReadCall) -> bytes:
        numbers, request = call.shards, call.request
        kind = KINDS.get(type(request))
        if kind is None:
            raise wire.BadWire(f"a {type(request).__name__} is no read")
        parts, settings = collection.local(numbers), collection.settings

        def read() -> bytes:
            return wire.encode(kind.sent(kind.read(parts, request, settings)))

        return read() if kind.is_quick(parts, request, settings) else await asyncio.to_thread(read)

    async def _write(self, peer: int, content: bytes) -> bytes:
        call = wire.decode(content)
        if not isinstance(call, WriteCall):
            raise wire.BadWire(f"peer {peer} has sent a {type(call).__name__} as a write")
        collection = self._find(call.folder)
        if collection is None or call.shard not in collection.shards:
            raise NotPrimary(f"shard {call.shard} of {call.folder} is not here")
        queued = collection.submit_here(call.shard, call.request, wait=call.wait)
        settled = partial(collection.settled, call.shard) if call.wait else None
        op_num = await finished(queued, call.seconds, lambda: collection.is_sure(call.shard), settled)
        return wire.encode(op_num)


def _found(parts: Sequence[Part], request: QueryRequest, settings: Settings) -> bytes:
    return search_wire.encode_found(table_of(QUERY.read(parts, request, settings)))
