import math
from typing import Any

import numpy as np
import pytest

from qnode.api.formula_json import parse_formula
from qnode.errors import BadInput
from qnode.models.condition import PointFacts
from qnode.models.point_id import key_of
from qnode.shards.querying.expressions import Candidate, compile_formula, payload_names, shown, vector_names

PAYLOAD: dict[str, Any] = {
    "n": 3,
    "one": [4.5],
    "two": [1, 2],
    "none": None,
    "text": "x",
    "place": {"lon": 13.4, "lat": 52.5},
    "t": "2024-01-01T00:00:01.5Z",
    "o": {"k": [{"a": 1}, {"a": 2}]},
}
FACTS = PointFacts(key_of(7), ("image",))


def score(
    expression: Any, defaults: dict[str, Any] | None = None, scores: tuple[float | None, ...] = (0.5, None)
) -> float:
    formula = parse_formula({"formula": expression, "defaults": defaults})
    return float(compile_formula(formula)(Candidate(scores, PAYLOAD, FACTS)))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (2.5, 2.5),
        ("$score", 0.5),
        ("$score[0]", 0.5),
        ("$score[1]", 0.0),
        ("$score[9]", 0.0),
        ("n", 3),
        ("one", 4.5),
        ({"key": "n", "match": {"value": 3}}, 1),
        ({"key": "n", "match": {"value": 4}}, 0),
        ({"has_id": [7]}, 1),
        ({"has_vector": "image"}, 1),
        ({"has_vector": "other"}, 0),
        ({"must_not": {"is_empty": {"key": "none"}}}, 0),
        ({"sum": [1, "n", "$score"]}, 4.5),
        ({"sum": []}, 0),
        ({"mult": ["n", 2]}, 6),
        ({"mult": []}, 1),
        ({"mult": [0, "missing"]}, 0),
        ({"neg": "n"}, -3),
        ({"abs": {"neg": "n"}}, 3),
        ({"div": {"left": "n", "right": 2}}, 1.5),
        ({"div": {"left": 0, "right": 0}}, 0),
        ({"div": {"left": 0, "right": "missing"}}, 0),
        ({"div": {"left": 1, "right": 0, "by_zero_default": 9}}, 9),
        ({"sqrt": 9}, 3),
        ({"pow": {"base": 2, "exponent": 10}}, 1024),
        ({"exp": 1}, math.e),
        ({"ln": {"exp": 2}}, 2),
        ({"log10": 1000}, 3),
        ({"geo_distance": {"origin": {"lon": 13.4, "lat": 52.5}, "to": "place"}}, 0),
        ({"geo_distance": {"origin": {"lon": 13.4, "lat": 51.5}, "to": "place"}}, 111195.08),
        ({"datetime": "1970-01-01T00:01:00Z"}, 60),
        ({"sum": [{"datetime_key": "t"}, {"neg": {"datetime": "2024-01-01"}}]}, 1.5),
        ({"lin_decay": {"x": 0.5}}, 0.75),
        ({"lin_decay": {"x": 5}}, 0),
        ({"lin_decay": {"x": 8, "target": "n", "scale": 10, "midpoint": 0.4}}, 0.7),
        ({"exp_decay": {"x": 5, "target": "n", "scale": 2, "midpoint": 0.25}}, 0.25),
        ({"gauss_decay": {"x": 5, "target": "n", "scale": 2, "midpoint": 0.25}}, 0.25),
        ({"gauss_decay": {"x": 7, "target": "n", "scale": 2, "midpoint": 0.5}}, 0.5**4),
        ({"exp_decay": {"x": {"neg": 2}}}, 0.25),
    ],
)
def test_an_expression_gives(expression: Any, expected: float) -> None:
    assert score(expression) == pytest.approx(np.float32(expected), rel=1e-6)


@pytest.mark.parametrize("path", ["missing", "two", "none", "o.k[].a"])
def test_a_default_stands_in_where_there_is_not_exactly_one_value(path: str) -> None:
    assert score(path, {path: 8}) == 8
    assert score(path, {path: [8]}) == 8


def test_a_default_stands_in_for_a_score_that_was_not_found() -> None:
    assert score("$score[1]", {"$score[1]": 8}) == 8
    assert score("$score", {"$score": 8}) == 0.5
    assert score("$score[0]", {"$score": 8}, (None,)) == 8


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ({"div": {"left": 1, "right": 0}}, "The expression 1/0 produced a non-finite number"),
        ({"sqrt": -1.5}, "The expression √-1.5 produced a non-finite number"),
        ({"ln": 0}, "The expression ln(0) produced a non-finite number"),
        ({"log10": -1}, "The expression log10(-1) produced a non-finite number"),
        ({"exp": 1000}, "The expression exp(1000) produced a non-finite number"),
        ({"pow": {"base": -8, "exponent": 0.5}}, "The expression -8^0.5 produced a non-finite number"),
        ({"pow": {"base": 0, "exponent": -1}}, "The expression 0^-1 produced a non-finite number"),
        ({"mult": [1e30, 1e30]}, "as f32 = inf produced a non-finite number"),
        (
            "text",
            "Expected number value for text in the payload and/or in the formula defaults. Error: Value is not a number",
        ),
        ("missing", "Expected number value for missing in the payload and/or in the formula defaults. Error: No value"),
        ({"datetime_key": "n"}, "Expected datetime value for n in the payload and/or in the formula defaults."),
        (
            {"geo_distance": {"origin": {"lon": 0, "lat": 0}, "to": "n"}},
            "Expected geo point value for n in the payload",
        ),
    ],
)
def test_what_has_no_value_is_refused_in_qdrants_words(expression: Any, text: str) -> None:
    with pytest.raises(BadInput) as raised:
        score(expression)
    assert text in str(raised.value)


def test_a_wrong_default_is_refused_like_a_wrong_value() -> None:
    with pytest.raises(BadInput, match="Expected number value for missing"):
        score("missing", {"missing": "x"})


@pytest.mark.parametrize(
    ("number", "text"), [(1.0, "1"), (-0.25, "-0.25"), (1e21, "1" + 21 * "0"), (1e-7, "0.0000001"), (math.inf, "inf")]
)
def test_numbers_are_printed_as_qdrant_does(number: float, text: str) -> None:
    assert shown(number) == text


def test_a_formula_tells_what_it_looks_at() -> None:
    expression = {
        "sum": [
            "a.b",
            {"mult": ["$score", {"datetime_key": "t"}]},
            {"must": [{"key": "c[].d", "match": {"value": 1}}, {"has_vector": "v"}, {"is_empty": {"key": "e"}}]},
            {"nested": {"key": "f", "filter": {"must": [{"key": "inner", "match": {"value": 1}}]}}},
            {"gauss_decay": {"x": {"geo_distance": {"origin": {"lon": 1, "lat": 2}, "to": "g"}}, "target": "h"}},
        ]
    }
    formula = parse_formula({"formula": expression})
    assert payload_names(formula) == {"a", "t", "c", "e", "f", "g", "h"}
    assert vector_names(formula) == {"v"}
