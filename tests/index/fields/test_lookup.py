"""An index and the rules never disagree on a single value."""

import tempfile

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from indexed_points import Shard
from random_filters import KINDS, PLACES, TEXTS

from qnode.models.field_schema import FieldSchema
from qnode.models.filter import (
    DatetimeRange,
    FieldCondition,
    Filter,
    GeoPoint,
    GeoRadius,
    MatchAny,
    MatchValue,
    Range,
)
from qnode.models.geo import haversine_metres_of
from qnode.models.payload_path import parse_path

INTEGERS = st.one_of(st.integers(-(2**63), 2**64 - 1), st.integers(-3, 3), st.integers(2**53 - 2, 2**53 + 2))
NUMBERS = st.one_of(INTEGERS, st.floats(allow_nan=False, allow_infinity=False))
MOMENTS = st.datetimes().map(lambda moment: moment.isoformat())
SCALARS = st.one_of(NUMBERS, MOMENTS, st.sampled_from([*TEXTS, *PLACES]), st.booleans(), st.none(), st.text())
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3))

PATH = parse_path("x")
BOUNDS = st.dictionaries(st.sampled_from(["lt", "lte", "gt", "gte"]), NUMBERS.map(float), min_size=1)
TIMES = st.dictionaries(st.sampled_from(["lt", "lte", "gt", "gte"]), st.integers(-(2**62), 2**62), min_size=1)
CONDITIONS = st.one_of(
    BOUNDS.map(lambda bounds: FieldCondition(PATH, range=Range(**bounds))),
    TIMES.map(lambda bounds: FieldCondition(PATH, range=DatetimeRange(**bounds))),
    st.one_of(INTEGERS, st.sampled_from(TEXTS), st.booleans()).map(
        lambda value: FieldCondition(PATH, match=MatchValue(value))
    ),
    st.lists(INTEGERS, max_size=3).map(lambda values: FieldCondition(PATH, match=MatchAny(tuple(values)))),
)


@given(st.lists(VALUES, min_size=1, max_size=8), st.lists(CONDITIONS, min_size=1, max_size=4), st.sampled_from(KINDS))
@settings(max_examples=40, deadline=None)
def test_an_index_answers_as_the_rules_do(values, conditions, kind):
    with tempfile.TemporaryDirectory() as path:
        shard = Shard(path)
        shard.create("x", FieldSchema(kind))
        shard.write({number: {"x": value} for number, value in enumerate(values)})
        for condition in conditions:
            chosen = Filter(must=(condition,))
            assert shard.select(chosen) == shard.brute_force(chosen)
        shard.close()


@given(st.floats(-180, 180), st.floats(-90, 90), st.floats(-180, 180), st.floats(-90, 90))
@settings(max_examples=40, deadline=None)
def test_a_place_at_exactly_the_radius_is_outside_with_an_index_too(lon, lat, centre_lon, centre_lat):
    centre = GeoPoint(centre_lon, centre_lat)
    place = orjson.loads(orjson.dumps({"lon": lon, "lat": lat}))
    radius = haversine_metres_of(place["lon"], place["lat"], centre)
    with tempfile.TemporaryDirectory() as path:
        shard = Shard(path)
        shard.create("x", FieldSchema("geo"))
        shard.write({1: {"x": place}})
        assert shard.select(Filter(must=(FieldCondition(PATH, geo_radius=GeoRadius(centre, radius)),))) == []
        wider = Filter(must=(FieldCondition(PATH, geo_radius=GeoRadius(centre, radius + 1e-6)),))
        assert shard.select(wider) == [1]
        shard.close()
