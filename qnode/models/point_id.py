"""Point ids as byte keys.

The user's id is an unsigned 64-bit integer or a UUID. Inside, it is its **key**: one byte of kind, then the
number big-endian (9 bytes) or the 16 bytes of the UUID (17 bytes). Keys sort as ids do: integers ascending,
then UUIDs by their bytes. Every floor below api speaks keys.
"""

from __future__ import annotations

import uuid

from qnode.errors import MalformedBody

PointKey = bytes

_NUMBER = b"\x00"
_UUID = b"\x01"
_MAX_NUMBER = 2**64 - 1


def key_of(value: object) -> PointKey:
    """Turn an id as JSON has it (int or UUID text) into its key; raise MalformedBody otherwise."""
    if type(value) is int:
        if 0 <= value <= _MAX_NUMBER:
            return _NUMBER + value.to_bytes(8, "big")
    elif type(value) is str:
        try:
            return _UUID + uuid.UUID(value).bytes
        except ValueError:
            pass
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    raise MalformedBody(f"value {shown} is not a valid point ID, valid values are either an unsigned integer or a UUID")


def id_of(key: PointKey) -> int | str:
    """Turn a key back into the id as JSON shows it: an int, or a hyphenated lower-case UUID."""
    if key[0] == 0:
        return int.from_bytes(key[1:], "big")
    digits = key[1:].hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
