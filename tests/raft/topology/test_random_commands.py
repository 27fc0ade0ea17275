from collections import Counter
from random import Random

import pytest

from qnode.models.topology import Topology
from qnode.raft.topology import (
    apply_command,
    command_from_bytes,
    command_to_bytes,
    topology_from_bytes,
    topology_to_bytes,
)
from tests.raft.topology.random_commands import check_state, check_step, random_command

COMMANDS_PER_RUN = 400


def run(seed: int) -> Counter[tuple[str, bool]]:
    """Apply random commands, checking after each; return how often each kind was accepted (True) or not."""
    print(f"seed {seed}")
    random, topology = Random(seed), Topology()
    outcomes: Counter[tuple[str, bool]] = Counter()
    folders: set[str] = set()
    epochs: dict[tuple[str, int], tuple[str, int]] = {}
    for _ in range(COMMANDS_PER_RUN):
        command = random_command(topology, random)
        after, rejected = apply_command(topology, command)
        outcomes[type(command).__name__, rejected is None] += 1
        check_step(topology, command, after)
        check_state(after)
        for name, entry in after.collections.items():
            if name not in topology.collections or topology.collections[name].folder != entry.folder:
                assert entry.folder not in folders, "a folder was used again"
                folders.add(entry.folder)
            for number, shard in entry.shards.items():
                folder, newest = epochs.get((name, number), ("", -1))
                assert shard.epoch > newest or folder == entry.folder, "an epoch of a deleted collection came back"
                epochs[name, number] = entry.folder, shard.epoch
        topology = after
    assert topology_from_bytes(topology_to_bytes(topology)) == topology
    return outcomes


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_what_must_hold_holds_after_any_commands(first: int):
    for seed in range(first, first + 20):
        run(seed)


@pytest.mark.soak
def test_what_must_hold_holds_after_very_many_commands():
    for seed in range(1000, 6000):
        run(seed)


def test_random_commands_reach_every_rule_both_ways():
    outcomes = sum((run(seed) for seed in range(10)), Counter())
    always_accepted = {"PutMetadata", "DeleteMetadata", "SetQuotas"}
    kinds = {kind for kind, _ in outcomes}
    assert len(kinds) == 31
    for kind in kinds:
        assert outcomes[kind, True], f"{kind} was never accepted"
        assert outcomes[kind, False] or kind in always_accepted, f"{kind} was never rejected"


def test_two_nodes_come_to_the_same_topology_by_way_of_bytes():
    for seed in range(10):
        print(f"seed {seed}")
        random, here, there = Random(seed), Topology(), Topology()
        for step in range(COMMANDS_PER_RUN):
            command = random_command(here, random)
            here, rejected = apply_command(here, command)
            there, rejected_there = apply_command(there, command_from_bytes(command_to_bytes(command)))
            assert rejected == rejected_there
            if step % 50 == 0:
                there = topology_from_bytes(topology_to_bytes(there))
        assert here == there
        assert topology_to_bytes(here) == topology_to_bytes(there)
