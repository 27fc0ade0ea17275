"""Counting what the node answers, and showing it and the process to Prometheus.

Counting is a few additions on plain attributes, on the event loop only: it costs under a microsecond, so that it can
stand on the hot path. `RestCollector` and `ProcessCollector` turn the counts into Prometheus families when they are
asked; telemetry reads the same counts.
"""

from __future__ import annotations

import os
import resource
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from heapq import heappush, heapreplace
from itertools import accumulate
from pathlib import Path
from time import time

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from qnode import memory

DURATION_BOUNDS_SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 50.0,
)  # fmt: skip
_OK = 200

SLOW_SECONDS = 0.05
"""A request that takes longer may be remembered among the slow ones …"""

REMEMBERED_SLOW = 16
"""… of each endpoint, the slowest ones."""

MOST_COLLECTIONS = 1000
"""So many collections are counted by themselves, at each endpoint."""


class StatusCount:
    """How many answers of one status, and how long they took."""

    __slots__ = ("count", "last_responded", "max_seconds", "min_seconds", "total_seconds")

    def __init__(self) -> None:
        self.count = 0
        self.total_seconds = 0.0
        self.min_seconds = float("inf")
        self.max_seconds = 0.0
        self.last_responded = 0.0


@dataclass(frozen=True, slots=True, order=True)
class SlowRequest:
    """A request that took long; `at`: seconds since 1970 when it was answered."""

    seconds: float
    at: float
    collection: str
    status: int


class EndpointCount:
    """The answers of one endpoint, of all collections or of one.

    By status, and a histogram of the durations of status 200.
    """

    __slots__ = ("buckets", "by_status", "collection", "endpoint", "method")

    def __init__(self, method: str, endpoint: str, collection: str = "") -> None:
        self.method = method
        self.endpoint = endpoint
        self.collection = collection
        self.by_status: dict[int, StatusCount] = {}
        self.buckets = [0] * (len(DURATION_BOUNDS_SECONDS) + 1)

    def add(self, status: int, seconds: float) -> None:
        """Count one answer."""
        count = self.by_status.get(status)
        if count is None:
            count = self.by_status[status] = StatusCount()
        count.count += 1
        count.total_seconds += seconds
        count.last_responded = time()
        if seconds < count.min_seconds:
            count.min_seconds = seconds
        if seconds > count.max_seconds:
            count.max_seconds = seconds
        if status == _OK:
            self.buckets[bisect_left(DURATION_BOUNDS_SECONDS, seconds)] += 1

    def take_in(self, other: EndpointCount) -> None:
        """Add what another one has counted."""
        for status, theirs in other.by_status.items():
            ours = self.by_status.setdefault(status, StatusCount())
            ours.count += theirs.count
            ours.total_seconds += theirs.total_seconds
            ours.min_seconds = min(ours.min_seconds, theirs.min_seconds)
            ours.max_seconds = max(ours.max_seconds, theirs.max_seconds)
            ours.last_responded = max(ours.last_responded, theirs.last_responded)
        self.buckets = [mine + others for mine, others in zip(self.buckets, other.buckets, strict=True)]


class EndpointCounts:
    """The answers of one endpoint by collection.

    A collection stands for itself from its first success on: names that clients invent are counted under "", and so is what
    was counted for others when there are more than MOST_COLLECTIONS.
    """

    __slots__ = ("_by_collection", "_rest", "_slow_from_seconds", "slowest")

    def __init__(self, method: str, endpoint: str) -> None:
        self.slowest: list[SlowRequest] = []
        self._slow_from_seconds = SLOW_SECONDS
        self._rest = EndpointCount(method, endpoint)
        self._by_collection: dict[str, EndpointCount] = {}

    def add(self, collection: str, status: int, seconds: float) -> None:
        """Count one answer; `collection` is "" where there is none."""
        count = self._by_collection.get(collection)
        if count is None:
            count = self._begun(collection) if status == _OK and collection else self._rest
        count.add(status, seconds)
        if seconds > self._slow_from_seconds:
            self._remember(SlowRequest(seconds, time(), collection, status))

    def _remember(self, slow: SlowRequest) -> None:
        if len(self.slowest) < REMEMBERED_SLOW:
            heappush(self.slowest, slow)
        else:
            heapreplace(self.slowest, slow)
        if len(self.slowest) == REMEMBERED_SLOW:
            self._slow_from_seconds = self.slowest[0].seconds

    def _begun(self, collection: str) -> EndpointCount:
        if len(self._by_collection) >= MOST_COLLECTIONS:
            for count in self._by_collection.values():
                self._rest.take_in(count)
            self._by_collection.clear()
        count = EndpointCount(self._rest.method, self._rest.endpoint, collection)
        self._by_collection[collection] = count
        return count

    def parts(self) -> list[EndpointCount]:
        """What was counted, by collection."""
        return [count for count in (self._rest, *self._by_collection.values()) if count.by_status]

    def total(self) -> EndpointCount:
        """What was counted for all collections together."""
        total = EndpointCount(self._rest.method, self._rest.endpoint)
        for count in self.parts():
            total.take_in(count)
        return total


