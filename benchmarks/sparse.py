"""Searches by sparse vectors beside qdrant-edge: exact in both, one thread, one segment.

    python -m benchmarks.sparse [--documents 100000] [--queries 100]

Documents have 100 numbers each whose indices are drawn by Zipf's law out of 30 000; queries are drawn as documents are, with
few numbers (words), with some (an expanded query) and with as many as a document has. Both find the same scores, which is
checked; then they take turns, and the medians are compared. The time of the processor, of all threads, stands beside the
clock's, since it hardly depends on what else the machine does.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.data import TOP
from benchmarks.engines import BATCH
from qnode.index import BuilderPool, Index, maintenance, reading
from qnode.models.columns import column_of
from qnode.models.operation import Upsert
from qnode.models.point_id import key_of
from qnode.models.query import Nearest, QueryRequest, SparseVector
from qnode.models.vector_params import IndexParams, SparseParams

NAME, DIMENSIONS, NUMBERS, EXPONENT = "s", 30_000, 100, 1.0
LENGTHS = (5, 30, 100)
TURNS, SEED = 5, 1
Search = Callable[[SparseVector], list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=100)
    options = parser.parse_args()
    generator = np.random.default_rng(SEED)
    documents = drawn(generator, options.documents, NUMBERS)
    with tempfile.TemporaryDirectory(prefix="qnode-benchmark-") as temporary:
        growing, engines = _qnode(documents, Path(temporary) / "qnode"), {}
        with_edge = _edge(documents, Path(temporary) / "edge")
        for state in ("growing", "sealed"):
            if state == "sealed":
                print(f"built in {asyncio.run(_build(growing)):.1f} s")
            engines = {f"qnode, {state}": lambda query: _search(growing, query), "qdrant-edge": with_edge}
            for length in LENGTHS:
                _compare(engines, drawn(generator, options.queries, length), length)
        growing.close()


def drawn(generator: np.random.Generator, count: int, numbers: int) -> list[SparseVector]:
    """Draw vectors; an index that comes twice counts once."""
    chances = 1 / np.arange(1, DIMENSIONS + 1) ** EXPONENT
    drawn = generator.choice(DIMENSIONS, (count, 2 * numbers), p=chances / chances.sum()).astype(np.uint32)
    vectors = []
    for row in drawn:
        _, first = np.unique(row, return_index=True)
        indices = np.sort(row[np.sort(first)[:numbers]])
        vectors.append(SparseVector(indices, generator.gamma(2.0, 0.5, len(indices)).astype(np.float32)))
    return vectors


def _qnode(documents: Sequence[SparseVector], folder: Path) -> Index:
    index = Index.open(folder, IndexParams((), indexing_threshold_kb=1 << 20, sparse=(SparseParams(NAME, 0),)))
    at = np.arange(BATCH, dtype=np.int32)
    started = time.perf_counter()
    for number, first in enumerate(range(0, len(documents), BATCH), 1):
        rows = documents[first : first + BATCH]
        keys = [key_of(first + offset) for offset in range(len(rows))]
        index.apply([(number, Upsert(keys, [b"{}"] * len(rows), {NAME: column_of(at[: len(rows)], rows)}))])
    print(f"qnode has taken {len(documents)} documents in {time.perf_counter() - started:.1f} s")
    return index


async def _build(index: Index) -> float:
    started = time.perf_counter()
    index.params = IndexParams((), indexing_threshold_kb=1, sparse=index.params.sparse)
    build = maintenance.begin_build(index)
    assert build is not None
    pool = BuilderPool(1)
    await pool.build(build)
    maintenance.install(index, build)
    build.clean_up()
    await pool.close()
    return time.perf_counter() - started


def _search(index: Index, query: SparseVector) -> list[float]:
    found = reading.search(index, QueryRequest(Nearest(query), NAME, limit=TOP), query)
    return [float(point.score or 0) for point in found]


def _edge(documents: Sequence[SparseVector], folder: Path) -> Search:
    import qdrant_edge as edge

    optimizers = edge.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=1)
    config = edge.EdgeConfig(sparse_vectors={NAME: edge.EdgeSparseVectorParams()}, optimizers=optimizers)
    folder.mkdir()
    shard = edge.EdgeShard.create(str(folder), config)
    started = time.perf_counter()
    for first in range(0, len(documents), BATCH):
        points = [
            edge.Point(id=first + at, vector={NAME: _edge_vector(vector)}, payload={})
            for at, vector in enumerate(documents[first : first + BATCH])
        ]
        shard.update(edge.UpdateOperation.upsert_points(points))
    shard.optimize()
    print(f"qdrant-edge has taken and optimised them in {time.perf_counter() - started:.1f} s")

    def search(query: SparseVector) -> list[float]:
        nearest = edge.Query.Nearest(_edge_vector(query), using=NAME)
        return [hit.score for hit in shard.search(edge.SearchRequest(nearest, limit=TOP, with_payload=False))]

    return search


def _edge_vector(vector: SparseVector) -> object:
    import qdrant_edge as edge

    return edge.SparseVector(vector.indices.tolist(), vector.values.tolist())


def _compare(engines: dict[str, Search], queries: Sequence[SparseVector], length: int) -> None:
    (_, one), (_, other) = engines.items()
    for query in queries[:20]:
        assert np.allclose(one(query), other(query), rtol=1e-4)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}
    for _ in range(TURNS):
        for name, search in engines.items():
            started, worked = time.perf_counter(), time.process_time()
            for query in queries:
                search(query)
            seconds[name].append((time.perf_counter() - started, time.process_time() - worked))
    medians = {name: np.median(taken, axis=0) * 1e3 / len(queries) for name, taken in seconds.items()}
    shown = ", ".join(
        f"{name} {1e3 / wall:,.0f}/s ({wall:.2f} ms, {cpu:.2f} ms of CPU)" for name, (wall, cpu) in medians.items()
    )
    ours, theirs = medians.values()
    print(f"queries of {length}: {shown}: {theirs[0] / ours[0]:.2f} ×, by CPU {theirs[1] / ours[1]:.2f} ×")


if __name__ == "__main__":
    main()
