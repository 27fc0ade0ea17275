"""Search in one thread at equal recall, and the building of graphs.

For each engine the smallest ef that reaches the recall is looked for; then the engines take turns at theirs, so that what
else the machine does meets all of them, and the medians are compared.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data import TOP, Dataset
from benchmarks.engines import Engine, edge_engine, faiss_engine, hnswlib_engine, qnode_index
from benchmarks.report import Row
from qnode.index.vectors import warm_up

RECALL = 0.98
LARGEST_EF = 512
REPEATS = 7
THREADS = 2
AGAINST_EDGE, AGAINST_HNSWLIB = 2.0, 1.3


@dataclass(frozen=True, slots=True)
class Result:
    """What an engine does at the smallest ef that reaches the recall."""

    ef: int
    recall: float
    rate: float


def measure(dataset: Dataset) -> list[Row]:
    """Build all engines over a data set and compare them."""
    warm_up()
    with tempfile.TemporaryDirectory(prefix="qnode-benchmark-") as temporary:
        folder = Path(temporary)
        vectors = dataset.vectors
        engines = [
            *qnode_index(vectors, folder / "qnode", THREADS),
            edge_engine(vectors, folder / "edge", THREADS, int8=False),
            edge_engine(vectors, folder / "edge-int8", THREADS, int8=True),
            hnswlib_engine(vectors, THREADS),
            faiss_engine(vectors, THREADS),
        ]
        return [_search_row(dataset, engines), _build_row(dataset, engines)]


def _search_row(dataset: Dataset, engines: list[Engine]) -> Row:
    results = _at_recall(dataset, engines)
    shown = "; ".join(
        f"{name} {found.rate:,.0f} q/s (ef {found.ef}, recall {found.recall:.4f})" for name, found in results.items()
    )
    rate = {name: found.rate for name, found in results.items()}
    edge, hnswlib = rate["qnode"] / rate["qdrant-edge"], rate["qnode"] / rate["hnswlib"]
    return Row(
        f"search, one thread, recall ≥ {RECALL} ({dataset.name})",
        f"≥ {AGAINST_EDGE} × qdrant-edge float32, ≥ {AGAINST_HNSWLIB} × hnswlib",
        f"**{edge:.2f} × qdrant-edge** ({rate['qnode'] / rate['qdrant-edge int8']:.2f} × its int8), "
        f"**{hnswlib:.2f} × hnswlib**, {rate['qnode'] / rate['faiss']:.2f} × faiss. {shown}",
        edge >= AGAINST_EDGE and hnswlib >= AGAINST_HNSWLIB,
    )


def _at_recall(dataset: Dataset, engines: list[Engine]) -> dict[str, Result]:
    reached = {engine.name: _smallest_ef(dataset, engine) for engine in engines}
    rates: dict[str, list[float]] = {engine.name: [] for engine in engines}
    for _ in range(REPEATS):
        for engine in engines:
            ef = reached[engine.name][0]
            started = time.perf_counter()
            for query in dataset.queries:
                engine.search(query, ef)
            rates[engine.name].append(len(dataset.queries) / (time.perf_counter() - started))
    return {name: Result(ef, recall, statistics.median(rates[name])) for name, (ef, recall) in reached.items()}


def _smallest_ef(dataset: Dataset, engine: Engine) -> tuple[int, float]:
    """The smallest ef that reaches the recall, and the recall that it gives."""
    low, high = TOP, LARGEST_EF
    recall_at: dict[int, float] = {}
    while low <= high:
        ef = (low + high) // 2 if recall_at else low
        recall_at[ef] = dataset.recall([engine.search(query, ef) for query in dataset.queries])
        if recall_at[ef] >= RECALL:
            high = ef - 1
        else:
            low = ef + 1
    enough = [ef for ef, recall in recall_at.items() if recall >= RECALL]
    ef = min(enough) if enough else max(recall_at)
    return ef, recall_at[ef]


def _build_row(dataset: Dataset, engines: list[Engine]) -> Row:
    seconds = {engine.name: engine.build_seconds for engine in engines if engine.build_seconds is not None}
    shown = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
    return Row(
        f"graph build, {THREADS} threads ({dataset.name})",
        "not slower than qdrant-edge",
        f"{shown}; qnode's time is that of the whole builder process: reading, codes, graph, fsync, swapping in",
        seconds["qnode"] <= seconds["qdrant-edge"],
    )
