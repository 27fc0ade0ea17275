"""The network of the machine.

Connections are accepted here and not by asyncio's own server, which forgets one that came in the turn of the event loop before it was
closed, and leaves its socket open: a peer that stops is dialled by all others.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Final

from qnode.channel.connection import Listening

_LINGERING_CONNECTIONS: Final = 128
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PAUSE_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)

Accept = Callable[[], asyncio.Protocol]


class Tcp:
    """Listens and dials."""

    async def listen(self, accept: Accept, host: str, port: int) -> Listening:
        """Take connections from now on; raise OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        sockets: list[socket.socket] = []
        try:
            for family, *_, address in dict.fromkeys(found):
                sockets.append(socket.create_server(address[:2], family=family, backlog=_LINGERING_CONNECTIONS))
        except BaseException:
            for opened in sockets:
                opened.close()
            raise
        return _Server(sockets, accept)

    async def dial(self, protocol: asyncio.Protocol, host: str, port: int) -> None:
        """Connect `protocol`; raise OSError."""
        await asyncio.get_running_loop().create_connection(lambda: protocol, host, port)


class _Server:
    """Takes connections until it is closed; what it has accepted by then is handed over all the same."""

    def __init__(self, sockets: list[socket.socket], accept: Accept) -> None:
        self.sockets = sockets
        self._accept = accept
        self._loop = asyncio.get_running_loop()
        self._arriving: set[asyncio.Task[object]] = set()
        for listener in sockets:
            listener.setblocking(False)
            self._loop.add_reader(listener, self._take, listener)

    def close(self) -> None:
        """Take no more."""
        for listener in self.sockets:
            self._loop.remove_reader(listener)
            listener.close()
        self.sockets = []

    def _take(self, listener: socket.socket) -> None:
        for _ in range(_LINGERING_CONNECTIONS):
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                _log.warning("no connection can be accepted for a moment: %s", error)
                self._loop.remove_reader(listener)
                self._loop.call_later(_PAUSE_SECONDS, self._go_on, listener)
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._loop.connect_accepted_socket(self._accept, connection))
            self._arriving.add(task)
            task.add_done_callback(self._arrived)

    def _go_on(self, listener: socket.socket) -> None:
        if listener in self.sockets:
            self._loop.add_reader(listener, self._take, listener)

    def _arrived(self, task: asyncio.Task[object]) -> None:
        self._arriving.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.info("a connection was lost as it came: %s", error)
