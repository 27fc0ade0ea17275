"""Points at random, and values and indices counted: what is asked of all points of a shard at once.

A random point's score is a random number that belongs to it: where several shards give so many points each, those with the smallest
numbers of all are a fair sample of the whole.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from qnode.index.fields.facets import count_values, facet_field
from qnode.index.index import Index
from qnode.index.reading import READ_ATTEMPTS, Superseded, points_of, retried, selected_by
from qnode.index.sparse.space import SparseSpace
from qnode.index.store import get_meta_u64
from qnode.models.query import Point
from qnode.models.reads import FacetCounts, FacetRequest, Frequencies, FrequenciesRequest, SampleRequest

_random: Final = np.random.default_rng()


@retried
def sample(index: Index, request: SampleRequest) -> list[Point]:
    """Read so many points at random, the smallest score first."""
    selected, _, seen_op = selected_by(index, request.filter)
    numbers = np.flatnonzero(index.population.live if selected is None else selected).astype(np.uint32)
    wanted = min(request.limit, len(numbers))
    chosen = _random.choice(numbers, wanted, replace=False)
    with index.store.reading() as txn:
        keys = index.population.keys_of(txn, chosen)
        points = points_of(index, txn, keys, request.with_payload, request.with_vector)
        newer = [point.key for point in points if point.version > seen_op]
        if newer and request.filter is not None:
            present = index.population.numbers_of(txn, newer)
            if not index.filtering.matches(txn, index.population, request.filter, present).all():
                raise Superseded
    for point, score in zip(points, _smallest_of(len(numbers), len(points)), strict=True):
        point.score = score
    return points


def _smallest_of(population: int, wanted: int) -> list[np.float32]:
    """Draw the smallest `wanted` of so many numbers that are spread evenly over 0 to 1, ascending, without drawing the others."""
    steps = _random.standard_exponential(wanted) / (population - np.arange(wanted))
    return list((-np.expm1(-np.cumsum(steps))).astype(np.float32))


def facet(index: Index, request: FacetRequest) -> FacetCounts:
    """Count the points of each value of a field; raise BadInput without an index that has them."""
    for attempt in range(READ_ATTEMPTS):
        selected, _, seen_op = selected_by(index, request.filter)
        with index.store.reading() as txn:
            # A filter's points are those of one operation, the postings those of this transaction.
            is_one_state = selected is None or get_meta_u64(txn, index.store, b"applied_op") == seen_op
            if is_one_state or attempt == READ_ATTEMPTS - 1:
                field = facet_field(index.fields, txn, request.field)
                return count_values(index.fields, index.store, txn, index.population, field, selected)
    raise AssertionError("the last attempt gives an answer")


def frequencies(index: Index, request: FrequenciesRequest) -> Frequencies:
    """Count the points that have each index in a sparse vector."""
    selected, selected_count, _ = selected_by(index, request.corpus)
    space = index.spaces.get(index.slots.get(request.using, -1))
    if not isinstance(space, SparseSpace):  # it was taken away just now
        return Frequencies(0, np.zeros(len(request.indices), np.int64))
    return Frequencies(*space.frequencies(request.indices, selected, selected_count))
