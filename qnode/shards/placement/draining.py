"""What draining a peer would move, and whether it can be done at all.

The plan is for whoever asks; `reconcile` carries it out, once the topology says that the peer is being drained, and decides
anew at each step.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from qnode.errors import BadRequest
from qnode.models.topology import ReplicaState, Shard, Topology
from qnode.shards.placement.placing import Load, choose, loads


@dataclass(frozen=True, slots=True)
class Move:
    """A replica goes to another peer, or is dropped (`target` None) where the others are enough."""

    name: str
    shard: int
    target: int | None


def plan_drain(topology: Topology, peer: int, silent: Collection[int] = ()) -> tuple[Move, ...]:
    """Say where each replica of a peer would go; raise BadRequest if a last copy has nowhere to go to."""
    if peer not in topology.peers:
        raise BadRequest(f"Peer {peer} does not exist")
    load = loads(topology)
    moves, stuck = [], []
    for name, number, shard in topology.shards_on(peer):
        well = [
            other
            for other, member in topology.peers.items()
            if other != peer and other not in silent and not member.is_draining
        ]
        others = [other for other in well if shard.replicas.get(other) is ReplicaState.ACTIVE]
        target = (
            _target(topology, name, number, shard, peer, well, load)
            if _is_needed(topology, name, number, others)
            else None
        )
        is_last = shard.replicas[peer] is ReplicaState.ACTIVE and not others
        if is_last and (target is None or peer in silent):
            stuck.append((name, number))
        elif target is not None:
            load[target] = Load(load[target].replicas + 1, load[target].primaries)
        moves.append(Move(name, number, target))
    if stuck:
        name, number = stuck[0]
        more = f" (and of {len(stuck) - 1} more)" if len(stuck) > 1 else ""
        cause = "it does not answer" if peer in silent else "no other peer can take it"
        raise BadRequest(
            f"Cannot drain peer {peer}: it holds the last copy of shard {number} of {name}{more}, and {cause}"
        )
    return tuple(moves)


def _is_needed(topology: Topology, name: str, number: int, others: Collection[int]) -> bool:
    return len(others) < topology.collections[name].replication_factor_of(number)


def _target(
    topology: Topology, name: str, number: int, shard: Shard, peer: int, well: Collection[int], load: dict[int, Load]
) -> int | None:
    entry = topology.collections[name]
    only = () if shard.key is None else entry.keys[shard.key].placement
    candidates = [other for other in well if not only or other in only]
    return choose(topology.peers, candidates, list(shard.replicas), load)
