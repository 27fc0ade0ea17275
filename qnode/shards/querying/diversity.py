"""Choosing from candidates those that are near to the query and far from each other: maximal marginal relevance.

The first is the nearest; each further one has the largest λ · relevance - (1 - λ) · (largest similarity to one that was chosen),
λ = 1 - diversity. Similarities are the internal ones, larger is better; of multivectors, where it matters which one asks, the one that is
weighed asks, and the one that was chosen answers. Memory: one row of similarities, not all pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np

from qnode.index.vectors.query import normalised
from qnode.models.query import AnyVector, SparseVector, Vector
from qnode.models.vector_params import Distance

Similarities = Callable[[AnyVector], Vector]


def chosen(
    query: AnyVector, candidates: Sequence[AnyVector], distance: Distance, diversity: float, wanted: int
) -> list[int]:
    """Give the places of those that are chosen, in order. Vectors as `Nearest` has them; stored ones of cosine are normalised."""
    if not candidates:
        return []
    similar, alike = _similarities(candidates, distance)
    if distance is Distance.COSINE and isinstance(query, np.ndarray):
        query = normalised(np.atleast_2d(query)).reshape(query.shape)
    relevance = similar(query)
    weight = np.float32(1 - diversity)
    pending = np.arange(len(candidates))
    nearest_chosen = np.full(len(candidates), -np.inf, np.float32)
    merit = relevance
    picked: list[int] = []
    while len(pending) and len(picked) < wanted:
        # Of equal merit is the last; its place is taken by the last candidate: so Qdrant's ties are broken.
        at = len(pending) - 1 - int(np.argmax(merit[pending][::-1]))
        place = int(pending[at])
        pending[at] = pending[-1]
        pending = pending[:-1]
        picked.append(place)
        np.maximum(nearest_chosen, alike(candidates[place]), out=nearest_chosen)
        merit = weight * relevance - (np.float32(1) - weight) * nearest_chosen
    return picked


def _similarities(candidates: Sequence[AnyVector], distance: Distance) -> tuple[Similarities, Similarities]:
    """Make two functions from a vector to similarities, (n,) float32: of all candidates to it as a query, of it to each of them as one."""
    if isinstance(candidates[0], SparseVector):
        products = _sparse_similarities(cast("Sequence[SparseVector]", candidates))
        return products, products
    dense = cast("Sequence[Vector]", candidates)
    if dense[0].ndim == 1:
        stacked = np.stack(dense)

        def similarities(vector: AnyVector) -> Vector:
            return _row_similarities(stacked, cast("Vector", vector), distance)

        return similarities, similarities
    rows = np.concatenate(dense)
    begins = np.cumsum([0, *[len(vector) for vector in dense[:-1]]])

    def max_sim(vector: AnyVector) -> Vector:
        total = np.zeros(len(dense), np.float32)
        for row in cast("Vector", vector).reshape(-1, rows.shape[1]):
            total += np.maximum.reduceat(_row_similarities(rows, row, distance), begins)
        return total

    def asked_by_candidates(vector: AnyVector) -> Vector:
        best = np.full(len(rows), -np.inf, np.float32)
        for row in cast("Vector", vector).reshape(-1, rows.shape[1]):
            np.maximum(best, _row_similarities(rows, row, distance), out=best)
        total: Vector = np.add.reduceat(best, begins)
        return total

    return max_sim, asked_by_candidates


def _sparse_similarities(candidates: Sequence[SparseVector]) -> Similarities:
    indices = np.concatenate([vector.indices for vector in candidates])
    values = np.concatenate([vector.values for vector in candidates])
    owners = np.repeat(np.arange(len(candidates)), [len(vector.values) for vector in candidates])

    def products(vector: AnyVector) -> Vector:
        query = cast("SparseVector", vector)
        if not len(query.indices):
            return np.zeros(len(candidates), np.float32)
        places = np.minimum(np.searchsorted(query.indices, indices), len(query.indices) - 1)
        common = query.indices[places] == indices
        given = values[common] * query.values[places[common]]
        return np.bincount(owners[common], given, len(candidates)).astype(np.float32)

    return products


def _row_similarities(rows: Vector, vector: Vector, distance: Distance) -> Vector:
    similarity: Vector
    if distance is Distance.EUCLID:
        similarity = -np.square(rows - vector).sum(axis=1, dtype=np.float32)
    elif distance is Distance.MANHATTAN:
        similarity = -np.abs(rows - vector).sum(axis=1, dtype=np.float32)
    else:
        similarity = rows @ vector
    return similarity
