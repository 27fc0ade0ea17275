"""The little of HTTP that every endpoint needs: bodies within a limit, query parameters, answers in one piece.

A body is read whole before an endpoint sees it. One that is too large is refused by its declared length or, when it
comes in chunks, as soon as the limit is passed; the rest is read and dropped up to a bound, so that the client gets
to read the refusal. One that is declared beyond that bound is refused at once, and its connection ends.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import orjson

from qnode.errors import HugeBody, MalformedBody, MalformedParameters, RefusedBody, ValidationFailed
from qnode.models.query import Agreement, Consistency

if TYPE_CHECKING:
    from qnode.api.access import Access
    from qnode.shards.collection import Collection

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON = b"application/json"
SMALL_BODY_BYTES = 64 * 1024
"""Bodies up to this are parsed on the event loop: cheaper than the way to a thread and back."""

_DRAINED_LIMITS = 4
"""How many times the limit is read and dropped of a body that is too large."""
_GONE = "The client went away before the body was complete."
_CACHED_QUERY_STRINGS = 256
_MAX_U64 = 2**64 - 1
_CONSISTENCIES = tuple(Agreement)
_ORDERINGS = ("weak", "medium", "strong")


@dataclass(slots=True)
class Call:
    """A request as an endpoint gets it: `name` is the collection's, `started` a reading of perf_counter.

    `collection` is what the endpoint found under the name; `access` what the client may do, None everything. `waited_seconds`: so
    much of the client's time an attempt to answer at once has taken. `asked`: the read that its body was.
    """

    name: str
    query_string: bytes
    content_type: bytes
    body: bytes
    started: float
    timeout_seconds: int | None = None
    consistency: Consistency | None = None
    collection: Collection | None = None
    access: Access | None = None
    waited_seconds: float = 0.0
    asked: object = None


@dataclass(frozen=True, slots=True)
class Parameters:
    """The query parameters that point operations share. `consistency`: of a read, None for that of one replica."""

    wait: bool = False
    timeout_seconds: int | None = None
    consistency: Consistency | None = None


async def read_body(receive: Receive, declared_bytes: int, limit_bytes: int) -> bytes:
    """Read a body; raise RefusedBody when it is too large or the client goes away."""
    if declared_bytes > limit_bytes:
        text = f"JSON payload ({declared_bytes} bytes) is larger than allowed (limit: {limit_bytes} bytes)."
        if declared_bytes > _DRAINED_LIMITS * limit_bytes:
            raise HugeBody(text)
        await _drain(receive, declared_bytes)
        raise RefusedBody(text)
    message = await receive()
    if message["type"] == "http.disconnect":
        raise RefusedBody(_GONE)
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False) and len(body) <= limit_bytes:
        return body
    pieces, size = [body], len(body)
    while size <= limit_bytes:
        if not message.get("more_body", False):
            return b"".join(pieces)
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RefusedBody(_GONE)
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
    pieces.clear()
    if message.get("more_body", False):
        await _drain(receive, limit_bytes)
    raise RefusedBody(f"JSON payload has exceeded limit ({limit_bytes} bytes).")


async def _drain(receive: Receive, left: int) -> None:
    while left > 0:
        message = await receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return
        left -= len(message.get("body", b""))


def json_of(call: Call, decode: Callable[[bytes], Any] = orjson.loads) -> Any:
    """Parse the body as JSON; raise RefusedBody if it is not declared as JSON, MalformedBody if it is none."""
    if call.content_type != JSON and call.content_type.partition(b";")[0].strip().lower() != JSON:
        raise RefusedBody("Content type error")
    try:
        return decode(call.body)
    except orjson.JSONDecodeError as error:
        raise MalformedBody(str(error)) from None


@lru_cache(_CACHED_QUERY_STRINGS)
def query_pairs(query_string: bytes) -> dict[str, str]:
    """Split a query string; the last of several wins."""
    return dict(parse_qsl(query_string.decode("latin-1"), keep_blank_values=True))


@lru_cache(_CACHED_QUERY_STRINGS)
def read_parameters(query_string: bytes) -> Parameters:
    """Read the parameters of a read: consistency, timeout."""
    pairs = query_pairs(query_string)
    timeout = integer_parameter(pairs, "timeout")
    if timeout == 0:
        raise MalformedParameters("timeout: value 0 invalid")
    return Parameters(timeout_seconds=timeout, consistency=_consistency_of(pairs))


def _consistency_of(pairs: dict[str, str]) -> Consistency | None:
    value = pairs.get("consistency")
    if value is None:
        return None
    if value in _CONSISTENCIES:
        return Agreement(value)
    if not (factor := unsigned_of(value)):
        raise MalformedParameters(f"failed to parse read consistency factor value: {value}")
    return factor


@lru_cache(_CACHED_QUERY_STRINGS)
def write_parameters(query_string: bytes) -> Parameters:
    """Read the parameters of a write: wait, ordering, timeout. Every order is strong: each shard has one primary."""
    pairs = query_pairs(query_string)
    if (ordering := pairs.get("ordering")) is not None and ordering not in _ORDERINGS:
        raise MalformedParameters(f"unknown variant `{ordering}`, expected one of `weak`, `medium`, `strong`")
    return Parameters(boolean_parameter(pairs, "wait"), integer_parameter(pairs, "timeout"))


@lru_cache(_CACHED_QUERY_STRINGS)
def definition_parameters(query_string: bytes) -> Parameters:
    """Read the parameters of a change of definitions: wait, ordering, timeout (at least 1)."""
    parameters = write_parameters(query_string)
    if parameters.timeout_seconds == 0:
        raise ValidationFailed([("timeout", "value 0 invalid, must be 1 or larger")], "query parameters")
    return parameters


def boolean_parameter(pairs: dict[str, str], name: str, default: bool = False) -> bool:
    """Read true or false."""
    value = pairs.get(name)
    if value is None:
        return default
    if value not in ("true", "false"):
        raise MalformedParameters("provided string was not `true` or `false`")
    return value == "true"


def integer_parameter(pairs: dict[str, str], name: str) -> int | None:
    """Read an integer of 64 bits without a sign."""
    value = pairs.get(name)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit()):
        raise MalformedParameters(
            "invalid digit found in string" if value else "cannot parse integer from empty string"
        )
    number = unsigned_of(value)
    if number is None:
        raise MalformedParameters("number too large to fit in target type")
    return number


def unsigned_of(digits: str) -> int | None:
    """Turn a text into the integer of 64 bits that it is, or None. int() of a long text would take its time."""
    if not (digits.isascii() and digits.isdigit()):
        return None
    digits = digits.lstrip("0") or "0"
    if len(digits) > len(str(_MAX_U64)) or int(digits) > _MAX_U64:
        return None
    return int(digits)


async def respond(send: Send, status: int, body: bytes, headers: list[Header], content_type: bytes = JSON) -> None:
    """Send an answer in one piece."""
    fixed = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": fixed + headers})
    await send({"type": "http.response.body", "body": body})
