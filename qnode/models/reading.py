"""Reading JSON values of a request, with the words that clients know from Qdrant.

Two kinds of fault: a value of the wrong shape is `MalformedBody` (400) and stops the reading at once; a value out of
its bounds is noted as a fault, and all faults of a body are raised together as `ValidationFailed` (422).
A null in a request means "absent". Keys that nobody reads are passed over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from qnode.errors import MalformedBody, ValidationFailed

Reader = Callable[[object], Any]
Fault = tuple[str, str]
Bounds = tuple[float | None, float | None]

MAX_DEPTH = 128
"""How deep the body of a definition may nest."""

_MAX_U64 = 2**64 - 1
_MAX_U32 = 2**32 - 1


def shown(value: object) -> str:
    """Describe a JSON value as a message names it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"boolean `{str(value).lower()}`"
    if isinstance(value, int):
        return f"integer `{value}`"
    if isinstance(value, float):
        return f"floating point `{value}`"
    if isinstance(value, str):
        return f'string "{value[:100]}"'
    return "sequence" if isinstance(value, list) else "map"


def mistyped(value: object, expected: str) -> MalformedBody:
    """Say that a value is of another type than expected."""
    return MalformedBody(f"invalid type: {shown(value)}, expected {expected}")


def missing(field: str) -> MalformedBody:
    """Say that a required key is absent."""
    return MalformedBody(f"missing field `{field}`")


def unknown_variant(value: str, choices: tuple[str, ...]) -> MalformedBody:
    """Say that a name is none of an enumeration."""
    return MalformedBody(f"unknown variant `{value}`, expected one of {', '.join(f'`{c}`' for c in choices)}")


def check_depth(body: object) -> None:
    """Raise MalformedBody for a body that nests too deep to be written again inside of something else."""
    level = [body]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return
    raise MalformedBody("recursion limit exceeded")


def boolean(value: object) -> bool:
    """Read true or false."""
    if value is True or value is False:
        return value
    raise mistyped(value, "a boolean")


def text(value: object) -> str:
    """Read a string."""
    if isinstance(value, str):
        return value
    raise mistyped(value, "a string")


def mapping(value: object, expected: str = "a map") -> dict[str, Any]:
    """Read an object."""
    if isinstance(value, dict):
        return value
    raise mistyped(value, expected)


def sequence(value: object, expected: str = "a sequence") -> list[Any]:
    """Read an array."""
    if isinstance(value, list):
        return value
    raise mistyped(value, expected)


def number(value: object) -> float:
    """Read a finite number."""
    if type(value) is float or type(value) is int:
        real = float(value)
        if math.isfinite(real):
            return real
    raise mistyped(value, "a number")


def _integer(value: object, kind: str, maximum: int, *, zero: bool = True) -> int:
    expected = kind if zero else f"a nonzero {kind}"
    if type(value) is not int:
        raise mistyped(value, expected)
    if not 0 <= value <= maximum or (value == 0 and not zero):
        raise MalformedBody(f"invalid value: integer `{value}`, expected {expected}")
    return value


def unsigned(value: object) -> int:
    """Read an integer from 0 to 2^64-1; true and 1.0 are none."""
    return _integer(value, "usize", _MAX_U64)


def unsigned_32(value: object) -> int:
    """Read an integer from 0 to 2^32-1."""
    return _integer(value, "u32", _MAX_U32)


def nonzero(value: object) -> int:
    """Read an integer from 1 to 2^64-1."""
    return _integer(value, "u64", _MAX_U64, zero=False)


def nonzero_32(value: object) -> int:
    """Read an integer from 1 to 2^32-1."""
    return _integer(value, "u32", _MAX_U32, zero=False)


def one_of(*choices: str) -> Reader:
    """Make a reader of an enumeration."""

    def read(value: object) -> str:
        if text(value) not in choices:
            raise unknown_variant(text(value), choices)
        return text(value)

    return read


def texts(value: object) -> list[str]:
    """Read an array of strings."""
    return [text(item) for item in sequence(value)]


def fields(value: object, readers: Mapping[str, Reader], expected: str = "a map") -> dict[str, Any]:
    """Read the known keys of an object that are present and not null, in the order of `readers`."""
    given = mapping(value, expected)
    return {name: reader(given[name]) for name, reader in readers.items() if name in given and given[name] is not None}


def required(given: Mapping[str, Any], name: str) -> Any:
    """Give what stands under a key that must be there, and not be null."""
    value = given.get(name)
    if value is None:
        raise missing(name)
    return value


def first_of(given: Mapping[str, Any], *names: str) -> Any:
    """Take the first of several spellings of a key; None when it is absent or null."""
    for name in names:
        value = given.get(name)
        if value is not None:
            return value
    return None


def out_of_bounds(path: str, value: float, bounds: Bounds) -> list[Fault]:
    """Note a fault if `value` is not within the inclusive bounds."""
    low, high = bounds
    if (low is None or value >= low) and (high is None or value <= high):
        return []
    if low is not None and high is not None:
        return [(path, f"value {value} invalid, must be from {low} to {high}")]
    if low is not None:
        return [(path, f"value {value} invalid, must be {low} or larger")]
    return [(path, f"value {value} invalid, must be {high} or smaller")]


def section_faults(path: str, section: Mapping[str, Any], bounds: Mapping[str, Bounds]) -> list[Fault]:
    """Check the bounded fields of a section that `fields` read."""
    return [
        fault
        for name, limits in bounds.items()
        if name in section
        for fault in out_of_bounds(f"{path}.{name}", section[name], limits)
    ]


def raise_faults(faults: list[Fault], where: str = "JSON body") -> None:
    """Raise ValidationFailed if there are any faults."""
    if faults:
        raise ValidationFailed(faults, where)
