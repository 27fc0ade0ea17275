"""Random faults of real processes, one after the other, under load. `pytest -m soak`; a seed and a length may be given.

QNODE_SOAK_SEED=7 QNODE_SOAK_SECONDS=3600 pytest -m soak tests/e2e/test_cluster_soak.py
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from tests.support.cluster import ClusterOfProcesses, Member
from tests.support.ledger import DIM, Ledger
from tests.support.node import wait_for

SHARDS = 3
LONGEST_FAULT_SECONDS = 4.0


def disturb(rng: random.Random, cluster: ClusterOfProcesses) -> str:
    """Do something to one node or to all, and bring back what it has stopped; say what it was."""
    member = rng.choice(cluster.members)
    kind = rng.choice(("kill", "pause", "stop", "kill all", "kill two"))
    away_seconds = rng.uniform(0.0, LONGEST_FAULT_SECONDS)
    victims: list[Member] = [member]
    if kind == "pause":
        member.pause()
    elif kind == "stop":
        assert member.stop() == 0
    elif kind == "kill all":
        cluster.kill_all()
        victims = cluster.members
    else:
        victims = rng.sample(cluster.members, 2) if kind == "kill two" else [member]
        for victim in victims:
            victim.kill()
    time.sleep(away_seconds)
    cluster.heal()
    return f"{kind} {[cluster.members.index(victim) + 1 for victim in victims]} for {away_seconds:.1f} s"


@pytest.mark.soak
def test_no_row_of_random_faults_loses_or_divides_anything(tmp_path: Path) -> None:
    seed = int(os.environ.get("QNODE_SOAK_SEED", random.SystemRandom().randrange(2**32)))
    length_seconds = float(os.environ.get("QNODE_SOAK_SECONDS", 120.0))
    print(f"seed {seed}")
    rng = random.Random(seed)
    with ClusterOfProcesses(tmp_path) as cluster:
        end = time.monotonic() + length_seconds
        number = 0
        while time.monotonic() < end:
            number += 1
            name = f"c{number}"
            cluster[0].create(name, DIM, replication_factor=3, shard_number=SHARDS)
            with Ledger(cluster.addresses, name) as ledger:
                for _ in range(rng.randint(1, 4)):
                    ledger.wait_for_more(30)
                    print(disturb(rng, cluster), flush=True)
                ledger.wait_for_more(30)
                ledger.stop()
            cluster.wait_ready()
            cluster.wait_active(name, 3)
            ledger.check(cluster.addresses)
            cluster[number % 3].ask("DELETE", f"/collections/{name}")
            wait_for(
                lambda name=name: all(each.call("GET", f"/collections/{name}").status_code == 404 for each in cluster)
            )
