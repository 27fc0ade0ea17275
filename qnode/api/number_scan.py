"""Large bodies: number arrays straight to float32, beside the interpreter.

A body of a thousand vectors is nearly all digits. Parsing it into Python floats holds the interpreter for tens of
milliseconds, in which no search is answered. So a compiled scan, which does not hold it, walks the bytes once, turns
every long array of plain numbers into float32 values, and writes the rest of the body, with a mark in the place of each
such array, for orjson to read. Marks that stand where a vector may stand are replaced by views of the values.

The result is what orjson would give, narrowed: a number is read as float64 and rounded to float32. The scan's float64
may be off in its last bits, so a value that lies that near to the middle between two float32 is left to orjson, as is
every body that the scan cannot vouch for (a mark elsewhere than in a vector's place, a number too large, no JSON).

A search's body is small, and one array is nearly all of it: `part` takes that one out in the same way.
"""

from __future__ import annotations

import secrets
import threading
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from qnode.compiled import compiled

LEAST_NUMBERS = 16
"""Shorter arrays are left where they are."""

_MARK_DIGITS = 8
_MOST_DIGITS = 19
_EXACT_POWER = 22
_LARGEST_POWER = 60
_POWERS = np.array([float(f"1e{power}") for power in range(_LARGEST_POWER + 1)], np.float64)
_MIDDLE = np.int64(1 << 28)
_LOW_BITS = np.int64((1 << 29) - 1)
_MARGIN = np.int64(16)
_SMALLEST_NORMAL = 1.2e-38
_LARGEST = 3.4028234e38

_ZERO, _NINE, _TEN = np.uint64(48), np.uint64(9), np.uint64(10)
_EXACT_MANTISSA = np.uint64(1 << 53)

_NOT_NUMBERS = -1
_UNSURE = -2


_inlined = partial(compiled, inline="always")


@_inlined
def _is_digit(body: Any, at: int) -> bool:
    return bool(at < len(body) and 48 <= body[at] <= 57)


@_inlined
def _behind_space(body: Any, at: int) -> int:
    while at < len(body) and (body[at] == 32 or body[at] == 10 or body[at] == 13 or body[at] == 9):
        at += 1
    return at


@_inlined
def _digits(body: Any, at: int, mantissa: Any, known: int) -> tuple[int, Any, int, int]:
    """Read digits behind `known` significant ones: (where they end, mantissa, significant ones, those left out)."""
    left_out = 0
    while _is_digit(body, at):
        if known < _MOST_DIGITS:
            mantissa = mantissa * np.uint64(10) + np.uint64(body[at] - 48)
            if mantissa > 0:
                known += 1
        else:
            left_out += 1
        at += 1
    return at, mantissa, known, left_out


@compiled
def _exponent(body: Any, at: int) -> tuple[int, int]:
    """Read what stands behind an `e`: (where it ends, its value), or (_UNSURE, 0)."""
    downwards = at < len(body) and body[at] == 45
    if at < len(body) and (body[at] == 45 or body[at] == 43):
        at += 1
    if not _is_digit(body, at):
        return _UNSURE, 0
    power = 0
    while _is_digit(body, at):
        power = min(power * 10 + (body[at] - 48), 10_000)
        at += 1
    return at, -power if downwards else power


@_inlined
def _is_near_middle(value: Any, bits: Any) -> bool:
    """Whether a float64 that may be off in its last bits lies where it could be rounded to either of two float32.

    bits: (1,) int64, scratch.
    """
    bits.view(np.float64)[0] = value
    return bool(abs((bits[0] & _LOW_BITS) - _MIDDLE) <= _MARGIN)


@compiled
def _number_at(body: Any, at: int, powers: Any, bits: Any) -> tuple[int, Any]:
    """Read the number at `at`, which is a digit: (where it ends, its magnitude), or (_UNSURE, 0)."""
    whole = at
    at, mantissa, known, exponent = _digits(body, at, np.uint64(0), 0)
    if body[whole] == 48 and at - whole > 1:
        return _UNSURE, 0.0
    if at < len(body) and body[at] == 46:
        fraction = at + 1
        at, mantissa, known, left_out = _digits(body, fraction, mantissa, known)
        if at == fraction:
            return _UNSURE, 0.0
        exponent -= at - fraction - left_out
    if at < len(body) and (body[at] == 101 or body[at] == 69):
        at, power = _exponent(body, at + 1)
        exponent += power
    if at == _UNSURE or mantissa == 0:
        return at, 0.0
    if exponent < -_LARGEST_POWER or exponent > _LARGEST_POWER:
        return _UNSURE, 0.0
    value = np.float64(mantissa)
    value = value / powers[-exponent] if exponent < 0 else value * powers[exponent]
    if value < _SMALLEST_NORMAL or value > _LARGEST:
        return _UNSURE, 0.0
    is_exact = mantissa <= _EXACT_MANTISSA and -_EXACT_POWER <= exponent <= _EXACT_POWER
    if not is_exact and _is_near_middle(value, bits):
        return _UNSURE, 0.0
    return at, value


