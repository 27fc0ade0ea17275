from random import Random

from qnode.models.topology import ReplicaState, Topology
from qnode.models.topology_commands import AddPeer, ChangePrimary, CreateCollection, SetPeerDraining, SetReplicaState
from qnode.raft.topology import apply_command
from qnode.shards.placement import ReconcileSettings, loads, place
from tests.shards.placement.scenario import NOW, Scenario

ACTIVE = ReplicaState.ACTIVE


def active(topology: Topology, name: str, number: int, peer: int) -> SetReplicaState:
    shard = topology.collections[name].shards[number]
    return SetReplicaState(name, number, peer, ACTIVE, shard.epoch, seen=shard.changed)


def random_cluster(random: Random) -> Scenario:
    """Peers of which some are silent, with failover done, and some are drained; all replicas Active before that."""
    scenario = Scenario("settings incoming=2 outgoing=2")
    topology, count = Topology(), random.randint(2, 6)
    for peer in range(1, count + 1):
        topology, _ = apply_command(topology, AddPeer(peer, f"http://n{peer}", "word", zone=random.choice("ab")))
    for name in "abc":
        factor = random.randint(1, 3)
        placement = place(topology, random.randint(1, 5), factor)
        config = {"params": {"replication_factor": factor}}
        topology, _ = apply_command(topology, CreateCollection(name, config, placement))
    for name, number, shard in list(topology.shards()):
        for peer in shard.replicas:
            activate = active(topology, name, number, peer)
            topology, _ = apply_command(topology, activate)
    for peer in random.sample(range(1, count + 1), random.randint(0, count // 2)):
        scenario.silent[peer] = NOW - random.choice([1, 1000])
        for name, number, shard in list(topology.shards_on(peer)):
            others = [other for other in shard.active() if other not in scenario.silent]
            if shard.primary == peer and others:
                topology, _ = apply_command(topology, ChangePrimary(name, number, others[0], shard.epoch))
            topology, _ = apply_command(topology, SetReplicaState(name, number, peer, ReplicaState.DEAD, shard.epoch))
    for peer in random.sample(range(1, count + 1), random.randint(0, 1)):
        topology, _ = apply_command(topology, SetPeerDraining(peer, True))
    scenario.topology = topology
    return scenario


def test_any_cluster_comes_to_rest_with_every_shard_as_safe_as_it_can_be():
    for seed in range(150):
        print(f"seed {seed}")
        scenario = random_cluster(Random(seed))
        before = {(name, number): shard.active() for name, number, shard in scenario.topology.shards()}
        print(scenario.course())
        after = scenario.topology
        lost = {peer for peer, since in scenario.silent.items() if NOW - since >= 600}
        drained = {peer for peer, entry in after.peers.items() if entry.is_draining}
        for name, number, shard in after.shards():
            assert shard.active() or not before[name, number]
            if shard.primary is None or shard.primary in scenario.silent:
                continue
            wanted = after.collections[name].replication_factor_of(number)
            within_reach = set(after.peers) - set(scenario.silent) - drained
            well = set(shard.active()) & within_reach
            held_back = (set(shard.replicas) | set(after.peers)) - within_reach - lost - drained
            assert len(well) >= min(wanted, len(within_reach)) - len(held_back), (name, number)
            if len(well) >= wanted:
                assert not set(shard.replicas) & (lost | drained), (name, number)


def test_primaries_end_up_as_even_as_the_replicas_allow():
    for seed in range(50):
        print(f"seed {seed}")
        random = Random(seed)
        topology = Topology()
        for peer in range(1, 5):
            topology, _ = apply_command(topology, AddPeer(peer, f"http://n{peer}", "word"))
        placement = tuple(tuple(sorted(random.sample(range(1, 5), 4))) for _ in range(random.randint(1, 14)))
        topology, _ = apply_command(topology, CreateCollection("c", {}, placement))
        for number, shard in topology.collections["c"].shards.items():
            for peer in shard.replicas:
                topology, _ = apply_command(topology, active(topology, "c", number, peer))
        scenario = Scenario("settings incoming=1")
        scenario.topology = topology
        scenario.course()
        primaries = [load.primaries for load in loads(scenario.topology).values()]
        assert max(primaries) - min(primaries) <= 1


def test_primaries_stay_where_they_are_if_they_are_not_to_be_spread():
    scenario = Scenario(
        "peers 1 2\nshard c/0: 1*Active 2Active\nshard c/1: 1*Active 2Active\nsettings incoming=1 spread=0"
    )
    assert scenario.settings == ReconcileSettings(spread_primaries=False)
    scenario.course()
    assert scenario.rounds == []
