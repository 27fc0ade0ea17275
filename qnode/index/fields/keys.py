"""Keys of the postings: which value of which field, as bytes that sort as the values do.

    key    field id u16 big-endian, tag u8, value
    value  (LMDB duplicates) point numbers, native unsigned 32-bit integers

An index keeps every value that one of the conditions it serves can see, whatever the type that it is named for: an
integer index keeps floats too (a range sees both), a uuid index keeps texts that are no UUID. So a condition that an
index serves has the same answer with it and without it. What no condition can ask of the index (a number in a keyword
index, a text that is no date in a datetime index) is left out; such conditions are evaluated on the payload.

A text index keeps several keys of one value (`text_keys`), which are only asked for by the same settings.

Long texts are kept as their beginning and a cryptographic digest: nobody can make two of them meet.
"""

from __future__ import annotations

import hashlib
import struct
import uuid
from collections.abc import Callable
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from qnode.models.datetimes import parse_datetime
from qnode.models.geo import geo_point

Components = tuple[npt.NDArray[Any], ...]
"""Values as arrays of equal length: one of numbers, or two of longitudes and latitudes."""


class Tag(IntEnum):
    """What a posting's value is."""

    KEYWORD = 1
    LONG_KEYWORD = 2
    INTEGER = 3
    LARGE_INTEGER = 4
    FLOAT = 5
    BOOL = 6
    DATETIME = 7
    UUID = 8
    UUID_TEXT = 9
    GEO = 10
    TOKEN = 11
    LONG_TOKEN = 12
    PAIR = 13
    LONG_PAIR = 14
    SEVERAL_TEXTS = 15


SHORT_KEYWORD_BYTES = 200
LONG_KEYWORD_PREFIX_BYTES = 64
DIGEST_BYTES = 16

FIELD_ID_BYTES = 2
TAG_AT = 2
HEAD_BYTES = 3
MAX_FIELD_ID = 0xFFFF

_TWO_63 = 1 << 63
_TWO_64 = 1 << 64
_DOUBLE = struct.Struct(">d")

Encoder = Callable[[Any], bytes | None]
"""The key of one payload value, or None if the index does not keep it."""


def field_prefix(field_id: int) -> bytes:
    """What all keys of a field begin with."""
    return field_id.to_bytes(FIELD_ID_BYTES, "big")


def tag_prefix(field_id: int, tag: Tag) -> bytes:
    """What all keys of a field that have this tag begin with."""
    return field_prefix(field_id) + bytes([tag])


def encoder_of(kind: str, field_id: int) -> Encoder:
    """Give the encoder of a field type."""
    return _ENCODERS[kind](field_id)


def _keyword(field_id: int) -> Encoder:
    short, long = tag_prefix(field_id, Tag.KEYWORD), tag_prefix(field_id, Tag.LONG_KEYWORD)

    def encode(value: Any) -> bytes | None:
        if type(value) is not str:
            return None
        text = value.encode("utf-8", "surrogatepass")
        if len(text) <= SHORT_KEYWORD_BYTES:
            return short + text
        return long + shortened(text)

    return encode


def shortened(text: bytes) -> bytes:
    """Give what is kept of a long text."""
    return text[:LONG_KEYWORD_PREFIX_BYTES] + hashlib.blake2b(text, digest_size=DIGEST_BYTES).digest()


def _number(field_id: int) -> Encoder:
    integer, large = tag_prefix(field_id, Tag.INTEGER), tag_prefix(field_id, Tag.LARGE_INTEGER)
    floating = tag_prefix(field_id, Tag.FLOAT)

    def encode(value: Any) -> bytes | None:
        kind = type(value)
        if kind is int:
            number: int = value
            if -_TWO_63 <= number < _TWO_63:
                return integer + (number + _TWO_63).to_bytes(8, "big")
            return large + (number - _TWO_63).to_bytes(8, "big") if 0 <= number < _TWO_64 else None
        return floating + _sortable(value) if kind is float else None

    return encode


