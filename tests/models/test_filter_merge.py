import os
import random

import pytest

from qnode.models.condition import PointFacts, matches
from qnode.models.filter import (
    FieldCondition,
    Filter,
    HasId,
    MatchAny,
    MatchExcept,
    MatchValue,
    MinShould,
    Nested,
    Range,
)
from qnode.models.filter_merge import merged
from qnode.models.payload_path import parse_path
from qnode.models.point_id import key_of
from tests.index.fields import random_filters

A, B = parse_path("a"), parse_path("b")


def is_value(value, path=A):
    return FieldCondition(path, MatchValue(value))


def is_any(*values, path=A):
    return FieldCondition(path, MatchAny(values))


def test_alternatives_on_one_field_become_one_condition():
    chosen = Filter(should=(is_value("x"), is_value("y", B), is_any("z", "x"), is_value("w", B)))
    assert merged(chosen) == Filter(should=(is_any("x", "z"), is_any("y", "w", path=B)))


def test_what_must_not_be_becomes_one_condition():
    assert merged(Filter(must_not=(is_value(1), is_value(2)))) == Filter(must_not=(is_any(1, 2),))


def test_ids_are_listed_together():
    one, two = key_of(1), key_of(2)
    assert merged(Filter(should=(HasId(frozenset({one})), HasId(frozenset({two}))))) == Filter(
        should=(HasId(frozenset({one, two})),)
    )


def test_values_of_different_types_stay_apart():
    chosen = Filter(should=(is_value(1), is_value("1"), is_value(True), is_value(False), is_any()))
    assert merged(chosen) == chosen


@pytest.mark.parametrize(
    "chosen",
    [
        Filter(must=(is_value("x"), is_value("y"))),
        Filter(min_should=MinShould((is_value("x"), is_value("y")), 2)),
        Filter(should=(is_value("x"), FieldCondition(A, MatchValue("y"), range=Range(gt=1)))),
        Filter(should=(is_value("x"), FieldCondition(A, MatchValue("y"), is_null=True))),
        Filter(should=(is_value("x"), FieldCondition(A, MatchExcept(("y",))))),
    ],
)
def test_what_is_not_the_same_stays_apart(chosen):
    assert merged(chosen) == chosen


def test_one_of_several_is_as_good_as_an_alternative():
    chosen = Filter(min_should=MinShould((is_value("x"), is_value("y")), 1))
    assert merged(chosen) == Filter(min_should=MinShould((is_any("x", "y"),), 1))


def test_filters_of_one_condition_are_merged_with_their_neighbours():
    chosen = Filter(should=(Filter(must=(is_value("x"),)), Filter(should=(is_value("y"), is_value("z")))))
    assert merged(chosen) == Filter(should=(is_any("x", "y", "z"),))


def test_conditions_inside_of_nested_objects_are_merged():
    chosen = Filter(must=(Nested(B, Filter(should=(is_value("x"), is_value("y")))),))
    assert merged(chosen) == Filter(must=(Nested(B, Filter(should=(is_any("x", "y"),))),))


def test_merged_filters_select_the_same_points():
    seed = int(os.environ.get("QNODE_TEST_SEED") or random.randrange(2**32))
    print(f"QNODE_TEST_SEED={seed}")
    rng = random.Random(seed)
    changed = 0
    for _ in range(1000):
        many = tuple(random_filters.condition(rng, 1) for _ in range(6))
        inner = Filter(should=many[:4], must_not=many[2:])
        chosen = rng.choice(
            [Filter(should=many), Filter(must_not=many), inner, Filter(must=(inner,), min_should=MinShould(many, 1))]
        )
        shorter = merged(chosen)
        changed += shorter != chosen
        for number in range(1000, 1010):
            payload, facts = random_filters.payload(rng), PointFacts(key_of(number), ("", "image"))
            assert matches(shorter, payload, facts) == matches(chosen, payload, facts), (chosen, payload)
    assert changed > 50
