"""A snapshot on its way to another peer, in parts that are each answered.

A part says where it belongs; the receiver answers how many bytes it has, and the sender goes on from there. So parts that are lost,
sent twice or overtaken only cost time. What was received is a snapshot only if its checksum says so.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from qnode.raft.messages import Message
from qnode.raft.snapshot import Snapshot

PART_BYTES: Final = 256 << 10
MAX_SNAPSHOT_BYTES: Final = 1 << 30

_log = logging.getLogger(__name__)


class OutgoingSnapshot:
    """The leader's side, for one peer."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.index = snapshot.index
        self.offset = 0
        self._data = snapshot.to_bytes()

    def part(self) -> dict[str, Any]:
        """Give the fields of the next message."""
        start = self.offset if self.offset < len(self._data) else 0
        data = self._data[start : start + PART_BYTES]
        return {"index": self.index, "offset": start, "total": len(self._data), "data": data}


class IncomingSnapshot:
    """The follower's side; a part of another snapshot begins anew."""

    def __init__(self) -> None:
        self._source: tuple[int, int, int, int] | None = None
        self._data = bytearray()

    @property
    def received_bytes(self) -> int:
        return len(self._data)

    def take(self, leader: int, message: Message) -> Snapshot | None:
        """Take a part; give the snapshot when it is complete."""
        source = (leader, message["term"], message["index"], message["total"])
        if source != self._source:
            self._source, self._data = source, bytearray()
        if message["offset"] == len(self._data) and len(self._data) + len(message["data"]) <= MAX_SNAPSHOT_BYTES:
            self._data += message["data"]
        if len(self._data) < message["total"]:
            return None
        data, self._source, self._data = bytes(self._data), None, bytearray()
        try:
            snapshot = Snapshot.from_bytes(data)
            if snapshot.index == message["index"]:
                return snapshot
        except ValueError as error:
            _log.warning("A snapshot from peer %d is refused: %s", leader, error)
        return None
