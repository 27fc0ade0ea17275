"""Places on the globe: distance, box, polygon, for one place and for arrays of places.

Degrees throughout; a place in a payload is an object with numbers `lon` in -180..180 and `lat` in -90..90 and
anything else is no place (`geo_point`). The globe is a sphere of the mean radius, polygons have straight edges in
the plane of longitude and latitude and do not cross the antimeridian. A place on an edge is outside: of a box, of a
polygon, and also of a polygon whose hole it borders.

The functions on arrays take (n,) float64 longitudes and latitudes and give (n,) answers.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import asin, cos, radians, sin, sqrt

import numpy as np
import numpy.typing as npt

from qnode.models.filter import GeoBoundingBox, GeoPoint, GeoPolygon, GeoRadius

EARTH_RADIUS_METRES = 6_371_008.8

GeoCheck = GeoBoundingBox | GeoRadius | GeoPolygon
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
PlaceTest = Callable[[float, float], bool]
"""Whether a place, lon and lat, passes."""


def geo_point(value: object) -> tuple[float, float] | None:
    """Read a stored value as a place, (lon, lat); None if it is none."""
    if type(value) is not dict:
        return None
    lon, lat = value.get("lon"), value.get("lat")
    if not (type(lon) is float or type(lon) is int) or not (type(lat) is float or type(lat) is int):
        return None
    # The comparisons also keep out integers that no float can hold.
    return (float(lon), float(lat)) if -180 <= lon <= 180 and -90 <= lat <= 90 else None


def haversine_metres(lon: Floats, lat: Floats, centre: GeoPoint) -> Floats:
    """Measure the distances, in metres, of many places to one."""
    lat_radians, centre_lat = np.radians(lat), radians(centre.lat)
    half_lat = np.sin((lat_radians - centre_lat) / 2)
    half_lon = np.sin((np.radians(lon) - radians(centre.lon)) / 2)
    chord = half_lat * half_lat + cos(centre_lat) * np.cos(lat_radians) * half_lon * half_lon
    distances: Floats = 2 * EARTH_RADIUS_METRES * np.arcsin(np.sqrt(np.minimum(chord, 1.0)))
    return distances


def haversine_metres_of(lon: float, lat: float, centre: GeoPoint) -> float:
    """Measure the distance, in metres, of one place to another."""
    lat_radians, centre_lat = radians(lat), radians(centre.lat)
    half_lat = sin((lat_radians - centre_lat) / 2)
    half_lon = sin((radians(lon) - radians(centre.lon)) / 2)
    chord = half_lat * half_lat + cos(centre_lat) * cos(lat_radians) * half_lon * half_lon
    return 2 * EARTH_RADIUS_METRES * asin(sqrt(min(chord, 1.0)))


def in_radius(lon: Floats, lat: Floats, circle: GeoRadius) -> Mask:
    """Tell which places are nearer to the centre than the radius."""
    return haversine_metres(lon, lat, circle.center) < circle.radius_metres


def in_box(lon: Floats, lat: Floats, box: GeoBoundingBox) -> Mask:
    """Tell which places are strictly inside a box."""
    west, east = box.top_left.lon, box.bottom_right.lon
    within = (lon > west) | (lon < east) if west > east else (lon > west) & (lon < east)
    return within & (lat < box.top_left.lat) & (lat > box.bottom_right.lat)


def in_polygon(lon: Floats, lat: Floats, polygon: GeoPolygon) -> Mask:
    """Tell which places are strictly inside the exterior ring, and neither in nor on an interior one."""
    inside, on_edge = _in_ring(lon, lat, polygon.exterior)
    chosen = inside & ~on_edge
    for ring in polygon.interiors:
        inside, on_edge = _in_ring(lon, lat, ring)
        chosen &= ~(inside | on_edge)
    return chosen


def in_area(lon: Floats, lat: Floats, area: GeoCheck) -> Mask:
    """Tell which places pass a geo check of any kind."""
    if isinstance(area, GeoBoundingBox):
        return in_box(lon, lat, area)
    if isinstance(area, GeoRadius):
        return in_radius(lon, lat, area)
    return in_polygon(lon, lat, area)


def _in_ring(lon: Floats, lat: Floats, ring: tuple[GeoPoint, ...]) -> tuple[Mask, Mask]:
    """Count crossings of a ray from each place to the east; return (odd count, on an edge)."""
    inside = np.zeros(len(lon), np.bool_)
    on_edge = np.zeros(len(lon), np.bool_)
    for x1, y1, x2, y2 in _edges(ring):
        crossed = (y1 > lat) != (y2 > lat)
        side = (x2 - x1) * (lat - y1) - (lon - x1) * (y2 - y1)
        inside ^= crossed & ((side > 0) == (y2 > y1))
        on_edge |= (
            (side == 0) & (lon >= min(x1, x2)) & (lon <= max(x1, x2)) & (lat >= min(y1, y2)) & (lat <= max(y1, y2))
        )
    return inside, on_edge


def _edges(ring: tuple[GeoPoint, ...]) -> list[tuple[float, float, float, float]]:
    return [(a.lon, a.lat, b.lon, b.lat) for a, b in pairwise(ring)]


def area_test(area: GeoCheck) -> PlaceTest:
    """Make the test of a single place against a geo check of any kind."""
    if isinstance(area, GeoBoundingBox):
        return _box_test(area)
    if isinstance(area, GeoRadius):
        centre, radius = area.center, area.radius_metres
        return lambda lon, lat: haversine_metres_of(lon, lat, centre) < radius
    return _polygon_test(area)


def _box_test(box: GeoBoundingBox) -> PlaceTest:
    west, east, north, south = box.top_left.lon, box.bottom_right.lon, box.top_left.lat, box.bottom_right.lat
    if west > east:
        return lambda lon, lat: (lon > west or lon < east) and south < lat < north
    return lambda lon, lat: west < lon < east and south < lat < north


def _polygon_test(polygon: GeoPolygon) -> PlaceTest:
    exterior = _edges(polygon.exterior)
    interiors = [_edges(ring) for ring in polygon.interiors]

    def test(lon: float, lat: float) -> bool:
        inside, on_edge = _place_in_ring(lon, lat, exterior)
        return inside and not on_edge and not any(any(_place_in_ring(lon, lat, ring)) for ring in interiors)

    return test


def _place_in_ring(lon: float, lat: float, edges: list[tuple[float, float, float, float]]) -> tuple[bool, bool]:
    inside = False
    for x1, y1, x2, y2 in edges:
        side = (x2 - x1) * (lat - y1) - (lon - x1) * (y2 - y1)
        if side == 0 and min(x1, x2) <= lon <= max(x1, x2) and min(y1, y2) <= lat <= max(y1, y2):
            return inside, True
        if (y1 > lat) != (y2 > lat) and (side > 0) == (y2 > y1):
            inside = not inside
    return inside, False
