"""The writer thread of a shard: it takes requests and events in order, and alone changes the log and the index.

All that waits is taken in one turn: writes are resolved and logged as one group, with one fsync (`replicating`). A request that
reads points (a filter, "must exist") must see what stands before it: where that is not applied yet, because other replicas have
not answered or it waits for graphs, it is **held**, with all writes behind it, and events go on. So are all writes while the writer
is `paused`.

Nobody is answered before a request is durable where it must be. An idle shard sleeps: it wakes for work, and at the time that
the protocol has set.

Cancellation: a caller that stops waiting does not stop its request.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from qnode.errors import BadRequest, InternalError, OutOfSpace, QnodeError, Unavailable
from qnode.index import maintenance
from qnode.models.operation import encode
from qnode.models.vector_params import SlotParams
from qnode.models.write import WriteRequest, size_of
from qnode.shards.replicating import Replicating
from qnode.shards.resolve import check, needs_state, resolve
from qnode.shards.waiting import Resolved, Waiting, fault_of

GROUP_REQUESTS = 128
"""At most so many requests and events are taken in one turn."""

GROUP_BYTES = 32 << 20
"""A group takes no further request when its records have this size."""

QUEUE_REQUESTS = 1024
"""So many requests may wait to be logged; further ones are refused as Unavailable …"""

QUEUE_BYTES = 256 << 20
"""… and so are all others while those that wait have this size together."""

FIELD_STEP_POINTS = 2000
"""Payload indexes are built in pieces of so many points, between groups."""

_log = logging.getLogger(__name__)

Event = Callable[[], None]


class Writer:
    """A thread with a queue of requests, maintenance and events in front of it."""

    def __init__(
        self, name: str, driver: Replicating, vectors: Mapping[str, SlotParams], was_applied: Callable[[], None]
    ) -> None:
        """was_applied: told, on the thread, when the index may have changed by other writes than those submitted here."""
        self._driver = driver
        self._vectors = vectors
        self._was_applied = was_applied
        self._queue: queue.SimpleQueue[Waiting | Event | None] = queue.SimpleQueue()
        self._queued_bytes = 0  # of those, and of the held
        self._queued = 0  # requests and maintenance, not events: those are bounded by the protocol's window
        self._stopping = False
        self._gate = threading.Lock()  # over _queued and _stopping: nothing is queued behind the end
        self._held: deque[Waiting] = deque()
        self.is_paused = False  # set on the thread only
        self._group: list[Resolved] = []
        self._group_bytes = 0
        self._is_at_end = False
        self._fields_pending = True
        self._fields_fault: QnodeError | None = None
        self._thread = threading.Thread(target=self._run, name=f"writer {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def queue_length(self) -> int:
        return self._queued + len(self._held)

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

    def submit(self, work: WriteRequest | Callable[[], Any], *, until_applied: bool = True) -> asyncio.Future[Any]:
        """Queue work in the order of the calls; the future gets its result."""
        if self._driver.fault is not None:
            raise self._driver.fault
        return self._put(work, until_applied)

    def install(self, copy: Path, applied_op: int, applied_epoch: int, epoch: int) -> asyncio.Future[None]:
        """Queue the installation of a copy, as `Replicating.install`; also where the shard is broken."""
        return self._put(lambda: self._driver.install(copy, applied_op, applied_epoch, epoch), True)

    def restore(self, copy: Path, epoch: int) -> asyncio.Future[None]:
        """Queue the restoring of a snapshot, as `Replicating.restore`; also where the shard is broken."""
        return self._put(lambda: self._driver.restore(copy, epoch), True)

    def tell(self, event: Event) -> None:
        """Queue an event of the driver, in the order of the calls."""
        with self._gate:
            if not self._stopping:
                self._queue.put(event)

    def stop(self) -> None:
        """Refuse further work, finish what is queued, then end the thread."""
        with self._gate:
            self._stopping = True
            self._queue.put(None)
        self._thread.join()
        # Who refers to the shard in a circle keeps its files, and their room, until a full collection.
        self._was_applied = _nothing

    def _put(self, work: WriteRequest | Callable[[], Any], until_applied: bool) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        size_bytes = 0 if callable(work) else size_of(work)
        waiting = Waiting(work, loop, loop.create_future(), until_applied, size_bytes)
        with self._gate:
            if self._stopping:
                raise Unavailable("the shard is being closed")
            if self.queue_length >= QUEUE_REQUESTS:
                raise Unavailable("too many writes are waiting")
            if size_bytes and self._queued_bytes >= QUEUE_BYTES:
                raise Unavailable("too many bytes of writes are waiting")
            self._queued += 1
            self._queued_bytes += size_bytes
            self._queue.put(waiting)
        return waiting.answered

    # The thread

    def _run(self) -> None:
        while not self._is_at_end:
            self._turn(self._take())
        self._finish_held()
        for waiting in self._held:
            waiting.fail(Unavailable("the shard is being closed"))

    def _finish_held(self) -> None:
        """Serve at the end what is held behind writes that wait for graphs: nobody has logged it."""
        self._driver.applying.postponed.expects_no_build = True
        before = None
        while (
            self._held and self._driver.is_alone and before != (now := (self._driver.index.applied_op, len(self._held)))
        ):
            before = now
            self._turn([])

    def _take(self) -> list[Waiting | Event]:
        """Wait for work, or until something is due, and take all that is there, up to GROUP_REQUESTS."""
        batch: list[Waiting | Event] = []
        requests = 0
        patience = self._patience()
        while len(batch) < GROUP_REQUESTS:
            try:
                item = self._queue.get(patience != 0.0, patience)
            except queue.Empty:
                break
            if item is None:
                self._is_at_end = True
                break
            batch.append(item)
            requests += isinstance(item, Waiting)
            patience = 0.0
        with self._gate:
            self._queued -= requests
        return batch

    def _patience(self) -> float | None:
        """How long to wait for work; None: for ever."""
        if self._fields_pending or (self._held and self._can_serve_held()):
            return 0.0
        due_at = self._driver.due_at
        return None if due_at is None else max(0.0, due_at - monotonic())

    def _turn(self, batch: list[Waiting | Event]) -> None:
        applied_before, was_behind = self._driver.index.applied_op, not self._driver.is_all_applied
        in_hand_bytes = _size_of(batch) + _size_of(self._held)
        if self._held and self._can_serve_held():
            batch = [*self._held, *batch]
            self._held.clear()
        items = iter(batch)
        try:
            for item in items:
                if isinstance(item, Waiting):
                    self._serve(item)
                else:
                    item()
            self._flush()
            self._driver.finish()
        except Exception as error:
            _log.exception("the writer failed")
            self._break_down(error, batch)
            self._tell_broken(items)
        with self._gate:  # what is logged is bounded by the protocol
            self._queued_bytes -= in_hand_bytes - _size_of(self._held)
        self._driver.publish()
        if self._driver.index.applied_op != applied_before:
            if was_behind or not self._driver.is_alone or self._driver.applying.postponed.is_asked_for:
                self._was_applied()
            if isinstance(self._fields_fault, OutOfSpace):
                self._fields_pending = True  # there is room again
        if self._fields_pending:  # after each group, for the queue need never be empty
            self._step_fields()

    def _break_down(self, error: Exception, batch: list[Waiting | Event]) -> None:
        self._driver.break_down(error)
        assert self._driver.fault is not None
        for entry in self._group:
            entry.waiting.fail(self._driver.fault)
        self._group, self._group_bytes = [], 0
        for item in (*self._held, *batch):
            if isinstance(item, Waiting):  # who was answered before does not hear it
                item.fail(self._driver.fault)
        self._held.clear()

    def _tell_broken(self, items: Iterable[Waiting | Event]) -> None:
        """Go on with the events of a turn that failed: a broken driver still has to know its view and its links."""
        for item in items:
            if not isinstance(item, Waiting):
                item()

    def _can_serve_held(self) -> bool:
        return not self.is_paused and (self._driver.is_all_applied or self._driver.refusal() is not None)

    def _serve(self, waiting: Waiting) -> None:
        work = waiting.work
        if callable(work):
            self._flush()
            self._maintain(waiting, work)
        elif self._held or self.is_paused or self._driver.applying.postponed.is_too_much:
            self._held.append(waiting)
        else:
            reads = needs_state(work)
            if reads or self._group_bytes >= GROUP_BYTES:
                self._flush()
            if reads and not self._can_serve_held():
                self._held.append(waiting)
            elif (resolved := self._resolved(waiting, work)) is not None:
                self._group.append(resolved)
                self._group_bytes += len(resolved.payload)

    def _resolved(self, waiting: Waiting, request: WriteRequest) -> Resolved | None:
        if (refusal := self._driver.refusal()) is not None:
            waiting.fail(refusal)
            return None
        try:
            vectors = dict(self._vectors)  # they may be replaced on the event loop meanwhile …
            check(
                request, vectors
            )  # … and since the request was taken: what does not fit could not be applied anywhere
            operation = resolve(request, self._driver.index, vectors)
            payload = encode(operation)
            if len(payload) > self._driver.max_record_bytes:
                text = f"a write that becomes {len(payload)} bytes is too large ({self._driver.max_record_bytes} bytes)"
                raise BadRequest(f"{text}: make it in parts")
            return Resolved(waiting, operation, payload)
        except Exception as error:
            if not isinstance(error, QnodeError):
                _log.exception("a write could not be resolved")
            waiting.fail(fault_of(error))
            return None

    def _flush(self) -> None:
        if self._group:
            group, self._group, self._group_bytes = self._group, [], 0
            self._driver.take(group)

    def _maintain(self, waiting: Waiting, work: Callable[[], Any]) -> None:
        self._fields_pending = True  # before the answer: who gets it may ask at once whether there is work left
        try:
            waiting.succeed(work())
        except Exception as error:
            waiting.fail(error)

    def _step_fields(self) -> None:
        try:
            self._fields_pending = not maintenance.step_fields(self._driver.index, FIELD_STEP_POINTS)
            self._fields_fault = None
        except Exception as error:
            _log.exception("a payload index could not be built further")
            text = f"a payload index could not be built further: {error}"
            self._fields_fault = error if isinstance(error, QnodeError) else InternalError(text)
            self._fields_pending = False


def _nothing() -> None:
    pass


def _size_of(batch: Iterable[Waiting | Event]) -> int:
    return sum(item.size_bytes for item in batch if isinstance(item, Waiting))
