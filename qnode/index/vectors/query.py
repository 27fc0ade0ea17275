"""A search's query, prepared once for all segments it visits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from qnode.index.vectors import codes, native, scoring, sketches
from qnode.index.vectors.codes import BOUND_BYTES, INT8_ALIGNMENT, CodeKind, code_bytes
from qnode.index.vectors.rounding import LARGEST_CODE
from qnode.models.vector_params import Datatype, Distance, VectorParams

SMALLEST_SQUARE = float(np.finfo(np.float32).eps)
UNIT_TOLERANCE = 1e-6
"""Vectors shorter than the root of the first count as zero; squares nearer to 1 than the second as of unit length."""


class Query:
    """The vector in the forms that segments compare with. Made by `prepare_query`; may be shared by threads.

    exact: (dim,) in the stored type, for the exact routine. floats: the same values as float32.
    own: int8 codes at the query's own scale; scale, missed, length: their bounds (`codes`).
    """

    __slots__ = (
        "_codes",
        "_keep",
        "_turned",
        "address",
        "floats_address",
        "length",
        "missed",
        "own_address",
        "params",
        "scale",
    )

    def __init__(self, params: VectorParams, values: npt.NDArray[np.float32], normalise: bool) -> None:
        width = params.size * 4
        buffer = np.empty(width + code_bytes(CodeKind.INT8, params.size) + BOUND_BYTES, np.uint8)
        self.params = params
        self._keep: tuple[npt.NDArray[Any], ...] = (values, buffer)
        if params.datatype is not Datatype.FLOAT32:
            stored = scoring.to_stored(values, params.datatype)
            self._keep = (stored.astype(np.float32), buffer, stored)
            self.address = native.address_of(stored)
            normalise = False
        address, self.scale, self.missed, self.length = prepare(self._keep[0], buffer, params.size, normalise)
        if params.datatype is Datatype.FLOAT32:
            self.address = address
        self.own_address = address + width
        self.floats_address = address
        self._codes: dict[tuple[CodeKind, float], tuple[npt.NDArray[Any], int]] = {}
        self._turned: tuple[npt.NDArray[np.float32], int] | None = None

    @property
    def floats(self) -> npt.NDArray[np.float32]:
        """The values as float32."""
        floats: npt.NDArray[np.float32] = self._keep[0]
        return floats

    @property
    def turned_address(self) -> int:
        """Where the values lie as `sketches` rotates them."""
        found = self._turned
        if found is None:
            made = sketches.turned(self.floats)
            found = self._turned = (made, native.address_of(made))
        return found[1]

    def encoded(self, kind: CodeKind, limit: float) -> tuple[int, float]:
        """Return where the codes to compare with a segment's lie, and what turns their sums into similarities."""
        own_factor = own_codes_factor(self.params.distance, kind, limit)
        if own_factor is not None:
            return self.own_address, own_factor * self.scale
        found = self._codes.get((kind, limit))
        if found is None:
            made = codes.encode(kind, self.floats.reshape(1, -1), limit)
            found = (made, native.address_of(made))
            self._codes[kind, limit] = found
        return found[1], (limit / LARGEST_CODE) ** 2 if kind is CodeKind.INT8 else 1.0


def own_codes_factor(distance: Distance, kind: CodeKind, limit: float) -> float | None:
    """Return what, times the scale of a query's own codes, turns their sums with a segment's codes into similarities.

    None if the query must be encoded for the segment.
    """
    return limit / LARGEST_CODE if kind is CodeKind.INT8 and distance is not Distance.EUCLID else None


def prepare_query(params: VectorParams, vector: npt.NDArray[np.float32]) -> Query:
    """Convert a query to the stored type, at unit length where the metric is Cosine (zero stays zero)."""
    assert vector.shape == (params.size,)
    normalise = scoring.normalises(params)
    values = np.array(vector, np.float32)  # a copy: what follows writes to it, and compiled code sees one kind of array
    if normalise and params.datatype is Datatype.FLOAT16:
        values = normalised(values.reshape(1, -1))[0]
    return Query(params, values, normalise)


@native.compiled
def prepare(
    values: npt.NDArray[np.float32], buffer: npt.NDArray[np.uint8], dimensions: int, normalise: bool
) -> tuple[int, float, float, float]:
    """Normalise `values` in place if asked, and fill `buffer` with them, their int8 codes, and the codes' bounds.

    Returns the buffer's address and the bounds: scale, missed, length.
    """
    if normalise:
        square = 0.0
        for i in range(dimensions):
            square += np.float64(values[i]) * np.float64(values[i])
        if square >= SMALLEST_SQUARE and abs(square - 1) > UNIT_TOLERANCE:
            length = np.float32(np.sqrt(square))
            for i in range(dimensions):
                values[i] /= length
    at: Any = np.int64(buffer.ctypes.data)
    for i in range(dimensions):
        native.store_f32(at + 4 * i, values[i])
    width = (dimensions + INT8_ALIGNMENT - 1) // INT8_ALIGNMENT * INT8_ALIGNMENT
    bounds = at + 4 * dimensions + width
    codes.encode_int8(at, 1, dimensions, 0.0, at + 4 * dimensions, width, bounds)
    return (
        at,
        np.float64(native.load_f32(bounds)),
        np.float64(native.load_f32(bounds + 4)),
        np.float64(native.load_f32(bounds + 8)),
    )


def normalised(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Scale rows to unit length, except those that are zero or already of unit length."""
    squares = np.einsum("ij,ij->i", values, values, dtype=np.float64)
    keep = (squares < SMALLEST_SQUARE) | (np.abs(squares - 1) <= UNIT_TOLERANCE)
    lengths = np.where(keep, 1.0, np.sqrt(squares))
    return (values / lengths[:, None].astype(np.float32)).astype(np.float32, copy=False)
