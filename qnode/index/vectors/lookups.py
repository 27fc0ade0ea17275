"""Sums of table lookups over packed rows, with the byte shuffles of the processor: 64 rows at once.

A row is one byte for eight dimensions; each half of a byte chooses one of 16 entries of a table of small integers, and
the row's sum is that of its choices (the "fast scan" of André et al., "Cache locality is not enough", VLDB 2015). Bytes
of 64 rows stand side by side, so one shuffle answers for all of them. The sums are integers: the same on every machine.

Only for processors whose shuffle is at least 32 bytes wide (x86-64 with AVX2 or AVX-512BW); `AVAILABLE` says so.
"""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils as untyped_cgutils
from numba.core import config as untyped_config
from numba.extending import intrinsic

from qnode.index.vectors import emit
from qnode.index.vectors.emit import F32, I8, I16, I32, I64

BLOCK_ROWS = 64
TABLE_BYTES = 16
LARGEST_ENTRY = 127
"""Two entries are added as bytes."""
LARGEST_SUM = 65535

cgutils: Any = untyped_cgutils
config: Any = untyped_config
_SHUFFLES = (("+avx512bw", 64, "llvm.x86.avx512.pshuf.b.512"), ("+avx2", 32, "llvm.x86.avx2.pshuf.b"))


def _choose_shuffle() -> tuple[int, str]:
    """Return the width and the name of the widest byte shuffle that numba may generate.

    Width 0: none is wide enough.
    """
    if config.CPU_NAME not in (None, "host"):
        return 0, ""
    features = config.CPU_FEATURES
    if features is None:
        features = binding.get_host_cpu_features().flatten()
    known = set(features.split(","))
    for feature, width, name in _SHUFFLES:
        if feature in known:
            return width, name
    return 0, ""


_WIDTH, _SHUFFLE = _choose_shuffle()
AVAILABLE = _WIDTH > 0


