"""Copying the points of one shard that pass a filter to the shards of another key, while both are written.

The primary of the source shard does it, in one epoch. It passes on two things, one piece after the other, by ordinary writes:

- **what was there**: pages of points in the order of their ids. They take the place of what is older than the beginning, never of
  what was written to the target since;
- **what changes**: the points that an operation has touched are read as they are now. Those that pass the filter are put to the
  target, whatever is there. Those that are gone, or pass it no more, are removed from the target if they pass it there.

What holds, and why nothing is lost:

1. The index tells of all that it applies from before the first page is read. A page that is out of date by the time it is written
   is behind the beginning (and passed over) or is followed by the change.
2. A write to the source that was waited for is answered when it was passed on (`caught_up`). So from the end of the last page on,
   everything that was answered is at the target: the shard is `following`. When all shards of the source are, a target that was
   being filled is read, and written by whoever names it with the source as its fallback.
3. Such a write goes to the source first (`Routes.steps`). So whatever stands at the target by it is logged at the source, and what
   is passed on last is no older.
4. The end is one moment on the writer's thread at which all that is logged at the source is applied and passed on, after every
   peer has said that no write is under way any more that it has routed by an older topology; one that is down is waited for until
   it is back or removed, and both keys are written as long. Only then is the target the only one
   that is written: nothing from the source comes behind that.

Whatever else happens ends it visibly: a new epoch of the source (the leader gives it up), a target that takes no writes for long, too
many changes at once. Then a target that was being filled is Partial again, and its fallback has all that was written.

Left out: going on from where another process has stopped. It is begun anew by who wants it, and what was copied before is replaced
then, as all that is older; only a point that was removed from the source in between stays. A point that is removed from the target
alone, before its page comes, is copied.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from qnode.errors import BadInput, BadRequest, QnodeError, Unavailable
from qnode.index import Index, reading
from qnode.models.filter import Filter, HasId
from qnode.models.filter_json import parse_filter
from qnode.models.operation import Operation
from qnode.models.point_id import PointKey
from qnode.models.query import ALL_PAYLOAD, ALL_VECTORS, Point, RetrieveRequest, ScrollRequest
from qnode.models.shard_calls import Table, table_of
from qnode.models.topology import Mirroring, MirrorStage
from qnode.models.topology_commands import AdvanceMirroring
from qnode.models.write import DeleteRequest, Selector, UpsertRequest, WriteRequest
from qnode.shards.news import News
from qnode.shards.place import Place
from qnode.shards.proposer import Proposer
from qnode.shards.routes import ring_of

if TYPE_CHECKING:
    from qnode.shards.collection import Collection

PAGE_POINTS: Final = 100
"""Read and written at once; whoever waits for a write to the source may have to wait for one such piece, too."""

MOST_CHANGED: Final = 1 << 20
"""So many points may wait to be passed on again; if there are more, it is given up."""

ATTEMPTS: Final = 2
WRITE_SECONDS: Final = 5.0
"""So often, for so long each, a write to the target is tried; writes to the source that are waited for wait meanwhile."""

RETRY_SECONDS: Final = 0.2
LEASE_SECONDS: Final = 10.0
PAUSE_SECONDS: Final = 1.0
"""For so long at most writes to the source are held at the end."""

CONFIRM_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.02


class Mirror:
    """One shard's part of a mirroring; `run` it once, on the loop. Cancel it when the mirroring is over."""

    def __init__(
        self, collection: Collection, number: int, mirroring: Mirroring, place: Place, topology_log: Proposer
    ) -> None:
        self._collection = collection
        self._shard = collection.shards[number]
        self._index: Index = self._shard.index
        self._number = number
        self._started = mirroring.started
        self._epoch = mirroring.epochs[number]
        self._target = collection.entry.keys[mirroring.target].shards
        self._filter = None if mirroring.filter is None else parse_filter(mirroring.filter)
        self._place = place
        self._topology_log = topology_log
        self._began: dict[int, int] = {}  # by target shard: the last operation that is older than all this
        self._news = News()
        self._loop = asyncio.get_running_loop()
        self._changes: deque[tuple[int, Sequence[PointKey]]] = deque()
        self._changed = 0  # points: counted on the writer's thread …
        self._taken = 0  # … and here
        self._passed_op = -1
        self._is_over = False

    async def caught_up(self, op_num: int, seconds: float | None) -> bool:
        """Wait until all changes up to an operation are passed on, or will not be; False if that takes longer."""
        return await self._news.until(lambda: self._is_over or self._passed_op >= op_num, seconds)

    async def run(self) -> None:
        """Do all of it; raise what keeps it from being done."""
        try:
            self._began = {number: await self._last_op_of(number) for number in self._target}
            self._shard.mirrors.add(self)
            await self._shard.run(self._watch)
            await self._copy()
            await self._advance(MirrorStage.FOLLOWING)
            await self._pass_on_while(self._until_all_follow())
            await self._pass_on_while(self._until_old_writes_are_over())
            while not await self._end():
                await self._pass_on_while(asyncio.sleep(_LOOK_SECONDS))
            await self._advance(MirrorStage.ENDED)
        finally:
            self._is_over = True
            self._news.tell()
            self._shard.mirrors.discard(self)
            self._shard.tell(self._unwatch)

    # What is passed on

    def _watch(self) -> None:
        self._index.watchers = (*self._index.watchers, self._applied)
        self._passed_op = self._index.applied_op

    def _unwatch(self) -> None:
        self._index.watchers = tuple(watcher for watcher in self._index.watchers if watcher != self._applied)

    def _applied(self, operations: Sequence[tuple[int, Operation]]) -> None:
        """Note what has changed; told on the writer's thread."""
        for op_num, operation in operations:
            self._changed += len(operation.keys)
            self._changes.append((op_num, operation.keys))
        with contextlib.suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(self._news.tell)

    async def _last_op_of(self, number: int) -> int:
        """Tell the last operation of a target shard, by one that does nothing."""
        return await self._deliver({number: DeleteRequest(Selector(keys=()))})

    async def _copy(self) -> None:
        """Pass on all that was there, and what changes meanwhile."""
        following: PointKey | None = None
        while True:
            await self._pass_on_changes()
            seen_op = self._index.applied_op
            request = ScrollRequest(following, PAGE_POINTS, self._filter, ALL_PAYLOAD, ALL_VECTORS)
            page = await asyncio.to_thread(reading.scroll, self._index, request)
            await self._put(_unchanged(page[:PAGE_POINTS], seen_op), is_old=True)
            if len(page) <= PAGE_POINTS:
                break
            following = page[PAGE_POINTS].key
        await self._pass_on_changes()

    async def _pass_on_changes(self) -> None:
        """Pass on what has changed so far."""
        while self._changes:
            keys: dict[PointKey, None] = {}
            op_num = self._passed_op
            if self._changed - self._taken > MOST_CHANGED:
                raise Unavailable(f"more than {MOST_CHANGED} points were changed meanwhile")
            while self._changes and len(keys) < PAGE_POINTS:
                op_num, changed = self._changes.popleft()
                self._taken += len(changed)
                keys.update(dict.fromkeys(changed))
            touched = tuple(keys)
            for at in range(0, len(touched), PAGE_POINTS):
                await self._pass_on(touched[at : at + PAGE_POINTS])
            self._passed_op = op_num
            self._news.tell()

    async def _pass_on(self, keys: tuple[PointKey, ...]) -> None:
        seen_op = self._index.applied_op
        points = await asyncio.to_thread(self._read, keys)
        await self._put(_unchanged(points, seen_op), is_old=False)
        if gone := frozenset(keys).difference(point.key for point in points):
            chosen = () if self._filter is None else (self._filter,)
            await self._write(DeleteRequest(Selector(filter=Filter(must=(HasId(gone), *chosen)))))

    def _read(self, keys: tuple[PointKey, ...]) -> list[Point]:
        if self._filter is not None:
            keys = tuple(reading.matching(self._index, keys, self._filter))
        return reading.retrieve(self._index, RetrieveRequest(keys, ALL_PAYLOAD, ALL_VECTORS))

    async def _put(self, points: Sequence[Point], *, is_old: bool) -> None:
        if not points:
            return
        table = table_of(points)
        assert isinstance(table, Table)
        payloads = [payload or b"{}" for payload in table.payloads or [None] * len(points)]
        try:
            await self._write(UpsertRequest(table.keys, payloads, dict(table.vectors or {})), is_old=is_old)
        except BadRequest:
            if len(points) == 1:
                raise
            for half in (points[: len(points) // 2], points[len(points) // 2 :]):  # together they are too large
                await self._put(half, is_old=is_old)

    async def _write(self, request: WriteRequest, *, is_old: bool = False) -> None:
        parts = ring_of(self._target).split(request)
        if is_old:
            parts = {
                number: replace(part, not_after=self._began[number])
                for number, part in parts.items()
                if isinstance(part, UpsertRequest)
            }
        await self._deliver(parts)

    async def _deliver(self, parts: dict[int, WriteRequest]) -> int:
        """Write; each of these writes may be repeated, so what is not known is done again."""
        for attempt in range(1, ATTEMPTS + 1):
            if not await self._place.freshness.until_holds(LEASE_SECONDS):
                raise Unavailable("this node is cut off from the others")
            try:
                op_num = await self._collection.delivery(wait=True, timeout_seconds=WRITE_SECONDS).deliver(parts)
            except (BadRequest, BadInput):  # it is no better when it is done again
                raise
            except QnodeError:
                if attempt == ATTEMPTS:
                    raise
                await asyncio.sleep(RETRY_SECONDS)
            else:
                if op_num is not None:
                    return op_num
        raise Unavailable(f"a write was not completed in {WRITE_SECONDS:g} s, nor was it when it was repeated")

    # How it ends

    def _current(self) -> Mirroring | None:
        return next((each for each in self._collection.entry.mirrorings if each.started == self._started), None)

    async def _advance(self, stage: MirrorStage) -> None:
        """Have the topology note how far this shard is, and pass on changes until it does."""
        command = AdvanceMirroring(self._collection.name, self._started, self._number, self._epoch, stage)
        while (current := self._current()) is not None and current.stages[self._number] is not stage:
            await self._pass_on_while(self._propose(command))
            if (current := self._current()) is not None and current.stages[self._number] is not stage:
                await self._pass_on_while(asyncio.sleep(RETRY_SECONDS))

    async def _propose(self, command: AdvanceMirroring) -> None:
        with contextlib.suppress(QnodeError):  # what became of it, the topology shows
            await self._topology_log.propose(command)

    async def _pass_on_while(self, waits: Coroutine[Any, Any, None]) -> None:
        """Pass on changes until something has ended; raise what it raises."""
        waiting = asyncio.ensure_future(waits)
        waiting.add_done_callback(lambda _: self._news.tell())
        try:
            while not waiting.done():
                mark = self._news.mark()
                await self._pass_on_changes()
                if not waiting.done() and not self._changes:
                    await self._news.wait(mark, CONFIRM_SECONDS)
            await waiting
        finally:
            waiting.cancel()

    async def _until_all_follow(self) -> None:
        def all_follow() -> bool:
            current = self._current()
            return current is not None and MirrorStage.COPYING not in current.stages.values()

        await self._place.news.until(all_follow, None)

    async def _until_old_writes_are_over(self) -> None:
        """Return when no node has a write under way that it has routed before all shards were following."""
        topology = self._topology_log.current
        others = [peer for peer in topology.peers if peer != self._place.me]
        await asyncio.gather(self._collection.flights.over(), *(self._confirm(peer, topology.index) for peer in others))

    async def _confirm(self, peer: int, index: int) -> None:
        while peer in self._topology_log.current.peers:
            try:
                await self._place.remote.routed(peer, self._collection.folder, index, CONFIRM_SECONDS)
            except QnodeError:  # it may have writes under way: it is waited for until it answers, or is no member
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    async def _end(self) -> bool:
        """Pass nothing on any more, if there is a moment at which nothing is left; hold writes for a while to get there."""
        await self._shard.pause()
        ends = self._loop.time() + PAUSE_SECONDS
        resuming = self._loop.call_at(ends, self._shard.resume)
        try:
            while self._loop.time() < ends:
                mark = self._news.mark()
                await self._pass_on_changes()
                if await self._shard.run(self._end_if_done):
                    return True
                await self._news.wait(mark, _LOOK_SECONDS)
            return False
        finally:
            resuming.cancel()
            self._shard.resume()

    def _end_if_done(self) -> bool:
        """Look no more if all is applied and passed on; on the writer's thread."""
        is_done = self._shard.is_all_applied and self._passed_op >= self._index.applied_op
        if is_done:
            self._unwatch()
            self._is_over = True
        return is_done


def _unchanged(points: Sequence[Point], seen_op: int) -> list[Point]:
    """Leave out what has changed since the reading began: it may not be what was chosen, and comes again."""
    return [point for point in points if point.version <= seen_op]
