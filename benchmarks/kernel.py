"""Search of one sealed segment, one thread, beside hnswlib, qdrant-edge and faiss, on the same vectors.

    python -m benchmarks.kernel [--rows 200000] [--peers] [--costs] [--data FOLDER] [--keep FOLDER]

Prints recall@10 and queries per second, the median of several passes in which the engines take turns. Peers that are not
installed are passed over. FOLDER holds vectors.npy, queries.npy and neighbours.npy.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qnode.index.vectors import BuildJob, BuildSource, GrowingSegment, SealedSegment, prepare_query, warm_up
from qnode.index.vectors.build import build
from qnode.models.query import QuantizationParams
from qnode.models.vector_params import Distance, VectorParams

Floats = npt.NDArray[np.float32]
Engine = Callable[[Floats, int], npt.NDArray[np.int64]]

M, EF_CONSTRUCT, K, DIMENSIONS = 16, 128, 10, 384
PASSES = 5


def clustered(rows: int, queries: int = 1000, seed: int = 0, inner: int = 48) -> tuple[Floats, Floats]:
    """Unit vectors in clusters, of low intrinsic dimension, with noise."""
    generator = np.random.default_rng(seed)
    basis = generator.standard_normal((inner, DIMENSIONS), np.float32)
    centres = generator.standard_normal((500, inner), np.float32)

    def draw(count: int) -> Floats:
        near = centres[generator.integers(0, 500, count)]
        near = near + 0.5 * generator.standard_normal((count, inner), np.float32)
        noise = generator.standard_normal((count, DIMENSIONS), np.float32)
        vectors = near @ basis + np.float32(0.3 * np.sqrt(inner)) * noise
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    return draw(rows), draw(queries)


def true_neighbours(vectors: Floats, queries: Floats) -> npt.NDArray[np.int64]:
    """The exact best K of each query."""
    found = []
    for first in range(0, len(queries), 100):
        scores = queries[first : first + 100] @ vectors.T
        found.append(np.argpartition(-scores, K, axis=1)[:, :K])
    return np.concatenate(found)


def sealed_segment(vectors: Floats, folder: Path, threads: int) -> SealedSegment:
    """Write the vectors to a growing segment and have it sealed, or open what an earlier run left."""
    params = VectorParams("", 0, vectors.shape[1], Distance.COSINE, m=M, ef_construct=EF_CONSTRUCT)
    if not (folder / "sealed").exists():
        growing = GrowingSegment.create(folder / "growing", params)
        numbers = np.arange(len(vectors))
        growing.append(numbers.astype(np.uint32), numbers.astype(np.uint64) + 1, vectors)
        growing.publish(len(vectors))
        np.ones(len(vectors), np.bool_).tofile(folder / "alive")
        source = BuildSource(folder / "growing", False, len(vectors), folder / "alive")
        start = time.perf_counter()
        build(BuildJob((source,), folder / "sealed", params, os.getpid(), threads))
        print(f"built in {time.perf_counter() - start:.1f} s with {threads} threads")
    return SealedSegment.open(folder / "sealed", params, verify=False)


def qnode(segment: SealedSegment) -> Engine:
    alive, params = np.ones(segment.rows, np.bool_), QuantizationParams()

    def search(query: Floats, ef: int) -> npt.NDArray[np.int64]:
        prepared = prepare_query(segment.params, query)
        return segment.search(prepared, K, ef, alive, None, segment.rows, exact=False, quantization=params)[1]

    return search


def hnswlib_engine(vectors: Floats) -> Engine:
    import hnswlib

    index = hnswlib.Index("ip", vectors.shape[1])
    index.init_index(len(vectors), ef_construction=EF_CONSTRUCT, M=M)
    index.add_items(vectors, num_threads=2)
    index.set_num_threads(1)

    def search(query: Floats, ef: int) -> npt.NDArray[np.int64]:
        index.set_ef(ef)
        return index.knn_query(query, K)[0][0]

    return search


def faiss_engine(vectors: Floats) -> Engine:
    import faiss

    index = faiss.IndexHNSWFlat(vectors.shape[1], M, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = EF_CONSTRUCT
    index.add(vectors)
    faiss.omp_set_num_threads(1)

    def search(query: Floats, ef: int) -> npt.NDArray[np.int64]:
        index.hnsw.efSearch = ef
        return index.search(query.reshape(1, -1), K)[1][0]

    return search


def qdrant_engine(vectors: Floats, folder: Path) -> Engine:
    import qdrant_edge as edge

    vector = edge.EdgeVectorParams(size=vectors.shape[1], distance=edge.Distance.Dot)
    hnsw = edge.HnswIndexConfig(m=M, ef_construct=EF_CONSTRUCT, full_scan_threshold=10, max_indexing_threads=2)
    config = edge.EdgeConfig(vectors={"": vector}, hnsw_config=hnsw)
    folder.mkdir()
    shard = edge.EdgeShard.create(str(folder), config)
    for first in range(0, len(vectors), 1000):
        points = [
            edge.Point(id=first + i, vector=row, payload={})
            for i, row in enumerate(vectors[first : first + 1000].tolist())
        ]
        shard.update(edge.UpdateOperation.upsert_points(points))
    shard.optimize()

    def search(query: Floats, ef: int) -> npt.NDArray[np.int64]:
        request = edge.SearchRequest(
            query=edge.Query.Nearest(query.tolist()), limit=K, params=edge.SearchParams(hnsw_ef=ef), with_payload=False
        )
        return np.array([hit.id for hit in shard.search(request)])

    return search


def measure(engines: dict[str, Engine], queries: Floats, truth: npt.NDArray[np.int64]) -> None:
    """Print the table."""
    print(f"{'engine':14} {'ef':>4} {'recall@10':>10} {'queries/s':>10}")
    for ef in (16, 24, 32, 48, 64, 128):
        rates: dict[str, list[float]] = {name: [] for name in engines}
        recall: dict[str, float] = {}
        for _ in range(PASSES):
            for name, search in engines.items():
                start = time.perf_counter()
                found = [search(query, ef) for query in queries]
                rates[name].append(len(queries) / (time.perf_counter() - start))
                recall[name] = float(
                    np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(found, truth, strict=True)])
                )
        for name in engines:
            print(f"{name:14} {ef:4} {recall[name]:10.4f} {statistics.median(rates[name]):10.0f}", flush=True)


def costs(segment: SealedSegment, queries: Floats) -> None:
    """Print what filters of several selectivities cost, near and far from the query, walked and scanned."""
    generator = np.random.default_rng(1)
    alive, params = np.ones(segment.rows, np.bool_), QuantizationParams()
    for share in (1.0, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001):
        selected = generator.random(segment.rows) < share
        count = int(selected.sum())
        found: dict[bool, list[npt.NDArray[np.int32]]] = {}
        seconds: dict[bool, float] = {}
        for exact in (False, True):
            start = time.perf_counter()
            found[exact] = [
                segment.search(
                    prepare_query(segment.params, query),
                    K,
                    64,
                    alive,
                    selected,
                    count,
                    exact=exact,
                    quantization=params,
                )[1]
                for query in queries[:50]
            ]
            seconds[exact] = (time.perf_counter() - start) / 50
        recall = np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(found[False], found[True], strict=True)])
        print(f"{share:6.3f}  {seconds[False] * 1e6:8.0f} us  exact {seconds[True] * 1e6:8.0f} us  recall {recall:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--costs", action="store_true")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    if options.data:
        vectors = np.load(options.data / "vectors.npy").astype(np.float32)
        queries = np.load(options.data / "queries.npy").astype(np.float32)
    else:
        vectors, queries = clustered(options.rows)
    start = time.perf_counter()
    warm_up()
    print(f"kernels ready in {time.perf_counter() - start:.2f} s")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        segment = sealed_segment(vectors, folder, options.threads)
        if options.costs:
            costs(segment, queries)
            return
        engines = {"qnode": qnode(segment)}
        if options.peers:
            makers: dict[str, Callable[[], Engine]] = {
                "hnswlib": lambda: hnswlib_engine(vectors),
                "faiss": lambda: faiss_engine(vectors),
                "qdrant-edge": lambda: qdrant_engine(vectors, Path(temporary) / "edge"),
            }
            for name, make in makers.items():
                try:
                    engines[name] = make()
                except ImportError:
                    print(f"{name} is not installed")
        measure(engines, queries, true_neighbours(vectors, queries))


if __name__ == "__main__":
    main()
