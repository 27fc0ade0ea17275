"""What filters of several selectivities cost on one segment, as the search decides and as an exact scan, and the recall.

    python -m benchmarks.kernel [--points 200000] [--data FOLDER]

The ratios of the costs in qnode/index/vectors/search.py come from here.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import data
from benchmarks.data import TOP
from benchmarks.engines import build_index, only_segment
from qnode.index.vectors import prepare_query, warm_up
from qnode.models.query import QuantizationParams

SHARES = (1.0, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001)
EF, QUERIES, THREADS = 64, 50, 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=200_000)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    dataset = data.real(options.data) if options.data else data.synthetic(options.points)
    warm_up()
    with tempfile.TemporaryDirectory(prefix="qnode-benchmark-") as temporary:
        index, seconds = build_index(dataset.vectors, Path(temporary), THREADS)
        print(f"{dataset.name}, built in {seconds:.1f} s")
        segment = only_segment(index)
        generator = np.random.default_rng(1)
        alive, quantization = np.ones(segment.rows, np.bool_), QuantizationParams()
        for share in SHARES:
            selected = generator.random(segment.rows) < share
            count = int(np.count_nonzero(selected))
            found: dict[bool, list[data.Numbers]] = {False: [], True: []}
            seconds_each: dict[bool, float] = {}
            for exact, rows in found.items():
                started = time.perf_counter()
                for query in dataset.queries[:QUERIES]:
                    prepared = prepare_query(segment.params, query)
                    result = segment.search(
                        prepared, TOP, EF, alive, selected, count, exact=exact, quantization=quantization
                    )
                    rows.append(result[1].astype(np.int64))
                seconds_each[exact] = (time.perf_counter() - started) / QUERIES
            hits = sum(len(np.intersect1d(a, b)) for a, b in zip(found[False], found[True], strict=True))
            recall = hits / sum(map(len, found[True]))
            print(
                f"share {share:6.3f}: {seconds_each[False] * 1e6:8.0f} µs, "
                f"exact {seconds_each[True] * 1e6:8.0f} µs, recall {recall:.4f}"
            )


if __name__ == "__main__":
    main()
