"""One authenticated connection between two peers: messages, calls and streams in both directions at once.

It delivers messages of a topic in order and each one once, and it breaks as a whole: nothing gets lost in between. When
it breaks, for whatever reason, both ends are told: the one that has noticed at once, the other when it has heard
nothing for `silence_timeout_seconds`, for each end lets hear from itself four times in that time. Calls are not ordered
among each other.

Left out: compression, and priorities other than a fair turn for each (outbox.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from qnode.channel.answering import CREDIT, Callee, Topics
from qnode.channel.calling import Caller
from qnode.channel.connection import Connection
from qnode.channel.frames import BadFrame, Frame, Kind, Seal
from qnode.channel.handshake import Identity
from qnode.channel.limits import Limits, check_size
from qnode.channel.outbox import Outbox

_BATCH_BYTES: Final = 128 * 1024
_BATCHES_A_TURN: Final = 8
_TICKS_OF_SILENCE: Final = 4
_MOST_BACKLOGS: Final = 2  # see Limits.max_backlog_bytes

_log = logging.getLogger(__name__)


class Link:
    """A connection whose other end is known.

    It is the connection's receiver from its first frame behind the handshake on.
    """

    def __init__(
        self,
        connection: Connection,
        other: Identity,
        seal: Seal | None,
        *,
        is_dialer: bool,
        topics: Topics,
        limits: Limits,
        broken: Callable[[Link, str], None],
    ) -> None:
        """`broken` is called once, when nothing more will be received."""
        self.other = other
        self.is_dialer = is_dialer
        self._connection = connection
        self._topics = topics
        self._limits = limits
        self._broken = broken
        self._loop = asyncio.get_running_loop()
        self._outbox = Outbox(seal)
        self._caller = Caller(other.peer, limits, self._outbox, self._wake)
        self._callee = Callee(other.peer, topics, limits, self._outbox, self._wake)
        self._parts: dict[tuple[int, int], list[bytes]] = {}
        self._parts_bytes = 0
        self._is_awake = False
        self._has_written = False
        self._is_over = False
        self._tick_seconds = limits.silence_timeout_seconds / _TICKS_OF_SILENCE
        self._ticked_at = self._heard_at = self._loop.time()
        self._ticker = self._loop.call_later(self._tick_seconds, self._tick)
        self._readers: dict[int, Callable[[Frame], None]] = {
            Kind.PING: lambda frame: None,
            Kind.MESSAGE: self._message,
            Kind.REQUEST: self._request,
            Kind.OPEN: self._callee.opened,
            Kind.DATA: self._callee.piece_arrived,
            Kind.END: self._callee.completed,
            Kind.CREDIT: self._credit,
            Kind.CANCEL: self._cancel,
            Kind.ANSWER: self._answer,
            Kind.FAILURE: lambda frame: self._caller.failed(frame.call_id, frame.payload),
        }
        self.call = self._caller.call
        self.ask = self._caller.ask
        self.open_stream = self._caller.open_stream

    def send(self, topic: int, payload: bytes) -> bool:
        """Send a message behind all others of its topic; say whether the link took it.

        A link that cannot keep up is broken rather than leaving out a message. Raise BadRequest for a message that is
        too large.
        """
        if self._is_over:
            return False
        check_size(len(payload), self._limits)
        if self._outbox.waiting_bytes + len(payload) > _MOST_BACKLOGS * self._limits.max_backlog_bytes:
            self.abort("it takes less than is sent to it")
            return False
        self._outbox.add(Kind.MESSAGE, payload, topic=topic, lane=("topic", topic))
        self._wake()
        return True

    def abort(self, reason: str) -> None:
        """Break it at once."""
        self._connection.abort(reason)
        self._end(reason)

    def ping(self) -> None:
        """Send something, so that a connection that is closed at the other end shows."""
        self._outbox.steer(Kind.PING)
        self._wake()

    def close(self, reason: str) -> None:
        """Break it when what was sent has left, or has had its time to."""
        if self._is_over:
            return
        self._pump()
        self._connection.close(reason)
        self._end(reason)
        self._loop.call_later(self._limits.closing_timeout_seconds, self._connection.abort_closing)

    # What the connection calls.

    def frame_received(self, frame: Frame) -> None:
        reader = self._readers.get(frame.kind)
        if reader is None:
            raise BadFrame(f"a frame of kind {frame.kind} after the handshake")
        reader(frame)

    def writing_resumed(self) -> None:
        self._pump()

    def connection_lost(self, reason: str) -> None:
        self._end(reason)

    # Frames, by kind.

    def _message(self, frame: Frame) -> None:
        payload = self._whole(frame, frame.topic)
        if payload is None:
            return
        reader = self._topics.messages.get(frame.topic)
        if reader is None:
            _log.warning("Peer %d sends messages of topic %d, which nobody here reads", self.other.peer, frame.topic)
            return
        try:
            reader(self.other.peer, payload)
        except Exception:
            _log.exception("A message of peer %d, topic %d, could not be read", self.other.peer, frame.topic)
            self.abort(f"a message of topic {frame.topic} could not be read")

    def _request(self, frame: Frame) -> None:
        if (payload := self._whole(frame, frame.call_id)) is not None:
            self._callee.requested(frame, payload)

    def _cancel(self, frame: Frame) -> None:
        self._drop_parts((Kind.REQUEST, frame.call_id))
        self._callee.cancelled(frame)

    def _answer(self, frame: Frame) -> None:
        if (payload := self._whole(frame, frame.call_id)) is not None:
            self._caller.answered(frame.call_id, payload)

    def _credit(self, frame: Frame) -> None:
        if len(frame.payload) != CREDIT.size:
            raise BadFrame("a credit of a wrong length")
        self._caller.credited(frame.call_id, CREDIT.unpack(frame.payload)[0])

    def _whole(self, frame: Frame, lane: int) -> bytes | None:
        """Put the parts of a message together; None until the last is there. Raise BadFrame when too much is unfinished."""
        key = (frame.kind, lane)
        if not frame.more and key not in self._parts:
            return frame.payload
        parts = self._parts.setdefault(key, [])
        parts.append(frame.payload)
        self._parts_bytes += len(frame.payload)
        if self._parts_bytes > _MOST_BACKLOGS * self._limits.max_backlog_bytes:
            raise BadFrame("more unfinished messages than it may")
        if frame.more:
            return None
        self._drop_parts(key)
        return b"".join(parts)

    def _drop_parts(self, key: tuple[int, int]) -> None:
        self._parts_bytes -= sum(map(len, self._parts.pop(key, ())))

    # Sending, and keeping alive.

    def _wake(self) -> None:
        """Send what waits, together with what else comes up in this turn of the event loop."""
        if not self._is_awake and self._connection.writable:
            self._is_awake = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._is_awake = False
        self._pump()

    def _pump(self) -> None:
        for _ in range(_BATCHES_A_TURN):
            if not self._connection.writable or not (batch := self._outbox.take(_BATCH_BYTES)):
                return
            self._has_written = True
            self._connection.write(batch)
        self._wake()

    def _tick(self) -> None:
        """Break the link when the other end is silent; let hear from this one."""
        now = self._loop.time()
        if self._connection.heard or now - self._ticked_at > 2 * self._tick_seconds:
            self._heard_at = (
                now  # in the second case it was this process that stood still: what it missed may wait to be read
            )
            self._connection.heard = False
        elif now - self._heard_at >= self._limits.silence_timeout_seconds:
            self.abort(f"it was silent for {self._limits.silence_timeout_seconds:g} s")
            return
        if not self._has_written and not self._outbox:
            self.ping()
        self._has_written = False
        self._ticked_at = now
        self._ticker = self._loop.call_later(self._tick_seconds, self._tick)

    def _end(self, reason: str) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._ticker.cancel()
        self._parts.clear()
        self._caller.end(reason)
        self._callee.end()
        self._broken(self, reason)
