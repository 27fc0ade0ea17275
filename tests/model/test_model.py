"""The short form of the random runs. QNODE_TEST_SEED repeats one, QNODE_TEST_STEPS makes it longer."""

import os
import random
from pathlib import Path

from tests.model.run import Run

STEPS = 1500


def test_a_node_agrees_with_a_dict_through_kills_and_restarts(tmp_path: Path) -> None:
    seed = int(os.environ.get("QNODE_TEST_SEED") or random.randrange(2**32))
    print(f"QNODE_TEST_SEED={seed}")
    run = Run(tmp_path, seed)
    with run.node:
        run.steps(int(os.environ.get("QNODE_TEST_STEPS") or STEPS))
