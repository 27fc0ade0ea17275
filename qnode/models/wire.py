"""Values as bytes between peers: requests, answers, and what they are made of.

    bytes = msgpack; what msgpack does not know is an extension, whose content is msgpack again

    TUPLE, SET      a list of the items
    ARRAY           [dtype, shape, the bytes in C order]; a single number of numpy has the shape ()
    VALUE           [number of the class, its fields in order]
    CHOICE          [number of the enumeration, the value]

Only classes of `_CLASSES` and arrays of plain numbers are ever made from bytes; a class has a number for ever, and fields that are
added later must come last and have a default. So bytes of an older version can be read, and of a later one not.

Anything else raises BadWire, whatever the bytes are. Whether a field holds what its class says is not looked at: peers have proved
themselves, and the bytes that they sent have arrived whole. Columns (arrays, lists of bytes) cost one step each, not one
for each item. Arrays that were read are views of the bytes, and cannot be written to.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from enum import Enum
from functools import lru_cache
from math import prod
from typing import Any, Final

import msgpack
import numpy as np

from qnode.errors import InternalError
from qnode.models import (
    collection,
    field_schema,
    operation,
    payload_path,
    query,
    reads,
    shard_calls,
    shard_choice,
    write,
)
from qnode.models import filter as filters

MAX_DEPTH: Final = 256
"""Extensions within each other. Filters nest up to 64 levels, and each takes up to three."""

_DEPTH_ON_STACK: Final = 16
"""`unpackb` keeps some 50 KB on the thread's stack, which would not hold MAX_DEPTH of them; deeper parts are read from the heap."""

_TUPLE, _SET, _ARRAY, _VALUE, _CHOICE = 1, 2, 3, 4, 5
_DTYPES: Final = frozenset({"<f4", "<f8", "<f2", "<i4", "<i8", "<u4", "<u8", "|u1", "|i1", "|b1"})

_NAMES_OF_DTYPES: Final = {np.dtype(name): name for name in _DTYPES}

_CLASSES: Final[dict[int, type]] = {
    1: payload_path.PayloadPath,
    2: filters.MatchValue,
    3: filters.MatchAny,
    4: filters.MatchExcept,
    5: filters.MatchText,
    6: filters.MatchTextAny,
    7: filters.MatchPhrase,
    8: filters.MatchPrefix,
    9: filters.Range,
    10: filters.DatetimeRange,
    11: filters.ValuesCount,
    12: filters.GeoPoint,
    13: filters.GeoBoundingBox,
    14: filters.GeoRadius,
    15: filters.GeoPolygon,
    16: filters.FieldCondition,
    17: filters.IsEmpty,
    18: filters.IsNull,
    19: filters.HasId,
    20: filters.HasVector,
    21: filters.SliceCondition,
    22: filters.Nested,
    23: filters.MinShould,
    24: filters.Filter,
    25: query.PayloadSelector,
    26: query.VectorSelector,
    27: query.QuantizationParams,
    28: query.SearchParams,
    29: query.Nearest,
    30: query.QueryRequest,
    31: query.ScrollRequest,
    32: query.RetrieveRequest,
    33: query.CountRequest,
    34: query.Point,
    35: query.Hits,
    36: operation.VectorColumn,
    37: write.Selector,
    38: write.UpsertRequest,
    39: write.DeleteRequest,
    40: write.UpdateVectorsRequest,
    41: write.DeleteVectorsRequest,
    42: write.SetPayloadRequest,
    43: write.OverwritePayloadRequest,
    44: write.DeletePayloadRequest,
    45: write.ClearPayloadRequest,
    46: write.UpdateResult,
    47: shard_calls.ReadCall,
    48: shard_calls.WriteCall,
    49: shard_calls.VectorRequest,
    50: shard_calls.InfoRequest,
    51: shard_calls.FieldsRequest,
    52: shard_calls.ReachedRequest,
    53: shard_calls.NotServed,
    54: shard_calls.Table,
    55: collection.CollectionInfo,
    56: field_schema.FieldSchema,
    57: shard_choice.ShardChoice,
    58: query.Examples,
    59: reads.OrderedRequest,
    60: reads.SampleRequest,
    61: reads.FacetRequest,
    62: reads.FacetCounts,
    63: operation.MultiColumn,
    64: operation.SparseColumn,
    65: query.SparseVector,
    66: query.Idf,
    67: reads.FrequenciesRequest,
    68: reads.Frequencies,
    69: shard_calls.RoutedRequest,
}
_RECURRING: Final = frozenset(
    {query.PayloadSelector, query.VectorSelector, query.QuantizationParams, query.SearchParams}
)
"""Small values of which most requests have the same: written and read once, and shared."""

_BUFFER_BYTES: Final = 512
"""What writing begins with. The library's 256 KB come from the system each time, which costs more than most values do."""

_REMEMBERED: Final = 256
_LONGEST_REMEMBERED_BYTES: Final = 256

_CHOICES: Final[dict[int, type[Enum]]] = {
    1: write.UpdateMode,
    2: write.UpdateStatus,
    3: collection.CollectionStatus,
    4: query.ExamplesKind,
    5: reads.Direction,
}


class BadWire(InternalError):
    """Bytes that no peer of this version or an older one writes."""


