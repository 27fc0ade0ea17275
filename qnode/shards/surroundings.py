"""What a shard's writer thread needs of the node around it: its peers and the topology.

All of it is called on the writer thread, never blocks and never raises: what cannot be done now is dropped, and the protocol
asks again. Links are the carrier's: what is sent to a peer arrives in order, and completely up to where the link breaks, which
the shard is told of (`LocalShard.link_changed`).
"""

from __future__ import annotations

from typing import Final, Protocol

from qnode.shards.replication.view import HandOver, PeerId, SetState
from qnode.shards.windows import ShardWindow, Windows
from qnode.wal import MAX_PAYLOAD_BYTES


class Surroundings(Protocol):
    """The peers and the topology, as one shard sees them. `window`: how much it may have under way to them.

    max_record_bytes: an operation that is larger could never be sent.
    """

    @property
    def window(self) -> ShardWindow: ...

    @property
    def max_record_bytes(self) -> int: ...

    def send(self, peer: PeerId, data: bytes) -> None:
        """Send a message over the link that is up now; without one it is dropped."""

    def propose(self, command: SetState | HandOver) -> None:
        """Propose a change of the topology; what became of it is seen in the views that follow."""

    def copy_needed(self, peer: PeerId) -> None:
        """Begin to copy the shard to a peer, unless that is under way."""


class _Alone:
    window: Final = Windows().of(lambda peer: None)
    max_record_bytes: Final = MAX_PAYLOAD_BYTES

    def send(self, peer: PeerId, data: bytes) -> None:
        pass

    def propose(self, command: SetState | HandOver) -> None:
        pass

    def copy_needed(self, peer: PeerId) -> None:
        pass


ALONE: Final[Surroundings] = _Alone()
"""The surroundings of a node without peers."""
