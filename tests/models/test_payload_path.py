"""The grammar of payload paths, and what a path reaches."""

import pytest

from qnode.errors import MalformedBody
from qnode.models.payload_path import MAX_STEPS, elements_at, parse_path, values_at

PAYLOAD = {
    "city": "London",
    "address": {"street": "Baker", "0": "zero"},
    "tags": ["a", "b", ["c", "d"]],
    "cities": [{"name": "Rome", "districts": [1, 2]}, {"name": None}, "text", {"other": 1}],
    "a.b": {"c d": 1},
    "nothing": None,
    "empty": [],
    "a-b_1": 5,
}


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("a", ("a",)),
        ("a.b", ("a", "b")),
        ("a[].b[0]", ("a", None, "b", 0)),
        ('"a.b"."c d"', ("a.b", "c d")),
        ('a."b[]"', ("a", "b[]")),
        ("a-b_1", ("a-b_1",)),
        ("0.1", ("0", "1")),
        ("straße.名", ("straße", "名")),
        ("a[0][]", ("a", 0, None)),
        ("a[007]", ("a", 7)),
        ('""', ("",)),
        ("a[18446744073709551615]", ("a", 2**64 - 1)),
    ],
)
def test_path_is_read_into_steps(text, steps):
    assert parse_path(text).steps == steps
    assert parse_path(text).text == text


@pytest.mark.parametrize(
    "text",
    [
        *["", ".", ".a", "a.", "a..b", "[0]", "[]", "a[", "a]", "a[x]", "a[-1]", "a[1", "a b", '"a', 'a"b"', 'a["b"]'],
        *["a.[0]", "a[]b", "a$", "a[0 ]", "a[٣]", "a\n", "a[18446744073709551616]"],
    ],
)
def test_malformed_path_is_refused(text):
    with pytest.raises(MalformedBody, match=r"^Format error in JSON body: Invalid json path: '"):
        parse_path(text)


def test_path_of_too_many_steps_is_refused():
    assert len(parse_path("a" + "[0]" * (MAX_STEPS - 1)).steps) == MAX_STEPS
    with pytest.raises(MalformedBody, match="it has more than 100 steps"):
        parse_path("a" + ".b" * MAX_STEPS)


def test_long_malformed_path_is_shown_cut():
    with pytest.raises(MalformedBody) as caught:
        parse_path("a" * 10_000 + "..")
    assert len(str(caught.value)) < 200


def test_index_of_a_million_digits_is_refused_at_once():
    with pytest.raises(MalformedBody):
        parse_path("a[" + "9" * 1_000_000 + "]")


@pytest.mark.parametrize(
    ("text", "values", "elements"),
    [
        ("city", ["London"], ["London"]),
        ("address.street", ["Baker"], ["Baker"]),
        ("address.0", ["zero"], ["zero"]),
        ("missing", [], []),
        ("city.name", [], []),
        ("nothing", [None], [None]),
        ("nothing.inner", [], []),
        ("empty", [[]], []),
        ("empty[]", [], []),
        ("tags", [["a", "b", ["c", "d"]]], ["a", "b", ["c", "d"]]),
        ("tags[]", ["a", "b", ["c", "d"]], ["a", "b", "c", "d"]),
        ("tags[2]", [["c", "d"]], ["c", "d"]),
        ("tags[2][0]", ["c"], ["c"]),
        ("tags[9]", [], []),
        ("cities.name", [], []),
        ("cities[].name", ["Rome", None], ["Rome", None]),
        ("cities[0].name", ["Rome"], ["Rome"]),
        ("cities[].districts", [[1, 2]], [1, 2]),
        ("cities[].districts[]", [1, 2], [1, 2]),
        ("city[]", [], []),
        ("address[]", [], []),
        ("address[0]", [], []),
        ('"a.b"."c d"', [1], [1]),
        ("a-b_1", [5], [5]),
    ],
)
def test_path_reaches_values_whole_and_elements_one_level_deep(text, values, elements):
    assert values_at(PAYLOAD, parse_path(text)) == values
    assert elements_at(PAYLOAD, parse_path(text)) == elements
