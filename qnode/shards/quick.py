"""Which reads are so quick that they are done on the event loop, and not in a thread: the bounds, and who keeps within them."""

from __future__ import annotations

from collections.abc import Iterable

from qnode.models.query import QueryRequest, RetrieveRequest
from qnode.shards.local_shard import LocalShard

QUICK_LIMIT = 1000
"""A query that returns at most so many points, without filter and exact scan, is answered on the event loop."""

QUICK_DETAILED_LIMIT = 100
"""… or this many with their vectors or a part of their payloads."""

QUICK_EF = 512
"""… and looks at no more candidates than this."""

QUICK_SCAN_BYTES = 12 << 20
"""… and reads no more than this of segments without a graph, a millisecond and a half at 8 GB/s."""


def is_small(request: QueryRequest) -> bool:
    """Tell whether a query asks for little, whatever shards it is asked of."""
    return not (
        request.query is None
        or request.filter is not None
        or request.params.exact
        or request.limit + request.offset > most_points(request)
        or (request.params.hnsw_ef or 0) > QUICK_EF
    )


def most_points(request: QueryRequest | RetrieveRequest) -> int:
    """How many points of such a request are read at once. Without vectors or a payload to take apart, each costs a look-up."""
    payload = request.with_payload
    shows_little = not request.with_vector.enabled and payload.include is None and payload.exclude is None
    return QUICK_LIMIT if shows_little else QUICK_DETAILED_LIMIT


def is_scanned_quickly(shards: Iterable[LocalShard], slot: int) -> bool:
    """Tell whether little of a vector's slot in these shards is without a graph."""
    scan_bytes = 0
    for shard in shards:
        for part in shard.index.spaces[slot].shown.parts:
            if not part.segment.indexed:
                scan_bytes += part.segment.scan_bytes
    return scan_bytes <= QUICK_SCAN_BYTES
