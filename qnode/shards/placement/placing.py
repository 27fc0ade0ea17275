"""Choosing peers for replicas: first other zones, then the peers that hold the least.

Load is a number of replicas and of primaries. Left out: the size of shards, and how busy they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace

from qnode.models.topology import STANDALONE_PEER, Peer, Topology
from qnode.models.topology_commands import Placement


@dataclass(frozen=True, slots=True)
class Load:
    """What a peer holds. A primary is a replica too, and works more than the others."""

    replicas: int = 0
    primaries: int = 0


def loads(topology: Topology) -> dict[int, Load]:
    """Count what each peer holds."""
    replicas = dict.fromkeys(topology.peers or (STANDALONE_PEER,), 0)
    primaries = dict(replicas)
    for _, _, shard in topology.shards():
        for peer in shard.replicas:
            replicas[peer] += 1
        if shard.primary is not None:
            primaries[shard.primary] += 1
    return {peer: Load(count, primaries[peer]) for peer, count in replicas.items()}


def place(
    topology: Topology,
    shards: int,
    replication_factor: int,
    *,
    silent: Collection[int] = (),
    only: Collection[int] = (),
) -> Placement:
    """Spread new shards over the peers that may take them, the primary of each first.

    A shard has as many replicas as there are peers for it, at most `replication_factor`. Peers that are silent or are
    being drained take part only if there is nobody else; `only` leaves no others. Empty if nobody is left.
    """
    if not topology.peers:
        return ((STANDALONE_PEER,),) * shards
    allowed = [peer for peer in topology.peers if not only or peer in only]
    well = [peer for peer in allowed if peer not in silent and not topology.peers[peer].is_draining]
    load = loads(topology)
    placement = []
    for _ in range(shards):
        chosen: list[int] = []
        for _ in range(replication_factor):
            peer = choose(topology.peers, well or allowed, chosen, load)
            if peer is None:
                break
            chosen.append(peer)
        if not chosen:
            return ()
        placement.append(_primary_first(chosen, load))
        _count(load, placement[-1])
    return tuple(placement)


def choose(
    peers: Mapping[int, Peer], candidates: Iterable[int], holders: Sequence[int], load: Mapping[int, Load]
) -> int | None:
    """Choose who should hold a shard beside `holders`; None if nobody can."""
    zones = [peers[holder].zone for holder in holders if holder in peers]

    def burden(peer: int) -> tuple[int, int, int]:
        zone = peers[peer].zone
        return 0 if zone is None else zones.count(zone), load[peer].replicas, peer

    return min((peer for peer in candidates if peer not in holders), key=burden, default=None)


def _primary_first(chosen: Sequence[int], load: Mapping[int, Load]) -> tuple[int, ...]:
    primary = min(chosen, key=lambda peer: (load[peer].primaries, chosen.index(peer)))
    return primary, *(peer for peer in chosen if peer != primary)


def _count(load: MutableMapping[int, Load], placed: Sequence[int]) -> None:
    for peer in placed:
        load[peer] = replace(load[peer], replicas=load[peer].replicas + 1)
    load[placed[0]] = replace(load[placed[0]], primaries=load[placed[0]].primaries + 1)