class RestCounts:
    """The counts of all endpoints; their number is bounded by the number of routes."""

    def __init__(self) -> None:
        self._endpoints: dict[tuple[str, str], EndpointCounts] = {}

    def of(self, method: str, endpoint: str) -> EndpointCounts:
        """Take the counts of an endpoint; `endpoint` is a route's template."""
        key = (method, endpoint)
        if key not in self._endpoints:
            self._endpoints[key] = EndpointCounts(method, endpoint)
        return self._endpoints[key]

    def __iter__(self) -> Iterator[EndpointCount]:
        return iter([total for endpoint in self._endpoints.values() if (total := endpoint.total()).by_status])

    def slowest(self) -> Iterator[tuple[str, SlowRequest]]:
        """The requests that took longest: of which endpoint, and what is known of them."""
        for (method, endpoint), counts in self._endpoints.items():
            for slow in counts.slowest:
                yield f"{method} {endpoint}", slow

    def by_collection(self) -> Iterator[EndpointCount]:
        """What was counted, by endpoint and collection."""
        return iter([count for endpoint in self._endpoints.values() for count in endpoint.parts()])


class RestCollector(Collector):
    """Shows the counts of the endpoints that work on points, as Qdrant does; per_collection: with a label for it.

    name_of: how a collection is called there.
    """

    def __init__(self, counts: RestCounts, name_of: Callable[[str], str], *, per_collection: bool) -> None:
        self._counts = counts
        self._name_of = name_of
        self._per_collection = per_collection

    def collect(self) -> Iterable[Metric]:
        labels = ["method", "endpoint", "status", *(["collection"] if self._per_collection else [])]
        total = CounterMetricFamily("rest_responses_total", "total number of responses", labels=labels)
        histogram = HistogramMetricFamily(
            "rest_responses_duration_seconds", "response duration histogram", labels=labels
        )
        gauges = {
            name: GaugeMetricFamily(
                f"rest_responses_{name}_duration_seconds", f"{words} response duration", labels=labels
            )
            for name, words in (("avg", "average"), ("min", "minimum"), ("max", "maximum"))
        }
        for endpoint in self._counts.by_collection() if self._per_collection else self._counts:
            if not any(part in endpoint.endpoint for part in ("/points", "/index")):
                continue
            for status, count in endpoint.by_status.items():
                values = [endpoint.method, endpoint.endpoint, str(status)]
                if self._per_collection:
                    values.append(self._name_of(endpoint.collection))
                total.add_metric(values, count.count)
                if status != _OK:
                    continue
                gauges["avg"].add_metric(values, count.total_seconds / count.count)
                gauges["min"].add_metric(values, count.min_seconds)
                gauges["max"].add_metric(values, count.max_seconds)
                bounds = [*map(str, DURATION_BOUNDS_SECONDS), "+Inf"]
                cumulated = [(bound, float(n)) for bound, n in zip(bounds, accumulate(endpoint.buckets), strict=True)]
                histogram.add_metric(values, cumulated, count.total_seconds)
        return [total, *gauges.values(), histogram]


class ProcessCollector(Collector):
    """Shows what the operating system says about this process; empty where there is no /proc."""

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily("process_threads", "count of active threads", threading.active_count())
        usage = resource.getrusage(resource.RUSAGE_SELF)
        yield CounterMetricFamily("process_minor_page_faults_total", "count of minor page faults", usage.ru_minflt)
        yield CounterMetricFamily("process_major_page_faults_total", "count of major page faults", usage.ru_majflt)
        soft_limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        yield GaugeMetricFamily("process_max_fds", "limit for open file descriptors", soft_limit)
        if resident_bytes() is not None:
            for name, value in memory_bytes().items():
                yield GaugeMetricFamily(f"memory_{name}", f"{name.removesuffix('_bytes')} memory in bytes", value)
            yield GaugeMetricFamily("process_open_fds", "count of open file descriptors", _count_entries("fd"))
            yield GaugeMetricFamily("process_open_mmaps", "count of open mmaps", _count_entries("maps"))
            limit = int(Path("/proc/sys/vm/max_map_count").read_text())
            yield GaugeMetricFamily("system_max_mmaps", "limit for open mmaps", limit)


def memory_bytes() -> dict[str, int]:
    """Tell what is known of the memory of this process, by the names that Qdrant gives it.

    glibc counts what it needs for itself as part of the blocks, so there is no `metadata` beside them.
    """
    shown: dict[str, int] = {}
    if (heap := memory.heap()) is not None:
        shown = {
            "active_bytes": heap.active_bytes,
            "allocated_bytes": heap.allocated_bytes,
            "metadata_bytes": 0,
            "retained_bytes": heap.retained_bytes,
        }
    if (resident := resident_bytes()) is not None:
        shown["resident_bytes"] = resident
    return shown


def resident_bytes() -> int | None:
    """Read the resident memory of this process; None where there is no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _count_entries(name: str) -> int:
    path = Path("/proc/self") / name
    if path.is_dir():
        return sum(1 for _ in path.iterdir())
    with path.open("rb") as lines:
        return sum(1 for _ in lines)
