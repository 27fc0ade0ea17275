"""What in a tree of stages contradicts itself, whatever points there are."""

from __future__ import annotations

from collections.abc import Iterator

from qnode.errors import BadRequest
from qnode.models.formula import Formula
from qnode.models.universal import Dbsf, OrderBy, Rrf, Stage


def check(stage: Stage) -> None:
    """Raise BadRequest for a stage that cannot be, at any level."""
    query = stage.query
    if query is None:
        if stage.prefetches:
            raise BadRequest(
                "A query is needed to merge the prefetches. Can't have prefetches without defining a query."
            )
        if stage.score_threshold is not None:
            text = "A query is needed to use the score_threshold. Can't have score_threshold without defining a query."
            raise BadRequest(text)
    if isinstance(query, Rrf | Dbsf):
        if stage.using:
            raise BadRequest("Fusion queries cannot be combined with the 'using' field.")
        if not stage.prefetches:
            raise BadRequest("cannot apply Fusion without prefetches")
        if isinstance(query, Rrf) and query.weights is not None and len(query.weights) != len(stage.prefetches):
            raise BadRequest(
                f"RRF weights length ({len(query.weights)}) does not match number of prefetches ({len(stage.prefetches)})"
            )
    if isinstance(query, OrderBy) and stage.score_threshold is not None:
        raise BadRequest("Can't use score_threshold with an order_by query.")
    if isinstance(query, Formula) and not stage.prefetches:
        raise BadRequest("cannot apply Formula without prefetches")
    for prefetch in stage.prefetches:
        check(prefetch)


def stages_of(stage: Stage) -> Iterator[Stage]:
    """List a stage and all below it."""
    yield stage
    for prefetch in stage.prefetches:
        yield from stages_of(prefetch)
