"""The records that a primary sends to its replicas: cut into messages, and never too many bytes under way.

To each peer everything goes in the order in which the protocol asked for it. What does not fit into the window, this shard's
or that of all shards together (`windows`), waits here and leaves as answers come; it is forgotten when the link breaks or the
epoch ends, as `SendRecords` allows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from qnode.shards.replication.actions import SendRecords
from qnode.shards.replication.messages import MAX_RECORDS, Append, encode
from qnode.shards.replication.view import PeerId
from qnode.shards.tail import LogReader, Tail
from qnode.shards.windows import ShardWindow
from qnode.wal import Log, Record

MESSAGE_BYTES: Final = 4 << 20
"""A message holds no more than this of payloads, unless a single one is larger."""

WINDOW_BYTES: Final = 32 << 20
"""Nothing more is sent to a replica while it has not answered for so much."""


@dataclass(slots=True)
class _Stream:
    """What goes to one peer. `sent`: where in the first of `asked` we are; `under_way`: last operation and size of messages."""

    reader: LogReader
    asked: deque[SendRecords] = field(default_factory=deque)
    sent: tuple[int, int] | None = None
    under_way: deque[tuple[int, int]] = field(default_factory=deque)
    under_way_bytes: int = 0

    def forget_answered(self, logged_op: int) -> int:
        """Tell how many bytes a replica has answered for, and forget them."""
        answered_bytes = 0
        while self.under_way and self.under_way[0][0] <= logged_op:
            answered_bytes += self.under_way.popleft()[1]
        self.under_way_bytes -= answered_bytes
        return answered_bytes

    def add(self, action: SendRecords) -> None:
        """Keep what is asked for; of words on commits that wait behind one another, the last says it all."""
        last = self.asked[-1] if self.asked and (len(self.asked) > 1 or self.sent is None) else None
        if last is not None and last.last_op == last.prev_op == action.last_op == action.prev_op:
            self.asked[-1] = action
        else:
            self.asked.append(action)


class Outgoing:
    """The streams of records to the peers; `send` never blocks. `forget` all of them at the end."""

    def __init__(self, log: Log, tail: Tail, send: Callable[[PeerId, bytes], None], window: ShardWindow) -> None:
        self._log = log
        self._tail = tail
        self._send = send
        self._window = window
        self._streams: dict[PeerId, _Stream] = {}

    def ask(self, action: SendRecords) -> None:
        """Send records behind what was asked for before. Raise NotFound when the log no longer has them."""
        if (stream := self._streams.get(action.peer)) is None:
            stream = self._streams[action.peer] = _Stream(LogReader(self._log))
        stream.add(action)
        self._go_on(stream)

    def answered(self, peer: PeerId, logged_op: int) -> None:
        """Hear that a replica holds everything up to an operation. Raise NotFound as `ask` does."""
        if (stream := self._streams.get(peer)) is not None:
            if answered_bytes := stream.forget_answered(logged_op):
                self._window.give(peer, answered_bytes)
            self._go_on(stream)

    def refused(self, peer: PeerId) -> None:
        """Hear that a replica has not taken what was under way. Raise NotFound as `ask` does."""
        if (stream := self._streams.get(peer)) is not None:
            self._window.leave(peer)
            stream.under_way.clear()
            stream.under_way_bytes = 0
            self._go_on(stream)

    def woken(self, peer: PeerId) -> None:
        """Hear that there is room in the window of all shards. Raise NotFound as `ask` does."""
        if (stream := self._streams.get(peer)) is not None:
            self._go_on(stream)

    def forget(self, peer: PeerId) -> None:
        """Drop what was asked for: the link to the peer has changed."""
        if self._streams.pop(peer, None) is not None:
            self._window.leave(peer)

    def forget_others(self, peers: Collection[PeerId]) -> None:
        """Drop what was asked for peers that are not among these: they are no replicas any more, or dead."""
        for peer in [peer for peer in self._streams if peer not in peers]:
            self.forget(peer)

    def _go_on(self, stream: _Stream) -> None:
        while stream.asked:
            action = stream.asked[0]
            prev_op, prev_epoch = stream.sent or (action.prev_op, action.prev_epoch)
            if prev_op < action.last_op and stream.under_way_bytes >= WINDOW_BYTES:
                return
            records, size_bytes = self._piece(stream.reader, prev_op + 1, action.last_op)
            if records and not self._window.take(action.peer, size_bytes):
                return
            self._send(action.peer, encode(Append(action.epoch, prev_op, prev_epoch, action.commit_op, records)))
            if records:
                prev_op, prev_epoch = records[-1].op_num, records[-1].epoch
                stream.under_way.append((prev_op, size_bytes))
                stream.under_way_bytes += size_bytes
            if prev_op < action.last_op:
                stream.sent = prev_op, prev_epoch
            else:
                stream.sent = None
                stream.asked.popleft()

    def _piece(self, reader: LogReader, first_op: int, last_op: int) -> tuple[tuple[Record, ...], int]:
        """Take the records of one message, and their size; at least one if there are any."""
        records: list[Record] = []
        size_bytes = 0
        for op_num in range(first_op, min(last_op, first_op + MAX_RECORDS - 1) + 1):
            record = self._tail.record(op_num, reader)
            if records and size_bytes + len(record.payload) > MESSAGE_BYTES:
                break
            records.append(record)
            size_bytes += len(record.payload)
        return tuple(records), size_bytes
