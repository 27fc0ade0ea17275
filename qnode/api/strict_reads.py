"""Strict mode for reads: what a client asks for is held against the bounds of the collection, once, before anything is read.

What a request leads to within the node (groups that ask again, rescoring, calls of peers) is not checked again. `check_read` knows every
class of read; a batch is a list of searches. Costs are those of the rate limit: query vectors, conditions, ids that are looked up.

Left out: facets are always exact here, so `search_allow_exact` says nothing about them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qnode.api.strictness import check_filter, check_limit, conditions_of, refused
from qnode.api.summaries_json import GroupsBody
from qnode.models.filter import FieldCondition, Filter
from qnode.models.formula import Formula
from qnode.models.grouping import Grouping
from qnode.models.index_needs import Need, missing_in_formula
from qnode.models.query import (
    CountRequest,
    Examples,
    Nearest,
    QueryRequest,
    RetrieveRequest,
    ScrollRequest,
    SearchParams,
)
from qnode.models.reads import FacetRequest, MatrixRequest, OrderedRequest
from qnode.models.shard_choice import ShardChoice
from qnode.models.universal import Context, Discover, Feedback, Given, Mmr, Query, Recommend, Stage, UniversalRequest
from qnode.models.vector_params import VectorParams

if TYPE_CHECKING:
    from qnode.shards.collection import Collection
    from qnode.shards.strictness import Strictness

Search = QueryRequest | UniversalRequest
Read = (
    QueryRequest
    | UniversalRequest
    | ScrollRequest
    | OrderedRequest
    | CountRequest
    | RetrieveRequest
    | FacetRequest
    | MatrixRequest
    | GroupsBody[Search]
)

_MATCHING = Need("", ("keyword", "integer", "uuid", "bool"), "match")
_GROUP_INDEX = "Create an index supporting `match` for this key"


def check_read(
    strict: Strictness, collection: Collection, request: Read | Sequence[Search], timeout_seconds: int | None
) -> None:
    """Refuse what strict mode forbids with BadRequest, and what comes too often with RateLimited.

    timeout_seconds: as far as the client has said it.
    """
    check_limit(timeout_seconds, strict.bounds.max_timeout, "timeout")
    requests: Sequence[Read] = request if isinstance(request, Sequence) else (request,)
    if isinstance(request, Sequence):
        check_limit(len(requests), strict.bounds.search_max_batchsize, "search batch size")
    for one in requests:
        _check(strict, collection, one)
    if strict.bounds.read_rate_limit is not None:
        costs: dict[int, int] = {}
        for one in requests:
            cost = cost_of(one)
            for shard in collection.shards_read(_shards_of(one)):
                costs[shard] = costs.get(shard, 0) + cost
        strict.take_reads(costs)


def filters_of(request: Any) -> Iterator[Filter]:
    """List the filters of a read, of batches and of the stages of a tree too."""
    if isinstance(request, GroupsBody):
        request = request.request
    for part in request if isinstance(request, Sequence) else (request,):
        if isinstance(part, Stage):
            yield from filters_of(part.prefetches)
        chosen = getattr(part, "filter", None)
        if chosen is not None:
            yield chosen


def cost_of(request: Read) -> int:
    """Count what a read takes of the rate limit."""
    match request:
        case RetrieveRequest():
            return len(request.keys)
        case GroupsBody():
            return cost_of(request.request)
        case QueryRequest():
            return _vectors_of(request.query) + conditions_of(request.filter)
        case UniversalRequest():
            return max(1, _cost_of_stage(request))
        case MatrixRequest():
            return 1 + request.sample + conditions_of(request.filter)
    return 1 + conditions_of(request.filter)


def _check(strict: Strictness, collection: Collection, request: Read) -> None:
    bounds = strict.bounds
    match request:
        case RetrieveRequest():
            return
        case CountRequest():
            _check_exact(strict, is_exact=request.exact)
        case GroupsBody():
            grouping = request.grouping
            check_limit(grouping.limit * grouping.size, bounds.max_query_limit, "limit")
            _check_grouping(strict, collection, grouping)
            _check(strict, collection, replace(request.request, limit=1))
            return
        case MatrixRequest():
            check_limit(request.limit * request.sample, bounds.max_query_limit, "limit")
        case UniversalRequest():
            _check_stage(strict, collection, request, None)
            return
        case QueryRequest():
            check_limit(request.limit, bounds.max_query_limit, "limit")
            _check_params(strict, request.params)
            if request.query is not None:
                _check_walk(strict, collection, request.using, (request.filter,))
        case _:
            check_limit(request.limit, bounds.max_query_limit, "limit")
    check_filter(request.filter, bounds, collection.fields, bounds.unindexed_filtering_retrieve)


def _check_stage(strict: Strictness, collection: Collection, stage: Stage, above: Filter | None) -> None:
    bounds = strict.bounds
    check_limit(stage.limit, bounds.max_query_limit, "limit")
    _check_params(strict, stage.params)
    check_filter(stage.filter, bounds, collection.fields, bounds.unindexed_filtering_retrieve)
    if isinstance(stage.query, Formula) and bounds.unindexed_filtering_retrieve is False:
        need = missing_in_formula(stage.query.expression, collection.fields)
        if need is not None:
            raise refused(need.text, "Create an index for this key or use a different formula expression")
    if not stage.prefetches and _asks_vectors(stage.query):
        _check_walk(strict, collection, stage.using, (stage.filter, above))
    below = stage.filter if above is None else above if stage.filter is None else Filter(must=(above, stage.filter))
    for prefetch in stage.prefetches:
        _check_stage(strict, collection, prefetch, below)


def _check_params(strict: Strictness, params: SearchParams) -> None:
    check_limit(params.hnsw_ef, strict.bounds.search_max_hnsw_ef, "hnsw_ef")
    check_limit(params.quantization.oversampling, strict.bounds.search_max_oversampling, "oversampling")
    _check_exact(strict, is_exact=params.exact)


def _check_exact(strict: Strictness, *, is_exact: bool) -> None:
    if is_exact and strict.bounds.search_allow_exact is False:
        raise refused("Exact search disabled!", 'Set "exact" to false')


def _check_walk(strict: Strictness, collection: Collection, using: str, filters: tuple[Filter | None, ...]) -> None:
    """Refuse to compare a query with all vectors, where exact searches are refused and there will never be a graph."""
    params = collection.settings.vectors.get(using)
    if strict.bounds.search_allow_exact is not False or not isinstance(params, VectorParams) or params.m:
        return
    if collection.config.payload_m(using) and any(_is_of_tenant(collection, chosen) for chosen in filters):
        return
    raise refused(
        f"Request is forbidden on '{using}' because global vector indexing is disabled (hnsw_config.m = 0)",
        "Use tenant-specific filter, enable global vector indexing or enable strict mode `search_allow_exact` option",
    )


def _is_of_tenant(collection: Collection, chosen: Filter | None) -> bool:
    """Tell whether a filter picks tenants by their index."""
    for condition in () if chosen is None else chosen.must:
        if isinstance(condition, Filter):
            if _is_of_tenant(collection, condition):
                return True
        elif isinstance(condition, FieldCondition) and condition.match is not None:
            schema = collection.fields.get(condition.path.text)
            if schema is not None and (schema.params or {}).get("is_tenant") is True:
                return True
    return False


def _check_grouping(strict: Strictness, collection: Collection, grouping: Grouping) -> None:
    if strict.bounds.unindexed_filtering_retrieve is not False:
        return
    key = grouping.path.text
    schema = collection.fields.get(key)
    if schema is None:
        raise refused(f'Index required but not found for "{key}"', _GROUP_INDEX)
    if not _MATCHING.is_met(schema):
        raise refused(f'Index of type "{schema.type.capitalize()}" found for "{key}"', _GROUP_INDEX)


def _shards_of(request: Read) -> ShardChoice | None:
    return request.request.shards if isinstance(request, GroupsBody) else request.shards


def _cost_of_stage(stage: Stage) -> int:
    own = conditions_of(stage.filter) + sum(map(_cost_of_stage, stage.prefetches))
    return own if stage.prefetches and not _asks_vectors(stage.query) else own + _vectors_of(stage.query)


def _asks_vectors(query: Query | None) -> bool:
    return isinstance(query, Nearest | Mmr | Recommend | Discover | Context | Feedback)


def _vectors_of(query: Query | Examples | None) -> int:
    """Count the vectors of a query, one that has none as one; a point that stands for its vector is looked up, and counts twice."""
    match query:
        case Nearest():
            return 2 if query.vector is None else _rows_of(query.vector)
        case Mmr():
            return _vectors_of(query.nearest)
        case Examples():
            return sum(map(_rows_of, query.vectors))
        case Recommend():
            given: list[Given] = [*query.positive, *query.negative]
        case Discover():
            given = [query.target, *(one for pair in query.pairs for one in pair)]
        case Context():
            given = [one for pair in query.pairs for one in pair]
        case Feedback():
            given = [query.target, *(one for one, _ in query.judged)]
        case _:
            return 1
    return sum(map(_rows_of, given))


def _rows_of(given: Given) -> int:
    if isinstance(given, bytes):
        return 2
    return len(given) if isinstance(given, np.ndarray) and given.ndim == 2 else 1
