"""Giving the points that prefetches have found the score of a formula."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from qnode.models.condition import PointFacts
from qnode.models.formula import Formula
from qnode.models.payload_path import PayloadPath
from qnode.models.point_id import PointKey
from qnode.models.query import NO_PAYLOAD, NO_VECTORS, PayloadSelector, Point, RetrieveRequest, VectorSelector
from qnode.models.shard_choice import ShardChoice
from qnode.shards.querying.expressions import Candidate, compile_formula, payload_names, vector_names
from qnode.shards.querying.fusion import scores_of
from qnode.shards.querying.steps import Ask, Steps, asked

Looked = tuple[dict[str, Any] | None, tuple[str, ...]]

_NOTHING: Looked = ({}, ())
_GONE: Looked = (None, ())
"""What is seen of a point that was deleted since it was found."""


def rescored(
    formula: Formula, sources: Sequence[Sequence[Point]], shards: ShardChoice | None
) -> Steps[Sequence[Point]]:
    """Score all points of the sources, best first; of equal ones the larger id is first."""
    scores = [dict(zip([point.key for point in found], scores_of(found).tolist(), strict=True)) for found in sources]
    points = list({point.key: point for found in reversed(sources) for point in found}.values())
    held = yield from _looked_at(formula, [point.key for point in points], shards)
    score = compile_formula(formula)
    kept = []
    for point in points:
        payload, vectors = held.get(point.key, _GONE) if held is not None else _NOTHING
        if payload is None:
            continue
        facts = PointFacts(point.key, vectors)
        candidate = Candidate([found.get(point.key) for found in scores], payload, facts)
        kept.append(Point(point.key, point.version, score(candidate), shard_key=point.shard_key))
    kept.sort(key=lambda point: (point.score, point.key), reverse=True)
    return kept


def _looked_at(
    formula: Formula, keys: Sequence[PointKey], shards: ShardChoice | None
) -> Steps[dict[PointKey, Looked] | None]:
    """Read what the formula looks at of points: the keys of payloads, and which vectors are there; None if that is nothing."""
    names, vectors = payload_names(formula), vector_names(formula)
    if not (names or vectors):
        return None
    paths = tuple(PayloadPath(f'"{name}"', (name,)) for name in sorted(names))
    payload_selector = PayloadSelector(True, include=paths) if paths else NO_PAYLOAD
    vector_selector = VectorSelector(True, tuple(sorted(vectors))) if vectors else NO_VECTORS
    points = yield from asked(Ask(RetrieveRequest(tuple(keys), payload_selector, vector_selector, shards)))
    return {
        point.key: (
            {} if point.payload is None else orjson.loads(point.payload),
            tuple(point.vectors or ()),
        )
        for point in points
    }
