"""Many seeds: `python -m tests.simulation --seeds 1000 [--first S]`. Ends with 1 at the first failure, and tells its seed."""

import argparse
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

from tests.simulation.mutations import MUTATIONS, broken
from tests.simulation.world import World


def main() -> int:
    parser = argparse.ArgumentParser(
        "python -m tests.simulation", description="Simulate a replicated shard under faults."
    )
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--break", dest="mutation", choices=sorted(MUTATIONS), help="break the protocol on purpose")
    options = parser.parse_args()
    with broken(options.mutation) if options.mutation else nullcontext():
        return simulate(options.first, options.seeds)


def simulate(first: int, seeds: int) -> int:
    totals: Counter[str] = Counter()
    began = time.monotonic()
    for seed in range(first, first + seeds):
        with tempfile.TemporaryDirectory(prefix="qnode-simulation-") as folder:
            world = World(seed, Path(folder))
            try:
                world.run()
            except Exception:
                traceback.print_exc()
                print(f"seed {seed} failed at {world.now:.3f} s", flush=True)
                return 1
            totals.update(world.happened)
            totals.update(fate.name.lower() for fate in world.checks.fates.values())
    print(f"{seeds} seeds in {time.monotonic() - began:.0f} s: {dict(sorted(totals.items()))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
