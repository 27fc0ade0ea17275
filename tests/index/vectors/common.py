"""Vectors, segments and brute force for the tests of this folder."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from qnode.index.vectors import BuildJob, BuildSource, GrowingSegment, Query, SealedSegment, prepare_query
from qnode.index.vectors.build import build
from qnode.index.vectors.query import normalised
from qnode.models.query import QuantizationParams
from qnode.models.vector_params import Datatype, Distance, VectorParams

AS_SET = QuantizationParams()


def params_of(size: int = 32, distance: Distance = Distance.COSINE, **changes) -> VectorParams:
    return VectorParams("", 0, size, distance, **changes)


def vectors_for(params: VectorParams, rows: int, seed: int) -> np.ndarray:
    """Clustered vectors that suit the settings."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((20, params.size))
    values = centres[generator.integers(0, 20, rows)] + 0.5 * generator.standard_normal((rows, params.size))
    if params.datatype is Datatype.UINT8:
        return np.clip(values * 30 + 128, 0, 255).astype(np.float32)
    values = values.astype(np.float32)
    return normalised(values) if params.distance is Distance.COSINE else values


def growing_of(directory: Path, params: VectorParams, vectors: np.ndarray, points=None) -> GrowingSegment:
    segment = GrowingSegment.create(directory, params)
    numbers = np.arange(len(vectors)) if points is None else np.asarray(points)
    segment.append(numbers.astype(np.uint32), np.arange(1, len(vectors) + 1).astype(np.uint64), vectors)
    segment.publish(len(vectors))
    return segment


def sealed_of(directory: Path, params: VectorParams, vectors: np.ndarray, points=None, *, graph=True) -> SealedSegment:
    growing = growing_of(directory / "growing", params, vectors, points)
    seal(directory, params, [growing], graph=graph)
    return SealedSegment.open(directory / "sealed", params, verify=True)


def seal(directory: Path, params: VectorParams, segments, *, alive=None, graph=True) -> int:
    sources = []
    for number, segment in enumerate(segments):
        path = directory / f"alive-{number}"
        (np.ones(segment.rows, np.bool_) if alive is None else alive[number]).tofile(path)
        sources.append(BuildSource(segment.directory, isinstance(segment, SealedSegment), segment.rows, path))
    return build(BuildJob(tuple(sources), directory / "sealed", params, os.getpid(), 1, graph))


def find_best(
    segment,
    query: Query | np.ndarray,
    k=10,
    *,
    ef=64,
    alive=None,
    selected=None,
    exact=False,
    quantization=AS_SET,
    floor=-np.inf,
):
    if not isinstance(query, Query):
        query = prepare_query(segment.params, query)
    alive = np.ones(segment.rows, np.bool_) if alive is None else alive
    count = segment.rows if selected is None else int(selected.sum())
    return segment.search(query, k, ef, alive, selected, count, exact=exact, quantization=quantization, floor=floor)


def brute_force(params: VectorParams, vectors: np.ndarray, query: np.ndarray, k: int, wanted=None) -> list[int]:
    """The rows of the best k in float64."""
    rows, query = vectors.astype(np.float64), query.astype(np.float64)
    match params.distance:
        case Distance.EUCLID:
            scores = -np.square(rows - query).sum(axis=1)
        case Distance.MANHATTAN:
            scores = -np.abs(rows - query).sum(axis=1)
        case Distance.DOT:
            scores = rows @ query
        case Distance.COSINE:
            scores = rows @ query / np.linalg.norm(rows, axis=1) / np.linalg.norm(query)
    if wanted is not None:
        scores = np.where(wanted, scores, -np.inf)
        k = min(k, int(wanted.sum()))
    return np.argsort(-scores, kind="stable")[:k].tolist()


def recall(segment, vectors, queries, *, k=10, wanted=None, selected=None, **arguments) -> float:
    """Share of the true best k that the segment finds; rows are points here."""
    hits = total = 0
    for query in queries:
        true = brute_force(segment.params, vectors, query, k, wanted)
        _, rows = find_best(segment, query, k, selected=selected, **arguments)
        assert len(rows) == len(true)
        hits += len(set(segment.points[rows].tolist()) & set(true))
        total += len(true)
    return hits / max(total, 1)
