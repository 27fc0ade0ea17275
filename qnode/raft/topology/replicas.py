"""What can happen to the replicas of a shard, as the rules use it: leaving the Active set, being taken away, and the end
of transfers that lose an end.

Invariant: a shard has a primary exactly if it has an Active replica, and its primary is one of them. Whoever is Active has
every committed operation; that is why any Active replica may follow a primary that is taken away.
"""

from __future__ import annotations

from dataclasses import replace

from qnode.models.topology import CollectionEntry, ReplicaState, Shard, Transfer
from qnode.raft.topology.parts import with_shard, without
from qnode.raft.topology.rejection import Reason, Refused

ACTIVE, DEAD = ReplicaState.ACTIVE, ReplicaState.DEAD


def replica_of(shard: Shard, number: int, peer: int) -> ReplicaState:
    """Find how a peer's replica stands, or refuse."""
    state = shard.replicas.get(peer)
    if state is None:
        raise Refused(Reason.REFUSED, f"Peer {peer} has no replica of shard {number}")
    return state


def check_may_leave(shard: Shard, number: int, peer: int) -> None:
    """Refuse to take an Active replica out of the set if it is the last one, or the primary."""
    if shard.active() == [peer]:
        raise Refused(Reason.REFUSED, f"Cannot deactivate the last active replica {peer} of shard {number}")
    if shard.primary == peer:
        raise Refused(Reason.REFUSED, f"Cannot deactivate the primary {peer} of shard {number}, another must follow it")


def with_state(shard: Shard, peer: int, state: ReplicaState, index: int) -> Shard:
    """Put a replica into a state."""
    added = shard.added if peer in shard.replicas else {**shard.added, peer: index}
    return replace(shard, changed=index, replicas={**shard.replicas, peer: state}, added=added)


def without_replica(entry: CollectionEntry, number: int, peer: int, index: int) -> CollectionEntry:
    """Take a replica away, whatever it was, with its transfers."""
    return end_transfers(
        with_shard(entry, number, _shrunk(entry.shards[number], number, peer, index)), number, peer, index
    )


def end_transfers(entry: CollectionEntry, number: int, peer: int, index: int) -> CollectionEntry:
    """End the transfers of a shard from or to a peer, of which one end is lost."""
    for transfer in entry.transfers:
        if transfer.involves(number, peer):
            entry = end_transfer(entry, transfer, index)
    return entry


def end_transfer(entry: CollectionEntry, transfer: Transfer, index: int) -> CollectionEntry:
    """Give a transfer up: the target becomes Dead, or disappears if it was to replace the source.

    A target that is Active by now has all that it needs. It stays, except beside a source that it was to replace.
    """
    number, target = transfer.shard, transfer.target
    entry = without_transfer(entry, transfer)
    shard = entry.shards[number]
    state = shard.replicas.get(target)
    if state is None:
        return entry
    if transfer.sync:
        return entry if state is ACTIVE else with_shard(entry, number, with_state(shard, target, DEAD, index))
    if state is ACTIVE and (shard.primary == target or shard.replicas.get(transfer.source) is not ACTIVE):
        return entry
    return with_shard(entry, number, _shrunk(shard, number, target, index))


def without_transfer(entry: CollectionEntry, transfer: Transfer) -> CollectionEntry:
    """Note that a transfer is no longer under way."""
    return replace(entry, transfers=tuple(other for other in entry.transfers if other != transfer))


def _shrunk(shard: Shard, number: int, peer: int, index: int) -> Shard:
    """Take a replica away; if it was the primary, the next epoch has another one, or none."""
    changed = replace(shard, changed=index, replicas=without(shard.replicas, peer), added=without(shard.added, peer))
    if shard.primary != peer:
        return changed
    active = changed.active()
    successor = active[number % len(active)] if active else None  # so that those of many shards are not one peer
    return replace(changed, primary=successor, epoch=shard.epoch + 1)
