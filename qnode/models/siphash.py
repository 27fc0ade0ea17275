"""SipHash-2-4 with a zero key (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012).

It decides which slice of the id space a point belongs to. The bytes hashed are the id's: 8 little-endian bytes of a
number, the 16 bytes of a UUID. `slices_of` hashes many ids at once; both give the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qnode.models.point_id import PointKey

_INITIAL = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
_MASK = (1 << 64) - 1
_NUMBER_KEY_BYTES = 9

Word = Any
"""A 64-bit word as a Python int, or many as a uint64 array: the same steps run on both."""


def siphash24(message: bytes) -> int:
    """Hash a message with SipHash-2-4 under the zero key, as a 64-bit number."""
    whole = len(message) - len(message) % 8
    words = [int.from_bytes(message[at : at + 8], "little") for at in range(0, whole, 8)]
    words.append(int.from_bytes(message[whole:], "little") | (len(message) & 0xFF) << 56)
    hashed: int = _hash(words, _INITIAL)
    return hashed


def slice_of(key: PointKey, total: int) -> int:
    """Tell which of `total` slices a point belongs to."""
    # A number is big-endian in a key, after the byte of its kind.
    message = key[:0:-1] if len(key) == _NUMBER_KEY_BYTES else key[1:]
    return siphash24(message) % total


def slices_of(keys: Sequence[PointKey], total: int) -> npt.NDArray[np.int64]:
    """Tell for each of many points, (n,), which of `total` slices it belongs to."""
    slices = np.empty(len(keys), np.int64)
    lengths = np.fromiter(map(len, keys), np.int64, len(keys))
    for numbers in (True, False):
        at = np.flatnonzero((lengths == _NUMBER_KEY_BYTES) == numbers)
        if not len(at):
            continue
        joined = b"".join([keys[position][1:] for position in at.tolist()])
        words = np.frombuffer(joined, ">u8" if numbers else "<u8").astype(np.uint64).reshape(len(at), -1)
        message = [words[:, column] for column in range(words.shape[1])]
        message.append(np.full(len(at), 8 * words.shape[1] << 56, np.uint64))
        initial = tuple(np.full(len(at), word, np.uint64) for word in _INITIAL)
        slices[at] = _hash(message, initial) % np.uint64(total)
    return slices


def _hash(words: list[Word], initial: tuple[Word, ...]) -> Word:
    v0, v1, v2, v3 = initial
    for word in words:
        v3 = v3 ^ word
        v0, v1, v2, v3 = _round(*_round(v0, v1, v2, v3))
        v0 = v0 ^ word
    v2 = v2 ^ 0xFF
    for _ in range(4):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


def _round(v0: Word, v1: Word, v2: Word, v3: Word) -> tuple[Word, Word, Word, Word]:
    v0 = (v0 + v1) & _MASK
    v1 = _rotate(v1, 13) ^ v0
    v0 = _rotate(v0, 32)
    v2 = (v2 + v3) & _MASK
    v3 = _rotate(v3, 16) ^ v2
    v0 = (v0 + v3) & _MASK
    v3 = _rotate(v3, 21) ^ v0
    v2 = (v2 + v1) & _MASK
    v1 = _rotate(v1, 17) ^ v2
    v2 = _rotate(v2, 32)
    return v0, v1, v2, v3


def _rotate(word: Word, bits: int) -> Word:
    return (word << bits | word >> (64 - bits)) & _MASK
