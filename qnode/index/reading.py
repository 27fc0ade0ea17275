"""Reading an index: search, retrieve, scroll, count.

A search ranks rows by a state of the heap that fits its transaction (`_state`), reads the winners' records there and
drops those whose row is not the current one (an operation was just being applied); for what is missing then it asks for
more. What is returned of a point (version, payload, vectors) comes from that one transaction, so a point is always seen
whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar, cast

import lmdb
import numpy as np
import numpy.typing as npt
import orjson

from qnode.errors import BadInput, NotFound, Unavailable
from qnode.index.index import Index
from qnode.index.population import Mask
from qnode.index.records import HEAD_BYTES, ids_in, key_in, op_in, version_in, versions_in
from qnode.index.space import Candidates, Shown, Space
from qnode.index.store import Numbers, get_many, get_meta_u64, number_keys, open_payload
from qnode.models.filter import Filter
from qnode.models.payload_edit import select
from qnode.models.point_id import PointKey, id_of
from qnode.models.query import (
    AnyVector,
    CountRequest,
    Hits,
    PayloadSelector,
    Point,
    QueryRequest,
    RetrieveRequest,
    ScrollRequest,
    VectorSelector,
)
from qnode.models.vector_params import Distance

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

SPARE_CANDIDATES = 8
"""How many more are asked for when winners turned out not to be current."""

MOST_TIED = 1000
"""Among more points than this of the score at which a page ends, it may end anywhere."""

GATHER_FACTOR = 20
"""A filtered page is sorted from all selected points when they are fewer than this many times the page."""

READ_ATTEMPTS = 10
"""A read that is superseded while it reads is repeated so often."""


class Superseded(Exception):
    """A vector went while its point was read: an operation replaced it, and a build has dropped the old row since."""


LARGEST_SCORE = float(np.finfo(np.float32).max)
"""What stands for an infinite score; negative also for one that is no number, as of a sum of both infinities."""


def retried(read: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Read anew, from a later transaction, what was superseded while it was read."""

    @wraps(read)
    def again(*arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
        for _ in range(READ_ATTEMPTS):
            try:
                return read(*arguments, **options)
            except Superseded:
                continue
        raise Unavailable("points change faster than they can be read")

    return again


@contextmanager
def _state(index: Index, slot: int) -> Iterator[tuple[lmdb.Transaction, Shown]]:
    """Give a transaction, and rows of a slot among which every point has the one that is current in it."""
    for _ in range(READ_ATTEMPTS):
        with index.store.reading() as txn:
            if index.read_only:
                index.follow(txn)
            shown = index.spaces[slot].shown
            if shown.oldest_op <= get_meta_u64(txn, index.store, b"applied_op") <= shown.newest_op:
                yield txn, shown
                return
    raise Unavailable("points change faster than they can be read")


@retried
def vector_of(index: Index, key: PointKey, name: str) -> AnyVector:
    """The current vector of a point; raise NotFound if the point or its vector is missing."""
    slot = index.slots.get(name)
    if slot is None:
        raise BadInput(f"Not existing vector name error: {name}")
    with index.store.reading() as txn:
        number = txn.get(key, db=index.store.ids)
        if number is None:
            raise NotFound(f"No point with id {id_of(key)} found")
        record = cast("bytes", txn.get(number, db=index.store.records))
    op_num = op_in(record, slot)
    found, known = index.spaces[slot].read(np.frombuffer(number, "<u4"), np.array([op_num], np.uint64))
    if op_num and not known[0]:
        raise Superseded
    if not op_num:
        raise NotFound(f'Vector with name "{name}" for point not found')
    vector: AnyVector = found[0]
    return vector


@retried
def search(index: Index, request: QueryRequest, vector: AnyVector, excluded: PointKey | None = None) -> Sequence[Point]:
    """Find the nearest points, best first, with reported scores; (limit + offset) of them at most, offset not cut.

    Where equal scores stand at the end, all points with that score are found, so that the order of ids decides which of
    them are given: pages follow each other without a gap. To see that, one more point is looked for than is wanted.
    """
    slot = index.slots[request.using]
    space = index.spaces[slot]
    distance = space.params.distance
    wanted = request.limit + request.offset
    ask = wanted + 1 + (excluded is not None)
    plain = request.filter is None and excluded is None
    if plain and not (request.with_payload.enabled or request.with_vector.enabled):
        hits = _search_heap(index, space, request, vector)
        if hits is not None:
            return hits
    selected, selected_count, seen_op = selected_by(index, request.filter)
    if selected is not None and not selected_count:
        return []
    with _state(index, slot) as (txn, shown):
        while True:
            ask = min(ask, shown.rows)
            found = space.search(shown, vector, ask, request.params, selected, selected_count)
            values, places = _current(index, txn, found, slot)
            if selected is not None and request.filter is not None:
                values, places = _rechecked(index, txn, request.filter, found, values, places, seen_op)
            if excluded is not None:
                kept = [at for at, value in enumerate(values) if key_in(value) != excluded]
                values, places = [values[at] for at in kept], [places[at] for at in kept]
            dropped = len(found.scores) - len(places)
            scores = reported(found.scores[places] if dropped else found.scores, distance)
            if len(found.scores) < ask or ask == shown.rows:
                break
            if len(scores) <= wanted:
                ask += dropped + SPARE_CANDIDATES
            elif scores[wanted - 1] == scores[-1] and ask < wanted + MOST_TIED:
                ask = min(2 * ask, wanted + MOST_TIED)
            else:
                break
        points = [Point(key_in(value), version_in(value), score) for value, score in zip(values, scores, strict=True)]
        order = _ranked(points, scores, distance, request.score_threshold)[:wanted]
        if len(order) < len(points) or order != list(range(len(order))):
            points, values = [points[at] for at in order], [values[at] for at in order]
            places = [places[at] for at in order]
        if request.with_payload.enabled or request.with_vector.enabled:
            _fill(index, txn, points, found.numbers[places], values, request.with_payload, request.with_vector)
    return points


def _search_heap(index: Index, space: Space, request: QueryRequest, vector: AnyVector) -> Sequence[Point] | None:
    """Search for ids and scores alone, without a transaction; None if what is found is being changed, or ends in a tie."""
    shown, distance, wanted = space.shown, space.params.distance, request.limit + request.offset
    found = space.search(shown, vector, min(wanted + 1, shown.rows), request.params, None, 0)
    heads = index.population.heads_of(found.numbers, found.ops, space.params.slot)
    if heads is None:
        return None
    scores = reported(found.scores, distance)
    if len(scores) > wanted:
        if scores[wanted - 1] == scores[wanted]:
            return None
        scores, heads = scores[:wanted], heads[: wanted * HEAD_BYTES]
    hits = Hits(ids_in(heads), versions_in(heads), scores)
    if request.score_threshold is None and len(set(scores.tolist())) == len(scores):
        return hits
    points = list(hits)
    return [points[place] for place in _ranked(points, scores, distance, request.score_threshold)]


def reported(similarity: npt.NDArray[np.float32], distance: Distance) -> npt.NDArray[np.float32]:
    """Turn internal similarities into the scores that users see; JSON has no number for sums that have overflowed."""
    if distance is Distance.EUCLID:
        similarity = np.sqrt(np.abs(similarity))
    elif distance is Distance.MANHATTAN:
        similarity = np.abs(similarity)
    return similarity if np.isfinite(similarity).all() else np.nan_to_num(similarity, nan=-LARGEST_SCORE)


def selected_by(index: Index, chosen: Filter | None) -> tuple[Mask | None, int, int]:
    """The points that pass a filter, their number, and the operation up to which that is known to be true.

    It comes before the transaction that reads the winners: what that one sees as newer is checked again there.
    """
    seen_op = index.population.applied_op
    if chosen is None or chosen.is_empty:
        return None, 0, seen_op
    with index.store.reading() as txn:
        selection = index.filtering.select(txn, index.population, chosen)
    return selection.mask, selection.count, seen_op


def _current(index: Index, txn: lmdb.Transaction, found: Candidates, slot: int) -> tuple[list[bytes], list[int]]:
    """The records of those candidates that are current, and their places among the candidates."""
    get, records = txn.get, index.store.records
    begin = HEAD_BYTES + 8 * slot
    end = begin + 8
    keys, ops = number_keys(found.numbers), found.ops.tobytes()
    values: list[bytes] = []
    places: list[int] = []
    for place, key in enumerate(keys):
        value = get(key, db=records)
        if value is not None and value[begin:end] == ops[8 * place : 8 * place + 8]:
            values.append(cast("bytes", value))
            places.append(place)
    return values, places


def _rechecked(
    index: Index, txn: lmdb.Transaction, chosen: Filter, found: Candidates, values: list[bytes], places: list[int],
    seen_op: int,
) -> tuple[list[bytes], list[int]]:  # fmt: skip
    """Leave out those that changed after the filter's mask was made and do not pass it any more."""
    newer = [at for at, value in enumerate(values) if version_in(value) > seen_op]
    if not newer:
        return values, places
    passing = index.filtering.matches(txn, index.population, chosen, found.numbers[[places[at] for at in newer]])
    gone = {at for at, passes in zip(newer, passing.tolist(), strict=True) if not passes}
    kept = [at for at in range(len(values)) if at not in gone]
    return [values[at] for at in kept], [places[at] for at in kept]


def _ranked(
    points: Sequence[Point], scores: npt.NDArray[np.float32], distance: Distance, threshold: float | None
) -> list[int]:
    """The places of those better than the threshold, best first; they come sorted, but for ties.

    Among equal scores the larger id comes first where scores descend, else the smaller one.
    """
    order = list(range(len(points)))
    ascending = distance.smaller_is_better
    if threshold is not None:
        limit = np.float32(threshold)
        order = np.flatnonzero(scores < limit if ascending else scores > limit).tolist()
    known = scores.tolist()
    if len(set(known)) < len(known):
        order.sort(key=lambda place: points[place].key, reverse=not ascending)
        order.sort(key=known.__getitem__, reverse=not ascending)
    return order


@retried
def retrieve(index: Index, request: RetrieveRequest) -> list[Point]:
    """Read points by key, in the order asked, each once; unknown ones are passed over."""
    with index.store.reading() as txn:
        keys = list(dict.fromkeys(request.keys))
        return points_of(index, txn, keys, request.with_payload, request.with_vector)


@retried
def scroll(index: Index, request: ScrollRequest) -> list[Point]:
    """Read up to limit + 1 points in the order of their keys: the last one tells where the next page begins."""
    wanted = request.limit + 1
    selected, selected_count, seen_op = selected_by(index, request.filter)
    with index.store.reading() as txn:
        if selected is None:
            keys = _page(index, txn, request.offset, wanted, None)
        elif selected_count <= GATHER_FACTOR * wanted:
            keys = sorted(index.population.keys_of(txn, np.flatnonzero(selected).astype(np.uint32)))
            keys = [key for key in keys if request.offset is None or key >= request.offset][:wanted]
        else:
            keys = _page(index, txn, request.offset, wanted, selected)
        points = points_of(index, txn, keys, request.with_payload, request.with_vector)
        newer = [point.key for point in points if point.version > seen_op]
        if newer and selected is not None and request.filter is not None:
            numbers = index.population.numbers_of(txn, newer)
            if not index.filtering.matches(txn, index.population, request.filter, numbers).all():
                raise Superseded
        return points


def count(index: Index, request: CountRequest) -> int:
    """Count the points that pass the filter."""
    if request.filter is None or request.filter.is_empty:
        return index.points_count
    if request.exact:
        return selected_by(index, request.filter)[1]
    with index.store.reading() as txn:
        return index.filtering.estimate(txn, index.population, request.filter)[1]


def keys_of_filter(index: Index, chosen: Filter) -> list[PointKey]:
    """The keys of all points that pass a filter, ascending."""
    selected = selected_by(index, chosen)[0]
    if selected is None:
        selected = index.population.live
    with index.store.reading() as txn:
        return sorted(index.population.keys_of(txn, np.flatnonzero(selected).astype(np.uint32)))


def existing(index: Index, keys: Sequence[PointKey]) -> set[PointKey]:
    """Those of the keys that are points."""
    with index.store.reading() as txn:
        return set(get_many(txn, index.store.ids, keys))


def _page(
    index: Index, txn: lmdb.Transaction, offset: PointKey | None, wanted: int, selected: Mask | None
) -> list[PointKey]:
    keys: list[PointKey] = []
    with txn.cursor(db=index.store.ids) as cursor:
        if not (cursor.first() if offset is None else cursor.set_range(offset)):
            return keys
        for key, number in cursor:
            place = int.from_bytes(number, "little")
            if selected is None or (place < len(selected) and selected[place]):
                keys.append(bytes(key))
                if len(keys) == wanted:
                    break
    return keys


def points_of(
    index: Index, txn: lmdb.Transaction, keys: Sequence[PointKey], payload: PayloadSelector, vectors: VectorSelector
) -> list[Point]:
    """Read points by key, in this order; unknown ones are passed over. Raises Superseded."""
    found = get_many(txn, index.store.ids, keys)
    present = [key for key in keys if key in found]
    number_bytes = [found[key] for key in present]
    records = get_many(txn, index.store.records, number_bytes)
    values = [records[number] for number in number_bytes]
    points = [Point(key, version_in(value)) for key, value in zip(present, values, strict=True)]
    _fill(index, txn, points, np.frombuffer(b"".join(number_bytes), "<u4"), values, payload, vectors)
    return points


def _fill(
    index: Index, txn: lmdb.Transaction, points: list[Point], numbers: Numbers, values: Sequence[bytes],
    payload: PayloadSelector, vectors: VectorSelector,
) -> None:  # fmt: skip
    """Put payloads and vectors into points, from the transaction that their records came from."""
    if not points:
        return
    if payload.enabled:
        keys = number_keys(numbers)
        found = get_many(txn, index.store.payloads, keys)
        whole = payload.include is None and payload.exclude is None
        for point, key in zip(points, keys, strict=True):
            stored = open_payload(found[key], index.store, int.from_bytes(key, "little"))
            point.payload = stored if whole else orjson.dumps(select(orjson.loads(stored), payload))
    if vectors.enabled:
        for point in points:
            point.vectors = {}
        for name, slot in index.slots.items():
            if vectors.names is None or name in vectors.names:
                ops = np.array([op_in(value, slot) for value in values], np.uint64)
                read, known = index.spaces[slot].read(numbers, ops)
                if np.count_nonzero(ops) != np.count_nonzero(known):
                    raise Superseded
                for place in np.flatnonzero(known).tolist():
                    points[place].vectors[name] = read[place]  # type: ignore[index]


def matching(index: Index, keys: Sequence[PointKey], chosen: Filter) -> list[PointKey]:
    """Those of these existing points that pass a filter, in their order."""
    with index.store.reading() as txn:
        found = get_many(txn, index.store.ids, keys)
        present = [key for key in keys if key in found]
        numbers = np.frombuffer(b"".join([found[key] for key in present]), "<u4")
        passing = index.filtering.matches(txn, index.population, chosen, numbers)
    return [key for key, passes in zip(present, passing.tolist(), strict=True) if passes]
