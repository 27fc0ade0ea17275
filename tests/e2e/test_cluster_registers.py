"""Single points are registers, whatever happens: linearizable when read by a quorum, or through a primary as long as it lives. Plain
reads through any node, and through one primary after the other, see all that was answered.

`pytest -m soak` goes on for long; a seed and a length may be given:

QNODE_SOAK_SEED=7 QNODE_SOAK_SECONDS=3600 pytest -m soak tests/e2e/test_cluster_registers.py
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.support.cluster import ClusterOfProcesses
from tests.support.registers import Registers

KILLS = 2
FAULTS = 3
LONGEST_FAULT_SECONDS = 3.0


@pytest.fixture
def seed() -> int:
    chosen = int(os.environ.get("QNODE_SOAK_SEED", random.SystemRandom().randrange(2**32)))
    print(f"seed {chosen}")
    return chosen


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ClusterOfProcesses]:
    with ClusterOfProcesses(tmp_path, cuttable=True) as running:
        running[0].create("c", 4, replication_factor=3, shard_number=1)
        yield running


class PrimaryFinder:
    """Gives the address of the primary's node, as a node tells it that answers."""

    def __init__(self, cluster: ClusterOfProcesses, rng: random.Random) -> None:
        self._addresses = {member.peer_id: member.address for member in cluster}
        self._rng = rng
        self._client = httpx.Client(timeout=2.0, trust_env=False)

    def close(self) -> None:
        self._client.close()

    def __call__(self) -> str | None:
        asked = self._rng.choice(list(self._addresses.values()))
        try:
            answer = self._client.get(f"{asked}/cluster/telemetry", params={"details_level": 2})
            (shard,) = answer.json()["result"]["collections"]["c"]["shards"]
        except (httpx.HTTPError, KeyError):
            return None
        return next((self._addresses[each["peer_id"]] for each in shard["replicas"] if each["is_primary"]), None)


def disturb(rng: random.Random, cluster: ClusterOfProcesses, fault: str | None = None) -> str:
    """Do something to a node or a pair of them for a while, and mend it; say what it was."""
    kind = fault or rng.choice(("kill", "kill all", "pause", "stop", "cut off", "cut", "cut one way"))
    victim, other = rng.sample(range(len(cluster)), 2)
    match kind:
        case "kill":
            cluster[victim].kill()
        case "kill all":
            cluster.kill_all()
        case "pause":
            cluster[victim].pause()
        case "stop":
            assert cluster[victim].stop() == 0
        case "cut off":
            cluster.network.isolate(victim)
        case _:
            cluster.network.cut(victim, other, one_way=kind == "cut one way")
    away_seconds = rng.uniform(0.2, LONGEST_FAULT_SECONDS)
    time.sleep(away_seconds)
    cluster.heal()
    return f"{kind} {victim + 1} ({other + 1}) for {away_seconds:.1f} s"


def test_reads_through_the_primary_are_linearizable(cluster: ClusterOfProcesses, seed: int) -> None:
    with (
        closing(PrimaryFinder(cluster, random.Random(seed))) as reader,
        Registers(cluster.addresses, "c", seed=seed, reader=reader) as registers,
    ):
        registers.wait_for_more(200)
    registers.check()


def test_reads_through_one_primary_after_the_other_see_all_that_was_answered(
    cluster: ClusterOfProcesses, seed: int
) -> None:
    rng = random.Random(seed)
    with (
        closing(PrimaryFinder(cluster, rng)) as reader,
        Registers(cluster.addresses, "c", seed=seed, reader=reader) as registers,
    ):
        for _ in range(KILLS):
            registers.wait_for_more()
            victim = cluster.primary_of("c")
            victim.kill()
            registers.wait_for_more()
            cluster.heal()
        registers.wait_for_more()
    registers.check(early_reads=False)


def test_reads_through_any_node_see_all_that_was_answered_under_any_fault(
    cluster: ClusterOfProcesses, seed: int
) -> None:
    rng = random.Random(seed)
    with Registers(cluster.addresses, "c", seed=seed) as registers:
        for fault in ("pause", "cut off", None):
            registers.wait_for_more(30)
            print(disturb(rng, cluster, fault), flush=True)
        registers.wait_for_more(30)
    registers.check(early_reads=False)


@pytest.mark.soak
def test_reads_through_any_node_see_all_that_was_answered_for_long(cluster: ClusterOfProcesses, seed: int) -> None:
    rng = random.Random(seed)
    end = time.monotonic() + float(os.environ.get("QNODE_SOAK_SECONDS", 120.0))
    while time.monotonic() < end:
        with Registers(cluster.addresses, "c", seed=rng.randrange(2**32)) as registers:
            for _ in range(rng.randint(1, 5)):
                registers.wait_for_more(20)
                print(disturb(rng, cluster), flush=True)
            registers.wait_for_more(20)
        registers.check(early_reads=False)
        cluster.wait_active("c", 3)


def test_quorum_reads_are_linearizable_under_any_fault(cluster: ClusterOfProcesses, seed: int) -> None:
    rng = random.Random(seed)
    with Registers(cluster.addresses, "c", seed=seed, consistency="quorum") as registers:
        for _ in range(FAULTS):
            registers.wait_for_more(30)
            print(disturb(rng, cluster), flush=True)
        registers.wait_for_more(30)
    registers.check()


@pytest.mark.soak
def test_quorum_reads_stay_linearizable_for_long(cluster: ClusterOfProcesses, seed: int) -> None:
    rng = random.Random(seed)
    end = time.monotonic() + float(os.environ.get("QNODE_SOAK_SECONDS", 120.0))
    while time.monotonic() < end:
        with Registers(cluster.addresses, "c", seed=rng.randrange(2**32), consistency="quorum") as registers:
            for _ in range(rng.randint(1, 5)):
                registers.wait_for_more(20)
                print(disturb(rng, cluster), flush=True)
            registers.wait_for_more(20)
        registers.check()
        cluster.wait_active("c", 3)
