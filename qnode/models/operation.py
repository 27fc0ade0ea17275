"""Write operations, as they stand in the log: self-contained, deterministic, versioned.

Filters are already resolved to keys, vectors are checked, converted to float32 and normalised, payloads are JSON
bytes: applying a record needs nothing but the record and the shard before it. `WriteRequest` is what a client
asked; `shards` turns one into operations.

On disk an operation is a msgpack map: {"v": 1, "op": <name>, …fields}. Fields that are added later must have a
default; a reader refuses a larger "v". A column of vectors is a list [dim, at, values] of the arrays' bytes; one of another
kind a map of its fields, with "dim" for a MultiColumn, and then "v" is 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from qnode.errors import InternalError
from qnode.models.point_id import PointKey

FORMAT_VERSION = 2
_DENSE_VERSION = 1
"""What a record says that has dense vectors alone: versions before multivectors read it too."""


@dataclass(frozen=True, slots=True, eq=False)
class VectorColumn:
    """One named vector of a batch.

    at: (n,) int32, positions in the operation's `keys` that have this vector, ascending, each once.
    values: (n, dim) float32, row i belongs to keys[at[i]]; normalised where the metric is Cosine.
    """

    at: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class MultiColumn:
    """One named multivector of a batch: each point has any number of rows, at least one.

    at: as in VectorColumn. offsets: (n + 1,) int64, from 0; keys[at[i]] has the rows offsets[i] to offsets[i + 1] - 1 of
    values, (rows, dim) float32, normalised where the metric is Cosine.
    """

    at: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class SparseColumn:
    """One named sparse vector of a batch; one may be empty.

    at: as in VectorColumn. offsets: (n + 1,) int64, from 0; keys[at[i]] has the places offsets[i] to offsets[i + 1] - 1 of
    indices, (nnz,) uint32, ascending within a vector and each once, and values, (nnz,) float32.
    """

    at: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    indices: npt.NDArray[np.uint32]
    values: npt.NDArray[np.float32]


Column = VectorColumn | MultiColumn | SparseColumn


@dataclass(frozen=True, slots=True, eq=False)
class Upsert:
    """Replace whole points. `keys` are distinct; `payloads[i]` is the JSON object of keys[i].

    slots: of its vectors; a name may stand for another vector when the operation is applied. None, in logs of
    earlier versions: those of the names then.
    """

    keys: list[PointKey]
    payloads: list[bytes]
    vectors: dict[str, Column]
    slots: dict[str, int] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Delete:
    """Remove points; unknown keys are passed over."""

    keys: list[PointKey]


@dataclass(frozen=True, slots=True, eq=False)
class UpdateVectors:
    """Replace the named vectors of existing points; distinct keys. slots: see Upsert."""

    keys: list[PointKey]
    vectors: dict[str, Column]
    slots: dict[str, int] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class DeleteVectors:
    """Remove named vectors from points. slots: see Upsert."""

    keys: list[PointKey]
    names: list[str]
    slots: dict[str, int] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SetPayload:
    """Merge a JSON object into the payload, at the top or at `path`; null removes a key."""

    keys: list[PointKey]
    payload: bytes
    path: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class OverwritePayload:
    """Replace the whole payload."""

    keys: list[PointKey]
    payload: bytes


@dataclass(frozen=True, slots=True, eq=False)
class DeletePayload:
    """Remove what the paths reach."""

    keys: list[PointKey]
    paths: list[str]


@dataclass(frozen=True, slots=True, eq=False)
class ClearPayload:
    """Empty the payload."""

    keys: list[PointKey]


Operation = (
    Upsert | Delete | UpdateVectors | DeleteVectors | SetPayload | OverwritePayload | DeletePayload | ClearPayload
)

_KINDS: dict[str, type] = {
    "upsert": Upsert,
    "delete": Delete,
    "update_vectors": UpdateVectors,
    "delete_vectors": DeleteVectors,
    "set_payload": SetPayload,
    "overwrite_payload": OverwritePayload,
    "delete_payload": DeletePayload,
    "clear_payload": ClearPayload,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def encode(operation: Operation) -> bytes:
    """Write an operation as the payload of a log record."""
    fields: dict[str, Any] = {"v": _DENSE_VERSION, "op": _NAMES[type(operation)]}
    for name in type(operation).__slots__:
        value = getattr(operation, name)
        if name == "vectors":
            if not all(isinstance(column, VectorColumn) for column in value.values()):
                fields["v"] = FORMAT_VERSION
            value = {vector: _written(column) for vector, column in value.items()}
        if name == "slots":
            if value is None:
                continue
            fields["v"] = FORMAT_VERSION
        fields[name] = value
    return bytes(msgpack.packb(fields))


def _written(column: Column) -> Any:
    if isinstance(column, VectorColumn):
        return [column.values.shape[1], column.at.tobytes(), column.values.tobytes()]
    written: dict[str, Any] = {name: getattr(column, name).tobytes() for name in type(column).__slots__}
    if isinstance(column, MultiColumn):
        written["dim"] = column.values.shape[1]
    return written


def _read(written: Any) -> Column:
    if isinstance(written, list):
        dim, at, values = written
        return VectorColumn(np.frombuffer(at, np.int32), np.frombuffer(values, np.float32).reshape(-1, dim))
    at, offsets = np.frombuffer(written["at"], np.int32), np.frombuffer(written["offsets"], np.int64)
    flat = np.frombuffer(written["values"], np.float32)
    if "dim" in written:
        return MultiColumn(at, offsets, flat.reshape(-1, written["dim"]))
    return SparseColumn(at, offsets, np.frombuffer(written["indices"], np.uint32), flat)


def decode(record: bytes) -> Operation:
    """Read what `encode` wrote; raise InternalError for a format or an operation of a later version."""
    fields = msgpack.unpackb(record)
    version, name = fields.pop("v"), fields.pop("op")
    if version > FORMAT_VERSION or name not in _KINDS:
        raise InternalError(f"The log holds an operation {name!r} of version {version}, written by a later version")
    if "vectors" in fields:
        fields["vectors"] = {vector: _read(column) for vector, column in fields["vectors"].items()}
    operation: Operation = _KINDS[name](**fields)
    return operation
