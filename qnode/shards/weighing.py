"""Queries whose values are weighed by how rare their indices are (`idf`): what is counted before, and what is made of it.

What is counted is summed over all shards that are searched, so how points are spread over shards does not show. The weighed query is
an ordinary one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qnode.errors import BadRequest
from qnode.models.query import AnyVector, Examples, Nearest, QueryRequest, SparseVector
from qnode.models.reads import Frequencies, FrequenciesRequest
from qnode.models.vector_params import SlotParams, SparseParams


def counted_for(request: QueryRequest, params: SlotParams) -> FrequenciesRequest | None:
    """Say what must be counted before a query, None if it is not weighed; raise BadRequest if it asks for weights that there are not."""
    is_weighed = isinstance(params, SparseParams) and params.idf
    if not is_weighed:
        if request.params.idf is not None:
            raise BadRequest("search param `idf` requires a sparse vector with the `idf` modifier")
        return None
    target = request.target
    if target is None:
        return None
    vectors = target.vectors if isinstance(target, Examples) else [target]
    indices = [vector.indices for vector in vectors if isinstance(vector, SparseVector)]
    corpus = None if request.params.idf is None else request.params.idf.corpus
    return FrequenciesRequest(request.using, np.unique(np.concatenate(indices)), corpus, request.shards)


def weighed(request: QueryRequest, asked: FrequenciesRequest, counted: Frequencies) -> QueryRequest:
    """Multiply the values of a query by ln((N - df + ½) / (df + ½) + 1)."""
    points, frequencies = np.float32(counted.points), counted.counts.astype(np.float32)
    half = np.float32(0.5)
    rarity = np.log((points - frequencies + half) / (frequencies + half) + np.float32(1))

    def of(vector: AnyVector) -> SparseVector:
        assert isinstance(vector, SparseVector)
        return SparseVector(vector.indices, vector.values * rarity[np.searchsorted(asked.indices, vector.indices)])

    query = request.query
    if isinstance(query, Examples):
        query = replace(
            query,
            target=None if query.target is None else of(query.target),
            positive=tuple(map(of, query.positive)),
            negative=tuple(map(of, query.negative)),
            pairs=tuple((of(positive), of(negative)) for positive, negative in query.pairs),
        )
    else:
        assert isinstance(query, Nearest)
        assert query.vector is not None
        query = replace(query, vector=of(query.vector))
    return replace(request, query=query, params=replace(request.params, idf=None))
