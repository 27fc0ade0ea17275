"""Reading filters from JSON: every condition, and what is refused with which words."""

import orjson
import pytest

from qnode.errors import MalformedBody, ValidationFailed
from qnode.models import filter as model
from qnode.models.filter_json import MAX_FILTER_DEPTH, parse_filter
from qnode.models.payload_path import parse_path
from qnode.models.point_id import key_of

A = parse_path("a")
POINTS = [{"lon": 0, "lat": 0}, {"lon": 1, "lat": 0}, {"lon": 1, "lat": 1}, {"lon": 0, "lat": 0}]
RING = (model.GeoPoint(0, 0), model.GeoPoint(1, 0), model.GeoPoint(1, 1), model.GeoPoint(0, 0))
UUID = "550e8400-e29b-41d4-a716-446655440000"


def condition_of(json):
    (condition,) = parse_filter({"must": [json]}).must
    return condition


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        ({"match": {"value": "x"}}, {"match": model.MatchValue("x")}),
        ({"match": {"value": -5}}, {"match": model.MatchValue(-5)}),
        ({"match": {"value": True}}, {"match": model.MatchValue(True)}),
        ({"match": {"value": 1, "text": None}}, {"match": model.MatchValue(1)}),
        ({"match": {"any": ["x", "y", "x"]}}, {"match": model.MatchAny(("x", "y"))}),
        ({"match": {"any": [2, 1]}}, {"match": model.MatchAny((2, 1))}),
        ({"match": {"any": []}}, {"match": model.MatchAny(())}),
        ({"match": {"except": ["x"]}}, {"match": model.MatchExcept(("x",))}),
        ({"match": {"text": "x y"}}, {"match": model.MatchText("x y")}),
        ({"match": {"text_any": "x y"}}, {"match": model.MatchTextAny("x y")}),
        ({"match": {"phrase": "x y"}}, {"match": model.MatchPhrase("x y")}),
        ({"match": {"prefix": ""}}, {"match": model.MatchPrefix("")}),
        ({"range": {}}, {"range": model.Range()}),
        ({"range": {"lt": 1, "gt": None, "gte": -0.5}}, {"range": model.Range(lt=1, gte=-0.5)}),
        ({"range": {"gte": "1970-01-01", "lt": None}}, {"range": model.DatetimeRange(gte=0)}),
        ({"range": {"lte": "1970-01-01T00:00:01Z"}}, {"range": model.DatetimeRange(lte=1_000_000)}),
        ({"values_count": {"lt": 1, "gte": 0, "gt": None}}, {"values_count": model.ValuesCount(lt=1, gte=0)}),
        ({"is_empty": True, "match": None}, {"is_empty": True}),
        ({"is_null": False}, {"is_null": False}),
        ({"geo_radius": {"center": POINTS[1], "radius": 5}}, {"geo_radius": model.GeoRadius(RING[1], 5.0)}),
        (
            {"geo_bounding_box": {"top_left": {"lon": 170, "lat": 1}, "bottom_right": {"lon": -170, "lat": 0}}},
            {"geo_bounding_box": model.GeoBoundingBox(model.GeoPoint(170, 1), model.GeoPoint(-170, 0))},
        ),
        ({"geo_polygon": {"exterior": {"points": POINTS}}}, {"geo_polygon": model.GeoPolygon(RING)}),
        (
            {"geo_polygon": {"exterior": {"points": POINTS}, "interiors": [{"points": POINTS}]}},
            {"geo_polygon": model.GeoPolygon(RING, (RING,))},
        ),
        (
            {"match": {"value": 1}, "range": {"gt": 5}, "unknown": 1},
            {"match": model.MatchValue(1), "range": model.Range(gt=5)},
        ),
    ],
)
def test_field_condition_is_read(check, expected):
    assert condition_of({"key": "a", **check}) == model.FieldCondition(A, **expected)


@pytest.mark.parametrize(
    ("json", "expected"),
    [
        ({"is_empty": {"key": "a"}}, model.IsEmpty(A)),
        ({"is_null": {"key": "a"}}, model.IsNull(A)),
        ({"has_id": [1, UUID, 1]}, model.HasId(frozenset([key_of(1), key_of(UUID)]))),
        ({"has_id": []}, model.HasId(frozenset())),
        ({"has_vector": ""}, model.HasVector("")),
        ({"slice": {"total": 4, "index": 3}}, model.SliceCondition(4, 3)),
        ({"nested": {"key": "a", "filter": {}}}, model.Nested(A, model.Filter())),
        ({}, model.Filter()),
        ({"must": None}, model.Filter()),
        ({"should": {"has_vector": "v"}}, model.Filter(should=(model.HasVector("v"),))),
    ],
)
def test_other_condition_is_read(json, expected):
    assert condition_of(json) == expected


def test_clauses_take_one_condition_or_a_list_and_null_is_absent():
    has_vector, expected = {"has_vector": "v"}, (model.HasVector("v"),)
    read = parse_filter(
        {
            "must": has_vector,
            "should": [has_vector],
            "must_not": None,
            "min_should": {"conditions": [has_vector], "min_count": 1},
        }
    )
    assert read == model.Filter(expected, expected, (), model.MinShould(expected, 1))
    assert parse_filter({"must": [], "min_should": None}).is_empty


