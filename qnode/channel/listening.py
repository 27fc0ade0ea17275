"""The peer port: accepts connections, and keeps those that have not proved themselves few and short-lived.

A stranger holds a socket and less than 2 KiB, for `handshake_timeout_seconds` at most; when there are `max_strangers`,
the oldest goes, for a peer needs milliseconds and an attacker stays as long as it can. With certificates the handshake
of TLS counts as part of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from qnode.channel.connection import Connection, Listening, Network, Receiver
from qnode.channel.credentials import Credentials
from qnode.channel.handshake import Answering, HandshakeFailed, Refusal, Session
from qnode.channel.limits import Limits
from qnode.channel.meeting import Meeting
from qnode.errors import CannotStart

_SECONDS_BETWEEN_WARNINGS: Final = 60.0

_log = logging.getLogger(__name__)


class Listener:
    """Accepts connections on one address, from `start` to `close`."""

    def __init__(
        self,
        credentials: Credentials,
        limits: Limits,
        network: Network,
        answering: Callable[[], Answering],
        met: Callable[[Connection, Session], Receiver],
    ) -> None:
        """`answering` makes the side of a new handshake, `met` the link of one that has succeeded."""
        self.turned_away = 0
        """How many connections did not become a link."""
        self._credentials = credentials
        self._limits = limits
        self._network = network
        self._answering = answering
        self._met = met
        self._is_closed = False
        self._server: Listening | None = None
        self._strangers: dict[Connection, asyncio.TimerHandle] = {}
        self._upgrades: set[asyncio.Task[None]] = set()
        self._warned_at = float("-inf")

    async def start(self, host: str, port: int) -> int:
        """Listen and give the port; raise CannotStart."""
        try:
            self._server = await self._network.listen(lambda: Connection(self._accepted), host, port)
        except OSError as error:
            raise CannotStart(f"the peer port {host}:{port} cannot be opened: {error}") from None
        addresses = [socket.getsockname() for socket in getattr(self._server, "sockets", ())]
        if not self._credentials.allow(*(str(address[0]) for address in addresses)):
            self._server.close()
            raise CannotStart(
                f"the peer port would be open to other machines at {host}, and peers have no key: "
                "set cluster.key or cluster.p2p.enable_tls"
            )
        return int(addresses[0][1]) if addresses else port

    def close(self) -> None:
        """Accept nothing more, and close what has not become a link."""
        self._is_closed = True
        if self._server is not None:
            self._server.close()
        for task in list(self._upgrades):
            task.cancel()
        for connection in list(self._strangers):
            connection.abort("this peer stops")

    def _accepted(self, connection: Connection) -> Receiver:
        if len(self._strangers) >= self._limits.max_strangers:
            next(iter(self._strangers)).abort("others came after it")
            self._forget(next(iter(self._strangers)))
        loop = asyncio.get_running_loop()
        self._strangers[connection] = loop.call_later(
            self._limits.handshake_timeout_seconds, connection.abort, "it took too long to prove itself"
        )
        if self._is_closed:
            connection.abort("this peer stops")
        elif not self._credentials.allow(*connection.addresses()):
            connection.abort("it is not on this machine")
        elif self._credentials.certificates is not None:
            connection.hold()
            task = loop.create_task(self._upgrade(connection))
            self._upgrades.add(task)
            task.add_done_callback(self._upgrades.discard)
        side = self._answering()

        def failed(error: HandshakeFailed) -> None:
            self._forget(connection)
            if side.refused is not Refusal.HAS_LINK:
                self._turned_away(connection, error)

        return Meeting(connection, side, self._prove, failed)

    def _prove(self, connection: Connection, session: Session) -> Receiver:
        self._forget(connection)
        return self._met(connection, session)

    def _forget(self, connection: Connection) -> None:
        if (timer := self._strangers.pop(connection, None)) is not None:
            timer.cancel()

    def _turned_away(self, connection: Connection, error: HandshakeFailed) -> None:
        """Count it; and say so, but not as often as strangers like."""
        self.turned_away += 1
        now = asyncio.get_running_loop().time()
        level = logging.DEBUG
        if now - self._warned_at >= _SECONDS_BETWEEN_WARNINGS:
            self._warned_at = now
            level = logging.WARNING
        _log.log(
            level,
            "A connection from %s was turned away (%d so far): %s",
            connection.addresses()[1],
            self.turned_away,
            error,
        )

    async def _upgrade(self, connection: Connection) -> None:
        certificates = self._credentials.certificates
        assert certificates is not None
        try:
            await connection.start_tls(certificates.contexts()[0], self._limits.handshake_timeout_seconds)
        except OSError as error:  # of which SSLError and TimeoutError are kinds
            connection.abort("TLS failed")
            if connection in self._strangers:
                self._forget(connection)
                self._turned_away(connection, HandshakeFailed(f"TLS failed: {error}"))
        except asyncio.CancelledError:
            connection.abort("this peer stops")
            raise
