"""Who becomes primary when the primary is silent: decided by the cluster's leader, from heartbeats. Pure functions.

Safety needs none of this to be right: a command is guarded by the epoch, and every Active replica holds all that is committed.
What is chosen well saves copying: the longest log, so that the fewest replicas must cut something off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qnode.shards.replication.view import ChangePrimary, PeerId, ShardView


@dataclass(frozen=True, slots=True, order=True)
class LogEnd:
    """Where a replica's log ends. A replica that cannot serve (broken, being copied) has none to tell."""

    last_epoch: int
    last_op: int


def needs_primary(view: ShardView, heard_at: Mapping[PeerId, float], now: float, peer_timeout_seconds: float) -> bool:
    """Tell whether the primary's peer has been silent for too long; one that was never heard of is."""
    if view.primary is None:
        return bool(view.active)
    return now - heard_at.get(view.primary, float("-inf")) >= peer_timeout_seconds


def candidates(view: ShardView) -> frozenset[PeerId]:
    """Whom to ask where their logs end."""
    return view.active - {view.primary}


def choose_primary(view: ShardView, ends: Mapping[PeerId, LogEnd]) -> ChangePrimary | None:
    """Choose among the candidates that have answered the one with the longest log; None: the shard must wait.

    Equals are decided by peer id rotated by the epoch, so that shards that lost the same primary spread.
    """
    answered = [peer for peer in candidates(view) if peer in ends]
    if not answered:
        return None
    answered.sort()
    best = max(ends[peer] for peer in answered)
    longest = [peer for peer in answered if ends[peer] == best]
    return ChangePrimary(longest[view.epoch % len(longest)], view.epoch)
