"""Random sequences of client calls: `python -m tests.differential --sequences 2000`. Ends with 1 if any was answered in two ways.

One node answers all of them, over connections that are kept. Most of the time goes into waiting for the disk: with `TMPDIR` in a folder
that is held in memory (`/dev/shm`) they take half as long.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

import httpx
from qdrant_client import QdrantClient

from tests.differential.sequence import Difference, Sequence
from tests.support.node import Node

KEPT = httpx.Limits(max_keepalive_connections=4)
"""To a node on the same machine, the client keeps no connection if it is not told to."""


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.differential", description="Compare a node with local mode.")
    parser.add_argument("--sequences", type=int, default=200)
    parser.add_argument("--steps", type=int, default=40, help="calls in each")
    parser.add_argument("--seed", help="of all sequences; or of one, as a difference has named it")
    parser.add_argument("--keep-going", action="store_true", help="go on after a difference")
    options = parser.parse_args()
    first = options.seed or str(random.randrange(2**32))
    seeds = [first] if " " in first else [f"{first} {at}" for at in range(options.sequences)]
    print(f"seed {first!r}", flush=True)
    differences, began = 0, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="qnode-differential-") as folder, Node(Path(folder)) as node:
        client = QdrantClient(node.address, timeout=60, limits=KEPT)
        for at, seed in enumerate(seeds):
            try:
                Sequence(client, seed).run(options.steps)
            except Difference as difference:
                print(difference, flush=True)
                differences += 1
                if not options.keep_going:
                    break
            if at % 100 == 99:
                print(f"{at + 1} sequences, {differences} differences, {time.monotonic() - began:.0f} s", flush=True)
        client.close()
    return 1 if differences else 0


if __name__ == "__main__":
    raise SystemExit(main())
