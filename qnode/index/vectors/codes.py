"""Codes: small approximations of the vectors, to walk a graph or to pass over rows that cannot win.

int8: code = round(x · 127/limit), clipped. One limit for a sealed segment (a high quantile of |x|), so that codes of
two rows can be compared without their scales; one for each row of a growing segment. Beside each int8 row stand three
float32: its scale, the length of what the code misses (rounded up), and the length of the vector. From them a scan gets
a bound that the exact score cannot pass.
bf16: the upper half of a float32. bits: one sign for each component, in whole 64-bit words. two bits: one says whether a
component is above the limit, one whether it is above minus the limit, so that bits which differ count the
steps between low, middle and high.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from qnode.index.vectors import native, rounding, scoring
from qnode.index.vectors.rounding import LARGEST_CODE
from qnode.index.vectors.scoring import Scorer
from qnode.models.vector_params import Datatype, Distance, Quantization, QuantizationKind, VectorParams

Floats = npt.NDArray[np.float32]

OWN_QUANTILE = 0.9999
USER_QUANTILE = 0.99
"""Qdrant's default when the user asks for scalar quantisation and names no quantile."""

MIDDLE = 0.35
"""With two bits, this share of the components is between low and high. With less or more fewer neighbours are found."""

SAMPLE_ROWS = 2048
SAMPLE_QUERIES = 64
SAMPLE_LIMIT = 10
SAMPLE_CANDIDATES = 20
REQUIRED_AGREEMENT = 0.99
"""Codes are good enough for a segment if, on a sample, this share of the true best 10 are among the codes' best 20."""

BOUND_VALUES = 3
BOUND_BYTES = 4 * BOUND_VALUES
INT8_ALIGNMENT = 32
WORD_BYTES = 8


class CodeKind(StrEnum):
    """How a segment's codes are made; NONE: its graph is walked on the stored vectors."""

    INT8 = "int8"
    BF16 = "bf16"
    BITS = "bits"
    TWO_BITS = "two_bits"
    NONE = "none"


