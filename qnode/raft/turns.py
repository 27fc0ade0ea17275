"""The turns of a peer: what has arrived, then a tick, then one commit of the journal, then what was to be said.

**A turn begins only when the one before it is over**, and over it is when all that it changed is durable and its messages are
sent. How a commit is run is given: in a thread beside an event loop, or at a simulation's leisure. While one takes its
time, what arrives waits in order, and the peer is silent to its group: after an election timeout others lead.

Where the disk is full a turn ends without a word: what it had to say is dropped, what it changed is committed with the next one.
Of the messages that wait, those beyond `MAX_WAITING` are dropped, as a link may do; word of links never is.

Everything raised here, by whoever calls, must end the peer.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from qnode.errors import OutOfSpace
from qnode.raft.journal import Changes

MAX_WAITING: Final = 4096

Done = Callable[[BaseException | None], None]
Commit = Callable[[Changes, Done], None]
"""Makes changes durable, and calls `Done` once, when they are or with what went wrong; at once or later, in the same thread."""

_log = logging.getLogger(__name__)


class Turns:
    """Runs one turn after the other."""

    def __init__(
        self,
        run: Callable[[], Changes | None],
        release: Callable[[], bool],
        discard: Callable[[], None],
        commit: Commit,
    ) -> None:
        """`run` does the work and gives what is to be committed; `release` says what it has led to, and whether there is
        work for another turn at once; `discard` is called in its place when there was no room.
        """
        self._run, self._release, self._discard = run, release, discard
        self._commit = commit
        self._arrived: deque[Callable[[], None]] = deque()
        self._is_due = self._is_running = self._is_committing = self._is_silent = False

    def add(self, event: Callable[[], None], *, may_be_dropped: bool) -> None:
        """Let something be treated in the next turn, behind all that has arrived before."""
        if not may_be_dropped or len(self._arrived) < MAX_WAITING:
            self._arrived.append(event)

    def take(self) -> None:
        """Begin a turn now, or when the one that is under way is over."""
        self._is_due = True
        if self._is_running:
            return
        self._is_running = True
        while self._is_due and not self._is_committing:
            self._is_due = False
            self._turn()
        self._is_running = False

    def _turn(self) -> None:
        while self._arrived:
            self._arrived.popleft()()
        changes = self._run()
        if changes is None:
            self._finish()
        else:
            self._is_committing = True
            self._commit(changes, self._committed)

    def _committed(self, error: BaseException | None) -> None:
        self._is_committing = False
        if error is None:
            self._finish()
        elif isinstance(error, OutOfSpace):
            self._fall_silent(error)
        else:
            raise error
        if self._is_due:
            self.take()

    def _finish(self) -> None:
        self._is_silent = False
        self._is_due |= self._release() or bool(self._arrived)

    def _fall_silent(self, error: OutOfSpace) -> None:
        """Say nothing that is not durable. What is to be written is tried again with every tick; others lead meanwhile."""
        self._discard()
        if not self._is_silent:
            self._is_silent = True
            _log.error("This peer takes no part in consensus until there is room on its disk: %s", error)
