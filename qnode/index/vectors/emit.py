"""Writing instructions: what the intrinsics of `native`, `hadamard`, `lookups` and `rounding` have in common.

`builder` is llvmlite's. Addresses are 64-bit integers, and loads and stores ask for no alignment.

numba does not see that a kernel rests on this file: after a change here, remove `__pycache__`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils as untyped_cgutils

cgutils: Any = untyped_cgutils
I64, I32, I16, I8 = ir.IntType(64), ir.IntType(32), ir.IntType(16), ir.IntType(8)
F64, F32 = ir.DoubleType(), ir.FloatType()

ALL_BUT_SIGN = 0x7FFFFFFF


def load(builder: Any, address: Any, kind: Any) -> Any:
    """Read a scalar or a vector."""
    return builder.load(builder.inttoptr(address, kind.as_pointer()), align=1)


def store(builder: Any, value: Any, address: Any) -> None:
    """Write a scalar or a vector."""
    builder.store(value, builder.inttoptr(address, value.type.as_pointer()), align=1)


def constant(element: Any, lanes: int, value: float) -> Any:
    """Give a vector of one known value."""
    return ir.Constant(ir.VectorType(element, lanes), [value] * lanes)


def filled(builder: Any, value: Any, lanes: int) -> Any:
    """Repeat a scalar in all lanes."""
    kind = ir.VectorType(value.type, lanes)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, I32(0))
    return builder.shuffle_vector(first, first, constant(I32, lanes, 0))


def absolute(builder: Any, value: Any) -> Any:
    """Take the sign off a float32, or off each of a vector."""
    whole: Any = I32
    mask: Any = I32(ALL_BUT_SIGN)
    if isinstance(value.type, ir.VectorType):
        whole, mask = ir.VectorType(I32, value.type.count), constant(I32, value.type.count, ALL_BUT_SIGN)
    return builder.bitcast(builder.and_(builder.bitcast(value, whole), mask), value.type)


def larger(builder: Any, a: Any, b: Any) -> Any:
    """Choose a where it is larger, else b, of floats."""
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def added(builder: Any, a: Any, b: Any) -> Any:
    """Add floats."""
    return builder.fadd(a, b)


def folded(builder: Any, vector: Any, joined: Callable[[Any, Any, Any], Any]) -> Any:
    """Join a vector's halves until one lane is left; return that."""
    lanes = vector.type.count
    while lanes > 1:
        lanes //= 2
        low, high = (
            builder.shuffle_vector(
                vector, vector, ir.Constant(ir.VectorType(I32, lanes), list(range(first, first + lanes)))
            )
            for first in (0, lanes)
        )
        vector = joined(builder, low, high)
    return builder.extract_element(vector, I32(0))


def largest(builder: Any, vector: Any) -> Any:
    """Return the largest of a vector's floats."""
    return folded(builder, vector, larger)


def in_steps(builder: Any, count: Any, lanes: int, step: Callable[[Any, int], None]) -> None:
    """Do `step` for every `lanes` of so many items, then for each that is left: it is told the first one and how many."""
    whole = builder.and_(count, I64(-lanes))
    with cgutils.for_range_slice(builder, I64(0), whole, I64(lanes), I64) as (index, _):
        step(index, lanes)
    with cgutils.for_range_slice(builder, whole, count, I64(1), I64) as (index, _):
        step(index, 1)
