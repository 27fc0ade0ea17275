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
from math import isfinite
from typing import ParamSpec, TypeVar, cast

import lmdb
import numpy as np
import numpy.typing as npt
import orjson

from qnode.errors import BadInput, NotFound, Unavailable
from qnode.index import ranking, rescoring
from qnode.index.index import Index
from qnode.index.population import Mask
from qnode.index.records import HEAD_BYTES, ids_in, key_in, op_in, version_in, versions_in
from qnode.index.space import Shown, Space
from qnode.index.store import Numbers, get_many, get_meta_u64, number_keys, open_payload
from qnode.models.filter import Filter
from qnode.models.payload_edit import select
from qnode.models.point_id import PointKey, id_of
from qnode.models.query import (
    AnyVector,
    CountRequest,
    Examples,
    ExamplesKind,
    Hits,
    PayloadSelector,
    Point,
    QueryRequest,
    RetrieveRequest,
    ScrollRequest,
    VectorSelector,
)

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


def _space_named(index: Index, name: str) -> Space:
    """Give the space of a vector; raise BadInput if there is none of this name."""
    slot = index.slots.get(name)
    if slot is None:
        raise BadInput(f"Not existing vector name error: {name}")
    return _space_of(index, slot)


def _space_of(index: Index, slot: int) -> Space:
    space = index.spaces.get(slot)
    if space is None:  # the vector was taken away just now
        raise Superseded
    return space


@contextmanager
def _state(index: Index, slot: int) -> Iterator[tuple[lmdb.Transaction, Shown]]:
    """Give a transaction, and rows of a slot among which every point has the one that is current in it."""
    for _ in range(READ_ATTEMPTS):
        with index.store.reading() as txn:
            if index.read_only:
                index.follow(txn)
            shown = _space_of(index, slot).shown
            if shown.oldest_op <= get_meta_u64(txn, index.store, b"applied_op") <= shown.newest_op:
                yield txn, shown
                return
    raise Unavailable("points change faster than they can be read")


@retried
def vector_of(index: Index, key: PointKey, name: str) -> AnyVector:
    """The current vector of a point; raise NotFound if the point or its vector is missing."""
    space = _space_named(index, name)
    slot = space.params.slot
    with index.store.reading() as txn:
        number = txn.get(key, db=index.store.ids)
        if number is None:
            raise NotFound(f"No point with id {id_of(key)} found")
        record = cast("bytes", txn.get(number, db=index.store.records))
    op_num = op_in(record, slot)
    found, known = space.read(np.frombuffer(number, "<u4"), np.array([op_num], np.uint64))
    if op_num and not known[0]:
        raise Superseded
    if not op_num:
        raise NotFound(f'Vector with name "{name}" for point not found')
    vector: AnyVector = found[0]
    return vector


@retried
def search(
    index: Index, request: QueryRequest, target: AnyVector | Examples, excluded: frozenset[PointKey] = frozenset()
) -> Sequence[Point]:
    """Find the points that are best for the target, best first, with reported scores; (limit + offset) of them at most.

    Where equal scores stand at the end, all points with that score are found, so that the order of ids decides which of
    them are given: pages follow each other without a gap. To see that, one more point is looked for than is wanted.
    """
    shows_nothing = not (request.with_payload.enabled or request.with_vector.enabled)
    if not isinstance(target, Examples) and request.filter is None and shows_nothing:
        hits = _search_heap(index, request, target, excluded)
        if hits is not None:
            return hits
    listed = rescoring.listed_in(request.filter)
    if listed is not None:
        return _search_listed(index, request, target, listed[0] - excluded, listed[1])
    return _search_segments(index, request, target, excluded)