@compiled
def _array_at(body: Any, at: int, values: Any, used: int, powers: Any, bits: Any) -> tuple[int, int]:
    """Read the array whose `[` stands at `at`: (where it ends, how many numbers), or (_NOT_NUMBERS or _UNSURE, 0).

    Plain decimals of at most 19 digits are read here, the others by `_number_at`. The body ends with a NUL; bits: (1,)
    int64, scratch to look at a float64's bits.
    """
    count = 0
    while True:
        at += 1
        if body[at] <= 32:
            at = _behind_space(body, at)
        negative = body[at] == 45
        if negative:
            at += 1
        begin = at
        mantissa = np.uint64(0)
        digit = np.uint64(body[at]) - _ZERO
        while digit <= _NINE:
            mantissa = mantissa * _TEN + digit
            at += 1
            digit = np.uint64(body[at]) - _ZERO
        decimals = 0
        digits = at - begin
        if digits == 0:
            return _NOT_NUMBERS, 0
        if body[at] == 46:
            at += 1
            point = at
            digit = np.uint64(body[at]) - _ZERO
            while digit <= _NINE:
                mantissa = mantissa * _TEN + digit
                at += 1
                digit = np.uint64(body[at]) - _ZERO
            decimals = at - point
            digits += decimals
        if digits > _MOST_DIGITS:
            zero = begin
            while body[zero] == 48 or body[zero] == 46:
                digits -= body[zero] == 48
                zero += 1
        if (
            digits > _MOST_DIGITS
            or decimals > _EXACT_POWER
            or (body[begin] == 48 and 48 <= body[begin + 1] <= 57)
            or (body[at] | 32) == 101
            or body[at - 1] == 46
        ):
            at, value = _number_at(body, begin, powers, bits)
            if at == _UNSURE:
                return _UNSURE, 0
        else:
            value = np.float64(mantissa) / powers[decimals]
            if value < _SMALLEST_NORMAL and mantissa > 0:
                return _UNSURE, 0
            if mantissa > _EXACT_MANTISSA and _is_near_middle(value, bits):
                return _UNSURE, 0
        values[used + count] = np.float32(-value if negative else value)
        count += 1
        if body[at] <= 32:
            at = _behind_space(body, at)
        if body[at] == 93:
            return at + 1, count
        if body[at] != 44:
            return _UNSURE if body[at] == 0 else _NOT_NUMBERS, 0


@compiled
def _scan(body: Any, mark: Any, values: Any, starts: Any, rest: Any, powers: Any, least: int) -> tuple[int, int, int]:
    """Copy the body, which ends with a NUL, into `rest`, each long array of numbers replaced by the mark with its number.

    Gives how many bytes of `rest`, arrays and values there are; (-1, 0, 0) if the body must be left to orjson.
    """
    size = len(body) - 1
    bits = np.zeros(1, np.int64)
    at = written = arrays = used = 0
    while at < size:
        byte = body[at]
        if byte == 34:
            rest[written] = byte
            written += 1
            at += 1
            while at < size and body[at] != 34:
                if body[at] == 92 and at + 1 < size:
                    rest[written] = body[at]
                    written += 1
                    at += 1
                rest[written] = body[at]
                written += 1
                at += 1
            if at >= size:
                return -1, 0, 0
        elif byte == 91:
            end, count = _array_at(body, at, values, used, powers, bits)
            if end == _UNSURE:
                return -1, 0, 0
            if count >= least:
                if arrays + 1 >= len(starts):
                    return -1, 0, 0
                rest[written : written + len(mark)] = mark
                number, place = arrays, written + len(mark) - 2
                for _ in range(_MARK_DIGITS):
                    rest[place] = 48 + number % 10
                    number //= 10
                    place -= 1
                written += len(mark)
                starts[arrays] = used
                arrays += 1
                used += count
                at = end
                continue
        rest[written] = body[at]
        written += 1
        at += 1
    starts[arrays] = used
    return written, arrays, used


