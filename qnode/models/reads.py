"""Reads over shards other than searches and pages: in the order of a field, counted by values or indices, at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from qnode.models.filter import Filter
from qnode.models.query import (
    ALL_PAYLOAD,
    DEFAULT_LIMIT,
    NO_PAYLOAD,
    NO_VECTORS,
    PayloadSelector,
    VectorSelector,
)
from qnode.models.shard_choice import ShardChoice

FacetValue = str | int | bool


class Direction(StrEnum):
    """Which values come first."""

    ASCENDING = "asc"
    DESCENDING = "desc"


@dataclass(frozen=True, slots=True)
class OrderedRequest:
    """The first points in the order of the values of a field, each once for every value; ties by id in the same direction.

    start_from: the value to begin at (inclusive), a datetime in microseconds since 1970.
    """

    field: str
    direction: Direction = Direction.ASCENDING
    start_from: int | float | None = None
    limit: int = DEFAULT_LIMIT
    filter: Filter | None = None
    with_payload: PayloadSelector = ALL_PAYLOAD
    with_vector: VectorSelector = NO_VECTORS
    shards: ShardChoice | None = None


@dataclass(frozen=True, slots=True)
class FacetRequest:
    """How many points have each of the values of a field."""

    field: str
    limit: int = DEFAULT_LIMIT
    filter: Filter | None = None
    shards: ShardChoice | None = None


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """So many points at random, each subset as likely as any other."""

    limit: int = DEFAULT_LIMIT
    filter: Filter | None = None
    with_payload: PayloadSelector = NO_PAYLOAD
    with_vector: VectorSelector = NO_VECTORS
    shards: ShardChoice | None = None


@dataclass(frozen=True, slots=True)
class MatrixRequest:
    """Of `sample` points at random that have a vector, the `limit` nearest others of the sample to each."""

    using: str
    sample: int
    limit: int
    filter: Filter | None = None
    shards: ShardChoice | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FacetCounts:
    """All values that at least one point has, each once, in no order. counts: (n,) int64."""

    values: list[FacetValue]
    counts: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class FrequenciesRequest:
    """How many points have each of these indices in a sparse vector. indices: (n,) uint32 ascending. corpus: which points count."""

    using: str
    indices: npt.NDArray[np.uint32]
    corpus: Filter | None = None
    shards: ShardChoice | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Frequencies:
    """points: how many have the vector. counts: (n,) int64, how many of them have each index."""

    points: int
    counts: npt.NDArray[np.int64]


def merge_facets(found: Sequence[FacetCounts]) -> FacetCounts:
    """Add up counts of different points."""
    if len(found) == 1:
        return found[0]
    total: dict[FacetValue, int] = {}
    for facet in found:
        for value, count in zip(facet.values, facet.counts.tolist(), strict=True):
            total[value] = total.get(value, 0) + count
    return FacetCounts(list(total), np.fromiter(total.values(), np.int64, len(total)))


def most_frequent(facet: FacetCounts, limit: int) -> list[tuple[FacetValue, int]]:
    """Give the values that most points have, the most frequent first, then by value."""
    counts = facet.counts
    if len(counts) > limit:
        least = np.partition(counts, len(counts) - limit)[len(counts) - limit]
        places = np.flatnonzero(counts >= least).tolist()
    else:
        places = list(range(len(counts)))
    hits = [(facet.values[place], int(counts[place])) for place in places]
    hits.sort(key=lambda hit: hit[0])
    hits.sort(key=lambda hit: hit[1], reverse=True)
    return hits[:limit]
