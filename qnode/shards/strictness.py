"""What strict mode of a collection remembers on this node: its bounds, the buckets of its shards, how large it was lately.

Made anew when the collection's settings change, so that the buckets are full again. The event loop's alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from math import ceil
from time import monotonic

from qnode.errors import RateLimited
from qnode.models.collection import CollectionInfo
from qnode.models.strict_mode import StrictMode
from qnode.models.token_bucket import TokenBucket

MEASURED_EVERY_WRITES = 32
"""Who keeps to the size of a collection is so many writes late at most."""


class Strictness:
    """The bounds of one collection and what is known of how far they are used up."""

    def __init__(self, bounds: StrictMode, clock: Callable[[], float] = monotonic) -> None:
        self.bounds = bounds
        self._clock = clock
        self._reads = _Rate("Read", bounds.read_rate_limit)
        self._writes = _Rate("Write", bounds.write_rate_limit)
        self._written = 0
        self._size: CollectionInfo | None = None

    def take_reads(self, costs: Mapping[int, int]) -> None:
        """Take what a read costs each shard, or nothing at all and raise RateLimited."""
        self._reads.take(costs, self._clock())

    def take_writes(self, costs: Mapping[int, int]) -> None:
        """Take what a write costs each shard, or nothing at all and raise RateLimited."""
        self._writes.take(costs, self._clock())

    async def size(
        self, measure: Callable[[], Awaitable[CollectionInfo]], is_over: Callable[[CollectionInfo], bool]
    ) -> CollectionInfo:
        """Give how large the collection is, as of one of the last writes; measured anew before it counts as too large."""
        size, due = self._size, self._written % MEASURED_EVERY_WRITES == 0
        self._written += 1
        if size is None or due or is_over(size):
            size = self._size = await measure()
        return size


class _Rate:
    """The buckets of one kind of requests, by shard; None: no limit."""

    def __init__(self, kind: str, per_minute: int | None) -> None:
        self._kind = kind
        self._per_minute = per_minute
        self._buckets: dict[int, TokenBucket] = {}

    def take(self, costs: Mapping[int, int], now: float) -> None:
        if self._per_minute is None:
            return
        buckets = {shard: self._buckets.get(shard) or TokenBucket(self._per_minute) for shard in costs}
        self._buckets |= buckets
        for shard, cost in costs.items():
            shortage = buckets[shard].shortage(cost, now)
            if shortage is None:
                continue
            wait = shortage.retry_after_seconds
            if wait is None:
                raise RateLimited(
                    f"{self._kind} rate limit exceeded, request larger than rate limiter capacity, "
                    "please try to split your request"
                )
            wait = max(1.0, wait)
            raise RateLimited(
                f"{self._kind} rate limit exceeded: Operation requires {cost} tokens but only "
                f"{shortage.available:.1f} were available. Retry after {ceil(wait)}s",
                wait,
            )
        for shard, cost in costs.items():
            buckets[shard].take(cost)
