"""Compiling the kernels of sparse vectors, or loading them from numba's cache, before the first request needs them.

What is run here has the types of what requests bring: a kernel is compiled anew for others.
"""

from __future__ import annotations

import numpy as np

from qnode.index.sparse import inverting
from qnode.index.sparse.postings import (
    Forward,
    Inverted,
    SparseView,
    Wanted,
    frequencies,
    joined,
    postings_of,
    search,
    similarities,
)
from qnode.index.vectors.native import address_of
from qnode.models.columns import offsets_of
from qnode.models.query import SparseVector

ROWS, FEW = 64, 1


def warm_up() -> None:
    """Run every kernel that requests and opening need once, on a tiny segment."""
    lengths = np.ones(ROWS, np.int64)
    indices, values = np.zeros(ROWS, np.uint32), np.ones(ROWS, np.float32)
    forward = Forward(offsets_of(lengths), indices, values)
    postings = joined([postings_of(0, lengths, indices, values)])
    numbers = np.arange(ROWS, dtype=np.uint32)
    query, alive, few = SparseVector(indices[:1], values[:1]), np.ones(ROWS, np.bool_), np.zeros(ROWS, np.bool_)
    few[0] = True
    inverted = SparseView(ROWS, numbers, forward, Inverted.of(postings), ascending=True)
    plain = SparseView(ROWS, numbers, forward, Inverted.of(), ascending=False)
    for view in (inverted, plain):
        for wanted in (Wanted(alive, None, ROWS), Wanted(alive, few, FEW)):
            search(view, query, 1, wanted, -np.inf)
            rows = wanted.rows(view)
            similarities(view, query, rows)
            frequencies(view, query.indices, wanted)
    inverting.ascend_within(np.array(postings.starts), address_of(postings.rows), ROWS)
