"""What is measured on: real embeddings from a folder, synthetic ones from a generator, payloads for both.

A folder holds vectors.npy and queries.npy, (n, dim) of any float type. Exact neighbours are computed here, so that data of
any origin can be used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]

DIMENSIONS = 384
TOP = 10
QUERIES = 1000
CLUSTERS, INTRINSIC_DIMENSIONS, SPREAD, NOISE = 500, 48, 0.5, 0.3
SECTIONS = tuple(f"section-{number}" for number in range(40))
BLOCK = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Unit vectors, queries, and the exact best TOP of each query, in no order."""

    name: str
    vectors: Floats
    queries: Floats
    truth: Numbers

    @property
    def raw_bytes(self) -> int:
        return self.vectors.nbytes

    def recall(self, found: list[Numbers]) -> float:
        """The share of true neighbours among what was found for the first len(found) queries."""
        hits = sum(len(np.intersect1d(a, b)) for a, b in zip(found, self.truth[: len(found)], strict=True))
        return hits / (TOP * len(found))


def real(folder: Path) -> Dataset:
    """Read the embeddings of a folder."""
    vectors, queries = (_unit(np.load(folder / name).astype(np.float32)) for name in ("vectors.npy", "queries.npy"))
    return Dataset(f"real, {len(vectors)} × {vectors.shape[1]}", vectors, queries, _neighbours(vectors, queries))


def synthetic(points: int, seed: int = 0) -> Dataset:
    """Make clustered vectors of low intrinsic dimension under noise, as embeddings are."""
    generator = np.random.default_rng(seed)
    basis = generator.standard_normal((INTRINSIC_DIMENSIONS, DIMENSIONS), np.float32)
    centres = generator.standard_normal((CLUSTERS, INTRINSIC_DIMENSIONS), np.float32)

    def draw(count: int) -> Floats:
        drawn = np.empty((count, DIMENSIONS), np.float32)
        for first in range(0, count, BLOCK):
            block = drawn[first : first + BLOCK]
            shape = (len(block), INTRINSIC_DIMENSIONS)
            inner = centres[generator.integers(0, CLUSTERS, len(block))]
            inner = inner + np.float32(SPREAD) * generator.standard_normal(shape, np.float32)
            level = np.float32(NOISE * np.sqrt(INTRINSIC_DIMENSIONS))
            block[:] = inner @ basis + level * generator.standard_normal(block.shape, np.float32)
        return _unit(drawn)

    vectors, queries = draw(points), draw(QUERIES)
    return Dataset(f"synthetic, {points} × {DIMENSIONS}", vectors, queries, _neighbours(vectors, queries))


def payload(number: int) -> dict[str, Any]:
    """The five payload fields of a point; `section` and `size` are the ones that get an index."""
    return {
        "section": SECTIONS[number * 7919 % len(SECTIONS)],
        "size": number * 104_729 % 100_000,
        "name": f"package-{number}",
        "essential": number % 100 == 0,
        "text": f"the description of package number {number}, one short line as there are many",
    }


def _unit(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _neighbours(vectors: Floats, queries: Floats) -> Numbers:
    found = []
    for first in range(0, len(queries), 100):
        scores = queries[first : first + 100] @ vectors.T
        found.append(np.argpartition(-scores, TOP, axis=1)[:, :TOP])
    return np.concatenate(found)
