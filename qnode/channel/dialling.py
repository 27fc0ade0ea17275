"""One attempt to reach a peer: look up its address, connect, start TLS where it is asked for, shake hands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from qnode.channel.addresses import parse_uri
from qnode.channel.connection import Connection, Network, Receiver
from qnode.channel.credentials import Credentials
from qnode.channel.frames import Kind, encode
from qnode.channel.handshake import Dialing, HandshakeFailed, Session
from qnode.channel.meeting import Meeting


async def dial(
    uri: str, side: Dialing, credentials: Credentials, network: Network, met: Callable[[Connection, Session], Receiver]
) -> None:
    """Reach a peer; `met` makes the link. Raise OSError, HandshakeFailed or BadInput.

    May be cancelled at any time: then the connection is closed, unless `met` has been called.
    """
    host, port = parse_uri(uri)
    outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    certificates = credentials.certificates

    def succeed(connection: Connection, session: Session) -> Receiver:
        if not outcome.done():
            outcome.set_result(None)
        return met(connection, session)

    def fail(error: HandshakeFailed) -> None:
        if not outcome.done():
            outcome.set_exception(error)

    def opened(connection: Connection) -> Receiver:
        if certificates is not None:
            connection.hold()
        return Meeting(connection, side, succeed, fail)

    connection = Connection(opened)
    try:
        await network.dial(connection, host, port)
        if not credentials.allow(*connection.addresses()):
            raise HandshakeFailed("it is on another machine, and without a key only peers on this one are spoken to")
        if certificates is not None:
            await connection.start_tls(certificates.contexts()[1], None, host)
        connection.write(encode(Kind.HELLO, payload=side.hello, seal=None))
        await outcome
    finally:
        outcome.cancel()  # what comes after another failure is no matter
        if outcome.done() and not outcome.cancelled():
            outcome.exception()
        if side.session is None:
            connection.abort("it was given up")
