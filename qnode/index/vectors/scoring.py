"""The one scoring routine: how similar a row is to a query, for every kind of stored value and of code.

A similarity is larger-is-better: Euclid -Σ(a-b)², Manhattan -Σ|a-b|, Dot Σab, Cosine Σab of normalised vectors (true cosine
where the stored values are uint8 and so cannot be normalised). Exact scans, rescoring and graph traversal on original
vectors all go through `score`, so they agree bit for bit.

float32 and float16 are summed by the loops of `native`; int8, uint8 and bf16 by NumKong's C functions, which are called by
address.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numkong
import numpy as np
import numpy.typing as npt

from qnode.index.vectors import native
from qnode.models.vector_params import Datatype, Distance, VectorParams

SIGNED, UNSIGNED, FLOAT = 0, 1, 2
"""C functions, by what they write: int32, uint32, float32."""

DOT_F32, SQUARED_F32, ABSOLUTE_F32 = 3, 4, 5
DOT_F16, SQUARED_F16, ABSOLUTE_F16 = 6, 7, 8
ABSOLUTE_U8, COSINE_U8, BITS, TWO_BITS = 9, 10, 11, 12

STORED_TYPE: dict[Datatype, np.dtype[np.generic]] = {
    Datatype.FLOAT32: np.dtype("<f4"),
    Datatype.FLOAT16: np.dtype("<f2"),
    Datatype.UINT8: np.dtype("u1"),
}


@dataclass(frozen=True, slots=True)
class Scorer:
    """How `score` reads two rows of values. similarity = factor · (what the routine sums)."""

    kind: int
    function: int
    factor: float


@cache
def c_function(metric: str, element: str) -> int:
    """Return the address of NumKong's kernel; metric is "dot" or "sqeuclidean"."""
    address: int = getattr(numkong, f"pointer_to_{metric}")(element)
    return address


@cache
def exact_scorer(distance: Distance, datatype: Datatype) -> Scorer:
    """Choose the routine for vectors as they are stored."""
    if datatype is Datatype.UINT8:
        match distance:
            case Distance.COSINE:
                return Scorer(COSINE_U8, c_function("dot", "uint8"), 1.0)
            case Distance.DOT:
                return Scorer(UNSIGNED, c_function("dot", "uint8"), 1.0)
            case Distance.EUCLID:
                return Scorer(UNSIGNED, c_function("sqeuclidean", "uint8"), -1.0)
            case Distance.MANHATTAN:
                return Scorer(ABSOLUTE_U8, 0, -1.0)
    first = DOT_F32 if datatype is Datatype.FLOAT32 else DOT_F16
    if distance is Distance.EUCLID:
        return Scorer(first + 1, 0, -1.0)
    if distance is Distance.MANHATTAN:
        return Scorer(first + 2, 0, -1.0)
    return Scorer(first, 0, 1.0)


def to_stored(values: npt.NDArray[np.float32], datatype: Datatype) -> npt.NDArray[np.generic]:
    """Convert float32 values to the stored type; uint8 truncates, then clamps."""
    if datatype is Datatype.FLOAT32:
        return np.ascontiguousarray(values, "<f4")
    if datatype is Datatype.FLOAT16:
        largest = np.finfo(np.float16).max
        return np.clip(values, -largest, largest).astype("<f2")
    return np.clip(np.trunc(values), 0, 255).astype(np.uint8)


def normalises(params: VectorParams) -> bool:
    """Say whether the vectors are stored at unit length."""
    return params.distance is Distance.COSINE and params.datatype is not Datatype.UINT8


@native.compiled
def score(
    kind: int, function: int, row_at: int, query_at: int, dimensions: int, factor: float, cell: int
) -> np.float32:
    """Return the similarity of the values at two addresses; `cell` is the address of 8 bytes of scratch."""
    total = np.float32(0)
    if kind == SIGNED:
        native.call(function, row_at, query_at, dimensions, cell)
        total = np.float32(native.load_i32(cell))
    elif kind == DOT_F32:
        total = native.dot_f32(row_at, query_at, dimensions)
    elif kind == UNSIGNED:
        native.call(function, row_at, query_at, dimensions, cell)
        total = np.float32(native.load_u32(cell))
    elif kind == FLOAT:
        native.call(function, row_at, query_at, dimensions, cell)
        total = native.load_f32(cell)
    elif kind == SQUARED_F32:
        total = native.squared_f32(row_at, query_at, dimensions)
    elif kind == ABSOLUTE_F32:
        total = native.absolute_f32(row_at, query_at, dimensions)
    elif kind == DOT_F16:
        total = native.dot_f16(row_at, query_at, dimensions)
    elif kind == SQUARED_F16:
        total = native.squared_f16(row_at, query_at, dimensions)
    elif kind == ABSOLUTE_F16:
        total = native.absolute_f16(row_at, query_at, dimensions)
    elif kind == ABSOLUTE_U8:
        total = native.absolute_u8(row_at, query_at, dimensions)
    elif kind == COSINE_U8:
        total = cosine_u8(function, row_at, query_at, dimensions, cell)
    elif kind == BITS:
        total = agreement(row_at, query_at, dimensions)
    else:
        total = agreement(row_at, query_at, 2 * dimensions)
    return np.float32(total * np.float32(factor) + np.float32(0))  # + 0: no negative zero


@native.compiled
def cosine_u8(function: int, row_at: int, query_at: int, dimensions: int, cell: int) -> np.float32:
    """Return the cosine of two rows of bytes; 0 if one of them is all zeros."""
    native.call(function, row_at, row_at, dimensions, cell)
    norms = np.float64(native.load_u32(cell))
    native.call(function, query_at, query_at, dimensions, cell)
    norms = norms * np.float64(native.load_u32(cell))
    native.call(function, row_at, query_at, dimensions, cell)
    if norms == 0:
        return np.float32(0)
    return np.float32(np.float64(native.load_u32(cell)) / np.sqrt(norms))


@native.compiled
def agreement(row_at: int, query_at: int, dimensions: int) -> np.float32:
    """Return the dot product of two vectors of signs, kept as bits in whole 64-bit words."""
    differing = np.uint64(0)
    for word in range((dimensions + 63) >> 6):
        differing += native.popcount(native.load_u64(row_at + 8 * word) ^ native.load_u64(query_at + 8 * word))
    return np.float32(dimensions - 2 * np.int64(differing))
