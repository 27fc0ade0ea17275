"""Which payload indexes a filter needs."""

from typing import Any

import pytest

from qnode.models.field_schema import parse_field_schema
from qnode.models.filter_json import parse_filter
from qnode.models.index_needs import missing_index, needs_of

UUID = "550e8400-e29b-41d4-a716-446655440000"


def condition(check: dict[str, Any], key: str = "f") -> dict[str, Any]:
    return {"must": [{"key": key, **check}]}


CASES: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"match": {"value": "x"}}, ("keyword",)),
    ({"match": {"value": UUID}}, ("uuid", "keyword")),
    ({"match": {"value": 3}}, ("integer",)),
    ({"match": {"value": True}}, ("bool",)),
    ({"match": {"any": ["a", UUID]}}, ("keyword",)),
    ({"match": {"except": [1]}}, ("integer",)),
    ({"match": {"text": "a"}}, ("text",)),
    ({"match": {"text_any": "a"}}, ("text",)),
    ({"match": {"phrase": "a b"}}, ("text",)),
    ({"match": {"prefix": "a"}}, ("keyword",)),
    ({"range": {"gt": 1}}, ("integer", "float")),
    ({"range": {"gt": "2024-01-01T00:00:00Z"}}, ("datetime",)),
    ({"geo_radius": {"center": {"lon": 0, "lat": 0}, "radius": 1}}, ("geo",)),
]


@pytest.mark.parametrize(("check", "types"), CASES)
def test_a_condition_needs_an_index_of_one_of_its_types(check: dict[str, Any], types: tuple[str, ...]) -> None:
    chosen = parse_filter(condition(check))
    (need,) = needs_of(chosen)
    assert (need.key, need.types) == ("f", types)
    assert missing_index(chosen, {}) == need
    assert missing_index(chosen, {"f": parse_field_schema("datetime" if "geo" in types else "geo")}) == need


@pytest.mark.parametrize(
    ("check", "schema", "is_met"),
    [
        ({"match": {"value": 3}}, "integer", True),
        ({"match": {"value": 3}}, {"type": "integer", "lookup": False, "range": True}, False),
        ({"range": {"gt": 3}}, {"type": "integer", "lookup": True, "range": False}, False),
        ({"range": {"gt": 3}}, {"type": "integer", "lookup": False, "range": True}, True),
        ({"range": {"gt": 3}}, "float", True),
        ({"match": {"prefix": "a"}}, "keyword", False),
        ({"match": {"prefix": "a"}}, {"type": "keyword", "prefix": True}, True),
        ({"match": {"phrase": "a"}}, "text", False),
        ({"match": {"phrase": "a"}}, {"type": "text", "phrase_matching": True}, True),
        ({"match": {"text": "a"}}, "text", True),
        ({"values_count": {"gt": 1}}, "geo", True),
        ({"is_empty": True}, "bool", True),
    ],
)
def test_an_index_serves_if_it_is_able_to(check: dict[str, Any], schema: Any, is_met: bool) -> None:
    fields = {"f": parse_field_schema(schema)}
    assert (missing_index(parse_filter(condition(check)), fields) is None) is is_met


@pytest.mark.parametrize(
    "given",
    [
        condition({"match": {"any": []}}),
        {"must": [{"has_id": [1]}, {"has_vector": "v"}]},
    ],
)
def test_what_asks_no_payload_needs_no_index(given: dict[str, Any]) -> None:
    assert missing_index(parse_filter(given), {}) is None


@pytest.mark.parametrize("array", ["a", "a[]"])
def test_keys_within_nested_objects_are_those_of_the_array(array: str) -> None:
    inner = {"nested": {"key": "b", "filter": condition({"match": {"value": "x"}}, "c")}}
    chosen = parse_filter({"should": [{"nested": {"key": array, "filter": {"must": [inner]}}}]})
    assert [need.key for need in needs_of(chosen)] == ["a[].b[].c"]
