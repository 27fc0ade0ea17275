"""A topology to begin with, and the outcome of commands in words."""

from dataclasses import replace

from qnode.models.topology import ReplicaState, Shard, Topology
from qnode.models.topology_commands import AddPeer, Command, CreateCollection, CreateShardKey
from qnode.raft.topology import Reason, apply_command

ACTIVE, DEAD = ReplicaState.ACTIVE, ReplicaState.DEAD
INITIALIZING, PARTIAL, RECOVERY = ReplicaState.INITIALIZING, ReplicaState.PARTIAL, ReplicaState.RECOVERY

CUSTOM = {"params": {"sharding_method": "custom"}}


def applied(topology: Topology, *commands: Command) -> Topology:
    for command in commands:
        topology, rejected = apply_command(topology, command)
        assert rejected is None, f"{command}: {rejected}"
    return topology


def refused(topology: Topology, command: Command) -> tuple[Reason, str]:
    """The rejection of a command that must be rejected, and must change nothing but the index."""
    after, rejected = apply_command(topology, command)
    assert rejected is not None, command
    assert after.index == topology.index + 1
    for part in ("peers", "removed", "collections", "aliases", "metadata"):
        assert getattr(after, part) is getattr(topology, part), part
    return rejected.reason, rejected.text


def peers(count: int) -> Topology:
    """Peers 1 to count."""
    return applied(Topology(), *(AddPeer(peer, f"http://n{peer}", f"word {peer}") for peer in range(1, count + 1)))


def one_shard(*states: ReplicaState) -> Topology:
    """A collection `c` whose shard 0 has a replica in each of these states on peers 1, 2, …, and a peer more."""
    topology = applied(peers(len(states) + 1), CreateCollection("c", {}, (tuple(range(1, len(states) + 1)),)))
    entry = topology.collections["c"]
    replicas = dict(enumerate(states, start=1))
    changed = replace(entry, shards={0: replace(entry.shards[0], replicas=replicas)})
    return replace(topology, collections={"c": changed})


def with_keys(*keys: int | str) -> Topology:
    topology = applied(peers(3), CreateCollection("c", CUSTOM, ()))
    return applied(topology, *(CreateShardKey("c", key, ((1, 2), (2, 3))) for key in keys))


def shard(topology: Topology, number: int = 0) -> Shard:
    return topology.collections["c"].shards[number]
