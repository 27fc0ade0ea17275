"""Bodies of `points/query` to one search, or to a tree of stages where searches are combined.

A search for the nearest points to a vector or a point, without anything around it, is the plain `QueryRequest` that the hot path
knows; `UniversalRequest` is everything else. `path` is the prefix under which Qdrant names a fault, as in `reads_json`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from qnode.api.formula_json import parse_formula
from qnode.api.read_parts_json import (
    filter_of,
    limit_of,
    offset_of,
    payload_selector_of,
    search_params_of,
    threshold_of,
    vector_selector_of,
)
from qnode.api.reads_json import nearest_of, searches_of
from qnode.api.shard_choice_json import choice_of
from qnode.api.summaries_json import parse_order_by
from qnode.errors import BadRequest, ValidationFailed
from qnode.models import reading
from qnode.models.query import NO_PAYLOAD, UNNAMED, Nearest, QueryRequest
from qnode.models.universal import (
    DEFAULT_DIVERSITY,
    DEFAULT_RRF_K,
    Context,
    Dbsf,
    Discover,
    Feedback,
    Given,
    Lookup,
    Mmr,
    OrderBy,
    Pair,
    Query,
    Recommend,
    Rrf,
    Sample,
    Stage,
    Strategy,
    UniversalRequest,
)

MAX_PREFETCH_DEPTH = 64
"""Everything that walks a tree may recurse."""

_MOST_CANDIDATES = 16_384

_MOST_JUDGED = 4096
"""Each judged example is weighed against each other one."""

_STRATEGY = reading.one_of(*Strategy)

Request = TypeVar("Request", bound=Stage)


def parse_query(body: object, path: str = "internal.") -> QueryRequest | UniversalRequest:
    """Read one query of `points/query`."""
    given = reading.mapping(body, "struct QueryRequest")
    value = given.get("query")
    query = None if value is None else _query(value, f"{path}query")
    plain = query is None or type(query) is Nearest
    if plain and given.get("prefetch") in (None, []) and given.get("lookup_from") is None:
        threshold = threshold_of(given)
        if query is None and threshold is not None:
            text = "A query is needed to use the score_threshold. Can't have score_threshold without defining a query."
            raise BadRequest(text)
        assert query is None or isinstance(query, Nearest)
        using = given.get("using")
        return QueryRequest(
            query,
            UNNAMED if using is None else reading.text(using),
            filter_of(given, path),
            search_params_of(given.get("params"), path),
            threshold,
            limit_of(given.get("limit"), path),
            offset_of(given),
            payload_selector_of(given.get("with_payload"), NO_PAYLOAD),
            vector_selector_of(given),
            choice_of(given),
        )
    return UniversalRequest(
        **_stage(given, query, path, 0),
        offset=offset_of(given),
        with_payload=payload_selector_of(given.get("with_payload"), NO_PAYLOAD),
        with_vector=vector_selector_of(given),
        shards=choice_of(given),
    )


def parse_query_batch(body: object) -> list[QueryRequest | UniversalRequest]:
    """Read the queries of `points/query/batch`."""
    return [parse_query(query, f"searches[{at}].internal.") for at, query in enumerate(searches_of(body))]


def lookup_of(given: dict[str, Any]) -> Lookup | None:
    """Read where the points that are named as examples are looked up."""
    value = given.get("lookup_from")
    if value is None:
        return None
    place = reading.mapping(value, "struct LookupLocation")
    collection = reading.text(reading.required(place, "collection"))
    vector = place.get("vector")
    return Lookup(collection, None if vector is None else reading.text(vector), choice_of(place))


def _stage(given: dict[str, Any], query: Query | None, path: str, depth: int) -> dict[str, Any]:
    """Read what the root and the stages below it have in common."""
    using = given.get("using")
    return {
        "query": query,
        "prefetches": _prefetches(given.get("prefetch"), f"{path}prefetch", depth + 1),
        "using": UNNAMED if using is None else reading.text(using),
        "filter": filter_of(given, path),
        "params": search_params_of(given.get("params"), path),
        "score_threshold": threshold_of(given),
        "limit": limit_of(given.get("limit"), path),
        "lookup": lookup_of(given),
    }


def _prefetches(value: object, path: str, depth: int) -> tuple[Stage, ...]:
    if value is None or value == []:
        return ()
    if depth > MAX_PREFETCH_DEPTH:
        raise BadRequest(f"prefetches depth {depth} exceeds max depth {MAX_PREFETCH_DEPTH}")
    if isinstance(value, list):
        return tuple(_prefetch(each, f"{path}[{at}].", depth) for at, each in enumerate(value))
    return (_prefetch(value, f"{path}.", depth),)


def _prefetch(value: object, path: str, depth: int) -> Stage:
    given = reading.mapping(value, "struct Prefetch")
    query = given.get("query")
    return Stage(**_stage(given, None if query is None else _query(query, f"{path}query"), path, depth))


def _query(value: object, path: str) -> Query:
    if isinstance(value, dict):
        for kind, read in _KINDS.items():
            if value.get(kind) is not None:
                return read(value, path)
    return nearest_of(value, path)


def given_of(value: object, path: str) -> Given:
    """Read an example: a vector, or the id of a point."""
    nearest = nearest_of(value, path)
    if nearest.example is not None:
        return nearest.example
    assert nearest.vector is not None
    return nearest.vector


def givens_of(value: object, path: str) -> tuple[Given, ...]:
    """Read a list of examples; an absent one is empty."""
    if value is None:
        return ()
    return tuple(given_of(each, f"{path}[{at}]") for at, each in enumerate(reading.sequence(value)))


def pairs_of(value: object, path: str) -> tuple[Pair, ...]:
    """Read pairs of a positive and a negative example, or one alone."""
    if value is None:
        return ()
    if isinstance(value, list):
        return tuple(_pair(each, f"{path}[{at}]") for at, each in enumerate(value))
    return (_pair(value, path),)


def _pair(value: object, path: str) -> Pair:
    given = reading.mapping(value, "struct ContextPair")
    sides = [given_of(reading.required(given, name), f"{path}.{name}") for name in ("positive", "negative")]
    return sides[0], sides[1]


def recommend_of(given: dict[str, Any], path: str) -> Recommend:
    """Read examples to come near to and to stay away from."""
    strategy = given.get("strategy")
    read = Recommend(
        givens_of(given.get("positive"), f"{path}.positive"),
        givens_of(given.get("negative"), f"{path}.negative"),
        Strategy.AVERAGE_VECTOR if strategy is None else Strategy(_STRATEGY(strategy)),
    )
    if not (read.positive or read.negative):
        raise ValidationFailed([(path, "At least one positive or negative vector/id must be provided")])
    return read


def _nearest(value: dict[str, Any], path: str) -> Nearest | Mmr:
    nearest = nearest_of(value["nearest"], path)
    if value.get("mmr") is None:
        return nearest
    read = {"diversity": reading.number, "candidates_limit": reading.unsigned}
    params = reading.fields(value["mmr"], read, "struct Mmr")
    bounds: dict[str, reading.Bounds] = {"diversity": (0.0, 1.0), "candidates_limit": (None, _MOST_CANDIDATES)}
    reading.raise_faults(reading.section_faults(f"{path}.mmr", params, bounds))
    return Mmr(nearest, params.get("diversity", DEFAULT_DIVERSITY), params.get("candidates_limit"))


def _recommend(value: dict[str, Any], path: str) -> Recommend:
    return recommend_of(reading.mapping(value["recommend"], "struct RecommendInput"), f"{path}.recommend")


def _discover(value: dict[str, Any], path: str) -> Discover:
    given = reading.mapping(value["discover"], "struct DiscoverInput")
    target = given_of(reading.required(given, "target"), f"{path}.discover.target")
    return Discover(target, pairs_of(given.get("context"), f"{path}.discover.context"))


def _context(value: dict[str, Any], path: str) -> Context:
    return Context(pairs_of(value["context"], f"{path}.context"))


def _fusion(value: dict[str, Any], path: str) -> Rrf | Dbsf:
    return Rrf() if reading.one_of("rrf", "dbsf")(value["fusion"]) == "rrf" else Dbsf()


def _rrf(value: dict[str, Any], path: str) -> Rrf:
    weights = lambda given: tuple(map(reading.number, reading.sequence(given)))  # noqa: E731
    params = reading.fields(value["rrf"], {"k": reading.unsigned, "weights": weights}, "struct Rrf")
    reading.raise_faults(reading.section_faults(f"{path}.rrf", params, {"k": (1, None)}))
    return Rrf(params.get("k", DEFAULT_RRF_K), params.get("weights"))


def _feedback(value: dict[str, Any], path: str) -> Feedback:
    given = reading.mapping(value["relevance_feedback"], "struct RelevanceFeedbackInput")
    path = f"{path}.relevance_feedback"
    target = given_of(reading.required(given, "target"), f"{path}.target")
    judged = tuple(
        _judged(each, f"{path}.feedback[{at}]")
        for at, each in enumerate(reading.sequence(reading.required(given, "feedback")))
    )
    strategy = reading.mapping(reading.required(given, "strategy"), "enum FeedbackStrategy")
    naive = reading.mapping(reading.required(strategy, "naive"), "struct NaiveFeedbackStrategyParams")
    weights = {name: reading.number(reading.required(naive, name)) for name in ("a", "b", "c")}
    faults = [] if judged else [(f"{path}.feedback", "feedback elements must be non-empty")]
    if len(judged) > _MOST_JUDGED:
        faults.append((f"{path}.feedback", f"feedback elements must be at most {_MOST_JUDGED}"))
    faults += reading.section_faults(f"{path}.strategy.naive", weights, {"b": (0.0, None)})
    reading.raise_faults(faults)
    return Feedback(target, judged, **weights)


def _judged(value: object, path: str) -> tuple[Given, float]:
    given = reading.mapping(value, "struct FeedbackItem")
    return given_of(reading.required(given, "example"), f"{path}.example"), reading.number(
        reading.required(given, "score")
    )


def _sample(value: dict[str, Any], path: str) -> Sample:
    reading.one_of("random")(value["sample"])
    return Sample()


_KINDS: dict[str, Callable[[dict[str, Any], str], Query]] = {
    "nearest": _nearest,
    "recommend": _recommend,
    "discover": _discover,
    "context": _context,
    "order_by": lambda value, path: OrderBy(*parse_order_by(value["order_by"])),
    "fusion": _fusion,
    "rrf": _rrf,
    "formula": lambda value, path: parse_formula(value),
    "sample": _sample,
    "relevance_feedback": _feedback,
}
