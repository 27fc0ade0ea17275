"""Which groups a payload puts its point in."""

from __future__ import annotations

from typing import Any

import pytest

from qnode.models.grouping import groups_of
from qnode.models.payload_path import parse_path


@pytest.mark.parametrize(
    ("value", "groups"),
    [
        ("Rome", ["Rome"]),
        (7, [7]),
        (2**64 - 1, [2**64 - 1]),
        (["Rome", 7, "Rome"], ["Rome", 7]),
        ([], []),
    ],
)
def test_a_point_is_once_in_the_group_of_each_of_its_values(value: Any, groups: list[Any]) -> None:
    assert groups_of({"f": value}, parse_path("f")) == groups


@pytest.mark.parametrize("other", [True, 1.0, None, 2**64, {"x": 1}, [1]])
def test_a_value_that_can_be_no_group_keeps_its_point_out_of_all(other: Any) -> None:
    assert groups_of({"f": other if other != [1] else [other]}, parse_path("f")) == []
    assert groups_of({"f": ["Rome", other, 7]}, parse_path("f")) == []
