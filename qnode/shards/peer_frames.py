"""What the shards of two peers say to each other on Topic.REPLICATION, and its bytes.

    frame = kind u8, number of the shard u32, length of the folder u8, folder (UTF-8), body

A frame carries either a message of the replication protocol, in that protocol's own bytes, or one of the three words
about a copy, which must keep their place among those messages (`replication.actions.NeedsCopy` says why).
Little-endian. Whatever arrives becomes a frame whose parts have their sizes, or `BadMessage`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from qnode.shards.replication.messages import BadMessage

Address = tuple[str, int]
"""A shard among peers: its collection's folder, and its number."""

CopyId = bytes
COPY_ID_BYTES: Final = 16

_HEAD: Final = struct.Struct("<BIB")
_INSTALL: Final = struct.Struct(f"<{COPY_ID_BYTES}sQQQ")
_COPIED: Final = struct.Struct(f"<{COPY_ID_BYTES}sQ")
_NOT_COPIED: Final = struct.Struct(f"<{COPY_ID_BYTES}s?")


class Kind(IntEnum):
    """What a frame carries."""

    PROTOCOL = 1
    INSTALL = 2
    COPIED = 3
    NOT_COPIED = 4


@dataclass(frozen=True, slots=True)
class Install:
    """The order of an epoch's primary to put a copy, which has arrived, in the place of what is there."""

    copy: CopyId
    epoch: int
    applied_op: int
    applied_epoch: int


@dataclass(frozen=True, slots=True)
class Copied:
    """The copy is in its place: the replica holds everything up to an operation."""

    copy: CopyId
    op_num: int


@dataclass(frozen=True, slots=True)
class NotCopied:
    """The order was not obeyed. is_lost: the copy is not there any more either."""

    copy: CopyId
    is_lost: bool


Word = Install | Copied | NotCopied


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame for one shard; `content` is the bytes of a protocol message, or a word."""

    address: Address
    content: bytes | Word


def encode_frame(address: Address, content: bytes | Word) -> bytes:
    """Write a frame."""
    folder = address[0].encode()
    match content:
        case bytes():
            kind, body = Kind.PROTOCOL, content
        case Install(copy, epoch, applied_op, applied_epoch):
            kind, body = Kind.INSTALL, _INSTALL.pack(copy, epoch, applied_op, applied_epoch)
        case Copied(copy, op_num):
            kind, body = Kind.COPIED, _COPIED.pack(copy, op_num)
        case NotCopied(copy, is_lost):
            kind, body = Kind.NOT_COPIED, _NOT_COPIED.pack(copy, is_lost)
    return b"".join((_HEAD.pack(kind, address[1], len(folder)), folder, body))


def decode_frame(data: bytes) -> Frame:
    """Read a frame; raise BadMessage."""
    try:
        kind, number, length = _HEAD.unpack_from(data)
        begin = _HEAD.size + length
        folder, body = data[_HEAD.size : begin], data[begin:]
        if len(folder) != length:
            raise BadMessage("a frame that ends within its address")
        return Frame((folder.decode(), number), _content(kind, body))
    except (struct.error, UnicodeDecodeError) as error:
        raise BadMessage(f"not readable as a frame: {error}") from error


def _content(kind: int, body: bytes) -> bytes | Word:
    match kind:
        case Kind.PROTOCOL:
            return body
        case Kind.INSTALL:
            return Install(*_INSTALL.unpack(body))
        case Kind.COPIED:
            return Copied(*_COPIED.unpack(body))
        case Kind.NOT_COPIED:
            return NotCopied(*_NOT_COPIED.unpack(body))
    raise BadMessage(f"a frame of an unknown kind {kind}")
