"""What waits to be sent on one link, and whose turn it is. Pure.

Messages of one lane (a topic, a stream) keep their order; lanes, and messages without a lane, take turns of a frame
each: a large message, or many streams, delay a small one by one frame of each, never by their length. What steers the
link (pings, credit, cancellations, failures) goes first. A message counts as waiting until its last frame is taken, so
that the other end never holds more than `waiting_bytes` of unfinished messages.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Final

from qnode.channel.frames import MAX_FRAME_BYTES, Kind, Seal, encode

_MESSAGE_OVERHEAD_BYTES: Final = 128  # so that a heap of empty messages has a bound as well


class Outgoing:
    """A message that waits; `sent` tells that all of it was taken."""

    __slots__ = ("at", "call_id", "dropped", "kind", "lane", "payload", "sent", "topic")

    def __init__(self, lane: Hashable, kind: Kind, topic: int, call_id: int, payload: bytes | memoryview) -> None:
        self.lane = lane
        self.kind = kind
        self.topic = topic
        self.call_id = call_id
        self.payload = payload
        self.at = 0
        self.sent = False
        self.dropped = False


class Outbox:
    """The messages that wait, in fair order."""

    def __init__(self, seal: Seal | None) -> None:
        self.waiting_bytes = 0
        self._seal = seal
        self._steering: deque[tuple[Kind, int, bytes]] = deque()
        self._turns: deque[Outgoing] = deque()
        self._lanes: dict[Hashable, deque[Outgoing]] = {}

    def __bool__(self) -> bool:
        return bool(self._turns or self._steering)

    def steer(self, kind: Kind, call_id: int = 0, payload: bytes = b"") -> None:
        """Add what goes before everything else."""
        self._steering.append((kind, call_id, payload))

    def add(
        self, kind: Kind, payload: bytes | memoryview, *, topic: int = 0, call_id: int = 0, lane: Hashable = None
    ) -> Outgoing:
        """Add a message behind all others of its lane; without one, behind nothing."""
        message = Outgoing(lane, kind, topic, call_id, payload)
        self.waiting_bytes += len(payload) + _MESSAGE_OVERHEAD_BYTES
        if lane is None:
            self._turns.append(message)
        elif (queue := self._lanes.get(lane)) is not None:
            queue.append(message)
        else:
            self._lanes[lane] = deque((message,))
            self._turns.append(message)
        return message

    def drop(self, message: Outgoing) -> None:
        """Send nothing more of a message."""
        if not message.sent and not message.dropped:
            message.dropped = True
            self.waiting_bytes -= len(message.payload) + _MESSAGE_OVERHEAD_BYTES
            message.payload = b""

    def drop_lane(self, lane: Hashable) -> None:
        """Send nothing more of what waits in a lane."""
        for message in self._lanes.get(lane, ()):
            self.drop(message)

    def take(self, target_bytes: int) -> bytes:
        """Give the next frames, until there are enough bytes; empty if nothing waits."""
        frames: list[bytes] = []
        taken_bytes = 0
        while taken_bytes < target_bytes:
            if self._steering:
                kind, call_id, payload = self._steering.popleft()
                frame = encode(kind, call_id=call_id, payload=payload, seal=self._seal)
            elif self._turns:
                message = self._turns.popleft()
                if message.dropped:
                    self._pass_on(message)
                    continue
                frame = self._next_frame(message)
            else:
                break
            frames.append(frame)
            taken_bytes += len(frame)
        return frames[0] if len(frames) == 1 else b"".join(frames)

    def _next_frame(self, message: Outgoing) -> bytes:
        payload, at = message.payload, message.at
        more = len(payload) - at > MAX_FRAME_BYTES
        if at or more:
            payload = memoryview(payload)[at : at + MAX_FRAME_BYTES]
        frame = encode(
            message.kind, topic=message.topic, call_id=message.call_id, payload=payload, more=more, seal=self._seal
        )
        if more:
            message.at += MAX_FRAME_BYTES
            self._turns.append(message)
        else:
            message.sent = True
            self.waiting_bytes -= len(message.payload) + _MESSAGE_OVERHEAD_BYTES
            self._pass_on(message)
        return frame

    def _pass_on(self, message: Outgoing) -> None:
        """Give the turn of a finished message to the next one of its lane."""
        if message.lane is None:
            return
        queue = self._lanes[message.lane]
        queue.popleft()
        if queue:
            self._turns.append(queue[0])
        else:
            del self._lanes[message.lane]
