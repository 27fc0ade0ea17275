"""The bytes between two peers. Pure: nothing here opens, times or judges a connection.

All integers are unsigned, little-endian. A connection carries frames in both directions, one behind the other:

    head, 16 bytes
      0  length   u32   of the payload in bytes, at most 64 KiB (1 KiB before the other end has proved who it is)
      4  kind     u8    see `Kind`
      5  more     u8    1: further frames of the same message follow; else 0
      6  topic    u16   who is to read it; only where the table says so
      8  id       u64   of a call or stream, chosen by the end that began it and never used again on this link
     16  payload
    seal, 16 bytes, behind the payload of every frame since the handshake, unless the link runs inside TLS
         keyed BLAKE2b of the frame's number on this link and direction (u64, from 0), head and payload

    kind            sent by   topic  id   payload
    HELLO           dialer                first three messages and the answer to them: see handshake.py;
    CHALLENGE       listener              none of them is sealed, for they make the keys of the seals
    PROOF           dialer
    WELCOME         listener
    REFUSAL         listener
    PING            both                  empty; says that the sender lives
    MESSAGE         both      yes         wants no answer; in order within its topic
    REQUEST         caller    yes    yes  wants an ANSWER or a FAILURE
    OPEN            caller    yes    yes  begins a stream, with what the receiver must know of it; wants what a REQUEST wants
    DATA            caller           yes  a piece of the stream; counts against the credit
    END             caller           yes  the stream is complete
    CREDIT          callee           yes  u32: the receiver has read so many bytes more
    CANCEL          caller           yes  nobody waits for this call or stream any more
    ANSWER          callee           yes  what the call or stream asked for
    FAILURE         callee           yes  an error, see failures.py

The frame's number stands in no frame: one that is lost, repeated, moved or turned back to its sender does not match its
seal. A message longer than a frame is cut into pieces (`more`) so that other messages can go between them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from hashlib import blake2b
from hmac import compare_digest as _equal
from typing import Final, NamedTuple

MAX_FRAME_BYTES: Final = 64 * 1024
MAX_HANDSHAKE_FRAME_BYTES: Final = 1024
SEAL_BYTES: Final = 16

_HEAD: Final = struct.Struct("<IBBHQ")
_NUMBER: Final = struct.Struct("<Q")

HEAD_BYTES: Final = _HEAD.size


class Kind(IntEnum):
    """What a frame is for."""

    HELLO = 1
    CHALLENGE = 2
    PROOF = 3
    WELCOME = 4
    REFUSAL = 5
    PING = 16
    MESSAGE = 17
    REQUEST = 18
    OPEN = 19
    DATA = 20
    END = 21
    CREDIT = 22
    CANCEL = 23
    ANSWER = 24
    FAILURE = 25


_KNOWN_KINDS: Final = frozenset(int(kind) for kind in Kind)


class Frame(NamedTuple):
    """One frame as it was read. A named tuple, for one is made for every call: it costs a third of a frozen dataclass."""

    kind: int
    more: bool
    topic: int
    call_id: int
    payload: bytes


class BadFrame(Exception):
    """The bytes are no frame of this link; the text says why. Nothing behind them can be read."""


class Seal:
    """Numbers and seals the frames of one direction of one link."""

    __slots__ = ("_keyed", "_number")

    def __init__(self, key: bytes) -> None:
        self._keyed = blake2b(key=key, digest_size=SEAL_BYTES)
        self._number = 0

    def next(self, head_and_payload: bytes) -> bytes:
        """Compute the seal of the next frame."""
        state = self._keyed.copy()
        state.update(_NUMBER.pack(self._number))
        state.update(head_and_payload)
        self._number += 1
        return state.digest()


def encode(
    kind: Kind,
    *,
    topic: int = 0,
    call_id: int = 0,
    payload: bytes | memoryview = b"",
    more: bool = False,
    seal: Seal | None,
) -> bytes:
    """Write a frame. Call it in the order in which the frames go out: a seal counts."""
    assert len(payload) <= MAX_FRAME_BYTES, f"a frame of {len(payload)} bytes"
    frame = _HEAD.pack(len(payload), kind, more, topic, call_id) + payload
    return frame if seal is None else frame + seal.next(frame)


class Decoder:
    """Cuts a stream of bytes into frames. It holds back at most one unfinished frame, whatever arrives."""

    def __init__(self) -> None:
        self._rest = b""
        self._seal: Seal | None = None
        self._limit_bytes = MAX_HANDSHAKE_FRAME_BYTES

    def begin_link(self, seal: Seal | None) -> None:
        """Take the next frame, also if it was received already, and all behind it as sealed and of full size."""
        self._seal = seal
        self._limit_bytes = MAX_FRAME_BYTES

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Give the frames that `data` completes; raise BadFrame.

        Run it to its end before the next call, or never call again.
        """
        data = self._rest + data if self._rest else data
        at, end = 0, len(data)
        while end - at >= HEAD_BYTES:
            length, kind, more, topic, call_id = _HEAD.unpack_from(data, at)
            if length > self._limit_bytes:
                raise BadFrame(f"a frame of {length} bytes")
            if kind not in _KNOWN_KINDS or more > 1:
                raise BadFrame(f"a frame of an unknown kind {kind}")
            payload_end = at + HEAD_BYTES + length
            seal = self._seal
            frame_end = payload_end if seal is None else payload_end + SEAL_BYTES
            if frame_end > end:
                break
            if seal is not None and not _equal(seal.next(data[at:payload_end]), data[payload_end:frame_end]):
                raise BadFrame("a frame whose seal does not match")
            payload = data[at + HEAD_BYTES : payload_end]
            at = frame_end
            yield Frame(kind, more == 1, topic, call_id, payload)
        self._rest = data[at:]