def parse(body: bytes) -> Any:
    """Parse a body as orjson.loads does, but give vectors of many numbers as (dim,) float32 arrays.

    Raises orjson.JSONDecodeError for what is not JSON.
    """
    secret = secrets.token_hex(8)
    mark = f'"{secret}{"0" * _MARK_DIGITS}"'.encode()
    most = len(body) // 2 + 1
    values = np.empty(most, np.float32)
    starts = np.empty(len(body) // (2 * LEAST_NUMBERS) + 2, np.int64)
    rest = np.empty(len(body) + len(mark), np.uint8)
    written, arrays, used = _scan(
        np.frombuffer(body + b"\0", np.uint8),
        np.frombuffer(mark, np.uint8),
        values,
        starts,
        rest,
        _POWERS,
        LEAST_NUMBERS,
    )
    if written < 0 or arrays == 0:
        return orjson.loads(body)
    try:
        content = orjson.loads(rest[:written].data)
    except orjson.JSONDecodeError:
        return orjson.loads(body)  # the same fault, at its right place
    placed = _Placer(secret, values[:used].copy(), starts[: arrays + 1].tolist())
    placed.place(content)
    return content if placed.count == arrays else orjson.loads(body)


MARK = secrets.token_hex(8) + "0" * _MARK_DIGITS
"""What stands in the place of the array that `part` took out: a string that no client can know."""

_QUOTED_MARK = np.frombuffer(f'"{MARK}"'.encode(), np.uint8)

_is_warm = threading.Event()


def warm_up() -> None:
    """Load the scan; on the very first start it is compiled, which takes seconds."""
    parse(b'{"points":[{"vector":[' + b"0.5," * LEAST_NUMBERS + b"1]}]}")
    _is_warm.set()


def is_warm() -> bool:
    """Say whether the scan is loaded."""
    return _is_warm.is_set()


def part(body: bytes) -> tuple[npt.NDArray[np.float32], bytes] | None:
    """Take out the one long array of numbers: (its numbers, the rest with MARK in its place).

    None if there is none or more than one, the body must be left to orjson, or the scan is not loaded yet.
    """
    if not _is_warm.is_set():
        return None
    values = np.empty(len(body) // 2 + 1, np.float32)
    starts = np.empty(2, np.int64)
    rest = np.empty(len(body) + len(_QUOTED_MARK), np.uint8)
    text = np.frombuffer(body + b"\0", np.uint8)
    written, arrays, used = _scan(text, _QUOTED_MARK, values, starts, rest, _POWERS, LEAST_NUMBERS)
    return (values[:used], rest[:written].tobytes()) if written > 0 and arrays == 1 else None


class _Placer:
    """Puts arrays in the place of their marks, where vectors stand."""

    def __init__(self, secret: str, values: npt.NDArray[np.float32], starts: list[int]) -> None:
        self._secret = secret
        self._values = values
        self._starts = starts
        self.count = 0

    def place(self, content: Any) -> None:
        """Look where a write request may hold vectors."""
        if type(content) is not dict:
            return
        if type(content.get("points")) is list:
            for point in content["points"]:
                if type(point) is dict:
                    for name in ("vector", "vectors"):
                        if name in point:
                            point[name] = self._vectors(point[name])
        if type(content.get("batch")) is dict and "vectors" in content["batch"]:
            content["batch"]["vectors"] = self._vectors(content["batch"]["vectors"])
        if type(content.get("operations")) is list:
            for operation in content["operations"]:
                if type(operation) is dict:
                    for nested in operation.values():
                        self.place(nested)

    def _vectors(self, value: Any) -> Any:
        """Put arrays into one vector, a list of vectors, or a map from name to either."""
        if type(value) is dict:
            return {name: self._unnamed(item) for name, item in value.items()}
        return self._unnamed(value)

    def _unnamed(self, value: Any) -> Any:
        """A mark, or a list of marks, or of such lists; the indices of a sparse vector are no float32."""
        if type(value) is str:
            return self._array(value)
        if type(value) is list and value and type(value[0]) in (str, list):
            return [self._unnamed(item) for item in value]
        return value

    def _array(self, value: str) -> Any:
        if not value.startswith(self._secret):
            return value
        number = int(value[len(self._secret) :])
        self.count += 1
        return self._values[self._starts[number] : self._starts[number + 1]]
