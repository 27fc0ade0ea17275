"""Errors on their way to the peer that asked: the kind and the text of a `QnodeError`, and whether anything was done.

    FAILURE = name of the class, a line feed, the text; UTF-8

The peer that asked raises the same kind with the same text, so a client reads one error through whichever node it came.
Kinds that carry more than a text arrive as the nearest kind that does not; a kind that this version does not know as
InternalError.
"""

from __future__ import annotations

from typing import Final

from qnode import errors
from qnode.channel.frames import MAX_FRAME_BYTES
from qnode.errors import InternalError, QnodeError, RateLimited, Unavailable


class Unreached(Unavailable):
    """The peer has not been given the request, or not all of it: nothing was done, and it may be asked again."""


class LinkBroken(Unavailable):
    """The link broke before the answer: whether the peer has done what was asked is not known."""


_CARRIED: Final[dict[str, type[QnodeError]]] = {
    kind.__name__: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, QnodeError) and kind not in (errors.Corruption, errors.CannotStart)
}


def encode_failure(error: QnodeError) -> bytes:
    """Write an error for the peer that asked."""
    name = next(kind.__name__ for kind in type(error).__mro__ if _CARRIED.get(kind.__name__) is kind)
    return f"{name}\n{error}".encode("utf-8", "replace")[:MAX_FRAME_BYTES]


def decode_failure(payload: bytes) -> QnodeError:
    """Read the error that a peer has answered with."""
    name, _, text = payload.decode("utf-8", "replace").partition("\n")
    kind = _CARRIED.get(name, InternalError)
    error = kind.__new__(kind)
    Exception.__init__(error, text)
    if isinstance(error, RateLimited):
        error.retry_after_seconds = None
    return error
