"""What numba does not offer by itself: calls through addresses, explicit SIMD loops, prefetch, popcount.

Kernels take addresses (int64) instead of arrays: an address has one type, so each kernel has exactly one compiled form,
whether its input is mapped read-only or lives in the heap, and a call costs a few microseconds. Whoever calls a kernel
keeps the arrays alive and vouches for their shapes.

The loops over 32 lanes are written as vector instructions, not left to the compiler: the order of the sums is fixed by
this source, so a score is the same float32 wherever it is computed, on every machine. Below 32 dimensions the loop is
only its tail, a sequential multiply-add in index order with every product and sum rounded to float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils as untyped_cgutils
from numba.extending import intrinsic

from qnode.compiled import compiled as compiled
from qnode.index.vectors import emit
from qnode.index.vectors.emit import F32, I8, I32, I64

LANES = 32
CACHE_LINE = 64
NEGATIVE_ZERO_BITS = 0x80000000

cgutils: Any = untyped_cgutils


def address_of(array: npt.NDArray[Any]) -> int:
    """Return where the array's first byte lies."""
    address: int = array.__array_interface__["data"][0]
    return address


def _call(typing_context: Any, function: Any, a: Any, b: Any, count: Any, out: Any) -> Any:
    """Call a C function (a, b, count, *out) by its address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [I64] * 4)
        builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), arguments[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate


def _prefetch(typing_context: Any, address: Any) -> Any:
    """Ask for the cache line at an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], I8.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, I32, I32, I32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [pointer, I32(0), I32(3), I32(1)])
        return context.get_dummy_value()

    return types.void(types.int64), generate


