import pytest

from qnode import metrics
from qnode.metrics import EndpointCounts


def test_the_total_is_what_was_counted_for_all_collections() -> None:
    counts = EndpointCounts("GET", "/x")
    for collection, status, seconds in (("a", 200, 0.5), ("b", 200, 0.1), ("b", 404, 2.0), ("", 200, 9.0)):
        counts.add(collection, status, seconds)
    total = counts.total()
    assert {status: count.count for status, count in total.by_status.items()} == {200: 3, 404: 1}
    assert (total.by_status[200].min_seconds, total.by_status[200].max_seconds) == (0.1, 9.0)
    assert total.by_status[200].total_seconds == pytest.approx(9.6)
    assert sum(total.buckets) == 3
    assert [part.collection for part in counts.parts()] == ["", "a", "b"]


def test_names_that_clients_invent_take_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MOST_COLLECTIONS", 3)
    counts = EndpointCounts("GET", "/x")
    for at in range(100):
        counts.add(f"unknown{at}", 404, 0.1)
    assert [part.collection for part in counts.parts()] == [""]
    for at in range(100):
        counts.add(f"known{at}", 200, 0.1)
    assert len(counts.parts()) <= 4
    assert {status: count.count for status, count in counts.total().by_status.items()} == {404: 100, 200: 100}
