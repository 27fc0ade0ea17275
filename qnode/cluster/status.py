"""What a node tells of itself as a member: to the operator, and to other peers (STATUS calls, JSON)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import orjson

from qnode.errors import InternalError


@dataclass(frozen=True, slots=True)
class SendFailure:
    """How often the link to an address broke since it last stood, why last, and when (seconds since 1970)."""

    count: int
    latest_error: str
    latest_error_at: float


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """The cluster as this node knows it. `stopped`: why it takes part no more; `failed`: that was an error."""

    peer_id: int
    peers: Mapping[int, str]
    term: int
    commit: int
    applied: int
    pending: int
    leader: int | None
    role: str
    is_voter: bool
    stopped: str | None
    failed: bool
    message_send_failures: Mapping[str, SendFailure]

    @property
    def consensus_thread_status(self) -> str:
        """Say in Qdrant's words whether the node takes part."""
        if self.stopped is None:
            return "working"
        return "stopped_with_err" if self.failed else "stopped"


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """What one peer tells another. `has_started`: its present process has told the cluster of its start."""

    version: str
    role: str
    is_voter: bool
    term: int
    commit: int
    applied: int
    pending: int
    consensus_thread_status: str
    has_started: bool

    def to_bytes(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def from_bytes(cls, value: bytes) -> PeerStatus:
        """Read what a peer of this version or a later one says; raise InternalError."""
        try:
            given = orjson.loads(value)
            return cls(**{name: given[name] for name in cls.__slots__})
        except (ValueError, TypeError, KeyError) as error:
            raise InternalError(f"the status of a peer cannot be read: {error!r}") from None


class SendFailures:
    """Links that broke, by peer, until they stand again."""

    def __init__(self) -> None:
        self._by_peer: dict[int, SendFailure] = {}

    def connected(self, peer: int) -> None:
        self._by_peer.pop(peer, None)

    def disconnected(self, peer: int, reason: str) -> None:
        known = self._by_peer.get(peer)
        self._by_peer[peer] = SendFailure(1 if known is None else known.count + 1, reason, time.time())

    def by_address(self, addresses: Mapping[int, str]) -> dict[str, SendFailure]:
        """Give those of the peers that have these addresses."""
        return {addresses[peer]: failure for peer, failure in self._by_peer.items() if peer in addresses}
