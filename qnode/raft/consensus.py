"""The group's log for a program with an event loop: ticks from its timer, answers as awaitables.

Everything here runs on the loop's thread, but the journal's commits: those run in a thread of their own, one after the other, and
a disk that hangs holds up this peer's turns (`turns`) and nothing else. A tick
comes every `tick_seconds`, and at once after something was proposed or received, so that a command takes round trips and
fsyncs, not heartbeats. The machine's bytes are opaque; its `apply` gives the result that `propose` returns, refusals among
them.

An error that should not happen (a journal that cannot be written, a machine that raises, a log that contradicts the leader's) stops
this peer's part for good, tells `on_stopped` once, and refuses all that waits: going on would risk what was promised.

Left out: links to peers and their addresses, which whoever passes `links` keeps; he calls `connected`, `disconnected`,
`received`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qnode.errors import QnodeError
from qnode.raft.applied import Machine
from qnode.raft.commands import MAX_CONTENT_BYTES
from qnode.raft.journal import Changes
from qnode.raft.journal_store import LmdbJournalStore
from qnode.raft.lease import Lease, boot_time
from qnode.raft.library import Timing
from qnode.raft.replica import DEFAULT_TIMING, NoLeader, OnDone, OutcomeUnknown, Replica, Status
from qnode.raft.transport import Links
from qnode.raft.turns import Done

EXPELLED: Final = "this peer was removed from the cluster"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConsensusSettings:
    """How a peer takes part. `compact_after`: applied entries between two snapshots; 0 for never. `lease_ms`: see `lease`."""

    timing: Timing = DEFAULT_TIMING
    tick_seconds: float = 0.05
    compact_after: int = 128
    lease_ms: int = 500


class Consensus:
    """The part of one peer in the group. Made inside a running loop; `path` is the journal's folder.

    `found`: if there is no journal yet, begin a group of this peer alone; otherwise wait to be added by one.
    `on_stopped` hears the error that ended it, or None if the peer was removed from the group.
    """

    def __init__(
        self,
        peer: int,
        path: Path,
        links: Links,
        machine: Machine,
        on_stopped: Callable[[BaseException | None], None],
        *,
        found: bool,
        settings: ConsensusSettings | None = None,
    ) -> None:
        settings = settings or ConsensusSettings()
        self._loop = asyncio.get_running_loop()
        self._on_stopped = on_stopped
        self._tick_seconds = settings.tick_seconds
        self._waiting: set[asyncio.Future[bytes | None]] = set()
        self._soon: asyncio.Handle | None = None
        self.stopped: str | None = None
        """Why it takes part no more."""
        self.lease = Lease(settings.lease_ms / 1000, boot_time, self._lease_granted)
        self._store = LmdbJournalStore(path)
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="consensus")
        self._committing: asyncio.Future[None] | None = None
        self._is_closed = asyncio.Event()
        try:
            self._replica = Replica(
                peer,
                self._store,
                links,
                machine,
                found=found,
                timing=settings.timing,
                compact_after=settings.compact_after,
                commit=self._commit,
                lease=self.lease,
            )
        except BaseException:
            self._store.close()
            raise
        self._timer: asyncio.TimerHandle = self._loop.call_later(0, self._on_timer)

    @property
    def incarnation(self) -> int:
        """What `add_peer` on a member has to be told of this peer, beside its id."""
        return self._replica.incarnation

    @property
    def is_leader(self) -> bool:
        """Whether this peer leads, as far as it knows."""
        return self.stopped is None and self._replica.is_leader

    def status(self) -> Status:
        """Give what this peer knows of the group."""
        return self._replica.status()

    async def propose(self, command: bytes, timeout_seconds: float) -> bytes | None:
        """Put a command into the log; return the machine's result when it is applied here.

        None: it took effect, but this peer got it as part of a snapshot, so the result is not known. Raise NoLeader
        (it certainly took no effect) or OutcomeUnknown. Cancelled, it may still take effect.
        """
        assert len(command) <= MAX_CONTENT_BYTES, "commands are small: refer to large values by key"
        return await self._asked(lambda done: self._replica.propose(command, timeout_seconds, done), timeout_seconds)

    async def add_peer(self, peer: int, incarnation: int, timeout_seconds: float) -> None:
        """Make a peer a voter, once it has caught up over its link; one that is already, stays.

        Raise BadRequest for one that has lost its journal or was removed, and as `propose`.
        """
        await self._asked(
            lambda done: self._replica.add_peer(peer, incarnation, timeout_seconds, done), timeout_seconds
        )

    async def remove_peer(self, peer: int, timeout_seconds: float) -> None:
        """Take a voter out for good, dead or alive. Raise BadRequest for an unknown or the only one, and as `propose`."""
        await self._asked(lambda done: self._replica.remove_peer(peer, timeout_seconds, done), timeout_seconds)

    def hand_leadership_over(self) -> None:
        """Ask another voter to lead; `is_leader` shows whether it does. Harmless on a peer that does not lead."""
        self._run(self._replica.hand_leadership_over)

    def connected(self, peer: int) -> None:
        """Hear that there is a link to a peer."""
        self._run(lambda: self._replica.connected(peer))

    def disconnected(self, peer: int) -> None:
        """Hear that a link broke, with all that was under way on it."""
        self._run(lambda: self._replica.disconnected(peer))

    def received(self, peer: int, message: bytes) -> None:
        """Take a message from a link."""
        self._run(lambda: self._replica.received(peer, message))

    def close(self) -> None:
        """Take part no more. What waits is told that nobody knows its outcome."""
        self._stop("this peer is being stopped")

    async def wait_closed(self) -> None:
        """Wait until the journal can be opened by somebody else: a commit that was under way is over."""
        await self._is_closed.wait()

    async def _asked(self, ask: Callable[[OnDone], None], timeout_seconds: float) -> bytes | None:
        if self.stopped is not None:
            raise NoLeader(f"Failed to propose operation: {self.stopped}")
        future: asyncio.Future[bytes | None] = self._loop.create_future()

        def on_done(result: bytes | None, error: QnodeError | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(_in_words(error, timeout_seconds))

        self._waiting.add(future)
        try:
            self._run(lambda: ask(on_done))
            return await future
        finally:
            self._waiting.discard(future)

    def _run(self, step: Callable[[], Any]) -> None:
        """Do something that concerns the replica, and let its effects come soon."""
        self._guarded(step)
        if self.stopped is None and self._soon is None:
            self._soon = self._loop.call_soon(self._on_soon)

    def _on_soon(self) -> None:
        self._soon = None
        self._guarded(self._replica.tick)

    def _on_timer(self) -> None:
        self._timer = self._loop.call_later(self._tick_seconds, self._on_timer)
        self._guarded(self._replica.tick)

    def _lease_granted(self, until: int) -> None:
        """Let a lease begin behind the word of what was applied before it, which the loop has not passed on yet."""
        self._loop.call_soon(self.lease.extend, until)

    def _commit(self, changes: Changes, done: Done) -> None:
        """Commit in the thread, and go on here when that is over, whether anybody still cares or not."""
        committing = self._committing = self._loop.run_in_executor(self._disk, self._store.commit, changes)

        def over(committed: asyncio.Future[None]) -> None:
            self._committing = None
            error = committed.exception()
            if self.stopped is None:
                self._guarded(lambda: done(error))
            else:
                self._close_store()

        committing.add_done_callback(over)

    def _guarded(self, step: Callable[[], Any]) -> None:
        """Do something that concerns the replica; what goes wrong there ends this peer's part."""
        if self.stopped is not None:
            return
        try:
            step()
        except Exception as error:
            _log.exception("The consensus of this peer ends")
            self._stop(str(error) or repr(error))
            self._on_stopped(error)
            return
        if self._replica.is_expelled:
            self._stop(EXPELLED)
            self._on_stopped(None)

    def _stop(self, reason: str) -> None:
        if self.stopped is not None:
            return
        self.stopped = reason
        self._timer.cancel()
        if self._soon is not None:
            self._soon.cancel()
        for future in list(self._waiting):
            if not future.done():
                future.set_exception(OutcomeUnknown(f"Waiting for consensus operation commit failed: {reason}"))
        if self._committing is None:
            self._close_store()

    def _close_store(self) -> None:
        self._disk.shutdown(wait=False)
        self._store.close()
        self._is_closed.set()


def _in_words(error: QnodeError, timeout_seconds: float) -> QnodeError:
    """Say how long was waited, in Qdrant's words."""
    match error:
        case OutcomeUnknown():
            return OutcomeUnknown(
                f"Waiting for consensus operation commit failed. Timeout set at: {timeout_seconds:g} seconds"
            )
        case NoLeader():
            return NoLeader(f"Failed to propose operation: leader is not established within {timeout_seconds:g}s")
    return error


__all__ = ["Consensus", "ConsensusSettings", "NoLeader", "OutcomeUnknown", "Status"]
