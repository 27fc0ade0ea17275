"""How long this peer may take what it has applied for all that there is: the lease under which a node reads its own replicas.

**While `holds` says so, everything has been applied here that any peer had applied `seconds` ago, or earlier.** So what takes a replica
out of a set counts for everybody once that time has passed since somebody has applied it, even if the replica's node is
cut off, or stands still and then goes on as if nothing had been.

With each heartbeat the leader offers a lease: *I led until q, and this is my commit index*. q is the newest of its own moments such
that a majority has answered, in its term, something that it said then or later: whoever replaced it was elected after q,
so all that was committed before q is in its log, and under its commit index as soon as an entry of its own term is committed. A
follower that has applied up to that index holds the lease until q + `seconds`.

Clocks of different machines are never compared. The offer says how long ago q was (`age`), and which moment of the follower's
clock the leader had heard of when it said so (`heard`): q is not earlier than that moment less the age. What is assumed is that clocks run
equally fast, to within a tenth (`MARGIN`, added by who waits for leases to end), and go on while a process or its machine
is suspended: CLOCK_BOOTTIME. A virtual machine that is halted, and whose clock stands still too, is beyond this.

Left out: what is read under a lease, and who waits for its end (`shards/freshness`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

MARGIN: Final = 1.25
"""Who waits so many times the length of a lease has seen the end of it."""

NEVER: Final = 2**62
"""The age of a majority's answer that was not given yet, in microseconds."""

_SECOND: Final = 1_000_000
_MOST_PENDING: Final = 8

Clock = Callable[[], int]
"""Gives microseconds that go on while the machine is suspended."""


def boot_time() -> int:
    """Give the microseconds since the machine was started."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


class Lease:
    """The lease of one peer, and the offers that it makes as leader. `seconds` 0: everything is always allowed.

    `granted` is called with each end of a lease that this peer comes to hold, and lets it begin by `extend`, when what was applied
    before is known to everybody here.
    """

    def __init__(self, seconds: float, clock: Clock, granted: Callable[[int], None] | None = None) -> None:
        self._length = int(seconds * _SECOND)
        self.clock = clock
        self._granted = granted or self.extend
        self._until = 0
        self._heard: dict[int, int] = {}  # by peer, the newest moment of its clock that it has told
        self._answered: dict[int, int] = {}  # by peer, the newest moment of the own clock that it has answered to
        self._offered_at = 0
        self._pending: deque[tuple[int, int]] = deque(maxlen=_MOST_PENDING)

    def holds(self) -> bool:
        """Say whether the lease has not ended."""
        return self._until > self.clock() or not self._length

    def extend(self, until: int) -> None:
        """Let the lease last until a moment, if it does not last longer."""
        self._until = max(self._until, until)

    def forget_link(self, peer: int) -> None:
        """Forget what a peer has said: it may be another process by now, on a clock that began anew."""
        self._heard.pop(peer, None)
        self._answered.pop(peer, None)

    # the leader's side

    def begin_term(self) -> None:
        """Forget the answers to what was said in earlier terms."""
        self._answered.clear()

    def is_due(self, pause_seconds: float) -> bool:
        """Say whether the last offers are so long ago; then the next ones count as made."""
        now = self.clock()
        if not self._length or now - self._offered_at < pause_seconds * _SECOND:
            return False
        self._offered_at = now
        return True

    def offer(self, peer: int, others: Iterable[int], term: int, commit: int, *, is_sure: bool) -> dict[str, Any]:
        """Make the message for a peer; `is_sure`: an entry of this term is committed. `others`: the other voters."""
        now = self.clock()
        age = now - self._led_until(others, now) if is_sure else NEVER
        return {
            "type": "lease_offer",
            "term": term,
            "commit": commit,
            "at": now,
            "age": min(age, NEVER),
            "heard": self._heard.get(peer, 0),
        }

    def hear_answer(self, peer: int, at: int, heard: int) -> None:
        """Take what a peer that follows in this term has answered to an offer."""
        self._heard[peer] = max(at, self._heard.get(peer, 0))
        if heard <= self.clock():
            self._answered[peer] = max(heard, self._answered.get(peer, 0))

    def lead(self, others: Iterable[int], commit: int) -> None:
        """Take as leader, in whose term an entry is committed, what it offers to the others."""
        self._take(commit, self._led_until(others, self.clock()))

    def _led_until(self, others: Iterable[int], now: int) -> int:
        moments = sorted([now, *(self._answered.get(peer, 0) for peer in others)], reverse=True)
        return moments[len(moments) // 2]

    # the follower's side

    def answer(self, term: int, at: int) -> dict[str, Any]:
        """Make the answer to an offer."""
        return {"type": "lease_answer", "term": term, "at": self.clock(), "heard": at}

    def take_offer(self, commit: int, age: int, heard: int) -> None:
        """Take the leader's offer; it counts when everything up to `commit` is applied."""
        if heard and age < NEVER and heard <= self.clock():
            self._take(commit, heard - age)

    def _take(self, commit: int, since: int) -> None:
        if since + self._length > self._until:
            self._pending.append((commit, since + self._length))

    def applied(self, index: int) -> None:
        """Hear how far the log is applied."""
        ends = [until for commit, until in self._pending if commit <= index]
        if ends:
            self._pending = deque((each for each in self._pending if each[0] > index), maxlen=_MOST_PENDING)
            self._granted(max(ends))
