"""Putting ranked lists together, by the places in them or by their scores; float32, as Qdrant computes.

Among equal results the one that stands first in the earlier list is first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from qnode.models.query import Hits, Point, Vector

Found = Sequence[Point]


def reciprocal_rank_fusion(sources: Sequence[Found], k: int, weights: Sequence[float] | None) -> Found:
    """Add up 1 / ((place + 1) / weight + k - 1) over the lists, places from 0; nothing where the weight is not above 0."""
    by_source = weights or [1.0] * len(sources)

    def parts(at: int) -> Vector:
        places = np.arange(1, len(sources[at]) + 1, dtype=np.float32)
        weight = np.float32(by_source[at])
        if not weight > 0:
            return np.zeros_like(places)
        with np.errstate(over="ignore"):  # a weight near 0 makes the places infinite, which adds nothing
            given: Vector = np.float32(1) / (places / weight + np.float32(k) - np.float32(1))
        return given

    return _fused(sources, parts)


def distribution_based_fusion(sources: Sequence[Found]) -> Found:
    """Add up (score - (mean - 3 deviations)) / 6 deviations over the lists; one half where all scores are equal."""
    return _fused(sources, lambda at: _normalised(scores_of(sources[at])))


def scores_of(found: Found) -> Vector:
    """Give the scores of points, (n,) float32; 1 where nothing was scored."""
    if isinstance(found, Hits):
        return found.scores
    return np.array([1.0 if point.score is None else point.score for point in found], np.float32)


def _normalised(scores: Vector) -> Vector:
    mean = scores.mean(dtype=np.float32) if len(scores) else np.float32(0)
    variance = np.square(scores - mean).sum(dtype=np.float32) / np.float32(max(len(scores) - 1, 1))
    if not variance > 0:
        return np.full(len(scores), 0.5, np.float32)
    deviation = np.sqrt(variance)
    low = mean - np.float32(3) * deviation
    high = mean + np.float32(3) * deviation
    normalised: Vector = (scores - low) / (high - low)
    return normalised


def _fused(sources: Sequence[Found], parts: Callable[[int], Vector]) -> Found:
    """Add up what each list gives to its points; `parts` gives it for a list by number, (n,) float32."""
    if all(isinstance(found, Hits) for found in sources):
        columns = [(found.ids, found.versions) for found in sources if isinstance(found, Hits)]
        versions: dict[int | str, int] = {}
        for ids, known in columns:
            versions.update(zip(ids, known, strict=True))
        order, scores = _added([ids for ids, _ in columns], parts)
        listed = list(versions)
        return Hits([listed[at] for at in order], [versions[listed[at]] for at in order], scores)
    points: dict[bytes, Point] = {}
    for found in sources:
        for point in found:
            points.setdefault(point.key, point)
    order, scores = _added([[point.key for point in found] for found in sources], parts)
    kept = list(points.values())
    return [replace(kept[at], score=score) for at, score in zip(order, scores, strict=True)]


def _added(
    listed: Sequence[Sequence[int | str]] | Sequence[Sequence[bytes]], parts: Callable[[int], Vector]
) -> tuple[list[int], Vector]:
    """Give the places of all that is listed, in the order of its first mention, best first; and the scores."""
    places: dict[int | str | bytes, int] = {}
    mentions = [[places.setdefault(name, len(places)) for name in names] for names in listed]
    total = np.zeros(len(places), np.float32)
    for at, mentioned in enumerate(mentions):
        np.add.at(total, mentioned, parts(at))
    order = np.argsort(-total, kind="stable")
    return order.tolist(), total[order]
