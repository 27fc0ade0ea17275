"""What membership needs of the shards of this node, and of their like on peers: `shards.replicas.Replicas` gives it.

A shard among peers is an address: its collection's folder, and its number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from qnode.shards.replication.failover import LogEnd

Address = tuple[str, int]


class Shards(Protocol):
    """The shards that are open here, and the way to those of peers."""

    async def log_ends(self, peer: int, addresses: Sequence[Address]) -> Mapping[Address, LogEnd]:
        """Ask a peer, this one among them, where the logs of its replicas end; those that cannot serve are left out.

        Raises QnodeError.
        """

    def hand_over(self, peer: int, address: Address, epoch: int, heirs: Sequence[int], seconds: float) -> None:
        """Ask the primary of an epoch to let the first of these be primary that can, within so long.

        Whether it does, the topology shows.
        """

    def ailing(self, patience_seconds: float) -> Mapping[tuple[Address, int], str]:
        """Say by shard and epoch what has been wrong for so long with a primary that is on this node."""
