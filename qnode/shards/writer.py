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
"""A group takes no further request when its records have this size."""

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
class Logged:
    """A resolved request on its way into the log, and its record there."""

    waiting: Waiting
    operation: Operation
    record: bytes


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
        while True:
            batch = self._take()
            if batch is None:
                return
            if batch:
                self._work(batch)
            elif self._fields_pending:
                self._step_fields()

    def _take(self) -> list[Waiting] | None:
        """Wait for work and take all that is there, up to the bounds of a group; None: stop."""
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
        group: list[Logged] = []
        group_bytes = 0
        for waiting in batch:
            if callable(waiting.work):
                self._commit(group)
                group = []
                self._maintain(waiting, waiting.work)
                continue
            if group and (needs_state(waiting.work) or group_bytes > GROUP_BYTES):
                self._commit(group)
                group, group_bytes = [], 0
            try:
                if self._broken is not None:
                    raise self._broken
                operation = resolve(waiting.work, self._index, self.vectors)
                group.append(Logged(waiting, operation, encode(operation)))
                group_bytes += len(group[-1].record)
            except QnodeError as error:
                waiting.fail(error)
            except Exception as error:
                _log.exception("a write could not be resolved")
                waiting.fail(InternalError(f"the write could not be resolved: {error}"))
        self._commit(group)

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

    def _commit(self, group: list[Logged]) -> None:
        if not group:
            return
        if self._broken is not None:
            self._refuse(group, self._broken)
            return
        first = self._log.next_op
        records = [Record(self.epoch, first + at, logged.record) for at, logged in enumerate(group)]
        try:
            self._log.append(records)
            self._log.sync()
        except QnodeError as error:
            if not isinstance(error, OutOfSpace):
                self._broken = error
            self._refuse(group, error)
            return
        try:
            self._index.apply([(first + at, logged.operation) for at, logged in enumerate(group)])
        except Exception as error:
            if not isinstance(error, OutOfSpace):
                _log.exception("operations %d.. could not be applied", first)
            refusal = error if isinstance(error, QnodeError) else InternalError(f"the write failed: {error}")
            self._take_out(first)
            self._refuse(group, refusal)
            return
        for at, logged in enumerate(group):
            logged.waiting.succeed(first + at)
        if isinstance(self._fields_fault, OutOfSpace):
            self._fields_pending = True  # there is room again
        self._logged_bytes += sum(len(record.payload) for record in records)
        if self._logged_bytes > self._keep_log_bytes:
            self._trim()

    def _take_out(self, first: int) -> None:
        """Remove what was logged and could not be applied; nobody was told that it was there."""
        try:
            self._log.truncate_from(first)
        except QnodeError as error:
            self._broken = error

    def _refuse(self, group: list[Logged], error: QnodeError) -> None:
        for logged in group:
            logged.waiting.fail(error)

    def _trim(self) -> None:
        """Drop old files of the log, keeping at least the last `keep_log_bytes`; all of it has been applied, durably."""
        before, last = self._marks
        self._marks = (last, self._log.next_op)
        self._logged_bytes = 0
        try:
            self._log.drop_before(before)
        except QnodeError:
            _log.warning("old files of the log could not be removed", exc_info=True)
