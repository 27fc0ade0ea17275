"""A point's record: who it is, when it last changed, and which operation set each of its vectors.

    version  u64        op_num of the last change
    key      17 bytes   the point's key, a number's padded with zeros
    ops      u64 each   per vector slot the op_num that set it; 0 = the point has no such vector

A record may be shorter than the collection has slots (it was written before a slot came): what is missing reads as 0.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from qnode.models.point_id import PointKey, id_of

HEAD_BYTES = 25
_KEY_BYTES = 17
_NUMBER_KEY_BYTES = 9
_VERSION = struct.Struct(f"<Q{_KEY_BYTES}x")
_KEY = struct.Struct(f"8x{_KEY_BYTES}s")
_NUMBER = struct.Struct(f">8xBQ{_KEY_BYTES - _NUMBER_KEY_BYTES}x")

Records = npt.NDArray[Any]


@lru_cache(maxsize=64)
def record_type(slots: int) -> np.dtype[Any]:
    """The packed numpy type of a record with this many vector slots."""
    return np.dtype([("version", "<u8"), ("key", "u1", (_KEY_BYTES,)), ("ops", "<u8", (slots,))])


def new_records(keys: Sequence[PointKey], version: int, slots: int) -> Records:
    """Make records of points without vectors."""
    made = np.zeros(len(keys), record_type(slots))
    made["version"] = version
    padded = b"".join([key.ljust(_KEY_BYTES, b"\0") for key in keys])
    made["key"] = np.frombuffer(padded, np.uint8).reshape(-1, _KEY_BYTES)
    return made


def read_records(values: Sequence[bytes], slots: int) -> Records:
    """Read stored records as one array (n,), shorter ones filled up."""
    wanted = HEAD_BYTES + 8 * slots
    filled = b"".join([value if len(value) == wanted else value[:wanted].ljust(wanted, b"\0") for value in values])
    return np.frombuffer(filled, record_type(slots)).copy()


def to_values(records: Records) -> list[bytes]:
    """The bytes to store, one a record."""
    flat, width = records.tobytes(), records.dtype.itemsize
    return [flat[at : at + width] for at in range(0, len(flat), width)]


def key_in(value: bytes) -> PointKey:
    """The key in a stored record."""
    return value[8:17] if value[8] == 0 else value[8:HEAD_BYTES]


def ids_in(heads: bytes) -> list[int | str]:
    """Read the ids of records that were cut off behind their heads."""
    ids: list[int | str] = [number for kind, number in _NUMBER.iter_unpack(heads) if kind == 0]
    if len(ids) * HEAD_BYTES == len(heads):
        return ids
    return [id_of(key if key[0] else key[:_NUMBER_KEY_BYTES]) for (key,) in _KEY.iter_unpack(heads)]


def versions_in(heads: bytes) -> list[int]:
    """Read the versions of records that were cut off behind their heads."""
    return [version for (version,) in _VERSION.iter_unpack(heads)]


def version_in(value: bytes) -> int:
    """The version in a stored record."""
    return int.from_bytes(value[:8], "little")


def op_in(value: bytes, slot: int) -> int:
    """The op_num that set the vector of a slot, 0 if the point has none."""
    return int.from_bytes(value[HEAD_BYTES + 8 * slot : HEAD_BYTES + 8 * slot + 8], "little")
