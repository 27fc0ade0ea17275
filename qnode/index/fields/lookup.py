"""Answers that an index gives to a condition on its field, exactly as evaluation on the payload would.

`select` gives None where the index cannot tell; the condition is then evaluated on the payloads. Where it can tell for some points
alone, the answer says which may pass and which surely do.
"""

from __future__ import annotations

from math import ceil, floor

import lmdb
import numpy as np

from qnode.index.fields.catalog import Field
from qnode.index.fields.column import Test
from qnode.index.fields.columns import FieldColumns
from qnode.index.fields.indexes import FieldIndexes
from qnode.index.fields.keys import Components, Encoder, Tag, encoder_of
from qnode.index.fields.points import FieldPoints, Mask
from qnode.index.fields.text_lookup import Answer, add, select_prefix, select_tokens
from qnode.models.filter import (
    DatetimeRange,
    FieldCondition,
    GeoRadius,
    Match,
    MatchAny,
    MatchPrefix,
    MatchTokens,
    MatchValue,
    Range,
)
from qnode.models.geo import GeoCheck, haversine_metres, haversine_metres_of, in_area

_MATCHING_TYPES: dict[str, tuple[type, ...]] = {
    "keyword": (str,),
    "uuid": (str,),
    "integer": (int,),
    "float": (int,),
    "bool": (bool,),
}
"""Which values can be matched by an index of a field type: it keeps every payload value of these types."""

_TWO_63 = 1 << 63
_CLOSE_METRES = 1e-3
"""Distances that differ from the radius by less are measured again, in the way that evaluation measures."""


def select(
    fields: FieldIndexes, txn: lmdb.Transaction, population: FieldPoints, condition: FieldCondition, capacity: int
) -> Answer | None:
    """Give the points that pass, also numbers that are no points now; None if no index can tell."""
    if condition.values_count is not None or condition.is_empty is not None or condition.is_null is not None:
        return None
    field = fields.catalog(txn).fields.get(condition.path.text)
    if field is None or not field.ready:
        return None
    match = condition.match
    if isinstance(match, MatchTokens | MatchPrefix):
        if condition != FieldCondition(condition.path, match):
            return None
        if isinstance(match, MatchTokens):
            return select_tokens(fields, txn, field, match, capacity)
        return select_prefix(fields, txn, field, match.prefix, capacity)
    keys = None if match is None else _keys_of(match, field)
    tests = _tests_of(condition, field)
    if tests is None or (match is not None and keys is None) or (keys is None and not tests):
        return None
    mask: Mask = np.zeros(capacity, np.bool_)
    if tests:
        columns = fields.columns(population, field)
        if columns is None:
            return None
        _select_in_columns(columns, tests, mask)
    for key in keys or ():
        add(mask, fields.numbers_with(txn, key))
    return Answer(mask, mask)


def _keys_of(match: Match, field: Field) -> list[bytes] | None:
    if isinstance(match, MatchValue):
        values: tuple[object, ...] = (match.value,)
    elif isinstance(match, MatchAny):
        values = match.values
    else:
        return None
    served = _MATCHING_TYPES.get(field.schema.type)
    if served is None:
        return [] if not values else None
    encode: Encoder = encoder_of(field.schema.type, field.id)
    keys = [encode(value) if type(value) in served else None for value in values]
    certain = [key for key in keys if key is not None]
    return certain if len(certain) == len(keys) else None


def _tests_of(condition: FieldCondition, field: Field) -> dict[Tag, list[Test]] | None:
    """Give what values must pass, by tag; None if the condition asks for something that this index has not."""
    tests: dict[Tag, list[Test]] = {}
    kind = field.schema.type
    wanted = condition.range
    if isinstance(wanted, Range):
        if kind not in ("integer", "float"):
            return None
        tests[Tag.INTEGER] = [_integer_test(wanted, 0)]
        tests[Tag.LARGE_INTEGER] = [_integer_test(wanted, _TWO_63)]
        tests[Tag.FLOAT] = [_float_test(wanted)]
    elif isinstance(wanted, DatetimeRange):
        if kind != "datetime":
            return None
        tests[Tag.DATETIME] = [_integer_test(wanted, 0)]
    areas = [condition.geo_bounding_box, condition.geo_radius, condition.geo_polygon]
    places = [_place_test(area) for area in areas if area is not None]
    if places:
        if kind != "geo":
            return None
        tests[Tag.GEO] = places
    return tests


def _select_in_columns(columns: FieldColumns, tests: dict[Tag, list[Test]], into: Mask) -> None:
    for tag, alternatives in tests.items():
        for test in alternatives:
            columns[tag].select(test, into)


def _integer_test(wanted: Range | DatetimeRange, offset: int) -> Test:
    """Compare integers, kept less by `offset`, with bounds that may lie between and beyond all of them."""
    low, high = -_TWO_63, _TWO_63 - 1
    if wanted.gt is not None:
        low = max(low, floor(wanted.gt) + 1 - offset)
    if wanted.gte is not None:
        low = max(low, ceil(wanted.gte) - offset)
    if wanted.lt is not None:
        high = min(high, ceil(wanted.lt) - 1 - offset)
    if wanted.lte is not None:
        high = min(high, floor(wanted.lte) - offset)
    if low > high:
        return lambda values: np.zeros(len(values[0]), np.bool_)
    bounds = np.int64(low), np.int64(high)
    return lambda values: (values[0] >= bounds[0]) & (values[0] <= bounds[1])


def _float_test(wanted: Range) -> Test:
    def test(values: Components) -> Mask:
        (numbers,) = values
        passed: Mask = np.ones(len(numbers), np.bool_)
        if wanted.gt is not None:
            passed &= numbers > wanted.gt
        if wanted.gte is not None:
            passed &= numbers >= wanted.gte
        if wanted.lt is not None:
            passed &= numbers < wanted.lt
        if wanted.lte is not None:
            passed &= numbers <= wanted.lte
        return passed

    return test


def _place_test(area: GeoCheck) -> Test:
    if not isinstance(area, GeoRadius):
        return lambda values: in_area(values[0], values[1], area)

    def test(values: Components) -> Mask:
        lon, lat = values
        distances = haversine_metres(lon, lat, area.center)
        passed = distances < area.radius_metres
        for at in np.flatnonzero(np.abs(distances - area.radius_metres) < _CLOSE_METRES).tolist():
            passed[at] = haversine_metres_of(float(lon[at]), float(lat[at]), area.center) < area.radius_metres
        return passed

    return test