@pytest.mark.parametrize(
    ("filter_", "text"),
    [
        ([], "invalid type: sequence, expected struct Filter"),
        ("x", 'invalid type: string "x", expected struct Filter'),
        (
            {"musst": []},
            "unknown field `musst`, expected one of `should`, `min_should`, `must`, `must_not`",
        ),
        ({"must": 5}, "invalid type: integer `5`, expected a filter condition"),
        ({"must": [None]}, "invalid type: null, expected a filter condition"),
        ({"must": [[]]}, "invalid type: sequence, expected a filter condition"),
        (
            {"must": [{"has_idd": []}]},
            "unknown field `has_idd`, expected one of `key`, `is_empty`, `is_null`, `has_id`, `has_vector`, `slice`, "
            "`nested`, `should`, `min_should`, `must`, `must_not`",
        ),
        (
            {"must": [{"has_id": [1], "must": []}]},
            "a filter condition is one of `is_empty`, `is_null`, `has_id`, `has_vector`, `slice`, `nested` or a filter",
        ),
        ({"min_should": {"conditions": []}}, "missing field `min_count`"),
        ({"min_should": {"min_count": 1}}, "missing field `conditions`"),
        ({"min_should": {"conditions": [], "min_count": -1}}, "invalid value: integer `-1`, expected usize"),
        ({"min_should": {"conditions": [], "min_count": 1.0}}, "invalid type: floating point `1.0`, expected usize"),
        ({"min_should": {"conditions": {}, "min_count": 1}}, "invalid type: map, expected a sequence"),
    ],
)
def test_filter_of_another_shape_is_refused(filter_, text):
    with pytest.raises(MalformedBody) as caught:
        parse_filter(filter_)
    assert str(caught.value) == f"Format error in JSON body: {text}"


@pytest.mark.parametrize(
    ("json", "text"),
    [
        ({"key": 5, "match": {"value": 1}}, "Filter condition 'key' must be a string"),
        ({"key": None}, "Filter condition 'key' must be a string"),
        ({"key": "a..b", "match": {"value": 1}}, "Invalid json path: 'a..b'"),
        ({"key": "a", "match": "x"}, 'invalid type: string "x", expected a match'),
        ({"key": "a", "match": {"value": 1.0}}, "invalid type: floating point `1.0`, expected a string, an integer"),
        ({"key": "a", "match": {"value": 2**63}}, "invalid type: integer `9223372036854775808`, expected a string, an"),
        ({"key": "a", "match": {"value": [1]}}, "invalid type: sequence, expected a string, an integer"),
        ({"key": "a", "match": {"value": None}}, "a match has exactly one of `value`, `text`, `text_any`, `phrase`,"),
        ({"key": "a", "match": {"value": 1, "text": "x"}}, "a match has exactly one of `value`"),
        ({"key": "a", "match": {"keyword": "x"}}, "a match has exactly one of `value`"),
        ({"key": "a", "match": {"any": ["x", 1]}}, "invalid type: expected an array of strings or an array of integer"),
        ({"key": "a", "match": {"any": [True]}}, "invalid type: expected an array of strings or an array of integer"),
        ({"key": "a", "match": {"except": "x"}}, 'invalid type: string "x", expected a sequence'),
        ({"key": "a", "match": {"prefix": 1}}, "invalid type: integer `1`, expected a string"),
        ({"key": "a", "range": {"lt": True}}, "invalid type: boolean `true`, expected bounds that are all numbers, or"),
        ({"key": "a", "range": {"lt": 1, "gt": "2014-01-01"}}, 'invalid type: string "2014-01-01", expected bounds'),
        ({"key": "a", "range": {"lt": float("inf")}}, "invalid type: floating point `inf`, expected bounds"),
        ({"key": "a", "range": {"ltt": 1}}, "unknown field `ltt`, expected one of `lt`, `gt`, `gte`, `lte`"),
        (
            {"key": "a", "range": {"lt": "soon"}},
            "'soon' does not match accepted datetime format (RFC3339). Example: 2014-01-01T00:00:00Z",
        ),
        ({"key": "a", "values_count": {"lt": -1}}, "invalid value: integer `-1`, expected usize"),
        ({"key": "a", "values_count": {"lt": 1.5}}, "invalid type: floating point `1.5`, expected usize"),
        ({"key": "a", "is_empty": 1}, "invalid type: integer `1`, expected a boolean"),
        ({"key": "a", "geo_radius": {"center": {"lon": 1, "lat": 2}}}, "missing field `radius`"),
        (
            {"key": "a", "geo_radius": {"center": {"lon": 181, "lat": 2}, "radius": 1}},
            "Wrong format of GeoPoint payload: expected `lat` = 2 within [-90;90] and `lon` = 181 within [-180;180]",
        ),
        ({"key": "a", "geo_bounding_box": {"top_left": {"lon": 1}}}, "missing field `lat`"),
        (
            {"key": "a", "geo_polygon": {"exterior": {"points": POINTS[1:]}}},
            "Validation failed: polygon invalid, the size must be at least 4, got 3",
        ),
        (
            {"key": "a", "geo_polygon": {"exterior": {"points": [*POINTS, POINTS[1]]}}},
            "Validation failed: polygon invalid, the first and the last points should be the same to form a closed",
        ),
        (
            {"key": "a", "geo_polygon": {"exterior": {"points": POINTS}, "interiors": [{"points": []}]}},
            "Validation failed: polygon invalid, the size must be at least 4, got 0",
        ),
        ({"is_empty": "a"}, 'invalid type: string "a", expected struct PayloadField'),
        ({"is_null": {}}, "missing field `key`"),
        ({"has_id": None}, "invalid type: null, expected a sequence"),
        ({"has_id": 5}, "invalid type: integer `5`, expected a sequence"),
        ({"has_id": [-1]}, "value -1 is not a valid point ID"),
        ({"has_id": ["x"]}, 'value "x" is not a valid point ID'),
        ({"has_vector": 1}, "invalid type: integer `1`, expected a string"),
        ({"slice": {"total": 0, "index": 0}}, "invalid value: integer `0`, expected a nonzero u32"),
        ({"slice": {"total": 2}}, "missing field `index`"),
        ({"slice": {"total": 2**32, "index": 0}}, "invalid value: integer `4294967296`, expected a nonzero u32"),
        ({"nested": {"key": "a"}}, "missing field `filter`"),
        ({"nested": {"key": "a", "filter": []}}, "invalid type: sequence, expected struct Filter"),
    ],
)
def test_condition_of_another_shape_is_refused(json, text):
    with pytest.raises(MalformedBody) as caught:
        condition_of(json)
    assert str(caught.value).startswith(f"Format error in JSON body: {text}")


