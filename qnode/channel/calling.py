"""The asking side of a link: calls and streams that wait for their answer.

Every call ends in one of four ways: its answer; the error that the peer answered with; `Unreached`, when the link broke
before all of the request was handed to it; `TimedOut` or `LinkBroken`, and then the peer may have done what was asked,
or may yet. A caller that is cancelled, or whose time is up, tells the peer, which then cancels what it does for it.
Who waits in a task for each answer asks with `call`; `ask` costs less, and tells the end to a function instead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Final

from qnode.channel.failures import LinkBroken, Unreached, decode_failure
from qnode.channel.frames import MAX_FRAME_BYTES, Kind
from qnode.channel.limits import Limits, check_size
from qnode.channel.outbox import Outbox, Outgoing
from qnode.errors import QnodeError, TimedOut, Unavailable

_Answer = asyncio.Future[bytes]
Answered = Callable[[bytes | QnodeError], None]
"""Is told the end of a call, once, on the event loop, between two frames: it must be quick."""

_log = logging.getLogger(__name__)

_NOT_READ: Final = "the stream has ended already"


class _Told:
    """Stands where the future of a call would stand, and tells its end at once."""

    __slots__ = ("_answered", "_timer")

    def __init__(self, answered: Answered, timer: asyncio.TimerHandle) -> None:
        self._answered: Answered | None = answered
        self._timer = timer

    def done(self) -> bool:
        return self._answered is None

    def cancel(self) -> None:
        self._answered = None
        self._timer.cancel()

    def set_result(self, end: bytes | QnodeError) -> None:
        answered = self._answered
        assert answered is not None, "a call has ended twice"
        self.cancel()
        try:
            answered(end)
        except Exception:  # a mistake of ours, which must not break the link for all others
            _log.exception("The end of a call could not be told")

    set_exception = set_result


class Caller:
    """The calls and streams that this end of a link has begun."""

    def __init__(self, peer: int, limits: Limits, outbox: Outbox, wake: Callable[[], None]) -> None:
        """`wake` is called when the outbox has got something to send."""
        self._peer = peer
        self._limits = limits
        self._outbox = outbox
        self._wake = wake
        self._ids = count(1)
        self._waiting: dict[int, tuple[_Answer | _Told, Outgoing]] = {}
        self._streams: dict[int, OutgoingStream] = {}
        self._ended: str | None = None

    async def call(self, topic: int, payload: bytes, timeout_seconds: float) -> bytes:
        """Ask the peer and give its answer; raise what it failed with, Unreached, LinkBroken or TimedOut."""
        self._check_room(len(payload))
        call_id = next(self._ids)
        request = self._outbox.add(Kind.REQUEST, payload, topic=topic, call_id=call_id)
        answer = self._expect(call_id, request)
        return await self._answer_of(call_id, answer, timeout_seconds)

    def ask(self, topic: int, payload: bytes, timeout_seconds: float, answered: Answered) -> Callable[[], None]:
        """Ask the peer; let `answered` be told what `call` would give or raise. Give what withdraws it: then nobody is told.

        Raises Unreached when there is no asking.
        """
        self._check_room(len(payload))
        call_id = next(self._ids)
        request = self._outbox.add(Kind.REQUEST, payload, topic=topic, call_id=call_id)
        timer = asyncio.get_running_loop().call_later(timeout_seconds, self._expire, call_id, timeout_seconds)
        self._waiting[call_id] = (_Told(answered, timer), request)
        self._wake()
        return partial(self.abandon, call_id)

    def open_stream(self, topic: int, header: bytes) -> OutgoingStream:
        """Begin a stream. `header`, at most 64 KiB, says what it is; raise Unreached."""
        assert len(header) <= MAX_FRAME_BYTES, f"a stream's header of {len(header)} bytes"
        self._check_room(len(header))
        if len(self._streams) >= self._limits.max_streams:
            raise Unreached(f"{len(self._streams)} streams to peer {self._peer} are under way already")
        call_id = next(self._ids)
        opening = self._outbox.add(Kind.OPEN, header, topic=topic, call_id=call_id, lane=call_id)
        answer = self._expect(call_id, opening)
        stream = OutgoingStream(call_id, self, answer, self._limits.stream_window_bytes)
        self._streams[call_id] = stream
        answer.add_done_callback(stream.answered)
        return stream

    def answered(self, call_id: int, payload: bytes) -> None:
        """Take the answer of a call; one that nobody waits for any more is dropped."""
        if (waiting := self._waiting.pop(call_id, None)) is not None and not waiting[0].done():
            waiting[0].set_result(payload)

    def failed(self, call_id: int, payload: bytes) -> None:
        """Take the error that a call was answered with."""
        if (waiting := self._waiting.pop(call_id, None)) is not None:
            self._outbox.drop(waiting[1])
            if not waiting[0].done():
                waiting[0].set_exception(decode_failure(payload))

    def credited(self, call_id: int, read_bytes: int) -> None:
        """Let a stream go on that the peer has read a part of."""
        if (stream := self._streams.get(call_id)) is not None:
            stream.credited(read_bytes)

    def end(self, reason: str) -> None:
        """Fail everything that waits, for the link is broken."""
        self._ended = reason
        for answer, request in list(self._waiting.values()):
            if not answer.done():
                answer.set_exception(self._broken(request, reason))
        self._waiting.clear()

    async def _answer_of(self, call_id: int, answer: _Answer, timeout_seconds: float) -> bytes:
        timer = asyncio.get_running_loop().call_later(timeout_seconds, self._expire, call_id, timeout_seconds)
        try:
            return await answer
        except asyncio.CancelledError:
            self.abandon(call_id)
            raise
        finally:
            timer.cancel()

    def _check_room(self, size_bytes: int) -> None:
        """Raise BadRequest for what can never be sent, Unreached for what cannot be sent now."""
        check_size(size_bytes, self._limits)
        if self._ended is not None:
            raise Unreached(f"the link to peer {self._peer} is broken: {self._ended}")
        if self._outbox.waiting_bytes + size_bytes > self._limits.max_backlog_bytes:
            raise Unreached(f"too much waits to be sent to peer {self._peer}")

    def _expect(self, call_id: int, request: Outgoing) -> _Answer:
        answer: _Answer = asyncio.get_running_loop().create_future()
        self._waiting[call_id] = (answer, request)
        self._wake()
        return answer

    def _expire(self, call_id: int, timeout_seconds: float) -> None:
        if (waiting := self._waiting.get(call_id)) is not None and not waiting[0].done():
            waiting[0].set_exception(TimedOut(f"peer {self._peer} has not answered within {timeout_seconds:g} s"))
            self.abandon(call_id)

    def abandon(self, call_id: int) -> None:
        """Wait no more for a call or stream, and tell the peer."""
        if (waiting := self._waiting.pop(call_id, None)) is None:
            return
        answer, request = waiting
        begun = request.sent or request.at > 0
        self._outbox.drop(request)
        self._outbox.drop_lane(call_id)
        answer.cancel()
        if begun:
            self._outbox.steer(Kind.CANCEL, call_id)
            self._wake()

    def _broken(self, request: Outgoing, reason: str) -> Unavailable:
        text = f"the link to peer {self._peer} broke: {reason}"
        return LinkBroken(text) if request.sent else Unreached(text)

    # What a stream needs.

    def send_piece(self, call_id: int, kind: Kind, piece: bytes | memoryview = b"") -> None:
        """Send a part of a stream, or its end, behind what was sent of it before."""
        self._outbox.add(kind, piece, call_id=call_id, lane=call_id)
        self._wake()

    async def finish(self, call_id: int, answer: _Answer, timeout_seconds: float) -> bytes:
        """End a stream and give what the peer says to it."""
        if not answer.done():
            self.send_piece(call_id, Kind.END)
        return await self._answer_of(call_id, answer, timeout_seconds)

    def forget_stream(self, call_id: int) -> None:
        """Send nothing more of a stream."""
        self._streams.pop(call_id, None)
        self._outbox.drop_lane(call_id)


class OutgoingStream:
    """Bytes for a peer without a bound, at the pace at which it reads them.

    Use it with `async with`: leaving it without `finish` cancels it at the other end. Pieces arrive in other sizes than
    they left.
    """

    def __init__(self, call_id: int, caller: Caller, answer: _Answer, window_bytes: int) -> None:
        self._id = call_id
        self._caller = caller
        self._answer = answer
        self._credit_bytes = window_bytes
        self._credited = asyncio.Event()
        self._finished = False

    async def __aenter__(self) -> OutgoingStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._caller.abandon(self._id)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data` when there is room for it. Raise what the peer failed with, Unreached or LinkBroken.

        A reader that stands still holds the writer up for as long as the link lives: whoever cannot wait puts a timeout
        around it. `data` must not change until `finish`.
        """
        assert not self._finished, "written after its end"
        rest = memoryview(data).cast("B")
        while rest:
            while self._credit_bytes == 0 and not self._answer.done():
                self._credited.clear()
                await self._credited.wait()
            if self._answer.done():
                self._raise_ended()
            piece = rest[: min(len(rest), self._credit_bytes, MAX_FRAME_BYTES)]
            self._credit_bytes -= len(piece)
            self._caller.send_piece(self._id, Kind.DATA, piece)
            rest = rest[len(piece) :]

    async def finish(self, timeout_seconds: float) -> bytes:
        """Say that all was written, and give the peer's answer; raise as a call does."""
        self._finished = True
        return await self._caller.finish(self._id, self._answer, timeout_seconds)

    def credited(self, read_bytes: int) -> None:
        """Take note that the peer has read so many bytes more."""
        self._credit_bytes += read_bytes
        self._credited.set()

    def answered(self, answer: _Answer) -> None:
        """Stop, for the peer has answered, or will not."""
        if not answer.cancelled():
            answer.exception()  # whoever does not ask for the answer leaves no warning
        self._caller.forget_stream(self._id)
        self._credited.set()

    def _raise_ended(self) -> None:
        if self._answer.cancelled() or (error := self._answer.exception()) is None:
            raise Unavailable(_NOT_READ)
        assert isinstance(error, QnodeError)
        raise error