def _sums(builder: Any, rows_at: Any, tables_at: Any, width: Any, lanes: int) -> Any:
    """Return the sums of `lanes` rows side by side, as a vector of int16 without sign."""
    octets, pairs = ir.VectorType(I8, lanes), ir.VectorType(I16, lanes // 2)
    kind = ir.FunctionType(octets, [octets, octets])
    shuffle = cgutils.get_or_insert_function(builder.module, kind, _SHUFFLE)
    repeated = ir.Constant(ir.VectorType(I32, lanes), [lane % TABLE_BYTES for lane in range(lanes)])
    low_half = emit.constant(I8, lanes, 15)
    all_at, odd_at = cgutils.alloca_once(builder, pairs), cgutils.alloca_once(builder, pairs)
    for place in (all_at, odd_at):
        builder.store(emit.constant(I16, lanes // 2, 0), place)

    def chosen(table_at: Any, choices: Any) -> Any:
        table = emit.load(builder, table_at, ir.VectorType(I8, TABLE_BYTES))
        return builder.call(shuffle, [builder.shuffle_vector(table, table, repeated), choices])

    with cgutils.for_range_slice(builder, I64(0), width, I64(1), I64) as (index, _):
        bits = emit.load(builder, builder.add(rows_at, builder.mul(index, I64(BLOCK_ROWS))), octets)
        table_at = builder.add(tables_at, builder.mul(index, I64(2 * TABLE_BYTES)))
        low = chosen(table_at, builder.and_(bits, low_half))
        high = chosen(builder.add(table_at, I64(TABLE_BYTES)), builder.lshr(bits, emit.constant(I8, lanes, 4)))
        both = builder.bitcast(builder.add(low, high), pairs)
        builder.store(builder.add(builder.load(all_at), both), all_at)
        odd = builder.lshr(both, emit.constant(I16, lanes // 2, 8))
        builder.store(builder.add(builder.load(odd_at), odd), odd_at)
    odd = builder.load(odd_at)
    even = builder.sub(builder.load(all_at), builder.shl(odd, emit.constant(I16, lanes // 2, 8)))
    turns = [lane // 2 + lanes // 2 * (lane % 2) for lane in range(lanes)]
    return builder.shuffle_vector(even, odd, ir.Constant(ir.VectorType(I32, lanes), turns))


def _reach_block(
    typing_context: Any,
    rows_at: Any,
    tables_at: Any,
    width: Any,
    factors_at: Any,
    constants_at: Any,
    step: Any,
    offset: Any,
    base: Any,
    out_at: Any,
) -> Any:
    """Write base + constant + factor · (step · sum + offset) of 64 rows as float32; return the largest."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows_at, tables_at, width, factors_at, constants_at, step, offset, base, out_at = arguments
        floats = ir.VectorType(F32, _WIDTH)
        largest = None
        for first in range(0, BLOCK_ROWS, _WIDTH):

            def beside(address: Any, item_bytes: int, first: int = first) -> Any:
                return builder.add(address, I64(item_bytes * first))

            sums = _sums(builder, beside(rows_at, 1), tables_at, width, _WIDTH)
            sums = builder.uitofp(builder.zext(sums, ir.VectorType(I32, _WIDTH)), floats)
            value = builder.fadd(
                builder.fmul(sums, emit.filled(builder, step, _WIDTH)), emit.filled(builder, offset, _WIDTH)
            )
            value = builder.fmul(value, emit.load(builder, beside(factors_at, 4), floats))
            value = builder.fadd(value, emit.load(builder, beside(constants_at, 4), floats))
            value = builder.fadd(value, emit.filled(builder, base, _WIDTH))
            emit.store(builder, value, beside(out_at, 4))
            largest = value if largest is None else emit.larger(builder, largest, value)
        return emit.largest(builder, largest)

    return types.float32(*[types.int64] * 5, *[types.float32] * 3, types.int64), generate


def _fill_table(typing_context: Any, values_at: Any, step: Any, table_at: Any) -> Any:
    """Write the table of four float32: entry e is the sum of ± each of them by the bits of e, less the least, in steps.

    Returns (least, missed): a true sum is at most least + step · entry + missed.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values_at, step, table_at = arguments
        floats, words = ir.VectorType(F32, TABLE_BYTES), ir.VectorType(I32, TABLE_BYTES)
        total: Any = ir.Constant(floats, [0.0] * TABLE_BYTES)
        for bit in range(4):
            value = emit.filled(builder, emit.load(builder, builder.add(values_at, I64(4 * bit)), F32), TABLE_BYTES)
            signs = ir.Constant(floats, [1.0 if entry >> bit & 1 else -1.0 for entry in range(TABLE_BYTES)])
            total = builder.fadd(total, builder.fmul(value, signs))
        least = builder.fneg(emit.largest(builder, builder.fneg(total)))
        above = builder.fsub(total, emit.filled(builder, least, TABLE_BYTES))
        steps = emit.filled(builder, step, TABLE_BYTES)
        half = ir.Constant(floats, [0.5] * TABLE_BYTES)
        entries = builder.fptoui(builder.fadd(builder.fdiv(above, steps), half), words)
        limit = emit.constant(I32, TABLE_BYTES, LARGEST_ENTRY)
        entries = builder.select(builder.icmp_unsigned("<", entries, limit), entries, limit)
        missed = builder.fsub(above, builder.fmul(builder.uitofp(entries, floats), steps))
        octets = builder.trunc(entries, ir.VectorType(I8, TABLE_BYTES))
        emit.store(builder, octets, table_at)
        return context.make_tuple(builder, signature.return_type, [least, emit.largest(builder, missed)])

    pair = types.UniTuple(types.float32, 2)  # type: ignore[no-untyped-call]
    return pair(types.int64, types.float32, types.int64), generate


def _reaching(typing_context: Any, reaches_at: Any, least: Any) -> Any:
    """Return which of 64 float32 are at least so large, the first in the lowest bit."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        reaches = emit.load(builder, arguments[0], ir.VectorType(F32, BLOCK_ROWS))
        high = builder.fcmp_ordered(">=", reaches, emit.filled(builder, arguments[1], BLOCK_ROWS))
        return builder.bitcast(high, I64)

    return types.uint64(types.int64, types.float32), generate


def _lowest_bit(typing_context: Any, word: Any) -> Any:
    """Return the place of the lowest bit that is set; the word must not be 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


fill_table: Any = intrinsic(_fill_table)
lowest_bit: Any = intrinsic(_lowest_bit)
reaching: Any = intrinsic(_reaching)
reach_block: Any = intrinsic(_reach_block)