def _popcount(typing_context: Any, word: Any) -> Any:
    """Count the bits that are set."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


def _caster(source: Any, target: Any, llvm_type: Any) -> Any:
    """Make an intrinsic that reads a value's bits as another type."""

    def reinterpret(typing_context: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.bitcast(arguments[0], llvm_type)

        return target(source), generate

    return intrinsic(reinterpret)


def _loader(numba_type: Any, llvm_type: Any, widen: str = "") -> Any:
    """Make an intrinsic that reads one value at an address; `widen` integers to 64 bits by "sext" or "zext"."""

    def load(typing_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            value = emit.load(builder, arguments[0], llvm_type)
            return getattr(builder, widen)(value, I64) if widen else value

        return numba_type(types.int64), generate

    return intrinsic(load)


def _storer(numba_type: Any, llvm_type: Any) -> Any:
    """Make an intrinsic that writes one value at an address."""

    def store(typing_context: Any, address: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            emit.store(builder, arguments[1], arguments[0])
            return context.get_dummy_value()

        return types.void(types.int64, numba_type), generate

    return intrinsic(store)


call: Any = intrinsic(_call)
prefetch: Any = intrinsic(_prefetch)
popcount: Any = intrinsic(_popcount)
bits_of: Any = _caster(types.float32, types.uint32, I32)
float_of: Any = _caster(types.uint32, types.float32, F32)
load_u8: Any = _loader(types.int64, I8, "zext")
load_i32: Any = _loader(types.int64, I32, "sext")
load_u32: Any = _loader(types.int64, I32, "zext")
load_i64: Any = _loader(types.int64, I64)
load_u64: Any = _loader(types.uint64, I64)
load_f32: Any = _loader(types.float32, F32)
store_i8: Any = _storer(types.int8, I8)
store_i32: Any = _storer(types.int32, I32)
store_f32: Any = _storer(types.float32, F32)


def _term(builder: Any, operation: str, a: Any, b: Any) -> Any:
    """One summand of a metric, for a scalar or for all lanes."""
    if operation == "dot":
        return builder.fmul(a, b)
    difference = builder.fsub(a, b)
    if operation == "squared":
        return builder.fmul(difference, difference)
    assert operation == "absolute"
    return emit.absolute(builder, difference)


def _widened(builder: Any, value: Any, element: str, lanes: int) -> Any:
    """Turn loaded elements into float32."""
    wide = ir.VectorType(F32, lanes) if lanes > 1 else F32
    if element == "float16":
        return builder.fpext(value, wide)
    if element == "uint8":
        return builder.uitofp(value, wide)
    return value


def _metric_loop(operation: str, element: str) -> Any:
    """Make the intrinsic that sums `operation` over the elements at two addresses, as float32."""
    narrow, width = {"float32": (F32, 4), "float16": (ir.HalfType(), 2), "uint8": (I8, 1)}[element]

    def loop(typing_context: Any, a: Any, b: Any, count: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            def read(base: Any, index: Any, lanes: int) -> Any:
                kind = ir.VectorType(narrow, lanes) if lanes > 1 else narrow
                at = builder.add(base, builder.mul(index, I64(width)))
                loaded = builder.load(builder.inttoptr(at, kind.as_pointer()), align=width)
                return _widened(builder, loaded, element, lanes)

            def summand(index: Any, lanes: int) -> Any:
                return _term(builder, operation, read(arguments[0], index, lanes), read(arguments[1], index, lanes))

            wide = ir.VectorType(F32, LANES)
            sums = cgutils.alloca_once(builder, wide)
            builder.store(emit.constant(F32, LANES, 0.0), sums)
            whole = builder.and_(arguments[2], I64(-LANES))
            with cgutils.for_range_slice(builder, I64(0), whole, I64(LANES), I64) as (index, _):
                builder.store(builder.fadd(builder.load(sums), summand(index, LANES)), sums)
            total = cgutils.alloca_once(builder, F32)
            builder.store(emit.folded(builder, builder.load(sums), emit.added), total)
            with cgutils.for_range_slice(builder, whole, arguments[2], I64(1), I64) as (index, _):
                builder.store(builder.fadd(builder.load(total), summand(index, 1)), total)
            return builder.load(total)

        return types.float32(types.int64, types.int64, types.int64), generate

    return intrinsic(loop)


dot_f32: Any = _metric_loop("dot", "float32")
dot_f16: Any = _metric_loop("dot", "float16")
squared_f32: Any = _metric_loop("squared", "float32")
squared_f16: Any = _metric_loop("squared", "float16")
absolute_f32: Any = _metric_loop("absolute", "float32")
absolute_f16: Any = _metric_loop("absolute", "float16")
absolute_u8: Any = _metric_loop("absolute", "uint8")


def _add_present(typing_context: Any, sums: Any, weights: Any, factor: Any) -> Any:
    """Add `factor` times LANES weights to LANES sums at an address; the negative zero among the weights stands for no weight.

    Products and sums are rounded to float32, and products that are zero are positive ones.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        floats, whole = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)
        weight = emit.load(builder, arguments[1], floats)
        nothing = emit.constant(F32, LANES, -0.0)
        missing = builder.icmp_unsigned(
            "==", builder.bitcast(weight, whole), emit.constant(I32, LANES, NEGATIVE_ZERO_BITS)
        )
        product = builder.fmul(emit.filled(builder, arguments[2], LANES), weight)
        product = builder.fadd(product, emit.constant(F32, LANES, 0.0))
        added = builder.fadd(emit.load(builder, arguments[0], floats), builder.select(missing, nothing, product))
        emit.store(builder, added, arguments[0])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float32), generate


def _present_from(typing_context: Any, scores: Any, least: Any) -> Any:
    """Return as bits which of LANES scores at an address are no smaller than `least`, and not the negative zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        score, whole = emit.load(builder, arguments[0], ir.VectorType(F32, LANES)), ir.VectorType(I32, LANES)
        nothing = emit.constant(I32, LANES, NEGATIVE_ZERO_BITS)
        present = builder.icmp_unsigned("!=", builder.bitcast(score, whole), nothing)
        enough = builder.fcmp_ordered(">=", score, emit.filled(builder, arguments[1], LANES))
        bits = builder.bitcast(builder.and_(present, enough), ir.IntType(LANES))
        return builder.zext(bits, I64)

    return types.uint64(types.int64, types.float32), generate


def _count_present(typing_context: Any, weights: Any, wanted: Any) -> Any:
    """Count those of LANES weights at an address that are not the negative zero, and whose byte at another is not 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        weight = emit.load(builder, arguments[0], ir.VectorType(I32, LANES))
        byte = emit.load(builder, arguments[1], ir.VectorType(I8, LANES))
        present = builder.icmp_unsigned("!=", weight, emit.constant(I32, LANES, NEGATIVE_ZERO_BITS))
        chosen = builder.icmp_unsigned("!=", byte, emit.constant(I8, LANES, 0))
        bits = builder.bitcast(builder.and_(present, chosen), ir.IntType(LANES))
        return builder.zext(builder.ctpop(bits), I64)

    return types.int64(types.int64, types.int64), generate


add_present: Any = intrinsic(_add_present)
count_present: Any = intrinsic(_count_present)
present_from: Any = intrinsic(_present_from)


@compiled
def key_of(score: np.float32, row: int) -> np.uint64:
    """Pack (score, row) so that a larger key is a better result: larger score first, then smaller row."""
    bits = bits_of(np.float32(score))
    ordered = np.uint32(~bits) if bits >> np.uint32(31) else np.uint32(bits | np.uint32(0x80000000))
    return np.uint64((np.uint64(ordered) << np.uint64(32)) | np.uint64(np.uint32(~np.uint32(row))))


@compiled
def score_in(key: np.uint64) -> np.float32:
    """Unpack the score of a key."""
    ordered = np.uint32(key >> np.uint64(32))
    bits = np.uint32(ordered ^ np.uint32(0x80000000)) if ordered >> np.uint32(31) else np.uint32(~ordered)
    return np.float32(float_of(bits))


@compiled
def row_in(key: np.uint64) -> int:
    """Unpack the row of a key."""
    return np.int64(np.uint32(~np.uint32(key & np.uint64(0xFFFFFFFF))))  # type: ignore[return-value]


@compiled
def push(heap: npt.NDArray[np.uint64], size: int, key: np.uint64) -> None:
    """Add to a heap of `size` keys whose smallest stands first."""
    at = size
    while at > 0:
        parent = (at - 1) >> 1
        if heap[parent] <= key:
            break
        heap[at] = heap[parent]
        at = parent
    heap[at] = key


@compiled
def replace_first(heap: npt.NDArray[np.uint64], size: int, key: np.uint64) -> None:
    """Put a key in the place of the smallest one."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if key <= heap[child]:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = key


@compiled
def sort_best_first(heap: npt.NDArray[np.uint64], size: int) -> None:
    """Turn a heap into a descending list, in place."""
    for last in range(size - 1, 0, -1):
        smallest = heap[0]
        replace_first(heap, last, heap[last])
        heap[last] = smallest
