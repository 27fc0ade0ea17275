"""Sketches: one bit for each dimension of a row, and an estimate of its similarity with a bound that hardly ever fails.

RaBitQ (Gao & Long, SIGMOD 2024). With c a centre of the rows, o = x - c, R a rotation, y = R o in D dimensions, and q
the query: o·(q - c) is estimated as |o|² / |y|₁ · s·R(q - c), where s holds the signs of y. For a random R the error is
that of a random direction: about normal, with standard deviation

    |o| |q - c| √(1 - a²) / (a √(D - 1)),    a = |y|₁ / (√D |o|), about .8,

so adding CERTAINTY of them bounds the true value for all but one row in a million. Then
x·q = o·(q - c) + o·c + q·c and -|x - q|² = 2 o·(q - c) - |o|² - |q - c|².

R is fixed, drawn once from a seed: random signs and Hadamard transforms of two overlapping windows, in turns. Vectors chosen
to defeat it could be missed by a search; nothing else can come of them, and `exact` searches use no sketches.

A block holds 64 rows: their bits, byte by byte (see `lookups`), 64 factors |o|²/|y|₁, 64 constants o·c or -|o|², and
the largest √(1 - a²). A row whose numbers do not fit has the constant infinity: it is never passed over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qnode.index.vectors import codes, hadamard, lookups, native
from qnode.index.vectors.hadamard import LANES, ROW_BYTES
from qnode.index.vectors.lookups import BLOCK_ROWS
from qnode.models.vector_params import VectorParams

Floats = npt.NDArray[np.float32]

CERTAINTY = 4.75
"""Standard deviations of the estimate that count as possible: a normal error is beyond once in a million."""

LEAST_DIMENSIONS, MOST_DIMENSIONS = 128, 8192
"""Fewer: the bound is so wide that it passes over nothing. More: tables of sums below 2¹⁶ are too coarse."""

LARGEST = 1e15
"""Rows and queries with larger numbers are not sketched: float32 must hold their products."""


@dataclass(frozen=True, slots=True, eq=False)
class Centre:
    """What a segment's sketches are taken from: values (dim,), turned (padded,), and its length."""

    values: Floats
    turned: Floats
    length: float


@dataclass(frozen=True, slots=True, eq=False)
class Sketches:
    """The first `rows` rows of a segment, (blocks, block_bytes); longest: the largest |o|."""

    rows: int
    blocks: npt.NDArray[np.uint8]
    centre: Centre
    longest: float


def has_sketches(params: VectorParams) -> bool:
    """Say whether sketches are worth their while, and this processor is fast at them."""
    return lookups.AVAILABLE and codes.has_bounds(params) and LEAST_DIMENSIONS <= params.size <= MOST_DIMENSIONS


@native.compiled
def block_bytes(padded: int) -> int:
    """Return the size of a block of rows."""
    return BLOCK_ROWS * (padded // 8 + 8) + native.CACHE_LINE


def centre_of(values: Floats) -> Centre:
    """Take the mean of rows as their centre, or the origin if it is too far away."""
    mean = values.mean(axis=0, dtype=np.float64)
    length = float(np.linalg.norm(mean))
    if not length < LARGEST:
        mean, length = np.zeros_like(mean), 0.0
    centre = mean.astype(np.float32)
    return Centre(centre, turned(centre), length)


def turned(values: Floats) -> Floats:
    """Rotate one vector, (dim,) to (padded,)."""
    rotation = hadamard.rotation_of(len(values))
    work = np.zeros((rotation.padded, LANES), np.float32)
    work[: len(values), 0] = values
    hadamard.rotate(native.address_of(work), rotation.padded, rotation.window, rotation.signs_at)
    return np.ascontiguousarray(work[:, 0])


def sketch(values: Floats, centre: Centre, euclid: bool, blocks: npt.NDArray[np.uint8]) -> float:
    """Sketch rows, 64 for each of `blocks` (n, block_bytes), which is contiguous; return the largest |o|."""
    assert len(values) == BLOCK_ROWS * len(blocks)
    assert values.flags.c_contiguous
    rotation = hadamard.rotation_of(values.shape[1])
    work = np.empty((rotation.padded + 3, LANES), np.float32)
    return encode(
        native.address_of(values),
        len(blocks),
        values.shape[1],
        native.address_of(centre.values),
        rotation.padded,
        rotation.window,
        rotation.signs_at,
        euclid,
        native.address_of(blocks),
        native.address_of(work),
    )


@native.compiled
def encode(
    values_at: int,
    blocks: int,
    dimensions: int,
    centre_at: int,
    padded: int,
    window: int,
    signs_at: int,
    euclid: bool,
    blocks_at: int,
    work_at: int,
) -> float:
    """Sketch float32 rows, 64 a block; return the largest |o|. work: (padded + 3, 16) float32."""
    longest = 0.0
    squares_at = work_at + ROW_BYTES * padded
    products_at, sums_at = squares_at + ROW_BYTES, squares_at + 2 * ROW_BYTES
    for number in range(blocks):
        block_at = blocks_at + number * block_bytes(padded)
        factors_at = block_at + BLOCK_ROWS * (padded // 8)
        constants_at = factors_at + 4 * BLOCK_ROWS
        widest = 0.0
        for first in range(0, BLOCK_ROWS, LANES):
            source = values_at + 4 * dimensions * (number * BLOCK_ROWS + first)
            for i in range(dimensions, padded + 3):
                hadamard.clear(work_at + ROW_BYTES * i)
            for i in range(dimensions):
                mean = native.load_f32(centre_at + 4 * i)
                hadamard.gather(source + 4 * i, 4 * dimensions, mean, work_at + ROW_BYTES * i, squares_at, products_at)
            hadamard.rotate(work_at, padded, window, signs_at)
            for byte in range(padded // 8):
                hadamard.sign_byte(work_at + ROW_BYTES * 8 * byte, block_at + BLOCK_ROWS * byte + first, sums_at)
            for lane in range(LANES):
                square = np.float64(native.load_f32(squares_at + 4 * lane))
                total = np.float64(native.load_f32(sums_at + 4 * lane))
                factor, constant = 0.0, 0.0
                if total > 0:
                    factor = square / total
                    widest = max(widest, 1 - total * total / (square * padded))
                constant = -square if euclid else np.float64(native.load_f32(products_at + 4 * lane))
                if factor < LARGEST and abs(constant) < LARGEST:
                    longest = max(longest, np.sqrt(square))
                else:
                    factor, constant = 0.0, np.inf
                native.store_f32(factors_at + 4 * (first + lane), np.float32(factor))
                native.store_f32(constants_at + 4 * (first + lane), np.float32(constant))
        native.store_f32(constants_at + 4 * BLOCK_ROWS, np.float32(np.sqrt(widest)))
    return longest
