"""Large answers in gzip, for clients that accept it.

Only where it gains much: text shrinks to a tenth or less at hundreds of megabytes a second, vectors printed as numbers only to
half, ten times as slowly. So a sample of the answer decides. Small answers are left alone, those that are given at once
(`api/direct.py`) among them, and so are those that are not about points.
"""

from __future__ import annotations

import asyncio
import zlib
from functools import lru_cache
from typing import Final

from qnode.api.http import Header

COMPRESSED_FROM_BYTES: Final = 64 * 1024
SAMPLE_BYTES: Final = 16 * 1024
LEAST_GAIN: Final = 3.0
"""An answer is compressed if its sample becomes so many times shorter."""

_LEVEL: Final = 1
_GZIP_WINDOW_BITS: Final = 31
_REMEMBERED_HEADERS: Final = 256
_HEADERS: Final[list[Header]] = [(b"content-encoding", b"gzip"), (b"vary", b"accept-encoding")]


@lru_cache(_REMEMBERED_HEADERS)
def accepts_gzip(accept_encoding: bytes) -> bool:
    """Tell whether a client that sends this header can read gzip."""
    for offer in accept_encoding.lower().split(b","):
        coding, *parameters = (part.strip() for part in offer.split(b";"))
        if coding == b"gzip":
            return not any(parameter.rstrip(b"0") in (b"q=", b"q=0.") for parameter in parameters)
    return False


async def compressed(answer: bytes) -> tuple[bytes, list[Header]]:
    """Give a large answer in gzip with the headers that say so, or as it is if that gains little."""
    return await asyncio.to_thread(_compressed, answer)


def _compressed(answer: bytes) -> tuple[bytes, list[Header]]:
    begin = len(answer) // 2
    sample = answer[begin : begin + SAMPLE_BYTES]
    if len(zlib.compress(sample, _LEVEL)) * LEAST_GAIN > len(sample):
        return answer, []
    return zlib.compress(answer, _LEVEL, _GZIP_WINDOW_BITS), _HEADERS