def _bool(field_id: int) -> Encoder:
    prefix = tag_prefix(field_id, Tag.BOOL)

    def encode(value: Any) -> bytes | None:
        return prefix + (b"\1" if value else b"\0") if type(value) is bool else None

    return encode


def _datetime(field_id: int) -> Encoder:
    prefix = tag_prefix(field_id, Tag.DATETIME)

    def encode(value: Any) -> bytes | None:
        microseconds = parse_datetime(value) if type(value) is str else None
        return None if microseconds is None else prefix + (microseconds + _TWO_63).to_bytes(8, "big")

    return encode


def _uuid(field_id: int) -> Encoder:
    canonical, other = tag_prefix(field_id, Tag.UUID), tag_prefix(field_id, Tag.UUID_TEXT)
    keyword = _keyword(field_id)

    def encode(value: Any) -> bytes | None:
        if type(value) is not str:
            return None
        try:
            parsed = uuid.UUID(value)
        except ValueError:
            return keyword(value)
        if str(parsed) == value:
            return canonical + parsed.bytes
        key = keyword(value)
        return None if key is None else other + key[HEAD_BYTES:]

    return encode


def _geo(field_id: int) -> Encoder:
    prefix = tag_prefix(field_id, Tag.GEO)

    def encode(value: Any) -> bytes | None:
        point = geo_point(value)
        return None if point is None else prefix + _sortable(point[0]) + _sortable(point[1])

    return encode


_ENCODERS: dict[str, Callable[[int], Encoder]] = {
    "keyword": _keyword,
    "integer": _number,
    "float": _number,
    "bool": _bool,
    "datetime": _datetime,
    "uuid": _uuid,
    "geo": _geo,
}

COUNTED_TAGS: dict[str, frozenset[int]] = {
    "integer": frozenset({int(Tag.INTEGER)}),
    "uuid": frozenset({int(Tag.UUID), int(Tag.UUID_TEXT)}),
}
"""The values that make a point count as indexed, by field type; any, for a type that is not listed."""

COLUMN_TAGS: dict[str, tuple[Tag, ...]] = {
    "integer": (Tag.INTEGER, Tag.LARGE_INTEGER, Tag.FLOAT),
    "float": (Tag.INTEGER, Tag.LARGE_INTEGER, Tag.FLOAT),
    "datetime": (Tag.DATETIME,),
    "geo": (Tag.GEO,),
}
"""The values that are also kept as columns in the heap, by field type."""


def _sortable(value: float) -> bytes:
    bits = int.from_bytes(_DOUBLE.pack(value + 0.0), "big")
    return (bits ^ (_TWO_64 - 1) if bits & _TWO_63 else bits | _TWO_63).to_bytes(8, "big")


def _floats(sortable: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    bits = sortable.astype(np.uint64)
    sign = np.uint64(_TWO_63)
    return np.where(bits & sign, bits ^ sign, ~bits).view(np.float64)


def _integers(sortable: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    return (sortable.astype(np.uint64) ^ np.uint64(_TWO_63)).view(np.int64)


def decode(tag: Tag, records: bytes) -> tuple[npt.NDArray[np.uint32], Components]:
    """Turn keys and numbers, one after the other, into (n,) point numbers and their values.

    The values of LARGE_INTEGER are less by 2**63 than the numbers that they stand for.
    """
    words = ("a", "b") if tag is Tag.GEO else ("a",)
    layout = np.dtype([("head", f"V{HEAD_BYTES}"), *((word, ">u8") for word in words), ("number", "<u4")])
    table = np.frombuffer(records, layout)
    read = _floats if tag in (Tag.FLOAT, Tag.GEO) else _integers
    if tag is Tag.LARGE_INTEGER:
        return table["number"].astype(np.uint32), (table["a"].astype(np.int64),)
    return table["number"].astype(np.uint32), tuple(read(table[word]) for word in words)
