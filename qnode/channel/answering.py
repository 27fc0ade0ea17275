"""The answering side of a link: one task for each call or stream that the peer has begun.

A topic may have somebody who answers small calls at once, where their last byte is read, or gives them back for a task.

A task is cancelled when the peer does not wait for it any more, and when the link breaks: an answerer that changes
state must expect that at each `await`, or shield what must not be cut in two. What it raises as `QnodeError` the peer
raises too; any other exception is a mistake of ours, is logged, and arrives as `InternalError`.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from qnode.channel.failures import LinkBroken, encode_failure
from qnode.channel.frames import BadFrame, Frame, Kind
from qnode.channel.limits import Limits, check_size
from qnode.channel.outbox import Outbox
from qnode.errors import InternalError, QnodeError, Unavailable

CREDIT: Final = struct.Struct("<I")

_log = logging.getLogger(__name__)


class IncomingStream:
    """A stream as its receiver reads it: `async for piece in stream`.

    It keeps at most a window of pieces; the sender may send on when they are read. If the link breaks, or the sender
    gives up, the receiver's task is cancelled: a loop that ends by itself has read everything.
    """

    def __init__(self, window_bytes: int, credit: Callable[[int], None]) -> None:
        self._pieces: deque[bytes] = deque()
        self._window_bytes = window_bytes
        self._held_bytes = 0
        self._uncredited_bytes = 0
        self._credit = credit
        self._complete = False
        self._arrived = asyncio.Event()

    def push(self, piece: bytes) -> None:
        """Take a piece; raise BadFrame if the sender had no credit for it."""
        self._held_bytes += len(piece)
        if not piece or self._held_bytes > self._window_bytes or self._complete:
            raise BadFrame("more of a stream than it may")
        self._pieces.append(piece)
        self._arrived.set()

    def complete(self) -> None:
        """Take note that all has arrived."""
        self._complete = True
        self._arrived.set()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            while not self._pieces:
                if self._complete:
                    return
                self._arrived.clear()
                await self._arrived.wait()
            piece = self._pieces.popleft()
            yield piece
            self._read(len(piece))

    def _read(self, size_bytes: int) -> None:
        """Give credit back, a quarter of the window at a time."""
        self._uncredited_bytes += size_bytes
        if self._uncredited_bytes >= self._window_bytes // 4 and not self._complete:
            self._held_bytes -= self._uncredited_bytes
            self._credit(self._uncredited_bytes)
            self._uncredited_bytes = 0


MessageReader = Callable[[int, bytes], None]
CallAnswerer = Callable[[int, bytes], Awaitable[bytes]]
AtOnce = Callable[[int, bytes], bytes | None]
StreamAnswerer = Callable[[int, bytes, IncomingStream], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Topics:
    """Who reads what arrives, by topic. All get the id of the peer that sent it.

    A reader of messages is called in their order, between two of which nothing else of the link happens; it must be
    quick, and an exception of it breaks the link.
    """

    messages: dict[int, MessageReader] = field(default_factory=dict)
    calls: dict[int, CallAnswerer] = field(default_factory=dict)
    at_once: dict[int, AtOnce] = field(default_factory=dict)
    streams: dict[int, StreamAnswerer] = field(default_factory=dict)


class Callee:
    """The calls and streams that the other end of a link has begun."""

    def __init__(self, peer: int, topics: Topics, limits: Limits, outbox: Outbox, wake: Callable[[], None]) -> None:
        self._peer = peer
        self._topics = topics
        self._limits = limits
        self._outbox = outbox
        self._wake = wake
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._streams: dict[int, IncomingStream] = {}

    def requested(self, frame: Frame, payload: bytes) -> None:
        """Begin to answer a call; raise BadFrame for an id that is in use."""
        answerer = self._topics.calls.get(frame.topic)
        if self._may_begin(frame, answerer is not None):
            assert answerer is not None
            at_once = self._topics.at_once.get(frame.topic)
            if at_once is None or not self._answer_now(frame.call_id, partial(at_once, self._peer, payload)):
                self._begin(frame.call_id, partial(answerer, self._peer, payload))

    def opened(self, frame: Frame) -> None:
        """Begin to answer a stream; raise BadFrame for an id that is in use."""
        answerer = self._topics.streams.get(frame.topic)
        if self._may_begin(frame, answerer is not None):
            assert answerer is not None
            stream = IncomingStream(self._limits.stream_window_bytes, partial(self._credit, frame.call_id))
            self._streams[frame.call_id] = stream
            self._begin(frame.call_id, partial(answerer, self._peer, frame.payload, stream))

    def piece_arrived(self, frame: Frame) -> None:
        """Hand on a piece of a stream. Those of one that has been answered already are dropped."""
        if (stream := self._streams.get(frame.call_id)) is not None:
            stream.push(frame.payload)

    def completed(self, frame: Frame) -> None:
        """Tell a stream that all of it has arrived."""
        if (stream := self._streams.get(frame.call_id)) is not None:
            stream.complete()

    def cancelled(self, frame: Frame) -> None:
        """Stop answering; what has been answered already is no matter."""
        if (task := self._tasks.get(frame.call_id)) is not None:
            task.cancel()

    def end(self) -> None:
        """Stop all answering, for the link is broken."""
        for task in list(self._tasks.values()):
            task.cancel()

    def _may_begin(self, frame: Frame, is_served: bool) -> bool:
        if frame.call_id in self._tasks:
            raise BadFrame("the id of a call twice")
        if not is_served:
            self._fail(frame.call_id, Unavailable(f"this peer does not serve topic {frame.topic} yet"))
        elif len(self._tasks) >= self._limits.max_requests:
            self._fail(frame.call_id, Unavailable(f"this peer answers {self._limits.max_requests} calls already"))
        else:
            return True
        return False

    def _answer_now(self, call_id: int, answering: Callable[[], bytes | None]) -> bool:
        """Answer a call without a task, if it can be; say whether it was."""
        try:
            if (payload := answering()) is None:
                return False
            self._send(call_id, payload)
        except Exception as error:
            self._refuse(call_id, error)
        return True

    def _begin(self, call_id: int, answering: Callable[[], Awaitable[bytes]]) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(call_id, answering))
        self._tasks[call_id] = task
        task.add_done_callback(lambda _: self._forget(call_id))

    def _forget(self, call_id: int) -> None:
        del self._tasks[call_id]
        self._streams.pop(call_id, None)

    async def _answer(self, call_id: int, answering: Callable[[], Awaitable[bytes]]) -> None:
        try:
            self._send(call_id, await answering())
        except asyncio.CancelledError:
            self._fail(call_id, LinkBroken("the peer that was asked has given it up"))
            raise
        except Exception as error:
            self._refuse(call_id, error)

    def _send(self, call_id: int, payload: bytes) -> None:
        self._check_room(len(payload))
        self._outbox.add(Kind.ANSWER, payload, call_id=call_id)
        self._wake()

    def _refuse(self, call_id: int, error: Exception) -> None:
        if not isinstance(error, QnodeError):
            _log.error("A call of peer %d failed unexpectedly", self._peer, exc_info=error)
            error = InternalError("an unexpected error, see the log of the peer that was asked")
        self._fail(call_id, error)

    def _check_room(self, size_bytes: int) -> None:
        check_size(size_bytes, self._limits)
        if self._outbox.waiting_bytes + size_bytes > self._limits.max_backlog_bytes:
            raise Unavailable("too much waits to be sent to the peer that asks")

    def _fail(self, call_id: int, error: QnodeError) -> None:
        self._outbox.steer(Kind.FAILURE, call_id, encode_failure(error))
        self._wake()

    def _credit(self, call_id: int, read_bytes: int) -> None:
        self._outbox.steer(Kind.CREDIT, call_id, CREDIT.pack(read_bytes))
        self._wake()
