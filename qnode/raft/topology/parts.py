"""What the rules have in common: finding a part of the topology or refusing, and putting a changed part back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from qnode.models.shard_choice import shown
from qnode.models.topology import (
    STANDALONE_PEER,
    CollectionEntry,
    Peer,
    ReplicaState,
    Shard,
    ShardKey,
    ShardKeyEntry,
    Topology,
)
from qnode.models.topology_commands import Placement
from qnode.raft.topology.rejection import Reason, Refused

Name = TypeVar("Name", int, str)
Part = TypeVar("Part")


def without(parts: Mapping[Name, Part], name: Name) -> dict[Name, Part]:
    """Copy a mapping without one name."""
    return {other: part for other, part in parts.items() if other != name}


def collection_of(topology: Topology, name: str) -> CollectionEntry:
    """Find a collection, or refuse."""
    entry = topology.collections.get(name)
    if entry is None:
        raise Refused(Reason.MISSING, f"Collection `{name}` doesn't exist!")
    return entry


def with_collection(topology: Topology, name: str, entry: CollectionEntry) -> Topology:
    """Put a changed collection in its place."""
    return replace(topology, collections={**topology.collections, name: entry})


def shard_of(entry: CollectionEntry, name: str, number: int) -> Shard:
    """Find a shard, or refuse."""
    shard = entry.shards.get(number)
    if shard is None:
        raise Refused(Reason.REFUSED, f"Shard {number} of {name} does not exist")
    return shard


def key_of(entry: CollectionEntry, name: str, key: ShardKey) -> ShardKeyEntry:
    """Find a shard key, or refuse."""
    own = entry.keys.get(key)
    if own is None:
        raise Refused(Reason.REFUSED, f"Sharding key {shown(key)} does not exist for collection {name}")
    return own


def with_shard(entry: CollectionEntry, number: int, shard: Shard) -> CollectionEntry:
    """Put a changed shard in its place."""
    return replace(entry, shards={**entry.shards, number: shard})


def check_epoch(shard: Shard, number: int, epoch: int | None) -> None:
    """Refuse what was decided in another epoch of the shard."""
    if epoch is not None and shard.epoch != epoch:
        raise Refused(Reason.OUTDATED, f"Shard {number} is in epoch {shard.epoch}, no longer in {epoch}")


def shard_in_epoch(topology: Topology, name: str, number: int, epoch: int | None) -> tuple[CollectionEntry, Shard]:
    """Find a collection and a shard of it, or refuse; also what was decided in another epoch."""
    entry = collection_of(topology, name)
    shard = shard_of(entry, name, number)
    check_epoch(shard, number, epoch)
    return entry, shard


def peer_of(topology: Topology, peer: int) -> Peer:
    """Find a member, or refuse."""
    entry = topology.peers.get(peer)
    if entry is None:
        raise Refused(Reason.REFUSED, f"Peer {peer} does not exist")
    return entry


def check_peer(topology: Topology, peer: int) -> None:
    """Refuse a peer that is not a member; a node that was never in a cluster is one by itself."""
    if topology.peers or peer != STANDALONE_PEER:
        peer_of(topology, peer)


def new_shards(
    topology: Topology, numbers: Iterable[int], key: ShardKey | None, placement: Placement
) -> dict[int, Shard]:
    """Make shards of this moment: the first peer of each is its primary, the others are to follow it."""
    shards = {}
    for number, peers in zip(numbers, placement, strict=True):
        if not peers or len(set(peers)) != len(peers):
            raise Refused(Reason.REFUSED, f"Shard {number} must be placed on one peer at least, and once on each")
        for peer in peers:
            check_peer(topology, peer)
        replicas = {peer: ReplicaState.INITIALIZING if rank else ReplicaState.ACTIVE for rank, peer in enumerate(peers)}
        index = topology.index
        shards[number] = Shard(key, peers[0], index, index, replicas, dict.fromkeys(peers, index))
    return shards
