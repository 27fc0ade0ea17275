"""The write path of a shard: one thread that takes requests in order and commits them in groups.

A group is logged with one fsync and applied in one transaction; only then is anybody answered, so a request that is
answered is durable and visible. When applying fails (a full disk), the group is taken out of the log again and
everybody in it is told so: what was refused is nowhere. A request that reads points (a filter, "must exist") waits
until what stands before it has been applied, for it must see it.

Cancellation: a caller that stops waiting does not stop its request.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from qnode.errors import InternalError, OutOfSpace, QnodeError, Unavailable
from qnode.index import Index, maintenance
from qnode.models.operation import Operation, encode
from qnode.models.vector_params import VectorParams
from qnode.models.write import WriteRequest
from qnode.shards.resolve import needs_state, resolve
from qnode.wal import Log, Record

GROUP_REQUESTS = 128
"""At most so many requests share a commit."""

GROUP_BYTES = 32 << 20
"""A group takes no further request when its records have this size, at open and while running."""

QUEUE_REQUESTS = 1024
"""So many requests may wait; further ones are refused as Unavailable."""

FIELD_STEP_POINTS = 2000
"""Payload indexes are built in pieces of so many points, between groups."""

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Waiting:
    """A request or a piece of maintenance, and who waits for its result."""

    work: WriteRequest | Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    answered: asyncio.Future[Any]

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


class Writer:
    """The writer thread of a shard; it alone changes the log and the index."""

    def __init__(
        self, name: str, log: Log, index: Index, vectors: Mapping[str, VectorParams], keep_log_bytes: int
    ) -> None:
        self._log = log
        self._index = index
        self.vectors = vectors
        self._keep_log_bytes = keep_log_bytes
        self._queue: queue.Queue[Waiting | None] = queue.Queue(QUEUE_REQUESTS)
        self._broken: QnodeError | None = None
        self._stopping = False
        self._gate = threading.Lock()  # nothing is queued behind the end
        self._fields_pending = True
        self._fields_fault: QnodeError | None = None
        self._logged_bytes = 0
        self._marks = (log.first_op, log.next_op)
        self.epoch = log.last_epoch
        self._thread = threading.Thread(target=self._run, name=f"writer {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def queue_length(self) -> int:
        return self._queue.qsize()

    @property
    def fault(self) -> QnodeError | None:
        """Why the shard takes no more writes, if it does not."""
        return self._broken

    @property
    def indexes_fields(self) -> bool:
        """Whether a payload index is being built or dropped."""
        return self._fields_pending

    @property
    def fields_fault(self) -> QnodeError | None:
        """Why the building of payload indexes stopped, if it did."""
        return self._fields_fault

    async def run(self, work: Callable[[], Any]) -> Any:
        """Run a function on the writer thread, between groups."""
        return await asyncio.shield(self.submit(work))

    def submit(self, work: WriteRequest | Callable[[], Any]) -> asyncio.Future[Any]:
        """Queue work in the order of the calls; the future gets its result."""
        if self._broken is not None:
            raise self._broken
        loop = asyncio.get_running_loop()
        waiting = Waiting(work, loop, loop.create_future())
        with self._gate:
            if self._stopping:
                raise Unavailable("the shard is being closed")
            try:
                self._queue.put_nowait(waiting)
            except queue.Full:
                raise Unavailable("too many writes are waiting") from None
        return waiting.answered

    def stop(self) -> None:
        """Refuse further work, finish what is queued, then end the thread."""
        with self._gate:
            self._stopping = True
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (batch := self._take()) is not None:
            self._turn(batch)
            del batch  # else what was done, and a segment that it replaced, would stay until there is more to do

    def _turn(self, batch: list[Waiting]) -> None:
        try:
            self._work(batch)
        except Exception as error:
            _log.exception("the writer failed")
            self._broken = self._broken or _fault_of(error)
            for waiting in batch:
                waiting.fail(self._broken)
        if self._fields_pending:  # after each group, for the queue need never be empty
            self._step_fields()

    def _take(self) -> list[Waiting] | None:
        """Wait for work and take all that is there, up to GROUP_REQUESTS; None: stop."""
        batch: list[Waiting] = []
        while len(batch) < GROUP_REQUESTS:
            try:
                waiting = self._queue.get(block=not batch and not self._fields_pending)
            except queue.Empty:
                break
            if waiting is None:
                if not batch:
                    return None
                self._queue.put(None)
                break
            batch.append(waiting)
        return batch

    def _work(self, batch: list[Waiting]) -> None:
        group: list[Resolved] = []
        group_bytes = 0
        for waiting in batch:
            work = waiting.work
            if callable(work) or needs_state(work) or group_bytes >= GROUP_BYTES:
                self._commit(group)
                group, group_bytes = [], 0
            if callable(work):
                self._maintain(waiting, work)
            elif (resolved := self._resolved(waiting, work)) is not None:
                group.append(resolved)
                group_bytes += len(resolved.payload)
        self._commit(group)

    def _resolved(self, waiting: Waiting, request: WriteRequest) -> Resolved | None:
        try:
            if self._broken is not None:
                raise self._broken
            operation = resolve(request, self._index, self.vectors)
            return Resolved(waiting, operation, encode(operation))
        except Exception as error:
            if not isinstance(error, QnodeError):
                _log.exception("a write could not be resolved")
            waiting.fail(_fault_of(error))
            return None

    def _maintain(self, waiting: Waiting, work: Callable[[], Any]) -> None:
        self._fields_pending = True  # before the answer: who gets it may ask at once whether there is work left
        try:
            waiting.succeed(work())
        except Exception as error:
            waiting.fail(error)

    def _step_fields(self) -> None:
        try:
            self._fields_pending = not maintenance.step_fields(self._index, FIELD_STEP_POINTS)
            self._fields_fault = None
        except Exception as error:
            _log.exception("a payload index could not be built further")
            text = f"a payload index could not be built further: {error}"
            self._fields_fault = error if isinstance(error, QnodeError) else InternalError(text)
            self._fields_pending = False

    def _commit(self, group: list[Resolved]) -> None:
        if not group:
            return
        if self._broken is not None:
            self._refuse(group, self._broken)
            return
        first = self._log.next_op
        try:
            self._log.append([Record(self.epoch, first + at, entry.payload) for at, entry in enumerate(group)])
            self._log.sync()
        except Exception as error:
            refusal = _fault_of(error)
            if not isinstance(refusal, OutOfSpace):
                self._broken = refusal
            self._refuse(group, refusal)
            return
        try:
            self._index.apply([(first + at, entry.operation) for at, entry in enumerate(group)])
        except Exception as error:
            if not isinstance(error, OutOfSpace):
                _log.exception("operations %d.. could not be applied", first)
            refusal = _fault_of(error)
            self._take_out(first, refusal)
            self._refuse(group, refusal)
            return
        for at, entry in enumerate(group):
            entry.waiting.succeed(first + at)
        if isinstance(self._fields_fault, OutOfSpace):
            self._fields_pending = True  # there is room again
        self._logged_bytes += sum(len(entry.payload) for entry in group)
        if self._logged_bytes > self._keep_log_bytes:
            self._trim()

    def _take_out(self, first: int, refusal: QnodeError) -> None:
        """Remove what was logged and could not be applied; nobody was told that it was there.

        If it was committed before it failed it must stay, for its numbers must not be given again; then what the heap
        holds is wrong, and only opening the shard anew puts it right.
        """
        try:
            if self._index.stored_op >= first:
                self._broken = refusal
            else:
                self._log.truncate_from(first)
        except Exception as error:
            self._broken = _fault_of(error)

    def _refuse(self, group: list[Resolved], error: QnodeError) -> None:
        for entry in group:
            entry.waiting.fail(error)

    def _trim(self) -> None:
        """Drop old files of the log, keeping at least the last `keep_log_bytes`; all of it has been applied, durably."""
        before, last = self._marks
        self._marks = (last, self._log.next_op)
        self._logged_bytes = 0
        try:
            self._log.drop_before(before)
        except QnodeError:
            _log.warning("old files of the log could not be removed", exc_info=True)


def _fault_of(error: Exception) -> QnodeError:
    return error if isinstance(error, QnodeError) else InternalError(f"the write failed: {error!r}")
