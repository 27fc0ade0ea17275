"""Point ids as byte keys.

The user's id is an unsigned 64-bit integer or a UUID. Inside, it is its **key**: one byte of kind, then the
number big-endian (9 bytes) or the 16 bytes of the UUID (17 bytes). Keys sort as ids do: integers ascending,
then UUIDs by their bytes. Every floor below api speaks keys.
"""

from __future__ import annotations

import json
import re

from qnode.errors import MalformedBody

PointKey = bytes

_NUMBER = b"\x00"
_UUID = b"\x01"
_MAX_NUMBER = 2**64 - 1
_DIGITS = "[0-9a-fA-F]"
_HYPHENATED = f"{_DIGITS}{{8}}(?:-{_DIGITS}{{4}}){{3}}-{_DIGITS}{{12}}"
_IS_UUID = re.compile(rf"(?:urn:uuid:)?{_HYPHENATED}|\{{{_HYPHENATED}\}}|{_DIGITS}{{32}}").fullmatch


def key_of(value: object) -> PointKey:
    """Turn an id as JSON has it (int or UUID text) into its key; raise MalformedBody otherwise."""
    if type(value) is int:
        if 0 <= value <= _MAX_NUMBER:
            return _NUMBER + value.to_bytes(8, "big")
    elif type(value) is str and _IS_UUID(value):
        return _UUID + bytes.fromhex(value.removeprefix("urn:uuid:").strip("{}").replace("-", ""))
    shown = f'"{value}"' if isinstance(value, str) else json.dumps(value, default=str)
    raise MalformedBody(f"value {shown} is not a valid point ID, valid values are either an unsigned integer or a UUID")


def id_of(key: PointKey) -> int | str:
    """Turn a key back into the id as JSON shows it: an int, or a hyphenated lower-case UUID."""
    if key[0] == 0:
        return int.from_bytes(key[1:], "big")
    digits = key[1:].hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
