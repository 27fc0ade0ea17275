"""Write operations, as they stand in the log: self-contained, deterministic, versioned.

Filters are already resolved to keys, vectors are checked, converted to float32 and normalised, payloads are JSON
bytes: applying a record needs nothing but the record and the shard before it. `WriteRequest` is what a client
asked; `shards` turns one into operations.

On disk an operation is a msgpack map: {"v": 1, "op": <name>, …fields}. Fields that are added later must have a
default; a reader refuses a larger "v".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from qnode.errors import InternalError
from qnode.models.point_id import PointKey

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True, eq=False)
class VectorColumn:
    """One named vector of a batch.

    at: (n,) int32, positions in the operation's `keys` that have this vector, ascending, each once.
    values: (n, dim) float32, row i belongs to keys[at[i]]; normalised where the metric is Cosine.
    """

    at: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Upsert:
    """Replace whole points. `keys` are distinct; `payloads[i]` is the JSON object of keys[i]."""

    keys: list[PointKey]
    payloads: list[bytes]
    vectors: dict[str, VectorColumn]


@dataclass(frozen=True, slots=True, eq=False)
class Delete:
    """Remove points; unknown keys are passed over."""

    keys: list[PointKey]


@dataclass(frozen=True, slots=True, eq=False)
class UpdateVectors:
    """Replace the named vectors of existing points; distinct keys."""

    keys: list[PointKey]
    vectors: dict[str, VectorColumn]


@dataclass(frozen=True, slots=True, eq=False)
class DeleteVectors:
    """Remove named vectors from points."""

    keys: list[PointKey]
    names: list[str]


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
    fields: dict[str, Any] = {"v": FORMAT_VERSION, "op": _NAMES[type(operation)]}
    for name in type(operation).__slots__:
        value = getattr(operation, name)
        if name == "vectors":
            value = {
                vector: [column.values.shape[1], column.at.tobytes(), column.values.tobytes()]
                for vector, column in value.items()
            }
        fields[name] = value
    return bytes(msgpack.packb(fields))


def decode(record: bytes) -> Operation:
    """Read what `encode` wrote; raise InternalError for a format or an operation of a later version."""
    fields = msgpack.unpackb(record)
    version, name = fields.pop("v"), fields.pop("op")
    if version > FORMAT_VERSION or name not in _KINDS:
        raise InternalError(f"The log holds an operation {name!r} of version {version}, written by a later version")
    if "vectors" in fields:
        fields["vectors"] = {
            vector: VectorColumn(np.frombuffer(at, np.int32), np.frombuffer(values, np.float32).reshape(-1, dim))
            for vector, (dim, at, values) in fields["vectors"].items()
        }
    operation: Operation = _KINDS[name](**fields)
    return operation
