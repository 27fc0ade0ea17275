"""A shard as its replicas see it in the topology, the command that changes it, and the bounds of the protocol. Values.

`epoch` rises with each change of the primary, and when the primary's process has started anew: an epoch is one life of one
process. `revision` rises with every change of the shard's entry, the epoch's included. A command is guarded: applied to a shard
whose epoch or revision is another by then, it changes nothing. The revision is what makes an old command, found again
in some queue, harmless: a guard on states alone would let it pass when the states have come round again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qnode.models.topology import ReplicaState, Shard

__all__ = ["CATCHING_UP", "HandOver", "PeerId", "ReplicaState", "SetState", "Settings", "ShardView", "view_of"]

PeerId = int

CATCHING_UP = frozenset({ReplicaState.INITIALIZING, ReplicaState.PARTIAL, ReplicaState.RECOVERY})
"""The states of replicas that are sent to and that no commit needs. Beside them and the Active, nobody is sent to."""


@dataclass(frozen=True, slots=True)
class ShardView:
    """A shard's entry in the topology, as far as this node has applied it.

    floor: so many replicas must be in sync for a commit. added: since which revision each peer has its replica; one that was
    dropped and made anew has another.
    """

    primary: PeerId | None
    epoch: int
    revision: int
    replicas: Mapping[PeerId, ReplicaState]
    floor: int = 1
    added: Mapping[PeerId, int] = field(default_factory=dict)

    @property
    def active(self) -> frozenset[PeerId]:
        return frozenset(peer for peer, state in self.replicas.items() if state is ReplicaState.ACTIVE)

    @property
    def followers(self) -> frozenset[PeerId]:
        """The replicas that the primary sends to."""
        served = (peer for peer, state in self.replicas.items() if state is ReplicaState.ACTIVE or state in CATCHING_UP)
        return frozenset(served) - {self.primary}


def view_of(shard: Shard, floor: int = 1) -> ShardView:
    """Say what a shard's entry in the topology means to its replicas."""
    return ShardView(shard.primary, shard.epoch, shard.changed, shard.replicas, floor, shard.added)


@dataclass(frozen=True, slots=True)
class SetState:
    """Make a replica Active or Dead, if epoch and revision are still these. Only the primary may make one Active."""

    peer: PeerId
    state: ReplicaState
    epoch: int
    revision: int


@dataclass(frozen=True, slots=True)
class HandOver:
    """Make an Active replica the primary of the next epoch, if this is the epoch still. The old primary stays Active."""

    peer: PeerId
    epoch: int


@dataclass(frozen=True, slots=True)
class Settings:
    """Bounds and times of the protocol, the same for all shards of a node."""

    link_timeout_seconds: float = 2.0
    """An Active replica whose link is down holds a write up for so long, …"""
    stall_timeout_seconds: float = 10.0
    """… and one that is connected and does not get on, for so long."""
    retry_seconds: float = 0.05
    """A replica that cannot answer yet is asked again after this, doubled each time, …"""
    longest_retry_seconds: float = 1.0
    """… up to this; a command that had no effect is proposed again after this."""
    window_ops: int = 1024
    """So many operations may be under way to a replica."""
    join_distance_ops: int = 8
    """A Partial replica that has to log or apply no more holds commits up from then on, so that it can become Active; …"""
    farthest_join_ops: int = 256
    join_seconds: float = 1.0
    """… as does one that lacks no more than this, and after so long still more than half of it: writes come as fast as it takes them."""
    max_pending_ops: int = 8192
    """So many operations may be logged and not committed; further writes are refused."""
    max_pending_bytes: int = 128 << 20
    """So large may their payloads be together, beside one that is taken when there is room; further writes are refused."""