def _search_segments(
    index: Index, request: QueryRequest, target: AnyVector | Examples, excluded: frozenset[PointKey]
) -> Sequence[Point]:
    space = _space_named(index, request.using)
    slot = space.params.slot
    distance = space.params.distance
    wanted = request.limit + request.offset
    ask = wanted + 1 + len(excluded)
    selected, selected_count, seen_op = selected_by(index, request.filter)
    if selected is not None and not selected_count:
        return []
    with _state(index, slot) as (txn, shown):
        while True:
            ask = min(ask, shown.rows)
            found = space.search(shown, target, ask, request.params, selected, selected_count)
            values, places = ranking.current(index, txn, found, slot)
            if selected is not None and request.filter is not None:
                values, places = ranking.rechecked(index, txn, request.filter, found, values, places, seen_op)
            if excluded:
                kept = [at for at, value in enumerate(values) if key_in(value) not in excluded]
                values, places = [values[at] for at in kept], [places[at] for at in kept]
            dropped = len(found.scores) - len(places)
            scores = ranking.reported(found.scores[places] if dropped else found.scores, target, distance)
            if len(found.scores) < ask or ask == shown.rows:
                break
            if len(scores) <= wanted:
                ask += dropped + SPARE_CANDIDATES
            elif (
                scores[wanted - 1] == scores[-1]
                and ask < wanted + MOST_TIED
                and not _are_perfect(target, scores, shown)
            ):
                ask = min(2 * ask, wanted + MOST_TIED)
            else:
                break
        points = [Point(key_in(value), version_in(value), score) for value, score in zip(values, scores, strict=True)]
        ascending = ranking.ascends(target, distance)
        order = ranking.ranked(points, scores, ascending=ascending, threshold=request.score_threshold)[:wanted]
        if len(order) < len(points) or order != list(range(len(order))):
            points, values = [points[at] for at in order], [values[at] for at in order]
            places = [places[at] for at in order]
        if request.with_payload.enabled or request.with_vector.enabled:
            _fill(index, txn, points, found.numbers[places], values, request.with_payload, request.with_vector)
    return points


def _are_perfect(target: AnyVector | Examples, scores: npt.NDArray[np.float32], shown: Shown) -> bool:
    """Whether scores that end in a tie can end anywhere: a context gives all points of a region its best score, 0."""
    if not isinstance(target, Examples) or target.kind is not ExamplesKind.CONTEXT:
        return False
    return bool(scores[-1] == 0) and shown.rows > MOST_TIED


def _search_listed(
    index: Index, request: QueryRequest, target: AnyVector | Examples, keys: frozenset[PointKey], rest: Filter | None
) -> Sequence[Point]:
    space = _space_named(index, request.using)
    mask = rescoring.remembered(index, rest)
    with index.store.reading() as txn:
        if index.read_only:
            index.follow(txn)
        found = rescoring.score(index, space, txn, request, target, keys, rest, mask)
        if found is None:
            raise Superseded
        points, values, numbers = found
        if request.with_payload.enabled or request.with_vector.enabled:
            _fill(index, txn, points, numbers, values, request.with_payload, request.with_vector)
    return points


def _search_heap(
    index: Index, request: QueryRequest, vector: AnyVector, excluded: frozenset[PointKey]
) -> Sequence[Point] | None:
    """Search for ids and scores alone, without a transaction; None if what is found is being changed, ends in a tie, or has scores that are no numbers."""
    space = _space_named(index, request.using)
    shown, distance, wanted = space.shown, space.params.distance, request.limit + request.offset
    ask = min(wanted + 1 + len(excluded), shown.rows)
    found = space.search(shown, vector, ask, request.params, None, 0)
    heads = index.population.heads_of(found.numbers, found.ops, space.params.slot)
    if heads is None:
        return None
    scores = ranking.scores_of(found.scores, vector, distance)
    if excluded:
        each = [heads[at : at + HEAD_BYTES] for at in range(0, len(heads), HEAD_BYTES)]
        kept = [at for at, head in enumerate(each) if key_in(head) not in excluded]
        scores, heads = scores[kept], b"".join([each[at] for at in kept])
    listed = scores.tolist()
    if not all(map(isfinite, listed)):
        return None
    if len(scores) > wanted:
        if listed[wanted - 1] == listed[wanted]:
            return None
        scores, heads = scores[:wanted], heads[: wanted * HEAD_BYTES]
    hits = Hits(ids_in(heads), versions_in(heads), scores)
    if request.score_threshold is None and len(set(listed)) == len(listed):
        return hits
    points = list(hits)
    ascending = distance.smaller_is_better
    order = ranking.ranked(points, scores, ascending=ascending, threshold=request.score_threshold)
    return [points[place] for place in order]


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
                read, known = _space_of(index, slot).read(numbers, ops)
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
