"""Issues: fields without an index that made reads slow."""

import pytest

from qnode.api import issues
from tests.api.conftest import Client

SCROLL = "/collections/i/points/scroll"


@pytest.fixture
def slow(client: Client, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A node to which every read is a slow one."""
    monkeypatch.setattr(issues, "SLOW_SECONDS", 0.0)
    client.result("DELETE", "/issues")
    client.result("PUT", "/collections/i", {"vectors": {"size": 1, "distance": "Dot"}})
    return client


def by(key: str, value: object = "x") -> dict[str, object]:
    return {"filter": {"must": [{"key": key, "match": {"value": value}}]}}


def test_an_unindexed_field_is_an_issue_until_it_is_indexed(slow: Client) -> None:
    slow.result("POST", SCROLL, by("city"))
    slow.result("POST", "/collections/i/points/query", {"query": [1.0], **by("city")})
    (issue,) = slow.result("GET", "/issues")["issues"]
    assert issue["id"] == "UNINDEXED_FIELD/i/city"
    assert issue["related_collection"] == "i"
    action = issue["solution"]["immediate"]["action"]
    slow.result(action["method"], f"{action['uri']}?wait=true", action["body"])
    assert slow.result("GET", "/issues") == {"issues": []}
    slow.result("POST", SCROLL, by("city"))
    assert slow.result("GET", "/issues") == {"issues": []}
    slow.result("DELETE", "/collections/i")


def test_issues_are_forgotten_when_they_are_cleared_or_the_collection_goes(slow: Client) -> None:
    slow.result("POST", SCROLL, by("n", 3))
    assert slow.result("DELETE", "/issues") is True
    assert slow.result("GET", "/issues") == {"issues": []}
    slow.result("POST", SCROLL, by("n", 3))
    assert slow.result("GET", "/issues")["issues"]
    slow.result("DELETE", "/collections/i")
    assert slow.result("GET", "/issues") == {"issues": []}


def test_issues_are_bounded_in_number(slow: Client) -> None:
    many = {"filter": {"must": [by(f"f{number}")["filter"] for number in range(issues.MOST_ISSUES + 5)]}}
    slow.result("POST", SCROLL, many)
    shown = slow.result("GET", "/issues")["issues"]
    assert len(shown) == issues.MOST_ISSUES
    assert shown[0]["id"] == "UNINDEXED_FIELD/i/f5"
    slow.result("DELETE", "/collections/i")


def test_quick_reads_raise_no_issue(client: Client) -> None:
    client.result("PUT", "/collections/i", {"vectors": {"size": 1, "distance": "Dot"}})
    client.result("POST", SCROLL, by("city"))
    assert client.result("GET", "/issues") == {"issues": []}
    client.result("DELETE", "/collections/i")
