"""Searches by several examples beside the searches for each of them alone: time and recall, and given ids by their number.

    python -m benchmarks.examples --data FOLDER [--queries 50]

Examples are drawn as users have them: points near a query (`near`), points near several queries (`mixed`), and any points
(`far`, the hardest). Recall counts what is as good as the tenth of an exact search. The choices in
qnode/index/vectors/examples.py come from here.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks import data
from benchmarks.data import TOP, Floats
from benchmarks.engines import build_index
from qnode.index import Index, reading
from qnode.index.vectors import warm_up
from qnode.models.filter import Filter, HasId
from qnode.models.point_id import key_of
from qnode.models.query import Examples, ExamplesKind, Nearest, QueryRequest, SearchParams

THREADS, NEIGHBOURS, REPEATS = 2, 50, 3
DRAWS = ("near", "mixed", "far")
GIVEN = (10, 100, 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    dataset = data.real(options.data) if options.data else data.synthetic(options.points)
    warm_up()
    with tempfile.TemporaryDirectory(prefix="qnode-benchmark-") as temporary:
        index, _ = build_index(dataset.vectors, Path(temporary), THREADS)
        queries = dataset.queries[: options.queries]
        alone_us = _microseconds(lambda query: _search(index, query), list(queries))
        print(f"{dataset.name}: one vector {alone_us:.0f} µs")
        for kind in ExamplesKind:
            for draw in DRAWS:
                _measure(index, dataset.vectors, queries, kind, draw, alone_us)
        for count in GIVEN:
            chosen = Filter(must=(HasId(frozenset(map(key_of, range(0, 7 * count, 7)))),))
            given_us = _microseconds(lambda query, chosen=chosen: _search(index, query, chosen), list(queries))
            print(f"{count} given ids: {given_us:.0f} µs")
        index.close()


def _measure(index: Index, vectors: Floats, queries: Floats, kind: ExamplesKind, draw: str, alone_us: float) -> None:
    generator = np.random.default_rng(0)
    asked = [_examples(vectors, queries, at, kind, draw, generator) for at in range(len(queries))]
    hits = []
    for examples in asked:
        least = _search(index, examples, exact=True)[-1]
        hits.append(sum(score >= least for score in _search(index, examples)) / TOP)
    taken_us = _microseconds(lambda examples: _search(index, examples), asked)
    share = taken_us / (alone_us * asked[0].count)
    print(
        f"{kind.value:10} {draw:5}: recall {np.mean(hits):.3f}, {taken_us:6.0f} µs, "
        f"{share:.2f} × the searches for its {asked[0].count} vectors"
    )


def _examples(
    vectors: Floats, queries: Floats, at: int, kind: ExamplesKind, draw: str, generator: np.random.Generator
) -> Examples:
    def near(query: Floats, count: int) -> list[Floats]:
        neighbours = np.argpartition(-(vectors @ query), NEIGHBOURS)[:NEIGHBOURS]
        return list(vectors[generator.permutation(neighbours)[:count]])

    around = [queries[(at + step) % len(queries)] for step in (0, 7, 13)]
    if draw == "near":
        good, bad = near(around[0], 4), near(around[0], 3)
    elif draw == "mixed":
        good, bad = near(around[0], 2) + near(around[1], 2), near(around[2], 3)
    else:
        drawn = list(vectors[generator.integers(0, len(vectors), 7)])
        good, bad = drawn[:4], drawn[4:]
    if kind in (ExamplesKind.BEST_SCORE, ExamplesKind.SUM_SCORES):
        return Examples(kind, positive=tuple(good), negative=tuple(bad))
    target = None if kind is ExamplesKind.CONTEXT else good[0]
    weights = (0.5, 0.3, 0.2) if kind is ExamplesKind.FEEDBACK else ()
    return Examples(kind, target, pairs=tuple(zip(good[1:], bad, strict=True)), pair_weights=weights)


def _search(
    index: Index, target: Floats | Examples, chosen: Filter | None = None, *, exact: bool = False
) -> list[float]:
    query = target if isinstance(target, Examples) else Nearest(target)
    request = QueryRequest(query, filter=chosen, params=SearchParams(exact=exact), limit=TOP)
    return [float(point.score or 0) for point in reading.search(index, request, target)]


def _microseconds(search: Callable[..., object], asked: Sequence[object]) -> float:
    """The best of several rounds, for each search."""
    rounds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        for target in asked:
            search(target)
        rounds.append((time.perf_counter() - started) / len(asked))
    return min(rounds) * 1e6


if __name__ == "__main__":
    main()
