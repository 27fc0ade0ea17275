"""The short form of the simulation. `python -m tests.simulation --seeds N [--first S]` is the long one.

QNODE_TEST_SEED repeats a failure: the seed of a test is printed.
"""

import os
import random
from pathlib import Path

import pytest

from tests.simulation.checks import Violation
from tests.simulation.mutations import broken
from tests.simulation.world import World

SEED = int(os.environ.get("QNODE_TEST_SEED", random.SystemRandom().randrange(1 << 32)))


@pytest.mark.parametrize("number", range(16))
def test_no_acknowledged_write_is_lost_and_replicas_agree(tmp_path: Path, number: int) -> None:
    print(f"QNODE_TEST_SEED={SEED + number}")
    World(SEED + number, tmp_path).run()


def test_a_seed_gives_the_same_run_again(tmp_path: Path) -> None:
    runs = [World(SEED, tmp_path / str(run)) for run in range(2)]
    for world in runs:
        world.directory.mkdir()
        world.run()
    assert runs[0].checks.ledger == runs[1].checks.ledger
    assert runs[0].happened == runs[1].happened


def test_a_broken_protocol_is_noticed(tmp_path: Path) -> None:
    def run_seeds() -> None:
        for seed in range(20):
            directory = tmp_path / str(seed)
            directory.mkdir()
            World(seed, directory).run()

    with broken("commit_without_one"), pytest.raises(Violation):
        run_seeds()
