"""Strict mode for writes and for changes of payload indexes.

`check_write` says what is forbidden, `pay_for_write` takes it from the rate limit: of several writes in one request all are looked at
before the first is paid for and done. The filter of a conditional upsert (`update_filter`) is exempt. What frees space is
never refused for the space that is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qnode.api.strictness import check_filter, check_limit, refused
from qnode.errors import BadRequest
from qnode.models.collection import CollectionInfo
from qnode.models.filter import Filter
from qnode.models.index_needs import missing_index
from qnode.models.operation import Column, MultiColumn, SparseColumn
from qnode.models.query import CountRequest
from qnode.models.strict_mode import StrictMode
from qnode.models.vector_params import Datatype, VectorParams
from qnode.models.write import UpdateVectorsRequest, UpsertRequest, WriteRequest, needs_space
from qnode.quotas import check_memory

if TYPE_CHECKING:
    from qnode.shards.collection import Collection
    from qnode.shards.strictness import Strictness

_COMPONENT_BYTES = {Datatype.FLOAT32: 4, Datatype.FLOAT16: 2, Datatype.UINT8: 1}
_MEGABYTE = 1 << 20
_REMEDY = "Delete points, or raise the limit in strict_mode_config"


async def check_write(
    strict: Strictness, collection: Collection, request: WriteRequest, timeout_seconds: int | None
) -> None:
    """Refuse what strict mode forbids with BadRequest; OutOfSpace if too much memory is in use."""
    bounds = strict.bounds
    check_limit(timeout_seconds, bounds.max_timeout, "timeout")
    match request:
        case UpsertRequest():
            check_limit(len(request.keys), bounds.upsert_max_batchsize, "upsert limit")
            _check_lengths(request.vectors, bounds)
        case UpdateVectorsRequest():
            check_limit(len(request.keys), bounds.upsert_max_batchsize, "update limit")
            _check_lengths(request.vectors, bounds)
        case _:
            check_filter(request.selector.filter, bounds, collection.fields, bounds.unindexed_filtering_update)
    if needs_space(request):
        if bounds.max_resident_memory_percent is not None:
            check_memory(bounds.max_resident_memory_percent)
        await _check_size(strict, collection, request)


async def pay_for_write(strict: Strictness, collection: Collection, request: WriteRequest) -> None:
    """Take what a write costs from the rate limit of each of its shards; raise RateLimited."""
    if strict.bounds.write_rate_limit is None:
        return
    chosen = None if isinstance(request, UpsertRequest | UpdateVectorsRequest) else request.selector.filter
    parts = collection.parts_of(request)
    if chosen is not None:
        cost = -(-await _matches(collection, chosen) // max(1, len(parts)))
        strict.take_writes({shard: max(1, cost + _points_of(part)) for shard, part in parts.items()})
        return
    strict.take_writes({shard: max(1, _points_of(part)) for shard, part in parts.items()})


def check_definition(collection: Collection, timeout_seconds: int | None, field: str | None = None) -> None:
    """Refuse a change of payload indexes or vectors that waits too long, and one payload index (`field`) too many."""
    if collection.strict is None:
        return
    bounds = collection.strict.bounds
    check_limit(timeout_seconds, bounds.max_timeout, "timeout")
    most = bounds.max_payload_index_count
    if field is not None and most is not None and field not in collection.fields and len(collection.fields) >= most:
        raise refused(
            f"Collection already has the maximum number of payload indices ({most})",
            "Please delete an existing index before creating a new one",
        )


def _points_of(request: WriteRequest) -> int:
    if isinstance(request, UpsertRequest | UpdateVectorsRequest):
        return len(request.keys)
    return len(request.selector.keys or ())


async def _matches(collection: Collection, chosen: Filter) -> int:
    """Estimate how many points a filter chooses: half of all if no index tells."""
    if missing_index(chosen, collection.fields) is None:
        return await collection.count(CountRequest(chosen, exact=False))
    return (await collection.info()).points_count // 2


def _check_lengths(vectors: dict[str, Column], bounds: StrictMode) -> None:
    """Refuse multivectors of too many rows, and sparse vectors of too many indices."""
    for name, column in vectors.items():
        if isinstance(column, MultiColumn):
            _check_length(column, bounds.max_vectors.get(name), f"Multivector '{name}'", "vectors")
        elif isinstance(column, SparseColumn):
            _check_length(column, bounds.max_length.get(name), f"Sparse vector '{name}'", "indices")


def _check_length(column: MultiColumn | SparseColumn, most: int | None, what: str, parts: str) -> None:
    given = int(np.diff(column.offsets).max(initial=0))
    if most is not None and given > most:
        fault = f"{what} has a limit of {most} {parts}, but {given} were provided!"
        raise refused(fault, f"Reduce the number of {parts}")


async def _check_size(strict: Strictness, collection: Collection, request: WriteRequest) -> None:
    bounds = strict.bounds
    if (
        bounds.max_points_count is None
        and bounds.max_collection_vector_size_bytes is None
        and bounds.max_collection_payload_size_bytes is None
    ):
        return

    def fault_of(size: CollectionInfo) -> BadRequest | None:
        return _size_fault(bounds, collection, request, size)

    size = await strict.size(collection.info, lambda size: fault_of(size) is not None)
    fault = fault_of(size)
    if fault is not None:
        raise fault


def _size_fault(
    bounds: StrictMode, collection: Collection, request: WriteRequest, size: CollectionInfo
) -> BadRequest | None:
    has_vectors = isinstance(request, UpsertRequest | UpdateVectorsRequest)
    has_payload = not isinstance(request, UpdateVectorsRequest)
    most_points = bounds.max_points_count
    if most_points is not None and isinstance(request, UpsertRequest) and size.points_count >= most_points:
        return refused(f"Max points count limit of {most_points} reached!", _REMEDY)
    most_vectors = bounds.max_collection_vector_size_bytes
    if most_vectors is not None and has_vectors and _vector_bytes(collection, size) >= most_vectors:
        return refused(f"Max vector storage size limit of {_megabytes(most_vectors)}MB reached!", _REMEDY)
    most_payload = bounds.max_collection_payload_size_bytes
    if most_payload is not None and has_payload and size.payloads_size_bytes >= most_payload:
        return refused(f"Max payload storage size limit of {_megabytes(most_payload)}MB reached!", _REMEDY)
    return None


def _vector_bytes(collection: Collection, size: CollectionInfo) -> int:
    """Tell how large the vectors are: by their number where all have one length, else as they lie on the disk."""
    total = 0
    for name, count in size.vectors_count_by_name.items():
        params = collection.settings.vectors.get(name)
        if not isinstance(params, VectorParams) or params.multivector:
            return size.vectors_size_bytes
        total += count * params.size * _COMPONENT_BYTES[params.datatype]
    return total


def _megabytes(size_bytes: int) -> str:
    return np.format_float_positional(np.float32(size_bytes / _MEGABYTE), trim="-")