def _names_of(kind: type) -> tuple[str, ...]:
    if is_dataclass(kind):
        return tuple(field.name for field in fields(kind))
    return ("ids", "versions", "scores") if kind is query.Hits else ()


_KNOWN: Final = {kind: (number, _names_of(kind)) for number, kind in _CLASSES.items()}
_KNOWN_CHOICES: Final = {kind: number for number, kind in _CHOICES.items()}
_RECURRING_NUMBERS: Final = frozenset(bytes([_KNOWN[kind][0]]) for kind in _RECURRING)
"""As they stand in a value's bytes, behind the one byte that begins a short list."""
assert all(names or is_dataclass(kind) for kind, (_, names) in _KNOWN.items())


def encode(value: object) -> bytes:
    """Write a value; it is a mistake of ours if it is of a class that is not known here."""
    packer = msgpack.Packer(default=_extension, strict_types=True, buf_size=_BUFFER_BYTES)
    packed: bytes = packer.pack(value)
    return packed


def decode(content: bytes) -> Any:
    """Read what `encode` wrote; raise BadWire for anything else."""
    try:
        return _Reader().read(content)
    except BadWire:
        raise
    except (
        ValueError,
        TypeError,
        OverflowError,
        AssertionError,
        RecursionError,
        MemoryError,
        msgpack.UnpackException,
    ) as error:
        raise BadWire(f"a message of a peer cannot be read: {error!r}") from None


def _extension(value: object) -> msgpack.ExtType:
    """Write what msgpack does not know."""
    kind = type(value)
    if kind is np.ndarray or isinstance(value, np.generic):
        return _written_array(value)
    if kind in _RECURRING:
        return _recurring(value)
    if kind in _KNOWN:
        return _written(value)
    if isinstance(value, tuple):
        return msgpack.ExtType(_TUPLE, encode(list(value)))
    if isinstance(value, frozenset):
        return msgpack.ExtType(_SET, encode(list(value)))
    assert kind in _KNOWN_CHOICES, f"a {kind.__name__} has no form between peers"
    assert isinstance(value, Enum)
    return msgpack.ExtType(_CHOICE, msgpack.packb((_KNOWN_CHOICES[kind], value.value)))


def _written_array(value: Any) -> msgpack.ExtType:
    name = _NAMES_OF_DTYPES.get(value.dtype)
    assert name is not None, f"an array of {value.dtype}"
    packer = msgpack.Packer(buf_size=value.nbytes + _BUFFER_BYTES)
    return msgpack.ExtType(_ARRAY, packer.pack((name, value.shape, value.tobytes())))


def _written(value: object) -> msgpack.ExtType:
    number, names = _KNOWN[type(value)]
    return msgpack.ExtType(_VALUE, encode([number, *[getattr(value, name) for name in names]]))


_recurring = lru_cache(_REMEMBERED)(_written)


@lru_cache(_REMEMBERED)
def _read_before(content: bytes) -> Any:
    """Read a value of a recurring class; who reads the same bytes gets the same value."""
    number, *values = _Reader().read(content)
    return _class(_CLASSES, number)(*values)


class _Reader:
    """One decoding; counts how deep it is."""

    def __init__(self) -> None:
        self._depth = 0

    def read(self, content: bytes) -> Any:
        if self._depth <= _DEPTH_ON_STACK:
            return msgpack.unpackb(content, ext_hook=self._value, strict_map_key=False)
        unpacker = msgpack.Unpacker(ext_hook=self._value, strict_map_key=False, max_buffer_size=len(content) or 1)
        unpacker.feed(content)
        value = unpacker.unpack()
        if unpacker.tell() != len(content):
            raise BadWire("a part of a peer's message is longer than its value")
        return value

    def _value(self, code: int, content: bytes) -> Any:
        if code == _VALUE and content[1:2] in _RECURRING_NUMBERS and len(content) <= _LONGEST_REMEMBERED_BYTES:
            return _read_before(content)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise BadWire("a message of a peer nests too deep")
        parts = self.read(content)
        self._depth -= 1
        if type(parts) is not list:
            raise BadWire("a part of a peer's message is no list")
        if code == _VALUE:
            number, *values = parts
            return _class(_CLASSES, number)(*values)
        if code == _TUPLE:
            return tuple(parts)
        if code == _ARRAY:
            return _array(*parts)
        if code == _SET:
            return frozenset(parts)
        if code == _CHOICE:
            number, choice = parts
            return _class(_CHOICES, number)(choice)
        raise BadWire(f"a part of a peer's message is of the unknown kind {code}")


def _class(known: dict[int, Any], number: object) -> Any:
    if type(number) is not int or number not in known:
        raise BadWire(f"a peer's message holds a value of the unknown class {number!r:.40}")
    return known[number]


def _array(dtype: object, shape: object, content: object) -> Any:
    if dtype not in _DTYPES or type(shape) is not list or type(content) is not bytes:
        raise BadWire("a peer's message holds no array where one is announced")
    if not all(type(extent) is int and extent >= 0 for extent in shape):
        raise BadWire("an array of a peer's message has no shape")
    kind = np.dtype(dtype)
    if prod(shape) * kind.itemsize != len(content):
        raise BadWire("an array of a peer's message is not of the size that it says")
    array = np.frombuffer(content, kind).reshape(shape)
    return array if shape else array[()]
