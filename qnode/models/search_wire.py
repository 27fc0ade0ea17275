"""Small searches and what they find as bytes between peers: less than `wire` has for them, which costs a tenth of a search.

Searches come again and again with another vector. So what is equal in them, the head, is written and read once.

    search = u32, the length of the head | head | the vector, float32; all little-endian
    head   = what `wire` makes of the ReadCall, whose request is without its vector
    found  = 1 | msgpack of [ids, versions, the scores' bytes], where nothing but these was asked for
             0 | what `wire` makes of a Table, or of NotServed

Invariant: what is read is what `wire` would give. Bytes that are no search or no answer raise BadWire.
"""

from __future__ import annotations

import struct
from dataclasses import fields
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

import msgpack
import numpy as np

from qnode.models import wire
from qnode.models.query import Hits, Nearest, QueryRequest
from qnode.models.shard_calls import NotServed, ReadCall, Table

_LENGTH: Final = struct.Struct("<I")
_REMEMBERED: Final = 512
_COLUMNS, _WIRE = b"\1", b"\0"

_, *_REST = (field.name for field in fields(QueryRequest))
assert fields(QueryRequest)[0].name == "query"
_rest_of = attrgetter(*_REST)


def encode_search(folder: str, shards: tuple[int, ...], request: QueryRequest, seconds: float | None) -> bytes:
    """Write a search for the points nearest to a vector, (dim,) float32."""
    nearest = request.query
    assert isinstance(nearest, Nearest)
    assert isinstance(nearest.vector, np.ndarray)
    assert nearest.vector.ndim == 1
    return _written_head(folder, shards, seconds, _rest_of(request)) + nearest.vector.tobytes()


def decode_search(content: bytes) -> tuple[ReadCall, QueryRequest]:
    """Read a search: the call as it stands in its head, and the request with its vector, which is a copy."""
    if len(content) < _LENGTH.size:
        raise wire.BadWire("a search of a peer ends before its head")
    end = _LENGTH.size + _LENGTH.unpack_from(content)[0]
    if len(content) < end or (len(content) - end) % 4:
        raise wire.BadWire("a search of a peer is not as long as it says")
    call, request = _read_head(content[_LENGTH.size : end])
    vector = np.frombuffer(content, "<f4", offset=end).copy()
    return call, request.nearest_to(vector)


def encode_found(found: Hits | Table | NotServed) -> bytes:
    """Write what a search found, or that it was not done."""
    if type(found) is Hits:
        columns: bytes = msgpack.packb((found.ids, found.versions, found.scores.tobytes()))
        return _COLUMNS + columns
    return _WIRE + wire.encode(found)


def decode_found(content: bytes) -> Any:
    """Read what a search found, or that it was not done."""
    if content[:1] == _WIRE:
        return wire.decode(content[1:])
    if content[:1] != _COLUMNS:
        raise wire.BadWire("an answer to a search begins like none")
    try:
        ids, versions, scores = msgpack.unpackb(memoryview(content)[1:])
        return Hits(ids, versions, np.frombuffer(scores, "<f4"))
    except (ValueError, TypeError, AssertionError, msgpack.UnpackException) as error:
        raise wire.BadWire(f"an answer to a search cannot be read: {error!r}") from None


@lru_cache(_REMEMBERED)
def _written_head(folder: str, shards: tuple[int, ...], seconds: float | None, rest: tuple[Any, ...]) -> bytes:
    head = wire.encode(ReadCall(folder, shards, QueryRequest(None, *rest), seconds))
    return _LENGTH.pack(len(head)) + head


@lru_cache(_REMEMBERED)
def _read_head(head: bytes) -> tuple[ReadCall, QueryRequest]:
    call = wire.decode(head)
    if not isinstance(call, ReadCall) or not isinstance(call.request, QueryRequest):
        raise wire.BadWire("a peer has sent something else as a search")
    return call, call.request
