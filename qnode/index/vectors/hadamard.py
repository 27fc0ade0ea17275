"""Turning vectors by a fixed rotation, 16 of them at a time: values beside each other go in, signs come out.

`work` is (dimensions, 16) float32, one dimension of 16 vectors after the other, so that every step is the same for all
16. The rotation multiplies by random signs and applies Hadamard's transform to a window of a power of two dimensions;
windows at the beginning and at the end take turns and overlap, so any number of dimensions is mixed.

The steps are vector instructions made here: the compiler does not see that rows of `work` never overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from qnode.index.vectors import emit, native
from qnode.index.vectors.emit import F32, I8, I32, I64

LANES = 16
ROW_BYTES = 4 * LANES
ROUNDS = 4
OVERLAP = 4
"""Windows overlap by at least one in so many of their dimensions, or are one."""

_FLOATS = ir.VectorType(F32, LANES)


@dataclass(frozen=True, slots=True, eq=False)
class Rotation:
    """padded: dimensions after it, a multiple of 8. window: a power of two. signs: (ROUNDS, padded), ± 1/√window."""

    padded: int
    window: int
    signs: npt.NDArray[np.float32]
    signs_at: int


@cache
def rotation_of(dimensions: int) -> Rotation:
    """Return the rotation of vectors of so many dimensions, always the same one."""
    assert dimensions >= 8 * OVERLAP
    window = 1 << (dimensions.bit_length() - 1)
    step = window // OVERLAP
    padded = -(-dimensions // step) * step
    if padded == 2 * window:
        window = padded
    drawn = np.random.default_rng(dimensions).integers(0, 2, (ROUNDS, padded)) * 2 - 1
    signs = (drawn / np.sqrt(window)).astype(np.float32)
    return Rotation(padded, window, signs, native.address_of(signs))


def _row(builder: Any, address: Any) -> Any:
    """Read a row of work."""
    return emit.load(builder, address, _FLOATS)


def _clear(typing_context: Any, row_at: Any) -> Any:
    """Fill a row of work with zeros."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        emit.store(builder, emit.constant(F32, LANES, 0.0), arguments[0])
        return context.get_dummy_value()

    return types.void(types.int64), generate


def _scale(typing_context: Any, row_at: Any, factor: Any) -> Any:
    """Multiply a row of work."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        row_at, factor = arguments
        emit.store(builder, builder.fmul(_row(builder, row_at), emit.filled(builder, factor, LANES)), row_at)
        return context.get_dummy_value()

    return types.void(types.int64, types.float32), generate


def _mix_two(typing_context: Any, row_at: Any, apart: Any) -> Any:
    """Replace rows a and b, so many bytes apart, by a + b and a - b."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first_at, second_at = arguments[0], builder.add(*arguments)
        a, b = _row(builder, first_at), _row(builder, second_at)
        emit.store(builder, builder.fadd(a, b), first_at)
        emit.store(builder, builder.fsub(a, b), second_at)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


def _mix_four(typing_context: Any, row_at: Any, apart: Any) -> Any:
    """Do two steps of `mix_two` at once: on neighbours that are so many bytes apart, then on those twice as far."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        places = [arguments[0]]
        for _ in range(3):
            places.append(builder.add(places[-1], arguments[1]))
        a, b, c, d = (_row(builder, place) for place in places)
        a, b, c, d = builder.fadd(a, b), builder.fsub(a, b), builder.fadd(c, d), builder.fsub(c, d)
        mixed = builder.fadd(a, c), builder.fadd(b, d), builder.fsub(a, c), builder.fsub(b, d)
        for place, value in zip(places, mixed, strict=True):
            emit.store(builder, value, place)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


def _gather(
    typing_context: Any, source_at: Any, apart: Any, mean: Any, row_at: Any, squares_at: Any, products_at: Any
) -> Any:
    """Write x - mean of 16 float32, so many bytes apart, to a row of work; add its square and its product with the mean."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source_at, apart, mean, row_at, squares_at, products_at = arguments
        value: Any = ir.Constant(_FLOATS, ir.Undefined)
        for lane in range(LANES):
            value = builder.insert_element(value, emit.load(builder, source_at, F32), I32(lane))
            source_at = builder.add(source_at, apart)
        means = emit.filled(builder, mean, LANES)
        value = builder.fsub(value, means)
        emit.store(builder, value, row_at)
        for place, other in ((squares_at, value), (products_at, means)):
            emit.store(builder, builder.fadd(_row(builder, place), builder.fmul(value, other)), place)
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(i64, i64, types.float32, i64, i64, i64), generate


def _sign_byte(typing_context: Any, rows_at: Any, out_at: Any, sums_at: Any) -> Any:
    """Write a byte for each of 16 vectors, the signs of eight rows of work; add the rows' |x| to sums."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows_at, out_at, sums_at = arguments
        octets: Any = emit.constant(I8, LANES, 0)
        total = _row(builder, sums_at)
        for bit in range(8):
            value = _row(builder, builder.add(rows_at, I64(bit * ROW_BYTES)))
            total = builder.fadd(total, emit.absolute(builder, value))
            positive = builder.fcmp_ordered(">", value, emit.constant(F32, LANES, 0.0))
            chosen = emit.constant(I8, LANES, 1 << bit)
            octets = builder.or_(octets, builder.select(positive, chosen, emit.constant(I8, LANES, 0)))
        emit.store(builder, octets, out_at)
        emit.store(builder, total, sums_at)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


clear: Any = intrinsic(_clear)
scale: Any = intrinsic(_scale)
mix_two: Any = intrinsic(_mix_two)
mix_four: Any = intrinsic(_mix_four)
gather: Any = intrinsic(_gather)
sign_byte: Any = intrinsic(_sign_byte)


@native.compiled
def rotate(work_at: int, padded: int, window: int, signs_at: int) -> None:
    """Rotate the 16 vectors of work, (padded, 16), in place. signs: (ROUNDS, padded), see `Rotation`."""
    for turn in range(ROUNDS):
        start = 0 if turn % 2 == 0 else padded - window
        at = work_at + ROW_BYTES * start
        for i in range(window):
            scale(at + ROW_BYTES * i, native.load_f32(signs_at + 4 * (turn * padded + start + i)))
        half = 1
        while 4 * half <= window:
            for group in range(0, window, 4 * half):
                for i in range(group, group + half):
                    mix_four(at + ROW_BYTES * i, ROW_BYTES * half)
            half *= 4
        if half < window:
            for i in range(half):
                mix_two(at + ROW_BYTES * i, ROW_BYTES * half)
