"""The bytes of a log file. Pure: nothing here opens, changes or judges a file.

All integers are unsigned, little-endian. A file is a header, then frames until it ends; nothing is padded.

    header, 48 bytes
      0  magic         8 bytes   "qnodelog"; says what the file is
      8  version       u32       a reader refuses a format that it does not know
     12  generation    u32       counts the resets of the log: only files of the highest generation count, which makes a
                                 reset one rename
     16  identity      u64       random; the seed of all checksums, so that a frame of another file, or of an earlier
                                 file of the same name in blocks that are used again, cannot pass
     24  first op_num  u64       of the first record; also in the file's name
     32  epoch before  u64       of the record before the first: an empty log still knows its epoch
     40  checksum      u64       xxh3_64 of bytes 0..40

    record, 28 bytes + payload
      0  checksum      u64       xxh3_64 of the payload, seeded with xxh3_64 of bytes 8..28, which is seeded with
                                 identity + offset of the frame: covers every byte and the place, and large payloads
                                 are hashed where they lie
      8  length        u32       of the payload in bytes, at most 2^30
     12  epoch         u64       never falls
     20  op_num        u64       one more than the record before
     28  payload

    mark, 28 bytes: a record's head with the length 0xFFFFFFF5 and no payload; written behind each sync, itself not synced
      0  checksum      u64       as in a record
      8  length        u32       0xFFFFFFF5, impossible for a record, so that marks can be searched for
     12  synced bytes  u64       the file is durable up to here (the mark may stand further behind: appends go on
                                 during a sync)
     20  next op_num   u64       of the record that follows what is durable

**Why marks.** After a power loss the last, unsynced records may be there, cut, or full of holes, in any order of
blocks: they were never acknowledged and must be cut off silently. A flipped byte in a synced record must not be, even
in the last record. Neither length nor checksum tells the two apart; what tells them apart is whether a sync had
finished. A bad frame is **damage** if a valid mark behind it says that the file was durable beyond the frame's start,
otherwise it is the **torn tail**.

Downsides. A mark costs one small write a sync (2 µs; it shares the block that the next append rewrites, so no further
block is written), and it becomes durable only with the next sync or when the system writes it back. So one case stays
undecided: the very last group was synced, the power failed before its mark reached the disk, *and* the same group was
damaged; it is then taken for a torn tail. A file cut short inside its last records loses the mark too and is a torn
tail, by intent. Lengths are not protected by themselves: behind a bad frame, records cannot be found again, only marks.
A file is checked frame by frame from its start, so opening costs about two microseconds a record of the last file.
Frames are not aligned: an append rewrites the last, partly filled disk block, which relies on disks that do not lose
old sectors of a block while they write it again. Files are not allocated ahead: it would save a part of each small sync
(0.05 of 0.14 ms), and cost 32 MiB for each idle shard and a file whose length says nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from xxhash import xxh3_64_intdigest

MAX_PAYLOAD_BYTES: Final = 1 << 30

_MAGIC: Final = b"qnodelog"
_VERSION: Final = 1
_HEADER: Final = struct.Struct("<8sIIQQQ")
_CHECKSUM: Final = struct.Struct("<Q")
_FIELDS: Final = struct.Struct("<IQQ")
_HEAD: Final = struct.Struct("<QIQQ")
_MARK_LENGTH: Final = 0xFFFF_FFF5
_MARK_NEEDLE: Final = struct.pack("<I", _MARK_LENGTH)
_SEED_MASK: Final = (1 << 64) - 1

HEADER_BYTES: Final = _HEADER.size + _CHECKSUM.size
HEAD_BYTES: Final = _HEAD.size


@dataclass(frozen=True, slots=True)
class Record:
    """One operation of a shard, as the log keeps it."""

    epoch: int
    op_num: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Mark:
    """The file is durable up to `synced_bytes`, which is where the record `next_op` begins."""

    synced_bytes: int
    next_op: int


@dataclass(frozen=True, slots=True)
class Header:
    """The head of a file. `identity` seeds every checksum in it."""

    generation: int
    identity: int
    first_op: int
    epoch_before: int


class BadFrame(Exception):
    """The bytes at an offset are no frame of this file; the text says why. Whether that is damage, the caller finds out."""


def encode_header(header: Header) -> bytes:
    """Write the head of a file."""
    fields = _HEADER.pack(_MAGIC, _VERSION, header.generation, header.identity, header.first_op, header.epoch_before)
    return fields + _CHECKSUM.pack(xxh3_64_intdigest(fields))


def decode_header(data: bytes) -> Header:
    """Read the head of a file; raise BadFrame."""
    if len(data) < HEADER_BYTES:
        raise BadFrame("its header is cut short")
    if data[: len(_MAGIC)] != _MAGIC:
        raise BadFrame("it does not begin as a log file does")
    fields = data[: _HEADER.size]
    if _CHECKSUM.unpack_from(data, _HEADER.size)[0] != xxh3_64_intdigest(fields):
        raise BadFrame("the checksum of its header does not match")
    _, version, generation, identity, first_op, epoch_before = _HEADER.unpack(fields)
    if version != _VERSION:
        raise BadFrame(f"it has format version {version}, this program knows {_VERSION}")
    return Header(generation, identity, first_op, epoch_before)


def encode_record_head(record: Record, identity: int, offset: int) -> bytes:
    """Write what stands before the payload of a record at `offset`."""
    payload = record.payload
    assert len(payload) <= MAX_PAYLOAD_BYTES, f"a record of {len(payload)} bytes"
    fields = _FIELDS.pack(len(payload), record.epoch, record.op_num)
    return _CHECKSUM.pack(_checksum(fields, payload, identity, offset)) + fields


def encode_mark(mark: Mark, identity: int, offset: int) -> bytes:
    """Write a mark at `offset`."""
    fields = _FIELDS.pack(_MARK_LENGTH, mark.synced_bytes, mark.next_op)
    return _CHECKSUM.pack(_checksum(fields, b"", identity, offset)) + fields


def read_frame(file: BinaryIO, identity: int, offset: int, room_bytes: int) -> Record | Mark:
    """Read the frame at `offset`, where the file stands, of at most `room_bytes`; raise BadFrame."""
    head = file.read(HEAD_BYTES)
    if room_bytes < HEAD_BYTES or len(head) < HEAD_BYTES:
        raise BadFrame("the record is cut short")
    checksum, length, first, second = _HEAD.unpack(head)
    payload = b""
    if length != _MARK_LENGTH:
        if length > room_bytes - HEAD_BYTES:
            raise BadFrame("the record is cut short or its length is wrong")
        payload = file.read(length)
    if checksum != _checksum(head[_CHECKSUM.size :], payload, identity, offset):
        raise BadFrame("the checksum of the record does not match")
    return Mark(first, second) if length == _MARK_LENGTH else Record(first, second, payload)


def find_marks(data: bytes, identity: int, offset: int) -> Iterator[Mark]:
    """Give all marks in the bytes that begin at `offset` of a file, wherever its other frames begin."""
    found = data.find(_MARK_NEEDLE)
    while found >= 0:
        start = found - _CHECKSUM.size
        head = data[start : start + HEAD_BYTES]
        if start >= 0 and len(head) == HEAD_BYTES:
            checksum, _, synced_bytes, next_op = _HEAD.unpack(head)
            if checksum == _checksum(head[_CHECKSUM.size :], b"", identity, offset + start):
                yield Mark(synced_bytes, next_op)
        found = data.find(_MARK_NEEDLE, found + 1)


def _checksum(fields: bytes, payload: bytes, identity: int, offset: int) -> int:
    seed = xxh3_64_intdigest(fields, (identity + offset) & _SEED_MASK)
    return xxh3_64_intdigest(payload, seed)
