"""The group's messages over links to peers, which somebody else makes.

**What a message says is durable when it is sent**: messages wait until the turn in which they came up is over and what it
changed is durable (`replica`); then `release` sends them all.

What a link must do: deliver whole messages in their order, and when it breaks, tell both ends, which `connected` and
`disconnected` pass on. The core survives lost, repeated and overtaken messages; it is only slower then.

Peers are known by id; where they live is the links' business. A message names the incarnation of its sender's journal:
- one that was removed is not listened to, and is told so;
- an answer counts only if the voter of that id has this incarnation: a peer that lost its journal has forgotten what
  it promised. It may still be led, for that commits nobody to anything.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

from qnode.raft.journal import Journal
from qnode.raft.library import Peer, Transport
from qnode.raft.membership import Membership
from qnode.raft.messages import MalformedMessage, Message, encode, read

_ANSWERS: Final = frozenset({"response_vote", "pre_vote_granted", "next_node_idx", "snapshot_part", "lease_answer"})

_log = logging.getLogger(__name__)


class Links(Protocol):
    """Ordered links to other peers, by id. `send` never blocks and never raises; without a link it does nothing."""

    def send(self, peer: int, message: bytes) -> None: ...


class PeerTransport(Transport):  # type: ignore[misc]
    """The library's transport. `committed` and `current` give the membership that is applied, and that of the whole log."""

    def __init__(
        self,
        journal: Journal,
        links: Links,
        committed: Callable[[], Membership],
        current: Callable[[], Membership],
        on_expelled: Callable[[], None],
    ) -> None:
        super().__init__(None, None, None)
        self._journal = journal
        self._links = links
        self._committed = committed
        self._current = current
        self._on_expelled = on_expelled
        self._outbox: list[tuple[int, Message]] = []

    def send(self, node: Peer, message: Message) -> bool:
        """Let a message go with the next release."""
        self._outbox.append((node.id, message))
        return True

    def release(self) -> None:
        """Send what waits; everything that it says is durable."""
        assert self._journal.unsaved() is None
        outbox, self._outbox = self._outbox, []
        for peer, message in outbox:
            self._links.send(peer, encode(message, self._journal.incarnation))

    def discard(self) -> None:
        """Send nothing of what waits."""
        self._outbox.clear()

    def connected(self, peer: int) -> None:
        """Hear that there is a link to a peer now."""
        self._onNodeConnected(Peer(peer))

    def disconnected(self, peer: int) -> None:
        """Hear that a link broke: nothing that was under way on it will arrive."""
        self._onNodeDisconnected(Peer(peer))

    def received(self, peer: int, data: bytes) -> None:
        """Take a message; what is no message of this version changes nothing."""
        try:
            incarnation, message = read(data)
        except MalformedMessage as error:
            _log.warning("A message of peer %d is ignored: %s", peer, error)
            return
        if incarnation in self._committed().removed:
            self.send(Peer(peer), {"type": "not_a_member"})
        elif message["type"] == "not_a_member":
            self._on_expelled()
        elif message["type"] not in _ANSWERS or self._current().voters.get(peer, incarnation) == incarnation:
            self._onMessageReceived(Peer(peer), message)
