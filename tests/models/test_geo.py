"""Distance, box and polygon: on single places and on arrays, which must agree."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnode.models.filter import GeoBoundingBox, GeoPoint, GeoPolygon, GeoRadius
from qnode.models.geo import area_test, geo_point, haversine_metres, haversine_metres_of, in_area

MOSCOW, LONDON, BERLIN = GeoPoint(37.6173, 55.7558), GeoPoint(-0.1278, 51.5074), GeoPoint(13.4050, 52.5200)


def ring(*places: tuple[float, float]) -> tuple[GeoPoint, ...]:
    return tuple(GeoPoint(lon, lat) for lon, lat in places)


SQUARE = ring((0, 0), (10, 0), (10, 10), (0, 10), (0, 0))
HOLE = ring((4, 4), (4, 6), (6, 6), (6, 4), (4, 4))


def passes(area, lon: float, lat: float) -> bool:
    single = area_test(area)(float(lon), float(lat))
    many = in_area(np.array([lon], np.float64), np.array([lat], np.float64), area)
    assert many.tolist() == [single]
    return single


def test_distances_between_cities():
    assert haversine_metres_of(MOSCOW.lon, MOSCOW.lat, LONDON) == pytest.approx(2_500_000, rel=0.02)
    assert haversine_metres_of(MOSCOW.lon, MOSCOW.lat, BERLIN) == pytest.approx(1_608_000, rel=0.02)
    assert haversine_metres_of(MOSCOW.lon, MOSCOW.lat, MOSCOW) == 0


def test_antipodes_are_half_a_circumference_apart():
    half = np.pi * 6_371_008.8
    assert haversine_metres_of(180.0, 0.0, GeoPoint(0, 0)) == pytest.approx(half)
    assert haversine_metres(np.array([180.0, 0.0]), np.array([0.0, -90.0]), GeoPoint(0, 90))[1] == pytest.approx(half)


def test_radius_is_strict():
    distance = haversine_metres_of(MOSCOW.lon, MOSCOW.lat, LONDON)
    assert not area_test(GeoRadius(LONDON, distance))(MOSCOW.lon, MOSCOW.lat)
    assert passes(GeoRadius(LONDON, distance * 1.000001), MOSCOW.lon, MOSCOW.lat)
    assert not passes(GeoRadius(LONDON, 0.0), LONDON.lon, LONDON.lat)


def test_box_is_strict():
    box = GeoBoundingBox(GeoPoint(0, 10), GeoPoint(20, 0))
    assert passes(box, 10, 5)
    for lon, lat in [(0, 5), (20, 5), (10, 0), (10, 10), (-1, 5), (21, 5), (10, -1), (10, 11)]:
        assert not passes(box, lon, lat)


def test_box_crosses_the_antimeridian():
    box = GeoBoundingBox(GeoPoint(170, 10), GeoPoint(-170, -10))
    assert passes(box, 175, 0)
    assert passes(box, -175, 0)
    assert passes(box, 180, 0)
    assert not passes(box, 0, 0)
    assert not passes(box, 170, 0)


def test_polygon_excludes_its_edges_and_corners():
    polygon = GeoPolygon(SQUARE)
    assert passes(polygon, 5, 5)
    assert passes(polygon, 0.001, 9.999)
    for lon, lat in [(0, 0), (10, 10), (5, 0), (0, 5), (10, 5), (5, 10), (-1, 5), (11, 5), (5, -1), (5, 11), (-1, 0)]:
        assert not passes(polygon, lon, lat)


def test_polygon_excludes_its_holes_and_their_edges():
    polygon = GeoPolygon(SQUARE, (HOLE,))
    assert passes(polygon, 3, 3)
    assert passes(polygon, 3.999, 5)
    assert not passes(polygon, 5, 5)
    assert not passes(polygon, 4, 5)
    assert not passes(polygon, 6, 6)


def test_concave_polygon_excludes_its_bay():
    polygon = GeoPolygon(ring((0, 0), (10, 0), (10, 10), (5, 2), (0, 10), (0, 0)))
    assert not passes(polygon, 5, 5)
    assert passes(polygon, 5, 1)
    assert passes(polygon, 1, 5)
    assert passes(polygon, 9, 5)


def test_direction_of_a_ring_does_not_matter():
    assert passes(GeoPolygon(SQUARE[::-1], (HOLE[::-1],)), 3, 3)
    assert not passes(GeoPolygon(SQUARE[::-1], (HOLE[::-1],)), 5, 5)


whole = st.integers(-6, 6)
places = st.tuples(whole, whole)
rings = st.lists(places, min_size=3, max_size=6).map(lambda corners: ring(*corners, corners[0]))


@given(rings, st.lists(rings, max_size=2), st.lists(places, min_size=1, max_size=20))
def test_polygon_on_arrays_agrees_with_single_places(exterior, interiors, points):
    polygon = GeoPolygon(exterior, tuple(interiors))
    test = area_test(polygon)
    lon, lat = (np.array(column, np.float64) for column in zip(*points, strict=True))
    assert in_area(lon, lat, polygon).tolist() == [test(float(x), float(y)) for x, y in points]


@given(st.floats(-180, 180), st.floats(-90, 90), st.floats(-180, 180), st.floats(-90, 90))
def test_distance_on_arrays_agrees_with_single_places(lon, lat, other_lon, other_lat):
    centre = GeoPoint(other_lon, other_lat)
    many = haversine_metres(np.array([lon]), np.array([lat]), centre)
    # Near the antipode the arc sine turns one last bit into decimetres.
    assert many[0] == pytest.approx(haversine_metres_of(lon, lat, centre), rel=1e-7, abs=1e-6)


@pytest.mark.parametrize(
    "value",
    [
        *[None, 1, "x", [], {}, {"lon": 1}, {"lat": 1}, {"lon": "1", "lat": 2}, {"lon": True, "lat": 2}],
        *[{"lon": None, "lat": 2}, {"lon": 181, "lat": 2}, {"lon": 1, "lat": -90.5}, {"lon": 10**400, "lat": 0}],
        {"lon": float("nan"), "lat": 0},
    ],
)
def test_other_values_are_no_places(value):
    assert geo_point(value) is None


def test_place_may_have_integers_and_other_keys():
    assert geo_point({"lon": 1, "lat": 2.5, "name": "x"}) == (1.0, 2.5)
    assert geo_point({"lon": -180, "lat": 90}) == (-180.0, 90.0)
