"""JSON numbers to float32 vectors: the one place where parsed JSON becomes numpy.

orjson gives lists of Python floats. numpy would read them, but it also takes true for 1.0, "1.5" for 1.5 and null for
NaN, and looking at every element's type in Python costs more than the conversion. So a list of floats is first written
with `marshal` (format version 2, no references): each float becomes the byte `g` and its eight bytes, anything else has
another tag or length. The tags prove the types, and the same bytes, seen with a stride of nine, are the numbers.
Measured: 1 000 × 384 floats in a third of the time of numpy plus a type check, which stays as the way for lists that
hold integers, and for naming the fault.

`path` is where a fault of a vector is said to be. What a vector of each kind must be is checked here, but for what only the
collection knows.
"""

from __future__ import annotations

import marshal
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from qnode.errors import BadRequest, MalformedBody, ValidationFailed
from qnode.models.query import SparseVector, Vector
from qnode.models.reading import mistyped, sequence, unsigned_32

Matrix = npt.NDArray[np.float32]

_MARSHAL_VERSION = 2
_LIST_HEADER_BYTES = 5
_FLOAT_BYTES = 9
_FLOAT_TAG = ord("g")
_MULTIVECTOR_ELEMENTS = 1_048_576
"""A multivector has fewer components than this."""


def vector_of(numbers: list[object]) -> Vector:
    """Read numbers, at least one for a dense vector, (dim,) float32; raise MalformedBody for anything but finite numbers."""
    raw = marshal.dumps(numbers, _MARSHAL_VERSION)
    count = len(numbers)
    if (
        count
        and len(raw) == _LIST_HEADER_BYTES + _FLOAT_BYTES * count
        and raw[_LIST_HEADER_BYTES::_FLOAT_BYTES] == b"g" * count
    ):
        wide = np.ndarray((count,), "<f8", raw, _LIST_HEADER_BYTES + 1, (_FLOAT_BYTES,))
        return _narrowed(wide)
    return _narrowed(np.array([_real(number) for number in numbers], np.float64))


def matrix_of(rows: list[Any], size: int) -> Matrix:
    """Read dense vectors of one size, (n, size) float32; raise MalformedBody for anything but finite numbers.

    Rows may be float32 arrays already.
    """
    arrays = sum(type(row) is np.ndarray for row in rows)
    if arrays == len(rows):
        return np.concatenate(rows).reshape(len(rows), size)
    if arrays:
        rows = [row.tolist() if isinstance(row, np.ndarray) else row for row in rows]
    raw = marshal.dumps(rows, _MARSHAL_VERSION)
    count = len(rows)
    row_bytes = _LIST_HEADER_BYTES + _FLOAT_BYTES * size
    if len(raw) == _LIST_HEADER_BYTES + row_bytes * count and size:
        table = np.frombuffer(raw, np.uint8, offset=_LIST_HEADER_BYTES).reshape(count, row_bytes)
        header = np.frombuffer(b"[" + size.to_bytes(4, "little"), np.uint8)
        tags = table[:, _LIST_HEADER_BYTES::_FLOAT_BYTES]
        if bool((table[:, :_LIST_HEADER_BYTES] == header).all()) and bool((tags == _FLOAT_TAG).all()):
            start = 2 * _LIST_HEADER_BYTES + 1
            return _narrowed(np.ndarray((count, size), "<f8", raw, start, (row_bytes, _FLOAT_BYTES)))
    wide = np.array([[_real(number) for number in row] for row in rows], np.float64)
    return _narrowed(wide.reshape(count, size))


def is_multi(vector: object) -> bool:
    """Tell a multivector, a list of lists, from other vectors."""
    return type(vector) is list and bool(vector) and type(vector[0]) in (list, np.ndarray)


def multi_of(rows: list[Any], path: str) -> Matrix:
    """Read a multivector, (n, dim) float32; raise MalformedBody, or ValidationFailed for one without a shape."""
    for row in rows:
        if type(row) is not list and type(row) is not np.ndarray:
            raise mistyped(row, "a vector")
    lengths = [len(row) for row in rows]
    wrong = next((length for length in lengths if length != lengths[0]), None)
    if 0 in lengths:
        raise ValidationFailed([(f"{path}.data", "all vectors must be non-empty")])
    if sum(lengths) >= _MULTIVECTOR_ELEMENTS:
        text = f"Total size of all vectors ({sum(lengths)}) must be less than {_MULTIVECTOR_ELEMENTS}"
        raise ValidationFailed([(f"{path}.data", text)])
    if wrong is not None:
        text = f"all vectors must have the same dimension, found vector with dimension {wrong}"
        raise ValidationFailed([(f"{path}.data", text)])
    return matrix_of(rows, lengths[0])


def is_sparse(vector: object) -> bool:
    """Tell a sparse vector from other objects."""
    return isinstance(vector, Mapping) and "indices" in vector and "values" in vector


def sparse_of(vector: Mapping[str, object], path: str) -> SparseVector:
    """Read a sparse vector and sort it; raise MalformedBody, or ValidationFailed."""
    indices = [unsigned_32(index) for index in sequence(vector["indices"])]
    values = vector_of(sequence(vector["values"]))
    if len(indices) != len(values):
        text = "Validation error: must be the same length as indices [{}]"
        raise ValidationFailed([(f"{path}.values", text)])
    order = np.argsort(given := np.array(indices, np.uint32), kind="stable")
    ascending = given[order]
    if bool(np.any(ascending[1:] == ascending[:-1])):
        raise ValidationFailed([(f"{path}.indices", "Validation error: must be unique [{}]")])
    return SparseVector(ascending, values[order])


def refuse_inference(vector: object) -> None:
    """Say that vectors are not made of texts and images here."""
    if isinstance(vector, Mapping) and isinstance(vector.get("model"), str):
        raise BadRequest("inference is not supported yet")


def _narrowed(wide: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Convert to float32, C-contiguous; JSON has no infinities, so one of them is a number that was too large."""
    with np.errstate(over="ignore"):
        narrow = np.ascontiguousarray(wide, np.float32)
        flat = narrow.reshape(-1)
        # A finite sum of squares proves every component finite, in a third of the time of looking at each.
        if not math.isfinite(np.dot(flat, flat)) and not np.isfinite(flat).all():
            worst = wide[~np.isfinite(narrow)][0]
            raise MalformedBody(f"invalid value: floating point `{worst}`, expected f32")
    return narrow


def _real(value: object) -> float:
    if type(value) is float or type(value) is int:
        return float(value)
    raise mistyped(value, "f32")
