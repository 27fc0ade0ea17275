"""Setting, overwriting and deleting parts of a payload, and choosing the part to return."""

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client.local.json_path_parser import parse_json_path
from qdrant_client.local.payload_value_extractor import exclude_payload, include_payload
from qdrant_client.local.payload_value_setter import delete_value_by_key, set_value_by_key

from qnode.models.payload_edit import delete_paths, select, set_payload
from qnode.models.payload_path import parse_path
from qnode.models.query import ALL_PAYLOAD, PayloadSelector

CITIES = {"cities": [{"name": "Rome", "size": {"n": 1}}, {"name": "Oslo"}, 7], "a": {"b": 1, "c": {"d": 2}}, "x": 1}


def edited(edit, payload, given, path):
    before = deepcopy((payload, given))
    after = edit(payload, given, None if path is None else parse_path(path))
    assert (payload, given) == before
    return after


@pytest.mark.parametrize(
    ("payload", "addition", "path", "expected"),
    [
        ({"a": 1, "b": {"c": 1}}, {"b": {"d": 2}, "e": 3}, None, {"a": 1, "b": {"d": 2}, "e": 3}),
        ({"a": 1, "b": 2}, {"a": None, "z": None}, None, {"b": 2}),
        ({"a": {"b": 1}}, {"c": 2}, "a", {"a": {"b": 1, "c": 2}}),
        ({"a": {"b": 1}}, {"b": None}, "a", {"a": {}}),
        ({"a": {"b": 1}}, {"c": {"d": None}}, "a", {"a": {"b": 1, "c": {"d": None}}}),
        ({}, {"c": 2, "n": None}, "a.b", {"a": {"b": {"c": 2}}}),
        ({"a": 5}, {"c": 2}, "a.b", {"a": {"b": {"c": 2}}}),
        ({"a": [1]}, {"c": 2}, "a", {"a": {"c": 2}}),
        ({"a": None}, {"c": 2}, "a", {"a": {"c": 2}}),
        ({"a": [{"x": 1}, 2]}, {"x": 9}, "a[0]", {"a": [{"x": 9}, 2]}),
        ({"a": [{"x": 1}, 2]}, {"x": 9}, "a[1].y", {"a": [{"x": 1}, {"y": {"x": 9}}]}),
        ({"a": [{"x": 1}]}, {"x": 9}, "a[1]", {"a": [{"x": 1}]}),
        ({"a": [{"x": 1}, 2]}, {"y": 9}, "a[]", {"a": [{"x": 1, "y": 9}, {"y": 9}]}),
        ({"a": [{"x": 1}, {}]}, {"y": 9}, "a[].x", {"a": [{"x": {"y": 9}}, {"x": {"y": 9}}]}),
        ({"a": {"b": 1}}, {"y": 9}, "a[]", {"a": []}),
        ({}, {"y": 9}, "a[0].x", {"a": []}),
        ({}, {"y": 9}, '"a.b"', {"a.b": {"y": 9}}),
    ],
)
def test_set_payload_merges_at_the_top_or_at_a_path(payload, addition, path, expected):
    assert edited(set_payload, payload, addition, path) == expected


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["x"], {"cities": CITIES["cities"], "a": CITIES["a"]}),
        (["x", "a", "cities", "missing", "x.y"], {}),
        (["a.b", "a.c.d"], {**CITIES, "a": {"c": {}}}),
        (["cities[].name"], {**CITIES, "cities": [{"size": {"n": 1}}, {}, 7]}),
        (["cities[0].size.n"], {**CITIES, "cities": [{"name": "Rome", "size": {}}, {"name": "Oslo"}, 7]}),
        (["cities[]"], {**CITIES, "cities": []}),
        (["cities[0]"], CITIES),
        (["cities[9].name"], CITIES),
        (["cities.name", "x[]", "a[0].b"], CITIES),
    ],
)
def test_delete_removes_what_the_paths_reach(paths, expected):
    before = deepcopy(CITIES)
    assert delete_paths(CITIES, [parse_path(path) for path in paths]) == expected
    assert before == CITIES


def selector(include=None, exclude=None):
    def paths(texts):
        return None if texts is None else tuple(parse_path(text) for text in texts)

    return PayloadSelector(True, paths(include), paths(exclude))


@pytest.mark.parametrize(
    ("include", "expected"),
    [
        ([], {}),
        (["x"], {"x": 1}),
        (["a.c"], {"a": {"c": {"d": 2}}}),
        (["a.c", "a"], {"a": {"b": 1, "c": {"d": 2}}}),
        (["a", "a.c"], {"a": {"b": 1, "c": {"d": 2}}}),
        (["a.missing"], {"a": {}}),
        (["cities"], {"cities": CITIES["cities"]}),
        (["cities[].name"], {"cities": [{"name": "Rome"}, {"name": "Oslo"}, 7]}),
        (["cities[].size.n"], {"cities": [{"size": {"n": 1}}, {}, 7]}),
        (["cities.name"], {"cities": []}),
        (["missing"], {}),
    ],
)
def test_include_keeps_the_paths_with_what_leads_to_them(include, expected):
    assert select(CITIES, selector(include=include)) == expected


@pytest.mark.parametrize(
    ("exclude", "expected"),
    [
        ([], CITIES),
        (["x", "cities"], {"a": CITIES["a"]}),
        (["a.c", "cities", "x"], {"a": {"b": 1}}),
        (["cities[].name", "a"], {"cities": [{"size": {"n": 1}}, {}, 7], "x": 1}),
        (["cities[]", "a"], {"cities": [], "x": 1}),
        (["cities.name", "x.y", "missing"], CITIES),
    ],
)
def test_exclude_drops_the_paths_with_what_is_below(exclude, expected):
    assert select(CITIES, selector(exclude=exclude)) == expected


def test_whole_payload_is_returned_when_nothing_is_chosen():
    assert select(CITIES, ALL_PAYLOAD) == CITIES


names = st.sampled_from(["a", "b", "c"])
leaves = st.none() | st.integers(0, 2) | st.just("s")
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner), max_leaves=8)
payloads = st.dictionaries(names, values)
paths = st.tuples(names, st.lists(names.map(".{}".format) | st.sampled_from(["[]", "[0]", "[1]"]), max_size=3)).map(
    lambda parts: parts[0] + "".join(parts[1])
)


@given(payloads, payloads, paths)
def test_set_payload_agrees_with_the_clients_local_mode(payload, addition, path):
    expected = deepcopy(payload)
    set_value_by_key(expected, parse_json_path(path), deepcopy(addition))
    assert edited(set_payload, payload, addition, path) == expected


@given(payloads, st.lists(paths, max_size=3))
def test_delete_agrees_with_the_clients_local_mode(payload, chosen):
    expected = deepcopy(payload)
    for path in chosen:
        delete_value_by_key(expected, parse_json_path(path))
    assert delete_paths(payload, [parse_path(path) for path in chosen]) == expected


@given(payloads, st.lists(paths, max_size=3))
def test_selection_agrees_with_the_clients_local_mode(payload, chosen):
    assert select(payload, selector(include=chosen)) == include_payload(payload, chosen)
    assert select(payload, selector(exclude=chosen)) == exclude_payload(payload, chosen)
