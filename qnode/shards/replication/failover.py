"""Who becomes primary when the primary is silent: decided by the cluster's leader, who says when that is. Pure functions.

Safety needs none of this to be right: the change is guarded by the epoch, and every Active replica holds all that is committed.
What is chosen well saves copying: the longest log, so that the fewest replicas must cut something off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qnode.shards.replication.view import PeerId, ShardView


@dataclass(frozen=True, slots=True, order=True)
class LogEnd:
    """Where a replica's log ends. A replica that cannot serve (broken, being copied) has none to tell."""

    last_epoch: int
    last_op: int


def candidates(view: ShardView) -> frozenset[PeerId]:
    """Whom to ask where their logs end."""
    return view.active - {view.primary}


def choose_primary(view: ShardView, ends: Mapping[PeerId, LogEnd]) -> PeerId | None:
    """Choose among the candidates that have answered the one with the longest log; None: the shard must wait.

    Equals are decided by peer id rotated by the epoch, so that shards that lost the same primary spread.
    """
    answered = [peer for peer in candidates(view) if peer in ends]
    if not answered:
        return None
    answered.sort()
    best = max(ends[peer] for peer in answered)
    longest = [peer for peer in answered if ends[peer] == best]
    return longest[view.epoch % len(longest)]
