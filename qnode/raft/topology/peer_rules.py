"""What commands on the members do.

A node is told from another one by its id and its incarnation, a random word that it made when its storage was new: so
neither a node whose storage was wiped nor one that was removed comes back under an old identity.
"""

from __future__ import annotations

from dataclasses import replace

from qnode.models.topology import LARGEST_PEER_ID, STANDALONE_PEER, CollectionEntry, Peer, Shard, Topology
from qnode.models.topology_commands import AddPeer, PeerStarted, PromotePeer, RemovePeer, SetPeerDraining, UpdatePeerUri
from qnode.raft.topology.parts import peer_of, without
from qnode.raft.topology.rejection import Reason, Refused
from qnode.raft.topology.replicas import without_replica


def add_peer(topology: Topology, command: AddPeer) -> Topology:
    """Let a node in, or renew what is known of a member with the same storage. The first one votes."""
    peer = command.peer
    if not 1 <= peer <= LARGEST_PEER_ID:
        raise Refused(Reason.REFUSED, f"peer id {peer} is not between 1 and {LARGEST_PEER_ID}")
    if peer in topology.removed:
        raise Refused(
            Reason.REFUSED, f"Peer {peer} was removed from the cluster. Let it join with an empty storage folder"
        )
    known = topology.peers.get(peer)
    _check_incarnation(peer, known, command.incarnation)
    topology = _with_free_uri(topology, peer, command.uri)
    first = not topology.peers
    entry = Peer(command.uri, command.incarnation, command.name, command.version, command.zone, is_voter=first)
    if known is not None:
        entry = replace(
            entry, is_voter=known.is_voter, is_draining=known.is_draining, life=known.life, lease_ms=known.lease_ms
        )
    topology = replace(topology, peers={**topology.peers, peer: entry})
    return _with_standalone_adopted(topology, peer) if first and not topology.removed else topology


def update_peer_uri(topology: Topology, command: UpdatePeerUri) -> Topology:
    """Note a member's new address."""
    known = peer_of(topology, command.peer)
    _check_incarnation(command.peer, known, command.incarnation)
    topology = _with_free_uri(topology, command.peer, command.uri)
    return _with_peer(topology, command.peer, replace(known, uri=command.uri))


def peer_started(topology: Topology, command: PeerStarted) -> Topology:
    """Let a new process of a member begin a new epoch of whatever it is primary of, once for each process."""
    peer, known = command.peer, peer_of(topology, command.peer)
    if known.life == command.life:
        return topology
    if known.life != command.seen:
        raise Refused(Reason.OUTDATED, f"Peer {peer} has started again meanwhile")
    collections = {name: _restarted(entry, peer, topology.index) for name, entry in topology.collections.items()}
    return _with_peer(
        replace(topology, collections=collections), peer, replace(known, life=command.life, lease_ms=command.lease_ms)
    )


def _restarted(entry: CollectionEntry, peer: int, index: int) -> CollectionEntry:
    led = {number: shard for number, shard in entry.shards.items() if shard.primary == peer}
    if not led:
        return entry
    began = {number: replace(shard, epoch=shard.epoch + 1, changed=index) for number, shard in led.items()}
    return replace(entry, shards={**entry.shards, **began})


def promote_peer(topology: Topology, command: PromotePeer) -> Topology:
    """Make a member a voter."""
    return _with_peer(topology, command.peer, replace(peer_of(topology, command.peer), is_voter=True))


def set_peer_draining(topology: Topology, command: SetPeerDraining) -> Topology:
    """Note whether everything is to be moved off a member."""
    changed = replace(peer_of(topology, command.peer), is_draining=command.draining)
    return _with_peer(topology, command.peer, changed)


def remove_peer(topology: Topology, command: RemovePeer) -> Topology:
    """Take out a member that holds nothing, or with `force` any."""
    peer = command.peer
    peer_of(topology, peer)
    if len(topology.peers) == 1:
        raise Refused(Reason.REFUSED, f"Cannot remove peer {peer} as it is the only one")
    if not command.force and any(True for _ in topology.shards_on(peer)):
        raise Refused(Reason.REFUSED, f"Cannot remove peer {peer} as there are shards on it")
    return _without_peer(topology, peer)


def _with_free_uri(topology: Topology, peer: int, uri: str) -> Topology:
    """Take an address from a peer that has nothing and will not come back; refuse it if that peer has shards."""
    for other, entry in topology.peers.items():
        if other != peer and entry.uri == uri:
            if any(True for _ in topology.shards_on(other)):
                raise Refused(
                    Reason.REFUSED,
                    f"peer URI {uri} already used by peer {other} which still has shards, "
                    f"remove that peer first or start this node with its storage",
                )
            return _without_peer(topology, other)
    return topology


def _without_peer(topology: Topology, peer: int) -> Topology:
    collections = {
        name: _entry_without_peer(entry, peer, topology.index) for name, entry in topology.collections.items()
    }
    return replace(
        topology, peers=without(topology.peers, peer), removed=topology.removed | {peer}, collections=collections
    )


def _entry_without_peer(entry: CollectionEntry, peer: int, index: int) -> CollectionEntry:
    for number in [number for number, shard in entry.shards.items() if peer in shard.replicas]:
        entry = without_replica(entry, number, peer, index)
    return entry


def _with_standalone_adopted(topology: Topology, peer: int) -> Topology:
    """Give the first peer of a cluster what its node held while it ran alone."""
    collections = {}
    for name, entry in topology.collections.items():
        shards = {number: _adopted(shard, peer) for number, shard in entry.shards.items()}
        collections[name] = replace(entry, shards=shards)
    return replace(topology, collections=collections)


def _adopted(shard: Shard, peer: int) -> Shard:
    replicas = {peer if other == STANDALONE_PEER else other: state for other, state in shard.replicas.items()}
    added = {peer if other == STANDALONE_PEER else other: index for other, index in shard.added.items()}
    return replace(shard, primary=peer, replicas=replicas, added=added)


def _with_peer(topology: Topology, peer: int, entry: Peer) -> Topology:
    return replace(topology, peers={**topology.peers, peer: entry})


def _check_incarnation(peer: int, known: Peer | None, incarnation: str) -> None:
    if known is not None and known.incarnation != incarnation:
        raise Refused(
            Reason.REFUSED,
            f"Peer {peer} is known with another storage. Restore that storage, or remove the peer and join under a new id",
        )
