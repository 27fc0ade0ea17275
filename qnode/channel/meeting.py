"""A connection between its opening and its link: the handshake is the receiver, and only it."""

from __future__ import annotations

from collections.abc import Callable

from qnode.channel.connection import Connection, Receiver
from qnode.channel.frames import Frame, encode
from qnode.channel.handshake import Answering, Dialing, HandshakeFailed, Session


class Meeting:
    """Runs one handshake over one connection, and ends by calling either `met` or `failed`, once."""

    def __init__(
        self,
        connection: Connection,
        side: Dialing | Answering,
        met: Callable[[Connection, Session], Receiver],
        failed: Callable[[HandshakeFailed], None],
    ) -> None:
        """`met` makes what receives from now on.

        Frames that came together with the last of the handshake go there already.
        """
        self._connection = connection
        self._side = side
        self._met = met
        self._failed = failed
        self._is_over = False

    def frame_received(self, frame: Frame) -> None:
        try:
            answer = self._side.receive(frame)
        except HandshakeFailed as error:
            self._fail(error)
            self._connection.abort(str(error))
            return
        if answer is not None:
            kind, payload = answer
            self._connection.write(encode(kind, payload=payload, seal=None))
        if (session := self._side.session) is not None:
            self._is_over = True
            self._connection.receiver = self._met(self._connection, session)
        elif isinstance(self._side, Answering) and self._side.refused is not None:
            self._fail(HandshakeFailed(f"it is refused: {self._side.refused.name}"))
            self._connection.close("it is refused")

    def writing_resumed(self) -> None:
        """Do nothing: a handshake is shorter than any buffer."""

    def connection_lost(self, reason: str) -> None:
        self._fail(HandshakeFailed(f"the connection ended during the handshake: {reason}"))

    def _fail(self, error: HandshakeFailed) -> None:
        if not self._is_over:
            self._is_over = True
            self._failed(error)
