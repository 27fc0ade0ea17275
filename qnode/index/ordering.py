"""Points in the order of the values of an indexed field.

The values come from the index's columns, the points from one transaction. A point that has changed in between gets the values that
it has there; everything is read anew only if a page becomes too short by that.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil, floor

import lmdb
import numpy as np

from qnode.index.fields.catalog import Field
from qnode.index.fields.ordered import Values, ordered_entries, ordered_values, ordering_field
from qnode.index.index import Index
from qnode.index.reading import Superseded, points_of, retried, selected_by
from qnode.index.store import Numbers
from qnode.models.point_id import PointKey
from qnode.models.query import Point
from qnode.models.reads import Direction, OrderedRequest

_TWO_63 = 1 << 63

Entry = tuple[PointKey, int | float]


@retried
def ordered(index: Index, request: OrderedRequest) -> list[Point]:
    """Read the first points in order, with their order values; raise BadInput without an index that can order them."""
    selected, _, seen_op = selected_by(index, request.filter)
    with index.store.reading() as txn:
        field = ordering_field(index.fields, txn, request.field)
        within = index.population.live if selected is None else selected
        found = ordered_entries(index.fields, index.population, field, within)
        if found is None:
            raise Superseded
        entries = _first(index, *_begun(*found, request), request)
    with index.store.reading() as txn:
        keys = list(dict.fromkeys(key for key, _ in entries))
        points = {point.key: point for point in points_of(index, txn, keys, request.with_payload, request.with_vector)}
        changed = {key for key in keys if key not in points or points[key].version > seen_op}
        if changed:
            entries = _settled(index, txn, field, entries, changed, request)
    return [replace(points[key], order_value=value) for key, value in entries]


def _begun(numbers: Numbers, values: Values, request: OrderedRequest) -> tuple[Numbers, Values]:
    """Leave out what comes before the value to begin at."""
    start, rises = request.start_from, request.direction is Direction.ASCENDING
    if start is None:
        return numbers, values
    if values.dtype == np.int64:
        whole = ceil(start) if rises else floor(start)
        if not -_TWO_63 <= whole < _TWO_63:
            everything = (whole < 0) == rises
            return (numbers, values) if everything else (numbers[:0], values[:0])
        kept = values >= whole if rises else values <= whole
    else:
        kept = values >= float(start) if rises else values <= float(start)
    return numbers[kept], values[kept]


def _first(index: Index, numbers: Numbers, values: Values, request: OrderedRequest) -> list[Entry]:
    """Sort as far as it is asked for: by value, then by id."""
    rises, limit = request.direction is Direction.ASCENDING, request.limit
    if len(values) > limit:
        place = limit - 1 if rises else len(values) - limit
        last = np.partition(values, place)[place]
        kept = values <= last if rises else values >= last
        numbers, values = numbers[kept], values[kept]
    sort_keys = index.population.sort_keys_of(numbers)
    order = np.lexsort((sort_keys, values))
    order = (order if rises else order[::-1])[:limit]
    keys = [_key_of(bytes(key)) for key in sort_keys[order].tolist()]
    return list(zip(keys, values[order].tolist(), strict=True))


def _key_of(sort_key: bytes) -> PointKey:
    """Give a key as the store has it; numpy has cut the zeros at its end."""
    return sort_key.ljust(9, b"\0") if sort_key[:1] != b"\1" else sort_key.ljust(17, b"\0")


def _settled(
    index: Index,
    txn: lmdb.Transaction,
    field: Field,
    entries: list[Entry],
    changed: set[PointKey],
    request: OrderedRequest,
) -> list[Entry]:
    """Give points that have changed the values that they have now; raise Superseded if there are not enough others then.

    One that has come to be before the last entry only now may be missing: the read is as of a moment before that.
    """
    rises, was_cut = request.direction is Direction.ASCENDING, len(entries) == request.limit
    last = _place(entries[-1])
    kept = [entry for entry in entries if entry[0] not in changed]
    for key in changed:
        numbers = index.population.numbers_of(txn, [key])
        if not len(numbers) or (
            request.filter is not None
            and not index.filtering.matches(txn, index.population, request.filter, numbers).all()
        ):
            continue
        for value in ordered_values(field, index.population.payloads_of(txn, numbers)[0]):
            entry = key, value
            is_behind = _place(entry) > last if rises else _place(entry) < last
            if _has_begun(value, request) and not (was_cut and is_behind):
                kept.append(entry)
    if was_cut and len(kept) < request.limit:
        raise Superseded
    kept.sort(key=_place, reverse=not rises)
    return kept[: request.limit]


def _place(entry: Entry) -> tuple[int | float, PointKey]:
    return entry[1], entry[0]


def _has_begun(value: int | float, request: OrderedRequest) -> bool:
    start = request.start_from
    return start is None or (value >= start if request.direction is Direction.ASCENDING else value <= start)
