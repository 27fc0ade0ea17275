"""All measures in one run, as one table.

    python -m benchmarks --data FOLDER [--points 200000] [--only NAME …] [--absence 60] [--write]

FOLDER holds real embeddings: vectors.npy and queries.npy, (n, dim). Without it, only synthetic ones are measured on.
`--only cluster` runs all that is measured on a cluster.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import cluster_rows, data, http_rows, query_rows, report, search_rows, snapshot_rows
from benchmarks.data import Dataset
from benchmarks.report import Row

POINTS = 200_000
CLUSTER_POINTS = 50_000

Measure = Callable[[Dataset], list[Row]]

ON_SYNTHETIC: dict[str, Measure] = {
    "search": search_rows.measure,
    "http": http_rows.search,
    "upsert": http_rows.upsert,
    "node": http_rows.node,
    "snapshot": snapshot_rows.snapshot,
    "queries": query_rows.queries,
}
ON_REAL: dict[str, Measure] = {"real": search_rows.measure}
ON_CLUSTER: dict[str, Measure] = {
    "failover": cluster_rows.failover,
    "replicas": cluster_rows.replicas,
    "elsewhere": cluster_rows.elsewhere,
    "idle": cluster_rows.idle,
}
CATCH_UP = "catch-up"
CLUSTER = "cluster"


def main() -> None:
    options = _options()
    # Ended from outside, it shall still end the servers that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    on_cluster: dict[str, Measure] = {
        **ON_CLUSTER,
        CATCH_UP: partial(cluster_rows.catch_up, absence_seconds=options.absence),
    }
    rows: list[Row] = []
    groups: list[tuple[dict[str, Measure], Callable[[], Dataset]]] = [
        (ON_REAL if options.data else {}, lambda: data.real(options.data)),
        (ON_SYNTHETIC, lambda: data.synthetic(options.points)),
        (on_cluster, lambda: data.synthetic(min(options.points, CLUSTER_POINTS))),
    ]
    for measures, load in groups:
        chosen = [name for name in measures if not options.only or name in options.only]
        if not chosen:
            continue
        dataset = load()
        for name in chosen:
            for row in measures[name](dataset):
                print(row.shown(), flush=True)
                rows.append(row)
    shown = report.table(rows)
    print(f"\n{shown}")
    if options.write:
        report.write(shown)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="a folder with vectors.npy and queries.npy")
    parser.add_argument("--points", type=int, default=POINTS, help=f"synthetic points (default {POINTS})")
    names = [*ON_REAL, *ON_SYNTHETIC, *ON_CLUSTER, CATCH_UP, CLUSTER]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of: {', '.join(names)}")
    parser.add_argument(
        "--absence", type=float, default=cluster_rows.ABSENCE_SECONDS, metavar="SECONDS", help="how long a node is away"
    )
    parser.add_argument("--write", action="store_true", help="put the whole table into benchmarks/README.md")
    options = parser.parse_args()
    if options.write and options.only:
        parser.error("--write puts the whole table into the page: it goes with all measures")
    if options.only and CLUSTER in options.only:
        options.only += [*ON_CLUSTER, CATCH_UP]
    return options


if __name__ == "__main__":
    main()
