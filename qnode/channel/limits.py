"""The bounds of what peers may make each other keep and wait for.

Every queue, buffer and timeout of the channel has its bound here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from qnode.errors import BadRequest

_GROWTH: Final = 4
"""A request as a record, for one of JSON: a number of one digit and a comma become four bytes, and a little beside them."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Peers may differ in all of these but `stream_window_bytes`, `max_message_bytes` and `max_backlog_bytes`."""

    handshake_timeout_seconds: float = 5.0
    """From accepting a connection until its dialer has proved itself."""
    dial_timeout_seconds: float = 2.0
    """From looking up a peer's address until the link stands."""
    redial_first_seconds: float = 0.05
    redial_longest_seconds: float = 2.0
    """Pauses between attempts to reach a peer: they double from the first to the longest, less a random part of them."""
    max_strangers: int = 64
    """Connections that have not proved themselves; one more closes the oldest of them."""
    silence_timeout_seconds: float = 1.0
    """A link is broken when nothing was heard for so long; a peer that has nothing to say says so four times as often."""
    closing_timeout_seconds: float = 0.5
    """What was sent before `close` may take so long to leave."""
    max_message_bytes: int = 64 << 20
    """Of one message, request or answer. What may be larger goes as a stream."""
    max_backlog_bytes: int = 128 << 20
    """Of calls and answers that wait to be sent on one link: more are refused. Messages may add as much again, then the
    link breaks."""
    max_requests: int = 1024
    """Calls and streams of one peer that are being answered at a time; further ones are refused."""
    max_streams: int = 32
    """Streams that this peer sends to another at a time; further ones are refused."""
    stream_window_bytes: int = 1 << 20
    """Of one stream that has been sent and was not read yet."""

    def __post_init__(self) -> None:
        assert self.max_message_bytes <= self.max_backlog_bytes


def limits_for_requests_of(size_bytes: int) -> Limits:
    """Give limits with room for what a client's request up to a size becomes on its way between peers."""
    usual = Limits()
    message_bytes = max(usual.max_message_bytes, _GROWTH * size_bytes)
    return Limits(max_message_bytes=message_bytes, max_backlog_bytes=max(usual.max_backlog_bytes, 2 * message_bytes))


def check_size(size_bytes: int, limits: Limits) -> None:
    """Raise BadRequest for a message, request or answer that is too large to be one."""
    if size_bytes > limits.max_message_bytes:
        raise BadRequest(
            f"a message of {size_bytes} bytes is larger than peers may send each other ({limits.max_message_bytes} bytes)"
        )
