"""A TCP proxy that a test puts between two processes, to do to their connections what networks do.

It works beside the test, in threads of its own, and is steered by plain calls. A direction that is cut holds back what is sent, as a network
that has swallowed packets does: the ends see silence, and, when it heals, everything in order. Nothing is ever reordered or left out.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum

_CHUNK_BYTES = 64 * 1024
_LOOK_AGAIN_SECONDS = 0.02


class Way(Enum):
    """Which direction: to the process behind the proxy, or back from it."""

    THERE = "there"
    BACK = "back"


class Gate:
    """One direction: open or not, and how slow."""

    def __init__(self) -> None:
        self.delay_seconds = 0.0
        self._is_open = threading.Event()
        self._is_open.set()

    def shut(self) -> None:
        self._is_open.clear()

    def open(self) -> None:
        self._is_open.set()

    def pass_through(self) -> None:
        """Return when what has arrived may go on."""
        if self.delay_seconds:
            time.sleep(self.delay_seconds)
        while not self._is_open.wait(_LOOK_AGAIN_SECONDS):
            pass


class CuttingProxy:
    """Listens on `port` of loopback and connects to `target`, (host, port)."""

    def __init__(self, target: tuple[str, int], gates_of: Callable[[int], Mapping[Way, Gate]] | None = None) -> None:
        """`gates_of` is given the port from which a connection comes, and gives the gates on its way; else all share two."""
        self.delay_seconds = 0.0
        """Every piece is held up so long, at least."""
        self.truncate_after_bytes: dict[Way, int | None] = {Way.THERE: None, Way.BACK: None}
        """A connection ends when so many bytes have gone that way, wherever in a message that is."""
        self._connections = 0
        self._connected = threading.Condition()
        self._target = target
        self._closed = threading.Event()
        self._gates = {way: Gate() for way in Way}
        self._gates_of = gates_of or (lambda port: self._gates)
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> CuttingProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def cut(self, *ways: Way) -> None:
        """Hold back what goes these ways (both, if none is said); connections that begin are held too."""
        for way in ways or tuple(Way):
            self._gates[way].shut()

    def heal(self) -> None:
        """Let everything through that was held back, and go on."""
        for gate in self._gates.values():
            gate.open()

    @property
    def connections(self) -> int:
        """How many were accepted so far."""
        return self._connections

    def wait_connections(self, count: int, timeout_seconds: float) -> None:
        """Wait until so many were accepted."""
        with self._connected:
            assert self._connected.wait_for(lambda: self._connections >= count, timeout_seconds)

    def break_connections(self) -> None:
        """End all connections; new ones may begin."""
        with self._lock:
            broken, self._sockets = self._sockets, set()
        for each in broken:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Take no more connections, and end all."""
        self._closed.set()
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.heal()
        self.break_connections()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        with self._connected:
            self._connections += 1
            self._connected.notify_all()
        with self._lock:
            self._sockets.add(near)
        try:
            gates = self._gates_of(near.getpeername()[1])
            far = socket.create_connection(self._target)
        except OSError:
            near.close()
            return
        with self._lock:
            self._sockets.add(far)
        for each in (near, far):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pumps = [
            threading.Thread(target=self._pump, args=(source, sink, way, gates[way]), daemon=True)
            for source, sink, way in ((near, far, Way.THERE), (far, near, Way.BACK))
        ]
        for pump in pumps:
            pump.start()
        for pump in pumps:
            pump.join()
        with self._lock:
            self._sockets -= {near, far}
        near.close()
        far.close()

    def _pump(self, source: socket.socket, sink: socket.socket, way: Way, gate: Gate) -> None:
        gone_bytes = 0
        with suppress(OSError):
            while data := source.recv(_CHUNK_BYTES):
                if self.delay_seconds:
                    time.sleep(self.delay_seconds)
                gate.pass_through()
                limit = self.truncate_after_bytes[way]
                if limit is not None and gone_bytes + len(data) >= limit:
                    sink.sendall(data[: max(0, limit - gone_bytes)])
                    break
                sink.sendall(data)
                gone_bytes += len(data)
        gate.pass_through()
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