@pytest.mark.parametrize(
    ("filter_", "text"),
    [
        ({"must": [{"key": "a"}]}, "filter.must[0]: At least one field condition must be specified"),
        ({"must": {"key": "a", "match": None}}, "filter.must: At least one field condition must be specified"),
        (
            {"should": [{"slice": {"total": 2, "index": 2}}]},
            "filter.should[0].slice.index: value 2 invalid, must be less than total 2",
        ),
        (
            {"min_should": {"conditions": [{"key": "a"}], "min_count": 0}},
            "filter.min_should: min_count must be greater than 0; "
            "filter.min_should.conditions[0]: At least one field condition must be specified",
        ),
        (
            {"must_not": [{"nested": {"key": "a", "filter": {"must": [{}, {"key": "b"}]}}}]},
            "filter.must_not[0].nested.filter.must[1]: At least one field condition must be specified",
        ),
    ],
)
def test_broken_rules_are_listed_with_their_paths(filter_, text):
    with pytest.raises(ValidationFailed) as caught:
        parse_filter(filter_)
    assert str(caught.value) == f"Validation error in JSON body: [{text}]"


def test_path_of_the_filter_in_the_body_is_named():
    with pytest.raises(ValidationFailed, match=r"\[internal\.filter\.must\[0\]: "):
        parse_filter({"must": [{"key": "a"}]}, "internal.filter")


def test_wrong_shape_wins_over_a_broken_rule():
    with pytest.raises(MalformedBody):
        parse_filter({"must": [{"key": "a"}, {"unknown": 1}]})


def nest(levels, wrap):
    filter_ = {}
    for _ in range(levels):
        filter_ = wrap(filter_)
    return filter_


@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: {"must": [inner]},
        lambda inner: {"must_not": inner},
        lambda inner: {"min_should": {"conditions": [inner], "min_count": 1}},
        lambda inner: {"should": {"nested": {"key": "a", "filter": inner}}},
    ],
)
def test_nesting_is_bounded(wrap):
    deepest = parse_filter(nest(MAX_FILTER_DEPTH - 1, wrap))
    assert hash(deepest) == hash(parse_filter(nest(MAX_FILTER_DEPTH - 1, wrap)))
    for levels in (MAX_FILTER_DEPTH, 10_000):
        with pytest.raises(MalformedBody, match="recursion limit exceeded: filters nest deeper than 64 levels"):
            parse_filter(nest(levels, wrap))


def test_equal_json_gives_equal_filters():
    json = orjson.dumps(
        {
            "must": [{"key": "a[].b", "match": {"any": ["x"]}}, {"has_id": [1, 2]}],
            "should": [{"key": "g", "geo_polygon": {"exterior": {"points": POINTS}}}],
        }
    )
    first, second = parse_filter(orjson.loads(json)), parse_filter(orjson.loads(json))
    assert first == second
    assert len({first, second}) == 1


def test_match_of_true_is_another_filter_than_match_of_1():
    true, one = ({"must": {"key": "a", "match": {"value": value}}} for value in (True, 1))
    assert parse_filter(true) != parse_filter(one)
    assert len({parse_filter(true), parse_filter(one)}) == 2
