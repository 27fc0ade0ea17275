"""What strict mode finds in requests, without a node."""

import asyncio
from typing import Any

import pytest

from qnode.api import older_json, query_json, reads_json, summaries_json
from qnode.api.strict_reads import cost_of, filters_of
from qnode.errors import OutOfSpace, RateLimited
from qnode.models.collection import CollectionInfo, CollectionStatus
from qnode.models.strict_mode import StrictMode
from qnode.quotas import check_memory
from qnode.shards.strictness import MEASURED_EVERY_WRITES, Strictness

MATCH = {"key": "city", "match": {"value": "Berlin"}}
ONE, THREE = {"must": [MATCH]}, {"must": [MATCH, {"should": [MATCH, MATCH]}]}


def query(body: Any) -> Any:
    return query_json.parse_query(body)


@pytest.mark.parametrize(
    ("request_", "cost"),
    [
        (reads_json.parse_retrieve({"ids": [1, 2, 3]}), 3),
        (query({"query": [1.0]}), 1),
        (query({"query": [1.0], "filter": THREE}), 4),
        (query({"query": [[1.0], [2.0]]}), 2),
        (query({"query": 7}), 2),
        (query({"query": {"recommend": {"positive": [1, [1.0]], "negative": [2]}}}), 5),
        (query({"query": {"discover": {"target": [1.0], "context": [{"positive": [1.0], "negative": 3}]}}}), 4),
        (query({"prefetch": [{"query": [1.0], "filter": ONE}, {"query": 7}], "query": {"fusion": "rrf"}}), 4),
        (query({"filter": ONE}), 2),
        (reads_json.parse_scroll({}), 1),
        (reads_json.parse_scroll({"filter": THREE}), 4),
        (reads_json.parse_scroll({"order_by": "n", "filter": ONE}), 2),
        (reads_json.parse_count({"filter": ONE}), 2),
        (summaries_json.parse_facet({"key": "n", "filter": ONE}), 2),
        (older_json.parse_search({"vector": [1.0], "limit": 1, "filter": ONE}), 2),
    ],
)
def test_a_read_costs_its_vectors_conditions_and_ids(request_: Any, cost: int) -> None:
    assert cost_of(request_) == cost


def test_the_filters_of_all_stages_and_of_batches_are_found() -> None:
    tree = query({"prefetch": [{"query": [1.0], "filter": ONE}], "query": [2.0], "filter": THREE})
    assert len(list(filters_of(tree))) == 2
    assert len(list(filters_of([tree, query({"query": [1.0], "filter": ONE})]))) == 3


def test_too_much_resident_memory_is_refused() -> None:
    with pytest.raises(OutOfSpace, match=r"^Insufficient storage: "):
        check_memory(0)
    check_memory(101)


def test_a_request_is_refused_by_the_shard_that_has_least_and_takes_from_none() -> None:
    strict = Strictness(StrictMode(read_rate_limit=5), clock=lambda: 0.0)
    strict.take_reads({1: 5})
    with pytest.raises(RateLimited) as refused:
        strict.take_reads({0: 5, 1: 5})
    assert str(refused.value) == (
        "Rate limiting exceeded: Read rate limit exceeded: Operation requires 5 tokens but only 0.0 were available. "
        "Retry after 60s"
    )
    assert refused.value.retry_after_seconds == 60
    strict.take_reads({0: 5})
    strict.take_writes({1: 100})


async def _sizes_seen(strict: Strictness, writes: int, most: int) -> list[int]:
    measured = 0

    async def measure() -> CollectionInfo:
        nonlocal measured
        measured += 1
        return CollectionInfo(CollectionStatus.GREEN, None, measured, 0, 0, {})

    return [(await strict.size(measure, lambda size: size.points_count >= most)).points_count for _ in range(writes)]


@pytest.mark.parametrize(
    ("most", "seen"),
    [(1000, [1] * MEASURED_EVERY_WRITES + [2]), (1, list(range(1, MEASURED_EVERY_WRITES + 2)))],
)
def test_sizes_are_measured_now_and_then_and_before_a_refusal(most: int, seen: list[int]) -> None:
    assert asyncio.run(_sizes_seen(Strictness(StrictMode()), MEASURED_EVERY_WRITES + 1, most)) == seen
