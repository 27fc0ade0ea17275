import pytest

from qnode import errors
from qnode.api.errors import STATUS_OF, explain
from qnode.errors import CannotStart, Corruption, QnodeError, RateLimited


def all_kinds(kind: type[QnodeError] = QnodeError) -> list[type[QnodeError]]:
    return [kind, *(deeper for child in kind.__subclasses__() for deeper in all_kinds(child))]


def test_every_error_that_a_request_can_meet_has_a_status() -> None:
    for kind in all_kinds():
        if kind is not QnodeError and not issubclass(kind, CannotStart):
            assert any(ancestor in STATUS_OF for ancestor in kind.__mro__), kind


def test_the_most_special_class_decides() -> None:
    assert explain(errors.AlreadyExists("x"))[:2] == (409, "Wrong input: x")
    assert explain(errors.BadInput("x"))[:2] == (400, "Wrong input: x")
    assert explain(Corruption("f", "torn", "Restore it."))[0] == 500


def test_an_unexpected_error_is_logged_and_does_not_leak(caplog: pytest.LogCaptureFixture) -> None:
    status, text, _ = explain(ValueError("secret"))
    assert (status, "secret" in text, "secret" in caplog.text) == (500, False, True)


def test_a_rate_limit_says_when_to_come_back_in_whole_seconds() -> None:
    assert explain(RateLimited("x", 1.2))[2] == [(b"retry-after", b"2")]
    assert explain(RateLimited("x"))[2] == []
