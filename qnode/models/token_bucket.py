"""A token bucket: so many tokens a minute, of which as many may be saved up.

A value that changes with time, and is told the time: no clock of its own. Not for several threads.
"""

from __future__ import annotations

from dataclasses import dataclass

_SECONDS_PER_MINUTE = 60


@dataclass(frozen=True, slots=True)
class Shortage:
    """There were so many tokens, too few. `retry_after_seconds`: when there will be enough; None never."""

    available: float
    retry_after_seconds: float | None


class TokenBucket:
    """Full at first. Times in seconds of any clock that does not go back."""

    def __init__(self, tokens_per_minute: int) -> None:
        self._capacity = tokens_per_minute
        self._tokens = float(tokens_per_minute)
        self._filled_at: float | None = None

    def shortage(self, tokens: float, now: float) -> Shortage | None:
        """Tell whether tokens are missing; None if they could be taken."""
        per_second = self._capacity / _SECONDS_PER_MINUTE
        if self._filled_at is not None:
            self._tokens = min(self._capacity, self._tokens + (now - self._filled_at) * per_second)
        self._filled_at = now
        if tokens <= self._tokens:
            return None
        wait = None if tokens > self._capacity else (tokens - self._tokens) / per_second
        return Shortage(self._tokens, wait)

    def take(self, tokens: float) -> None:
        """Take tokens, of which `shortage` has said just now that they are there."""
        assert tokens <= self._tokens, "more tokens than there are"
        self._tokens -= tokens
