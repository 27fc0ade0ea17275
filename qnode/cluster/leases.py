"""How long which peers read their replicas without a word of the leader, as the topology tells it."""

from __future__ import annotations

from collections.abc import Callable

from qnode.models.topology import Topology
from qnode.raft.lease import MARGIN, Lease


class Leases:
    """The own lease, and the longest one of all.

    The own one counts once the topology says how long it is, and that of a member that was removed goes on counting here: so
    who takes a peer out of a set knows how long that peer may not have heard of it.
    """

    def __init__(
        self, own: Lease, own_ms: int, has_started: Callable[[], bool], topology: Callable[[], Topology]
    ) -> None:
        self._own = own
        self._longest_ms = own_ms
        self._has_started = has_started
        self._topology = topology

    def hold(self) -> bool:
        """Say whether this node may read its replicas now."""
        return self._has_started() and self._own.holds()

    def look(self) -> None:
        """Note the lengths of all who are members now: to be told of each change of the topology."""
        self._longest_ms = max(self._longest_ms, *(peer.lease_ms for peer in self._topology().peers.values()), 0)

    def wait_seconds(self) -> float:
        """Give the seconds after which no lease is left that was granted before now."""
        self.look()
        return MARGIN * self._longest_ms / 1000
