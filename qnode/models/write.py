"""Write requests: what a client asked, checked for shape, before `shards` resolves it into operations.

Vectors are float32 and of one kind and a common dimension within a column; whether the collection has such a vector, and of
which dimension, is checked by `shards`, before anything is logged. Keys may repeat: the last one wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from qnode.models.columns import size_bytes
from qnode.models.filter import Filter
from qnode.models.operation import Column
from qnode.models.point_id import PointKey
from qnode.models.shard_choice import ShardChoice

_KEY_BYTES: Final = 64  # a small object of Python and its place in a list


class UpdateMode(StrEnum):
    """Which points an upsert may touch."""

    UPSERT = "upsert"
    INSERT_ONLY = "insert_only"
    UPDATE_ONLY = "update_only"


@dataclass(frozen=True, slots=True)
class Selector:
    """Points by id or by filter; where vectors are deleted, those of both. Never neither."""

    keys: tuple[PointKey, ...] | None = None
    filter: Filter | None = None


@dataclass(frozen=True, slots=True, eq=False)
class UpsertRequest:
    """Insert or replace whole points. A vector given without a name stands under "".

    not_after: points that are there and were changed by a later operation of their shard are passed over.
    """

    keys: list[PointKey]
    payloads: list[bytes]
    vectors: dict[str, Column]
    update_filter: Filter | None = None
    update_mode: UpdateMode = UpdateMode.UPSERT
    shards: ShardChoice | None = None
    not_after: int | None = None


@dataclass(frozen=True, slots=True)
class DeleteRequest:
    """Remove points."""

    selector: Selector
    shards: ShardChoice | None = None


@dataclass(frozen=True, slots=True, eq=False)
class UpdateVectorsRequest:
    """Replace named vectors of existing points."""

    keys: list[PointKey]
    vectors: dict[str, Column]
    update_filter: Filter | None = None
    shards: ShardChoice | None = None


@dataclass(frozen=True, slots=True)
class DeleteVectorsRequest:
    """Remove named vectors from points."""

    selector: Selector
    names: tuple[str, ...]
    shards: ShardChoice | None = None


@dataclass(frozen=True, slots=True)
class SetPayloadRequest:
    """Merge `payload` (a JSON object) into the points' payloads, at the top or at `path`."""

    selector: Selector
    payload: bytes
    path: str | None = None
    shards: ShardChoice | None = None


@dataclass(frozen=True, slots=True)
class OverwritePayloadRequest:
    """Replace the points' payloads."""

    selector: Selector
    payload: bytes
    shards: ShardChoice | None = None


@dataclass(frozen=True, slots=True)
class DeletePayloadRequest:
    """Remove what the paths reach."""

    selector: Selector
    paths: tuple[str, ...]
    shards: ShardChoice | None = None


@dataclass(frozen=True, slots=True)
class ClearPayloadRequest:
    """Empty the points' payloads."""

    selector: Selector
    shards: ShardChoice | None = None


WriteRequest = (
    UpsertRequest
    | DeleteRequest
    | UpdateVectorsRequest
    | DeleteVectorsRequest
    | SetPayloadRequest
    | OverwritePayloadRequest
    | DeletePayloadRequest
    | ClearPayloadRequest
)


class UpdateStatus(StrEnum):
    """How far a write has come when it is answered."""

    ACKNOWLEDGED = "acknowledged"
    COMPLETED = "completed"
    WAIT_TIMEOUT = "wait_timeout"


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """The answer to a write: the shard's operation number and how far it has come."""

    operation_id: int
    status: UpdateStatus


def needs_space(request: WriteRequest) -> bool:
    """Tell whether a write may add to what is stored; the others are those that free space."""
    return isinstance(request, UpsertRequest | UpdateVectorsRequest | SetPayloadRequest | OverwritePayloadRequest)


def size_of(request: WriteRequest) -> int:
    """Tell about how much memory a request keeps, as far as that grows with what the client has sent."""
    match request:
        case UpsertRequest():
            own = sum(map(len, request.payloads))
        case UpdateVectorsRequest():
            own = 0
        case SetPayloadRequest() | OverwritePayloadRequest():
            return len(request.payload) + _size_of_keys(request.selector.keys or ())
        case _:
            return _size_of_keys(request.selector.keys or ())
    vectors = sum(map(size_bytes, request.vectors.values()))
    return own + vectors + _size_of_keys(request.keys)


def _size_of_keys(keys: Sequence[PointKey]) -> int:
    return _KEY_BYTES * len(keys)
