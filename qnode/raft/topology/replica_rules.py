"""What commands on the replicas of a shard do: states, the primary, adding and dropping."""

from __future__ import annotations

from dataclasses import replace

from qnode.models.topology import ReplicaState, Topology
from qnode.models.topology_commands import AddReplica, ChangePrimary, DropReplica, ForcePrimary, SetReplicaState
from qnode.raft.topology.parts import check_peer, shard_in_epoch, with_collection, with_shard
from qnode.raft.topology.rejection import Reason, Refused
from qnode.raft.topology.replicas import (
    ACTIVE,
    DEAD,
    check_may_leave,
    end_transfers,
    replica_of,
    with_state,
    without_replica,
)


def set_replica_state(topology: Topology, command: SetReplicaState) -> Topology:
    """Put a replica into a state. A Dead one does not become Active at once; nor does any without a primary."""
    number, peer, state = command.shard, command.peer, command.state
    entry, shard = shard_in_epoch(topology, command.name, number, command.epoch)
    current = replica_of(shard, number, peer)
    if command.expected is not None and current is not command.expected:
        raise Refused(Reason.OUTDATED, f"The replica of shard {number} on peer {peer} is {current}")
    if state is ACTIVE and command.seen is None:  # or a promotion that was held up could meet a later recovery
        raise Refused(Reason.REFUSED, "What makes a replica Active must name the state of the shard that it has seen")
    if command.seen is not None and command.seen != shard.changed:
        raise Refused(Reason.OUTDATED, f"The replicas of shard {number} have changed meanwhile")
    if current is state:
        return topology
    if current is ACTIVE:
        check_may_leave(shard, number, peer)
    if state is ACTIVE and current is DEAD:
        raise Refused(Reason.REFUSED, f"The replica of shard {number} on peer {peer} is Dead and must be recovered")
    if state is ACTIVE and shard.primary is None:
        raise Refused(Reason.REFUSED, f"Shard {number} has no primary that could vouch for peer {peer}")
    entry = with_shard(entry, number, with_state(shard, peer, state, topology.index))
    if current is ACTIVE or state is DEAD:
        entry = end_transfers(entry, number, peer, topology.index)
    return with_collection(topology, command.name, entry)


def change_primary(topology: Topology, command: ChangePrimary) -> Topology:
    """Make another Active replica the primary of the next epoch."""
    number, peer = command.shard, command.peer
    entry, shard = shard_in_epoch(topology, command.name, number, command.epoch)
    if replica_of(shard, number, peer) is not ACTIVE:
        raise Refused(Reason.OUTDATED, f"Shard {number} is not active on peer {peer}")
    old = shard.primary
    assert old is not None, "a shard with an Active replica has a primary"
    if peer == old:
        raise Refused(Reason.REFUSED, f"Peer {peer} is the primary of shard {number} already")
    changed = with_state(shard, old, ACTIVE if command.hands_over else DEAD, topology.index)
    entry = with_shard(entry, number, replace(changed, primary=peer, epoch=shard.epoch + 1))
    if not command.hands_over:
        entry = end_transfers(entry, number, old, topology.index)
    return with_collection(topology, command.name, entry)


def force_primary(topology: Topology, command: ForcePrimary) -> Topology:
    """Make a replica the primary of the next epoch without regard to what others hold; they become Dead."""
    number, peer = command.shard, command.peer
    entry, shard = shard_in_epoch(topology, command.name, number, command.epoch)
    check_peer(topology, peer)
    if shard.replicas:  # a shard that nobody holds any more may begin anew, empty, wherever the operator says
        replica_of(shard, number, peer)
    others = {other: DEAD if state is ACTIVE else state for other, state in shard.replicas.items()}
    changed = with_state(replace(shard, replicas=others), peer, ACTIVE, topology.index)
    entry = with_shard(entry, number, replace(changed, primary=peer, epoch=shard.epoch + 1))
    for other in others:
        entry = end_transfers(entry, number, other, topology.index)
    return with_collection(topology, command.name, entry)


def add_replica(topology: Topology, command: AddReplica) -> Topology:
    """Let one more peer hold a shard."""
    number, peer = command.shard, command.peer
    entry, shard = shard_in_epoch(topology, command.name, number, command.epoch)
    check_peer(topology, peer)
    if peer in shard.replicas:
        raise Refused(Reason.REFUSED, f"Peer {peer} has a replica of shard {number} already")
    if shard.primary is None:
        raise Refused(Reason.REFUSED, f"Shard {number} has no active replica to be copied from")
    changed = with_state(shard, peer, ReplicaState.INITIALIZING, topology.index)
    return with_collection(topology, command.name, with_shard(entry, number, changed))


def drop_replica(topology: Topology, command: DropReplica) -> Topology:
    """Take a replica away while an Active one stays."""
    number, peer = command.shard, command.peer
    entry, shard = shard_in_epoch(topology, command.name, number, command.epoch)
    replica_of(shard, number, peer)
    if not any(other != peer for other in shard.active()):
        raise Refused(Reason.REFUSED, f"Shard {number} must have at least one active replica after removing {peer}")
    return with_collection(topology, command.name, without_replica(entry, number, peer, topology.index))