def code_bytes(kind: CodeKind, dimensions: int) -> int:
    """Return the width of a row of codes."""
    if kind is CodeKind.INT8:
        return -(-dimensions // INT8_ALIGNMENT) * INT8_ALIGNMENT
    if kind is CodeKind.BF16:
        return 2 * dimensions
    bits = 2 * dimensions if kind is CodeKind.TWO_BITS else dimensions
    return -(-bits // (8 * WORD_BYTES)) * WORD_BYTES


def code_scorer(kind: CodeKind, distance: Distance) -> Scorer:
    """Choose the routine for codes, without the scale."""
    if kind in (CodeKind.BITS, CodeKind.TWO_BITS):
        return Scorer(scoring.BITS if kind is CodeKind.BITS else scoring.TWO_BITS, 0, 1.0)
    element = "int8" if kind is CodeKind.INT8 else "bf16"
    if distance is Distance.EUCLID:
        function = scoring.c_function("sqeuclidean", element)
        return Scorer(scoring.UNSIGNED if kind is CodeKind.INT8 else scoring.FLOAT, function, -1.0)
    function = scoring.c_function("dot", element)
    return Scorer(scoring.SIGNED if kind is CodeKind.INT8 else scoring.FLOAT, function, 1.0)


def has_bounds(params: VectorParams) -> bool:
    """Say whether int8 codes bound the exact score: the metric rests on a dot product, and rows are worth skipping."""
    return (
        params.datatype is not Datatype.UINT8
        and params.distance is not Distance.MANHATTAN
        and params.size >= native.LANES
    )


@native.compiled
def encode_int8(
    values_at: int, rows: int, dimensions: int, limit: float, codes_at: int, stride: int, bounds_at: int
) -> None:
    """Write int8 codes and bounds of float32 rows; limit 0: each row's own largest |x|."""
    for row in range(rows):
        source, target = values_at + 4 * row * dimensions, codes_at + row * stride
        largest = np.float32(limit)
        if largest == 0:
            largest = rounding.largest_absolute(source, dimensions)
        scale = np.float32(largest / np.float32(LARGEST_CODE)) if largest > 0 else np.float32(1)
        inverse = np.float32(1) / scale
        missed, square = rounding.round_row(source, target, dimensions, inverse, scale)
        for i in range(dimensions, stride):
            native.store_i8(target + i, np.int8(0))
        at = bounds_at + BOUND_BYTES * row
        native.store_f32(at, scale)
        native.store_f32(at + 4, np.float32(np.sqrt(missed) * 1.000001))
        native.store_f32(at + 8, np.float32(np.sqrt(square)))


def to_int8(values: Floats, limit: float) -> tuple[npt.NDArray[np.int8], Floats]:
    """Encode rows; limit 0 scales each row by itself. Returns codes (n, width) and bounds (n, 3)."""
    values = np.ascontiguousarray(values, np.float32)
    rows, dimensions = values.shape
    codes = np.empty((rows, code_bytes(CodeKind.INT8, dimensions)), np.int8)
    bounds = np.empty((rows, BOUND_VALUES), np.float32)
    encode_int8(
        native.address_of(values),
        rows,
        dimensions,
        float(limit),
        native.address_of(codes),
        codes.shape[1],
        native.address_of(bounds),
    )
    return codes, bounds


def to_bf16(values: Floats) -> npt.NDArray[np.uint16]:
    """Round to the nearest value that has a bfloat16."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)


def from_bf16(codes: npt.NDArray[np.uint16]) -> Floats:
    """Widen bfloat16 codes."""
    return (codes.astype(np.uint32) << 16).view(np.float32)


def to_bits(values: Floats) -> npt.NDArray[np.uint8]:
    """Keep the signs: (n, width) bytes, the first component in the lowest bit."""
    return _packed(values > 0)


def to_two_bits(values: Floats, limit: float) -> npt.NDArray[np.uint8]:
    """Keep what is above the limit and what is above minus the limit: (n, width) bytes."""
    return _packed(np.hstack([values > limit, values > -limit]))


def _packed(bits: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Pack each row's bits into whole words."""
    packed = np.packbits(bits, axis=1, bitorder="little")
    codes = np.zeros((bits.shape[0], code_bytes(CodeKind.BITS, bits.shape[1])), np.uint8)
    codes[:, : packed.shape[1]] = packed
    return codes


def encode(kind: CodeKind, values: Floats, limit: float) -> npt.NDArray[Any]:
    """Encode rows as `kind`."""
    if kind is CodeKind.INT8:
        return to_int8(values, limit)[0]
    if kind is CodeKind.TWO_BITS:
        return to_two_bits(values, limit)
    return to_bits(values) if kind is CodeKind.BITS else to_bf16(values)


def limit_of(sample: Floats, quantile: float) -> float:
    """Return the |x| that int8's largest code stands for."""
    return float(np.quantile(np.abs(sample), quantile)) if sample.size else 1.0


def choose(params: VectorParams, sample: Floats) -> tuple[CodeKind, float]:
    """Decide on a segment's codes from a sample of its vectors: what the user asked for, else what is good enough.

    Returns the kind and, for int8 and two bits, the limit.
    """
    if params.datatype is Datatype.UINT8 and not _asks(params.quantization, QuantizationKind.BINARY):
        return CodeKind.NONE, 0.0
    if params.quantization is not None and _asks(params.quantization, QuantizationKind.BINARY):
        return (CodeKind.TWO_BITS, limit_of(sample, MIDDLE)) if params.quantization.two_bits else (CodeKind.BITS, 0.0)
    if params.distance is Distance.MANHATTAN:
        return CodeKind.NONE, 0.0
    if params.quantization is not None and _asks(params.quantization, QuantizationKind.SCALAR):
        return CodeKind.INT8, limit_of(sample, params.quantization.quantile or USER_QUANTILE) or 1.0
    limit = limit_of(sample, OWN_QUANTILE) or 1.0
    codes, bounds = to_int8(sample, limit)
    rounded = codes[:, : params.size].astype(np.float32) * bounds[:, :1]
    if agreement(params.distance, sample, rounded) >= REQUIRED_AGREEMENT:
        return CodeKind.INT8, limit
    if agreement(params.distance, sample, from_bf16(to_bf16(sample))) >= REQUIRED_AGREEMENT:
        return CodeKind.BF16, 0.0
    return CodeKind.NONE, 0.0


def _asks(quantization: Quantization | None, kind: QuantizationKind) -> bool:
    return quantization is not None and quantization.kind is kind


def agreement(distance: Distance, sample: Floats, rounded: Floats) -> float:
    """Return which share of the sample's nearest neighbours survives in the candidates that rounded vectors give."""
    if len(sample) <= SAMPLE_CANDIDATES:
        return 1.0
    queries = slice(0, SAMPLE_QUERIES)
    true = _similarities(distance, sample[queries], sample)
    rough = _similarities(distance, rounded[queries], rounded)
    best = np.argpartition(-true, SAMPLE_LIMIT, axis=1)[:, :SAMPLE_LIMIT]
    candidates = np.argpartition(-rough, SAMPLE_CANDIDATES, axis=1)[:, :SAMPLE_CANDIDATES]
    # A tie with the last candidate counts as found: equal vectors have equal codes.
    worst = np.take_along_axis(rough, candidates, 1).min(axis=1, keepdims=True)
    return float(np.mean(np.take_along_axis(rough, best, 1) >= worst))


def _similarities(distance: Distance, queries: Floats, rows: Floats) -> npt.NDArray[np.float64]:
    products: npt.NDArray[np.float64] = queries.astype(np.float64) @ rows.astype(np.float64).T
    if distance is not Distance.EUCLID:
        return products
    products *= 2
    products -= np.square(rows, dtype=np.float64).sum(axis=1)
    return products
