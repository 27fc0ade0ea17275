"""Queries that are made of several searches, beside those searches: hybrid, recommend, groups; and a facet.

One connection asks a node; the kinds take turns, query by query, and the medians are compared.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from benchmarks import data
from benchmarks.data import TOP, Dataset, Floats
from benchmarks.http_rows import BATCH, upload
from benchmarks.report import Row
from benchmarks.servers import EF, NAME, Node
from benchmarks.sparse import NUMBERS, drawn
from qnode.models.query import SparseVector

POINTS = 100_000
TURNS = 300
WORDS = 30
SEED = 1
HYBRID_SHARE, MOST_TIMES = 0.8, 2.0
_PATH = f"/collections/{NAME}/points"


def queries(dataset: Dataset) -> list[Row]:
    """Load a node with dense and sparse vectors, then ask it in turns."""
    generator = np.random.default_rng(SEED)
    vectors = dataset.vectors[:POINTS]
    documents = drawn(generator, len(vectors), NUMBERS)
    with tempfile.TemporaryDirectory(prefix="qnode-benchmark-") as temporary:
        server = Node(Path(temporary) / "qnode")
        with server.running():
            server.create(vectors.shape[1], sparse_vectors={"words": {}})
            upload(server, [_batch(first, vectors, documents) for first in range(0, len(vectors), BATCH)])
            server.wait_until_indexed()
            asked = drawn(generator, TURNS, WORDS)
            took: dict[str, list[float]] = {}
            for turn in range(TURNS):
                query = dataset.queries[turn % len(dataset.queries)]
                for kind, (path, body) in _bodies(query, asked[turn], generator, len(vectors)).items():
                    encoded = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
                    started = time.perf_counter()
                    server.ask("POST", path, encoded)
                    took.setdefault(kind, []).append(time.perf_counter() - started)
    return _rows({kind: statistics.median(seconds) * 1000 for kind, seconds in took.items()}, len(vectors))


def _batch(first: int, vectors: Floats, documents: list[SparseVector]) -> bytes:
    points = [
        {
            "id": number,
            "vector": {"": vectors[number], "words": _shown(documents[number])},
            "payload": data.payload(number),
        }
        for number in range(first, min(first + BATCH, len(vectors)))
    ]
    return orjson.dumps({"points": points}, option=orjson.OPT_SERIALIZE_NUMPY)


def _shown(vector: SparseVector) -> dict[str, Any]:
    return {"indices": vector.indices, "values": vector.values}


def _bodies(
    query: Floats, words: SparseVector, generator: np.random.Generator, points: int
) -> dict[str, tuple[str, dict[str, Any]]]:
    params = {"hnsw_ef": EF}
    dense = {"query": query, "limit": TOP, "params": params}
    sparse = {"query": _shown(words), "using": "words", "limit": TOP}
    examples = generator.choice(points, 3, replace=False)
    positive, negative = [int(number) for number in examples[:2]], [int(examples[2])]
    recommend = {"recommend": {"positive": positive, "negative": negative}}
    best = {"recommend": {**recommend["recommend"], "strategy": "best_score"}}
    return {
        "dense": (f"{_PATH}/query", dense),
        "sparse": (f"{_PATH}/query", sparse),
        "hybrid": (f"{_PATH}/query", {"prefetch": [dense, sparse], "query": {"fusion": "rrf"}, "limit": TOP}),
        "average": (f"{_PATH}/query", {"query": recommend, "limit": TOP, "params": params}),
        "best_score": (f"{_PATH}/query", {"query": best, "limit": TOP, "params": params}),
        "by id": (f"{_PATH}/query", {"query": positive[0], "limit": TOP, "params": params}),
        "groups": (f"{_PATH}/query/groups", {**dense, "group_by": "section", "group_size": 1}),
        "wide": (f"{_PATH}/query", {**dense, "limit": 10 * TOP, "with_payload": ["section"]}),
        "facet": (f"/collections/{NAME}/facet", {"key": "section", "limit": 40}),
    }


def _rows(ms: dict[str, float], points: int) -> list[Row]:
    """The medians beside each other."""
    share = (ms["dense"] + ms["sparse"]) / ms["hybrid"]
    average, best = ms["average"] / ms["dense"], ms["best_score"] / (3 * ms["dense"])
    groups = ms["groups"] / ms["wide"]
    return [
        Row(
            f"hybrid query (dense and sparse, RRF) over {points:,} points, against its two searches one after the other",
            f"≥ {HYBRID_SHARE} ×",
            f"**{share:.2f} ×**: {ms['hybrid']:.2f} ms; dense {ms['dense']:.2f} ms, sparse ({WORDS} words) {ms['sparse']:.2f} ms",
            share >= HYBRID_SHARE,
        ),
        Row(
            "recommend by three ids, against the searches that it needs (average: one; best_score: one for each example)",
            f"≤ {MOST_TIMES:.0f} ×",
            f"average **{average:.1f} ×** ({ms['average']:.2f} ms), best_score **{best:.1f} ×** ({ms['best_score']:.2f} ms); "
            f"a search by id {ms['by id']:.2f} ms",
            max(average, best) <= MOST_TIMES,
        ),
        Row(
            f"{TOP} groups of one by a field of 40 values, against a search for {10 * TOP} that shows the field",
            f"≤ {MOST_TIMES:.0f} ×",
            f"**{groups:.1f} ×**: {ms['groups']:.2f} ms, {ms['wide']:.2f} ms",
            groups <= MOST_TIMES,
        ),
        Row("facet of a field of 40 values, from its index alone", "", f"{ms['facet']:.2f} ms"),
    ]
