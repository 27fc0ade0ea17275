"""Until when the work for a request may go on; long work asks between its pieces.

A thread cannot be stopped from outside: when a client's time is up, it is told so, and what was begun for it would go
on for nothing. The deadline stands in the context of the task that set it, which asyncio hands on to threads and to
tasks made from it. So the floors between the endpoint and the work need not know of it; where none is set (a write),
work goes on until it is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic

from qnode.errors import TimedOut

_ENDLESS = float("inf")

_ends: ContextVar[float] = ContextVar("ends", default=_ENDLESS)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let what is done in this context end after so many seconds, or sooner if that was said before."""
    token = _ends.set(min(_ends.get(), monotonic() + seconds))
    try:
        yield
    finally:
        _ends.reset(token)


def seconds_left() -> float | None:
    """Tell how long the work may go on; None: without an end."""
    ends = _ends.get()
    return None if ends is _ENDLESS else max(0.0, ends - monotonic())


def check() -> None:
    """Raise TimedOut if the time is up."""
    ends = _ends.get()
    if ends is not _ENDLESS and monotonic() > ends:
        raise TimedOut("the time for this request ran out while it was worked on")
