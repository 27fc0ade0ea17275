"""Counting answers: what is remembered of slow ones, and metrics under a prefix."""

from prometheus_client import CollectorRegistry, generate_latest

from qnode.api.collectors import Prefixed
from qnode.metrics import REMEMBERED_SLOW, SLOW_SECONDS, RestCollector, RestCounts


def test_the_slowest_requests_of_an_endpoint_are_remembered_and_quick_ones_are_not() -> None:
    counts = RestCounts()
    scroll = counts.of("POST", "/collections/{collection_name}/points/scroll")
    for number in range(3 * REMEMBERED_SLOW):
        scroll.add("c", 200, SLOW_SECONDS * (1 + (7 * number) % (3 * REMEMBERED_SLOW)))
        scroll.add("c", 200, SLOW_SECONDS / 2)
    kept = sorted(slow.seconds for _, slow in counts.slowest())
    assert kept == [SLOW_SECONDS * (1 + number) for number in range(2 * REMEMBERED_SLOW, 3 * REMEMBERED_SLOW)]


def test_a_prefix_stands_before_every_name() -> None:
    counts = RestCounts()
    counts.of("POST", "/collections/{collection_name}/points/scroll").add("c", 200, 0.002)
    registry = CollectorRegistry()
    registry.register(Prefixed(RestCollector(counts, str, per_collection=True), "site_"))
    lines = generate_latest(registry).decode().splitlines()
    assert all(line.removeprefix("# HELP ").removeprefix("# TYPE ").startswith("site_rest_") for line in lines)
    assert any(line.startswith("site_rest_responses_duration_seconds_bucket{collection=") for line in lines)
