"""The mean of examples to come near to, moved away from that of examples to stay away from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from qnode.models.query import AnyVector, SparseVector, Vector


def average(positive: Sequence[AnyVector], negative: Sequence[AnyVector]) -> AnyVector:
    """Give 2 · mean(positive) - mean(negative), without negatives the mean; of multivectors all rows, negatives turned round."""
    if isinstance(positive[0], SparseVector):
        return _sparse(cast("Sequence[SparseVector]", positive), cast("Sequence[SparseVector]", negative))
    towards, away = cast("Sequence[Vector]", positive), cast("Sequence[Vector]", negative)
    if towards[0].ndim == 2:
        return np.concatenate([*towards, *(-vector for vector in away)])
    mean: Vector = np.mean(np.stack(towards), axis=0, dtype=np.float32)
    if not away:
        return mean
    opposite: Vector = np.mean(np.stack(away), axis=0, dtype=np.float32)
    return mean + mean - opposite


def _sparse(positive: Sequence[SparseVector], negative: Sequence[SparseVector]) -> SparseVector:
    """An index that a vector does not have counts as 0."""
    towards = np.float32((2 if negative else 1) / len(positive))
    weighed = [vector.values * towards for vector in positive]
    weighed += [vector.values * np.float32(-1 / len(negative)) for vector in negative]
    given = np.concatenate([vector.indices for vector in (*positive, *negative)])
    indices, places = np.unique(given, return_inverse=True)
    values = np.zeros(len(indices), np.float32)
    np.add.at(values, places, np.concatenate(weighed))
    return SparseVector(indices, values)
