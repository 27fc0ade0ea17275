"""Which reads of shards here take so little time that they may be done on the event loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qnode.index.vectors import is_warm
from qnode.models.query import QueryRequest, RetrieveRequest
from qnode.models.vector_params import SlotParams, VectorParams
from qnode.shards.local_reads import Part

QUICK_LIMIT = 1000
"""A query that returns at most so many points, without filter and exact scan, is answered on the event loop."""

QUICK_DETAILED_LIMIT = 100
"""… or this many with their vectors or a part of their payloads."""

QUICK_EF = 512
"""… and looks at no more candidates than this."""

QUICK_EXAMPLES = 8
"""… with no more vectors than this."""

QUICK_SCAN_BYTES = 12 << 20
"""… and reads no more than this of segments without a graph, a millisecond and a half at 8 GB/s."""


def is_quick_query(parts: Sequence[Part], request: QueryRequest, vectors: Mapping[str, SlotParams]) -> bool:
    """Tell whether a query is."""
    search = request.params
    if request.query is None or request.filter is not None or search.exact or search.idf is not None or not is_warm():
        return False
    if (
        request.limit + request.offset > (QUICK_LIMIT if _shows_little(request) else QUICK_DETAILED_LIMIT)
        or (request.params.hnsw_ef or 0) * request.query.count > QUICK_EF
        or request.query.count > QUICK_EXAMPLES
    ):
        return False
    params = vectors.get(request.using)
    if not isinstance(params, VectorParams) or params.multivector:
        return False
    return _scan_bytes(parts, params.slot, request.query.count) <= QUICK_SCAN_BYTES


def is_quick_retrieve(request: RetrieveRequest) -> bool:
    """Tell whether a read of points by id is."""
    return len(request.keys) <= (QUICK_LIMIT if _shows_little(request) else QUICK_DETAILED_LIMIT)


def _scan_bytes(parts: Sequence[Part], slot: int, vectors: int) -> int:
    """How much is read for so many vectors; several are compared with the rows themselves, not with what stands for them."""
    scan_bytes = 0
    for part in parts:
        space = part.shard.index.spaces.get(slot)
        for shown in () if space is None else space.shown.parts:
            if not shown.dense.indexed:
                scan_bytes += shown.dense.scan_bytes if vectors == 1 else vectors * shown.dense.vector_bytes
    return scan_bytes


def _shows_little(request: QueryRequest | RetrieveRequest) -> bool:
    """Whether a point that is found costs no more than a look-up: no vectors, and no payload to take apart."""
    payload = request.with_payload
    return not request.with_vector.enabled and payload.include is None and payload.exclude is None
