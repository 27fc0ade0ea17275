"""Rounding a row of float32 to int8 codes, 16 numbers at a time: vector instructions, made here as in `native`.

Codes are rounded to the nearest, half to even, so they are the same on every machine. What they miss and how long the row
is are summed as float64.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils as untyped_cgutils
from numba.extending import intrinsic

from qnode.index.vectors import emit
from qnode.index.vectors.emit import F32, F64, I8, I32, I64

LARGEST_CODE = 127
LANES = 16

cgutils: Any = untyped_cgutils


def _sums(builder: Any, element: Any) -> dict[int, Any]:
    """Make room for a sum of whole vectors, and for one of what is left over, by their lanes."""
    places = {lanes: cgutils.alloca_once(builder, ir.VectorType(element, lanes)) for lanes in (LANES, 1)}
    for lanes, place in places.items():
        builder.store(emit.constant(element, lanes, 0.0), place)
    return places


def _total(builder: Any, sums: dict[int, Any]) -> Any:
    return builder.fadd(*(emit.folded(builder, builder.load(place), emit.added) for place in sums.values()))


def _largest_absolute(typing_context: Any, values_at: Any, count: Any) -> Any:
    """Return the largest |x| of so many float32; 0 for none."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values_at, count = arguments
        found = _sums(builder, F32)

        def step(index: Any, lanes: int) -> None:
            at = builder.add(values_at, builder.mul(index, I64(4)))
            value = emit.absolute(builder, emit.load(builder, at, ir.VectorType(F32, lanes)))
            builder.store(emit.larger(builder, value, builder.load(found[lanes])), found[lanes])

        emit.in_steps(builder, count, LANES, step)
        return emit.larger(builder, *(emit.largest(builder, builder.load(place)) for place in found.values()))

    return types.float32(types.int64, types.int64), generate


def _round_row(typing_context: Any, values_at: Any, codes_at: Any, count: Any, inverse: Any, scale: Any) -> Any:
    """Write x · inverse of so many float32 as int8, clipped; return Σ(x - code · scale)² and Σx²."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values_at, codes_at, count, inverse, scale = arguments
        exact_scale = builder.fpext(scale, F64)
        missed, square = _sums(builder, F64), _sums(builder, F64)

        def step(index: Any, lanes: int) -> None:
            at = builder.add(values_at, builder.mul(index, I64(4)))
            value = emit.load(builder, at, ir.VectorType(F32, lanes))
            code = _rounded(builder, builder.fmul(value, emit.filled(builder, inverse, lanes)))
            octets = builder.trunc(builder.fptosi(code, ir.VectorType(I32, lanes)), ir.VectorType(I8, lanes))
            emit.store(builder, octets, builder.add(codes_at, index))
            doubles = ir.VectorType(F64, lanes)
            exact = builder.fpext(value, doubles)
            told = builder.fmul(builder.fpext(code, doubles), emit.filled(builder, exact_scale, lanes))
            for sums, number in ((missed, builder.fsub(exact, told)), (square, exact)):
                grown = builder.fadd(builder.load(sums[lanes]), builder.fmul(number, number))
                builder.store(grown, sums[lanes])

        emit.in_steps(builder, count, LANES, step)
        results = [_total(builder, missed), _total(builder, square)]
        return context.make_tuple(builder, signature.return_type, results)

    pair = types.UniTuple(types.float64, 2)  # type: ignore[no-untyped-call]
    return pair(types.int64, types.int64, types.int64, types.float32, types.float32), generate


def _rounded(builder: Any, value: Any) -> Any:
    """Round a vector of float32 to whole numbers that a code can hold; what is no number becomes the largest."""
    lanes = value.type.count
    highest = emit.constant(F32, lanes, float(LARGEST_CODE))
    value = builder.select(builder.fcmp_ordered("<", value, highest), value, highest)
    value = emit.larger(builder, value, emit.constant(F32, lanes, float(-LARGEST_CODE)))
    rint = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(value.type, [value.type]), f"llvm.rint.v{lanes}f32"
    )
    return builder.call(rint, [value])


largest_absolute: Any = intrinsic(_largest_absolute)
round_row: Any = intrinsic(_round_row)
