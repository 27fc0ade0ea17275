"""Engines that search in this process: qnode's shard index, its bare segment, and the peers. One thread a search.

An engine is a function of a query and an ef that gives the numbers of the TOP nearest vectors. Every maker builds its graph
with the same m and ef_construct and as many threads as asked, and tells how many seconds the building took (None where that
would not compare).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.data import TOP, Floats, Numbers
from qnode.index import BuilderPool, Index, maintenance, reading
from qnode.index.vectors import SealedSegment, prepare_query
from qnode.models.operation import Upsert, VectorColumn
from qnode.models.point_id import id_of, key_of
from qnode.models.query import Nearest, QuantizationParams, QueryRequest, SearchParams
from qnode.models.vector_params import Distance, IndexParams, VectorParams

M, EF_CONSTRUCT = 16, 128
BATCH = 1000
Search = Callable[[Floats, int], Numbers]


@dataclass(frozen=True, slots=True)
class Engine:
    """A search and what it took to build it."""

    name: str
    search: Search
    build_seconds: float | None


def build_index(vectors: Floats, folder: Path, threads: int) -> tuple[Index, float]:
    """Put vectors into a shard's index and build one segment of them; also tell how long the building took."""
    params = VectorParams("", 0, vectors.shape[1], Distance.COSINE, m=M, ef_construct=EF_CONSTRUCT)
    # One segment, closed when all of it is there.
    index = Index.open(folder, IndexParams((params,), indexing_threshold_kb=vectors.nbytes // 1024 - 1))
    at = np.arange(BATCH, dtype=np.int32)
    for number, first in enumerate(range(0, len(vectors), BATCH), 1):
        rows = vectors[first : first + BATCH]
        keys = [key_of(first + offset) for offset in range(len(rows))]
        column = VectorColumn(at[: len(rows)], rows)
        index.apply([(number, Upsert(keys, [b"{}"] * len(rows), {"": column}))])
    return index, asyncio.run(_build(index, threads))


async def _build(index: Index, threads: int) -> float:
    started = time.perf_counter()
    build = maintenance.begin_build(index)
    assert build is not None
    pool = BuilderPool(threads)
    await pool.build(build)
    maintenance.install(index, build)
    build.clean_up()
    seconds = time.perf_counter() - started
    await pool.close()
    return seconds


def only_segment(index: Index) -> SealedSegment:
    """The one segment that `build_index` made."""
    (part,) = index.spaces[0].parts
    assert isinstance(part.segment, SealedSegment)
    return part.segment


def qnode_index(vectors: Floats, folder: Path, threads: int) -> list[Engine]:
    """A shard's index, searched as the node does it; and its one segment, searched without the point store."""
    index, seconds = build_index(vectors, folder, threads)
    segment = only_segment(index)
    alive, quantization = np.ones(segment.rows, np.bool_), QuantizationParams()

    def search(query: Floats, ef: int) -> Numbers:
        request = QueryRequest(Nearest(query), params=SearchParams(hnsw_ef=ef), limit=TOP)
        return np.array([id_of(point.key) for point in reading.search(index, request, query)])

    def search_segment(query: Floats, ef: int) -> Numbers:
        prepared = prepare_query(segment.params, query)
        found = segment.search(prepared, TOP, ef, alive, None, segment.rows, exact=False, quantization=quantization)
        return segment.points[found[1]].astype(np.int64)

    return [Engine("qnode", search, seconds), Engine("qnode's segment alone", search_segment, None)]


def hnswlib_engine(vectors: Floats, threads: int) -> Engine:
    """A plain HNSW library, float32."""
    import hnswlib

    index = hnswlib.Index("ip", vectors.shape[1])
    index.init_index(len(vectors), ef_construction=EF_CONSTRUCT, M=M)
    started = time.perf_counter()
    index.add_items(vectors, num_threads=threads)
    seconds = time.perf_counter() - started
    index.set_num_threads(1)

    def search(query: Floats, ef: int) -> Numbers:
        index.set_ef(max(ef, TOP))
        labels: Numbers = index.knn_query(query, TOP)[0][0].astype(np.int64)
        return labels

    return Engine("hnswlib", search, seconds)


def faiss_engine(vectors: Floats, threads: int) -> Engine:
    """HNSW over flat float32 vectors."""
    import faiss

    index = faiss.IndexHNSWFlat(vectors.shape[1], M, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = EF_CONSTRUCT
    faiss.omp_set_num_threads(threads)
    started = time.perf_counter()
    index.add(vectors)
    seconds = time.perf_counter() - started
    faiss.omp_set_num_threads(1)

    def search(query: Floats, ef: int) -> Numbers:
        index.hnsw.efSearch = ef
        labels: Numbers = index.search(query.reshape(1, -1), TOP)[1][0]
        return labels

    return Engine("faiss", search, seconds)


def edge_engine(vectors: Floats, folder: Path, threads: int, *, int8: bool) -> Engine:
    """Qdrant's own engine; with int8 codes it rescores on float32."""
    import qdrant_edge as edge

    quantization = edge.ScalarQuantizationConfig(edge.ScalarType.Int8, 0.99, True) if int8 else None
    hnsw = edge.HnswIndexConfig(m=M, ef_construct=EF_CONSTRUCT, full_scan_threshold=10, max_indexing_threads=threads)
    vector = edge.EdgeVectorParams(vectors.shape[1], edge.Distance.Dot, quantization_config=quantization)
    folder.mkdir(parents=True)
    # One segment, as on the other side.
    optimizers = edge.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=1)
    config = edge.EdgeConfig(vectors={"": vector}, hnsw_config=hnsw, optimizers=optimizers)
    shard = edge.EdgeShard.create(str(folder), config)
    for first in range(0, len(vectors), BATCH):
        rows = vectors[first : first + BATCH].tolist()
        points = [edge.Point(id=first + at, vector=row, payload={}) for at, row in enumerate(rows)]
        shard.update(edge.UpdateOperation.upsert_points(points))
    started = time.perf_counter()
    shard.optimize()
    seconds = time.perf_counter() - started

    rescored = edge.QuantizationSearchParams(rescore=True) if int8 else None

    def search(query: Floats, ef: int) -> Numbers:
        params = edge.SearchParams(hnsw_ef=ef, quantization=rescored)
        request = edge.SearchRequest(edge.Query.Nearest(query.tolist()), limit=TOP, params=params, with_payload=False)
        return np.array([hit.id for hit in shard.search(request)])

    return Engine("qdrant-edge int8" if int8 else "qdrant-edge", search, seconds)
