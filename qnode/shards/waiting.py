"""Who waits for what on the writer thread, and how they are told.

A write that was logged waits in the `Ledger` under its operation's number until the protocol says what became of it. Each is told
exactly once, on the event loop that it came from; a caller that has stopped waiting is passed over.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qnode.errors import InternalError, NotYetApplied, QnodeError, UnknownOutcome
from qnode.models.operation import Operation
from qnode.models.write import WriteRequest

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Waiting:
    """A request or a piece of maintenance, and who waits for its result.

    until_applied: a request is answered when every in-sync replica has applied it, else when it is committed.
    """

    work: WriteRequest | Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    answered: asyncio.Future[Any]
    until_applied: bool = True
    size_bytes: int = 0

    def succeed(self, result: Any) -> None:
        self._tell(lambda: None if self.answered.done() else self.answered.set_result(result))

    def fail(self, error: BaseException) -> None:
        self._tell(lambda: None if self.answered.done() else self.answered.set_exception(error))

    def _tell(self, callback: Callable[[], None]) -> None:
        try:
            self.loop.call_soon_threadsafe(callback)
        except RuntimeError:  # the loop was closed: nobody waits any more
            _log.debug("a write was finished after its caller's loop had ended")


@dataclass(frozen=True, slots=True, eq=False)
class Resolved:
    """A request that is ready to be logged."""

    waiting: Waiting
    operation: Operation
    payload: bytes


class Ledger:
    """The logged writes of this node's clients that are not answered yet, in the order of their numbers."""

    def __init__(self) -> None:
        self._until_committed: deque[tuple[int, Waiting]] = deque()
        self._until_applied: deque[tuple[int, Waiting]] = deque()

    def add(self, op_num: int, waiting: Waiting) -> None:
        (self._until_applied if waiting.until_applied else self._until_committed).append((op_num, waiting))

    def acknowledge(self, op_num: int) -> None:
        """Answer who waits for a commit up to this operation."""
        _succeed(self._until_committed, op_num)

    def complete(self, op_num: int) -> None:
        """Answer who waits for operations up to this one to be applied everywhere."""
        _succeed(self._until_applied, op_num)

    def refuse(self, from_op: int, error: QnodeError) -> None:
        """Tell who waits for this operation or a later one that it was not taken."""
        for entries in (self._until_committed, self._until_applied):
            while entries and entries[-1][0] >= from_op:
                entries.pop()[1].fail(error)

    def end(self, committed_op: int, reason: str) -> None:
        """Tell everybody what is known of their writes when this node is no primary any more, or stops.

        What is committed stays. Who waits for it to be applied is told so, and not that it is visible: a new primary may
        not have applied it yet, and a read that came next could miss it.
        """
        self.acknowledge(committed_op)
        self.give_up_applying(committed_op, reason)
        self.fail(UnknownOutcome(f"{reason}; whether the write stays is not known here"))

    def give_up_applying(self, committed_op: int, reason: str) -> None:
        """Tell who waits for committed operations to be applied that it takes too long."""
        entries = self._until_applied
        while entries and entries[0][0] <= committed_op:
            op_num, waiting = entries.popleft()
            text = f"the write is durable and will stay, but is not yet visible everywhere: {reason}"
            waiting.fail(NotYetApplied(op_num, text))

    def fail(self, error: QnodeError) -> None:
        """Tell everybody the same."""
        self.refuse(0, error)


def _succeed(entries: deque[tuple[int, Waiting]], op_num: int) -> None:
    while entries and entries[0][0] <= op_num:
        logged_op, waiting = entries.popleft()
        waiting.succeed(logged_op)


def text_of(error: QnodeError) -> str:
    """Give an error's text without the words that its class puts in front."""
    return str(error).removeprefix(error.prefix)


def fault_of(error: Exception) -> QnodeError:
    """Give the error that callers are told when something failed on the writer thread."""
    return error if isinstance(error, QnodeError) else InternalError(f"the write failed: {error!r}")
