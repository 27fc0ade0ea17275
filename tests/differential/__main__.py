"""Random sequences of client calls: `python -m tests.differential --sequences 2000`. Ends with 1 if any was answered in two ways."""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

from qdrant_client import QdrantClient

from tests.differential.sequence import Difference, Sequence
from tests.support.node import Node


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.differential", description="Compare a node with local mode.")
    parser.add_argument("--sequences", type=int, default=200)
    parser.add_argument("--steps", type=int, default=40, help="calls in each")
    parser.add_argument("--seed", help="run this one sequence, as a difference has named it")
    parser.add_argument("--keep-going", action="store_true", help="go on after a difference")
    options = parser.parse_args()
    first = random.randrange(2**32)
    seeds = [options.seed] if options.seed else [f"{first} {at}" for at in range(options.sequences)]
    differences = 0
    with tempfile.TemporaryDirectory(prefix="qnode-differential-") as folder, Node(Path(folder)) as node:
        client = QdrantClient(node.address, timeout=60)
        for at, seed in enumerate(seeds):
            try:
                Sequence(client, seed).run(options.steps)
            except Difference as difference:
                print(difference, flush=True)
                differences += 1
                if not options.keep_going:
                    break
            if at % 100 == 99:
                print(f"{at + 1} sequences, {differences} differences", flush=True)
        client.close()
    return 1 if differences else 0


if __name__ == "__main__":
    raise SystemExit(main())
