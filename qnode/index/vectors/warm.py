"""Compiling the kernels, or loading them from numba's cache, before the first request needs them."""

from __future__ import annotations

import threading

import numpy as np

from qnode.index import sparse
from qnode.index.vectors import hadamard, lookups, native, sketches
from qnode.index.vectors.codes import CodeKind, code_bytes, to_int8
from qnode.index.vectors.multi import best_runs, whole_runs
from qnode.index.vectors.query import prepare_query
from qnode.index.vectors.search import search
from qnode.index.vectors.sketches import LEAST_DIMENSIONS, Sketches
from qnode.index.vectors.view import Codes, Graph, View
from qnode.index.vectors.walks import Walked, plan_walks
from qnode.models.query import QuantizationParams
from qnode.models.vector_params import Distance, VectorParams

ROWS, DIMENSIONS = 256, 32

_warm = threading.Event()


def warm_up() -> None:
    """Run every kernel once on a tiny segment: seconds when they must be compiled, well below one when they are cached."""
    _search_all_ways()
    _warm.set()


def is_warm() -> bool:
    """Say whether the kernels are loaded: before, a search may have to wait for a compiler."""
    return _warm.is_set()


def _search_all_ways() -> None:
    params = VectorParams("", 0, DIMENSIONS, Distance.DOT)
    vectors = np.eye(ROWS, DIMENSIONS, dtype=np.float32)
    values, bounds = to_int8(vectors, 1.0)
    assert values.shape[1] == code_bytes(CodeKind.INT8, DIMENSIONS)
    links = np.arange(1, ROWS + 1, dtype=np.int32).reshape(ROWS, 1) % ROWS
    graph = Graph(links, np.full((1, 1), -1, np.int32), np.full(ROWS, -1, np.int32), 0, 0)
    coded = Codes(CodeKind.INT8, 1.0, ROWS, values, bounds)
    view = View(params, vectors, np.arange(ROWS, dtype=np.uint32), ascending=True, coded=coded, graph=graph)
    query = prepare_query(params, vectors[0])
    alive, few = np.ones(ROWS, np.bool_), np.zeros(ROWS, np.bool_)
    few[3] = True
    for selected, count, exact in ((None, ROWS, False), (None, ROWS, True), (few, 1, True)):
        search(view, query, 1, 1, alive, selected, count, exact=exact, quantization=QuantizationParams())
    numbers_at, ops = native.address_of(view.points), np.zeros(ROWS, np.uint64)
    walks = plan_walks(params, [Walked(view, alive, numbers_at, native.address_of(ops))], 1, 1, QuantizationParams())
    assert walks is not None
    walks.search(vectors[0])
    best_runs(view, native.address_of(ops), [query], 1, alive, None, ROWS, None)
    whole_runs(view.points, ops, np.zeros(1, np.int64))
    sparse.warm_up()
    if lookups.AVAILABLE:
        _search_sketches()


def _search_sketches() -> None:
    params = VectorParams("", 0, LEAST_DIMENSIONS, Distance.DOT)
    vectors = np.eye(ROWS, LEAST_DIMENSIONS, dtype=np.float32)
    centre = sketches.centre_of(vectors)
    width = sketches.block_bytes(hadamard.rotation_of(LEAST_DIMENSIONS).padded)
    blocks = np.empty((ROWS // lookups.BLOCK_ROWS, width), np.uint8)
    sketched = Sketches(ROWS, blocks, centre, sketches.sketch(vectors, centre, False, blocks))
    view = View(params, vectors, np.arange(ROWS, dtype=np.uint32), ascending=False, sketched=sketched)
    query, alive = prepare_query(params, vectors[0]), np.ones(ROWS, np.bool_)
    search(view, query, 1, 1, alive, None, ROWS, exact=False, quantization=QuantizationParams())
