"""What a shard's primary and its replicas tell each other, and its bytes (msgpack).

The bytes of a message are one array, the kind first. Decoding is bounded and checks every value: whatever arrives becomes a
message whose numbers make sense together, or `BadMessage`. Which shard a message is for, who sent it, and that a link
delivers in order and breaks as a whole, is the carrier's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import msgpack

from qnode.wal import Record

MAX_RECORDS: Final = 4096
MAX_MESSAGE_BYTES: Final = (1 << 30) + (1 << 20)  # a record of the largest size, and some room

_MAX_NUMBER: Final = (1 << 63) - 1
_APPEND, _APPENDED, _REFUSED = 1, 2, 3


class BadMessage(Exception):
    """The bytes are no message of this protocol; the text says why."""


class Reason(IntEnum):
    """Why a replica did not take an Append."""

    STALE_EPOCH = 1
    """The replica's topology has a later epoch: the sender is no primary any more."""
    NOT_HERE = 2
    """The replica's topology does not know this epoch yet, or the shard is not there."""
    GAP = 3
    """The replica's log ends before `prev_op`."""
    MISMATCH = 4
    """The replica's log holds another record at `prev_op`."""
    BROKEN = 5
    """The replica holds something committed that the primary does not: it must be copied anew."""
    UNABLE = 6
    """The replica's log takes nothing at present (a full disk)."""


@dataclass(frozen=True, slots=True)
class Append:
    """The records behind (prev_op, prev_epoch); none: a question whether that one is there, or news of commits."""

    epoch: int
    prev_op: int
    prev_epoch: int
    commit_op: int
    records: tuple[Record, ...] = ()

    @property
    def last_op(self) -> int:
        return self.prev_op + len(self.records)


@dataclass(frozen=True, slots=True)
class Appended:
    """The replica's log is durable, and known to be the primary's of this epoch, up to `logged_op`.

    revision: of the view that the replica obeyed when it said so.
    """

    epoch: int
    logged_op: int
    applied_op: int
    revision: int


@dataclass(frozen=True, slots=True)
class Refused:
    """An Append of `epoch` behind `prev_op` was not taken.

    GAP, MISMATCH: behind (hint_op, hint_epoch) nothing of the replica's log is the primary's. Everything up to
    `applied_op` is. revision: of the view that the replica obeys, 0 if it has none.
    """

    epoch: int
    reason: Reason
    prev_op: int
    hint_op: int
    hint_epoch: int
    applied_op: int
    revision: int


Message = Append | Appended | Refused


def encode(message: Message) -> bytes:
    """Write a message."""
    fields: list[object]
    if isinstance(message, Append):
        assert len(message.records) <= MAX_RECORDS
        fields = [_APPEND, message.epoch, message.prev_op, message.prev_epoch, message.commit_op]
        fields.append([record.epoch for record in message.records])
        fields.append([record.payload for record in message.records])
    elif isinstance(message, Appended):
        fields = [_APPENDED, message.epoch, message.logged_op, message.applied_op, message.revision]
    else:
        fields = [_REFUSED, message.epoch, int(message.reason), message.prev_op]
        fields += [message.hint_op, message.hint_epoch, message.applied_op, message.revision]
    data: bytes = msgpack.packb(fields)
    return data


def decode(data: bytes | memoryview) -> Message:
    """Read a message; raise BadMessage."""
    if len(data) > MAX_MESSAGE_BYTES:
        raise BadMessage(f"{len(data)} bytes are too many")
    try:
        fields = msgpack.unpackb(data, max_array_len=MAX_RECORDS, max_map_len=0, max_ext_len=0, max_str_len=0)
    except Exception as error:  # the library raises several kinds, some of them plain ValueError
        raise BadMessage(f"not readable: {error!r}") from error
    if type(fields) is not list or not fields:
        raise BadMessage("not an array")
    kind, *values = fields
    if kind == _APPEND and type(kind) is int and len(values) == 6:
        return _append(values)
    if kind == _APPENDED and type(kind) is int and len(values) == 4:
        return Appended(*map(_number, values))
    if kind == _REFUSED and type(kind) is int and len(values) == 7:
        epoch, reason, *positions = map(_number, values)
        if reason not in Reason.__members__.values():
            raise BadMessage(f"unknown reason {reason}")
        return Refused(epoch, Reason(reason), *positions)
    raise BadMessage("of an unknown kind or length")


def _append(values: list[Any]) -> Append:
    *numbers, epochs, payloads = values
    epoch, prev_op, prev_epoch, commit_op = map(_number, numbers)
    if type(epochs) is not list or type(payloads) is not list or len(epochs) != len(payloads):
        raise BadMessage("records without epoch or payload")
    before = prev_epoch
    for record_epoch, payload in zip(epochs, payloads, strict=True):
        if not before <= _number(record_epoch) <= epoch:
            raise BadMessage(f"a record of epoch {record_epoch} after {before} in epoch {epoch}")
        if type(payload) is not bytes:
            raise BadMessage("a payload that is not bytes")
        before = record_epoch
    if prev_epoch > epoch or prev_op + len(epochs) > _MAX_NUMBER:
        raise BadMessage("numbers out of bounds")
    records = tuple(
        Record(record_epoch, op_num, payload)
        for op_num, (record_epoch, payload) in enumerate(zip(epochs, payloads, strict=True), prev_op + 1)
    )
    return Append(epoch, prev_op, prev_epoch, commit_op, records)


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_NUMBER:
        raise BadMessage("a number out of bounds")
    return value
