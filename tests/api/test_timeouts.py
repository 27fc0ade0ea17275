"""Reads that take longer than they may."""

import threading
from typing import Any

import pytest

from qnode import deadline
from qnode.errors import TimedOut
from tests.api.conftest import Client

C = "/collections/slow"
SLOW = {"should": [{"key": "n", "range": {"gt": n + 0.5, "lt": n + 0.6}} for n in range(20_000)]}
"""Alternatives that no index answers and nothing can merge, and no point passes: seconds for each thousand points."""


@pytest.fixture(autouse=True, scope="module")
def collection(client: Client) -> None:
    client.result("PUT", C, {"vectors": {"size": 1, "distance": "Dot"}})
    points = [{"id": n, "vector": [1.0], "payload": {"n": n}} for n in range(3000)]
    client.result("PUT", f"{C}/points?wait=true", {"points": points})


@pytest.mark.parametrize(
    ("path", "body"),
    [("count", {}), ("scroll", {}), ("query", {"query": [1.0]}), ("query/batch", None)],
)
def test_a_read_that_takes_too_long_is_given_up_and_its_work_ends(
    client: Client, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any] | None
) -> None:
    ended = threading.Event()
    check = deadline.check

    def watched() -> None:
        try:
            check()
        except TimedOut:
            ended.set()
            raise

    monkeypatch.setattr(deadline, "check", watched)
    asked = {"searches": [{"filter": SLOW}]} if body is None else {**body, "filter": SLOW}
    status, text = client.error("POST", f"{C}/points/{path}?timeout=1", asked)
    assert (status, text) == (408, "Timeout: Operation timed out after 1 seconds")
    assert ended.wait(20)
