"""One TCP or TLS connection as frames: from the transport's bytes to whoever receives the frames now, and back.

It knows neither what frames mean nor who the other end is: first the handshake is the receiver, then the link. What
arrives is handed over at once and kept nowhere; what is written is kept by the transport, up to `WRITE_BUFFER_BYTES`,
beyond which `writable` is false.

`Network` is the seam where tests put in connections that fail.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final, Protocol, cast

from qnode.channel.frames import MAX_HANDSHAKE_FRAME_BYTES, BadFrame, Decoder, Frame

WRITE_BUFFER_BYTES: Final = 128 * 1024


class Receiver(Protocol):
    """Who gets what a connection brings."""

    def frame_received(self, frame: Frame) -> None: ...

    def writing_resumed(self) -> None: ...

    def connection_lost(self, reason: str) -> None:
        """Is called once, last."""


class Connection(asyncio.Protocol):
    """Frames in, bytes out."""

    def __init__(self, opened: Callable[[Connection], Receiver]) -> None:
        """`opened` is called when the connection stands, and says who receives."""
        self.decoder = Decoder()
        self.heard = False
        self.writable = True
        self.receiver: Receiver
        self.gone = asyncio.Event()
        """Set when the transport has let go of the socket."""
        self._opened = opened
        self._transport: asyncio.Transport | None = None
        self._raw: asyncio.Transport | None = None
        self._addresses = ("", "")
        self._ended = False
        self._early: bytes | None = None
        self._reason = "the other end has closed it"

    @property
    def ended(self) -> bool:
        """Whether nothing more is received or sent."""
        return self._ended

    def addresses(self) -> tuple[str, str]:
        """Give the hosts of both ends, the own first."""
        return self._addresses

    def write(self, data: bytes) -> None:
        if not self._ended:
            assert self._transport is not None
            self._transport.write(data)

    def abort(self, reason: str) -> None:
        """End it at once, also before it stands; what was not sent is lost."""
        if not self._ended:
            self._ended = True
            self._reason = reason
        self.abort_closing()

    def close(self, reason: str) -> None:
        """End it when what was written has left. Whoever has not read that by then must be aborted."""
        if not self._ended:
            self._ended = True
            self._reason = reason
            assert self._transport is not None
            self._transport.close()

    def abort_closing(self) -> None:
        """Give up what `close` still waits for.

        Inside TLS, the socket below goes too: TLS that has failed does not see to it.
        """
        for transport in (self._transport, self._raw):
            if transport is not None:
                transport.abort()

    def hold(self) -> None:
        """Read nothing until TLS has been started."""
        assert self._transport is not None
        self._transport.pause_reading()

    async def start_tls(self, context: ssl.SSLContext, timeout_seconds: float | None, host: str | None = None) -> None:
        """Go on inside TLS, as the dialer of `host` or, without one, as the listener; raise OSError or TimeoutError."""
        assert self._transport is not None
        self._early = b""
        self._raw = self._transport
        upgraded = await asyncio.get_running_loop().start_tls(
            self._transport,
            self,
            context,
            server_side=host is None,
            server_hostname=host,
            ssl_handshake_timeout=timeout_seconds,
        )
        if upgraded is None or self._ended:
            raise ConnectionAbortedError("the connection was closed during the handshake of TLS")
        self._transport = upgraded
        upgraded.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        early, self._early = self._early, None
        if early:
            self.data_received(early)

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._transport = stream
        stream.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        own, other = (stream.get_extra_info(end) for end in ("sockname", "peername"))
        self._addresses = (str(own[0]) if own else "", str(other[0]) if other else "")
        self.receiver = self._opened(self)
        if self.ended:
            stream.abort()

    def data_received(self, data: bytes) -> None:
        self.heard = True
        if self._early is not None:  # TLS stands, and `start_tls` has not yet said through which transport to answer
            self._early += data
            if len(self._early) > MAX_HANDSHAKE_FRAME_BYTES:
                self.abort("it says too much before it is asked")
            return
        try:
            for frame in self.decoder.feed(data):
                if self._ended:
                    return
                self.receiver.frame_received(frame)
        except BadFrame as error:
            self.abort(f"it has sent {error}")

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        if not self._ended:
            self.receiver.writing_resumed()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._ended and error is not None:
            self._reason = str(error) or type(error).__name__
        self._ended = True
        self.gone.set()
        self.receiver.connection_lost(self._reason)


class Listening(Protocol):
    """What takes connections."""

    def close(self) -> None:
        """Take no more."""


class Network(Protocol):
    """Where connections come from."""

    async def listen(self, accept: Callable[[], asyncio.Protocol], host: str, port: int) -> Listening:
        """Take connections from now on; raise OSError."""

    async def dial(self, protocol: asyncio.Protocol, host: str, port: int) -> None:
        """Connect `protocol`; raise OSError."""
