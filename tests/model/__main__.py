"""Random runs for hours: `python -m tests.model --hours 2`. Ends with 1 at the first mismatch, and tells its seed."""

import argparse
import random
import tempfile
import time
from pathlib import Path

from tests.model.run import Mismatch, Run

STEPS_A_RUN = 5000


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.model", description="Compare a node with a dict, for hours.")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--seed", type=int, help="begin with this seed instead of a random one")
    parser.add_argument("--kill-every", type=int, default=100, help="steps between kills, on average")
    options = parser.parse_args()
    seed = random.randrange(2**32) if options.seed is None else options.seed
    end = time.monotonic() + options.hours * 3600
    while time.monotonic() < end:
        with tempfile.TemporaryDirectory(prefix="qnode-model-") as folder:
            run = Run(Path(folder), seed, kill_every=options.kill_every)
            try:
                with run.node:
                    while run.step_number < STEPS_A_RUN and time.monotonic() < end:
                        run.steps(100)
            except Mismatch as mismatch:
                print(mismatch, flush=True)
                return 1
            print(f"seed {seed}: {run.step_number} steps, {run.kills} kills", flush=True)
        seed += 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
