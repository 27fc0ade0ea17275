"""Bringing a write to the shard's primary, wherever that is.

Beside peers a write always has an end: one that its primary cannot commit is answered, and may still stay.

What was certainly not taken (the peer was not reached, or is no primary any more) is tried again with the newest topology, until the
time of the request is up. What may have been taken is never sent twice: the caller is told that nobody knows.

Cancellation: a write that was handed over is carried out whether anybody waits or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from qnode.channel import Unreached
from qnode.errors import InternalError, NotFound, NotPrimary, NotYetApplied, QnodeError, Unavailable, UnknownOutcome
from qnode.models.point_id import PointKey
from qnode.models.write import WriteRequest
from qnode.shards.local_shard import LocalShard
from qnode.shards.news import News
from qnode.shards.remote import Remote
from qnode.shards.resolve import demanded, no_such_point
from qnode.shards.routes import Routes

DELIVERY_SECONDS: Final = 10.0
"""How long a primary is looked for when the client has not said it: longer than it takes to replace one."""

WRITE_SECONDS: Final = 60.0
"""How long a write may take beside peers when the client has not said it: as long as a search may by default."""

RETRY_SECONDS: Final = 0.1
"""A primary that was not reached is tried again after this, or as soon as the topology changes."""


class Delivery:
    """Brings one request's parts to their primaries. `held`: the shards of the collection that are on this node.

    `settled` waits until a shard here is read the same everywhere, or gives False after so long; `is_sure` tells whether a primary
    here is sure to be one still.
    """

    def __init__(
        self,
        routes: Callable[[], Routes],
        held: Mapping[int, LocalShard],
        remote: Remote,
        news: News,
        *,
        wait: bool,
        timeout_seconds: float | None,
        settled: Callable[[int, float | None], Awaitable[bool]],
        is_sure: Callable[[int], bool],
    ) -> None:
        self._routes = routes
        self._held = held
        self._remote = remote
        self._news = news
        self._wait = wait
        self._timeout_seconds = timeout_seconds
        self._settled = settled
        self._is_sure = is_sure
        self._now = asyncio.get_running_loop().time
        self._until = self._now() + (DELIVERY_SECONDS if timeout_seconds is None else timeout_seconds)
        # On a node that runs alone a write without `wait` takes as long as its disk; beside peers, one may be cut off.
        ends = self._now() + WRITE_SECONDS if timeout_seconds is None else self._until
        self._ends = None if remote.is_alone and not (wait and timeout_seconds is not None) else ends

    @property
    def _longest_seconds(self) -> float | None:
        """How long to wait for what `_begin` gives: beside peers, each part looks at the time itself."""
        return self._timeout_seconds if self._wait and self._remote.is_alone else None

    async def check_existing(self, request: WriteRequest, parts: Mapping[int, WriteRequest]) -> None:
        """Raise NotFound if a point is missing without which a part of the request is refused: then no part is begun.

        As far as primaries are on this node. A point that is deleted meanwhile is still found out only by its own part.
        """
        routes = self._routes()
        missing: set[PointKey] = set()
        for number, part in parts.items():
            shard = self._held.get(number)
            is_primary = shard is not None and routes.primary(number) == routes.me and self._is_sure(number)
            if shard is not None and is_primary and (keys := demanded(part)):
                missing.update(await shard.absent(keys))
        if missing:
            raise no_such_point(next(key for key in demanded(request) if key in missing))

    async def deliver(self, parts: Mapping[int, WriteRequest]) -> int | None:
        """Bring every shard its part: the last op_num, or None if time ran out for a part; raise the first fault."""
        answered = [self._begin(number, part) for number, part in parts.items()]
        _, pending = await asyncio.wait(answered, timeout=self._longest_seconds)
        if pending:
            for waiting in pending:
                waiting.add_done_callback(forget)
            return None
        faults = [error for part in answered if (error := part.exception()) is not None]
        if faults:
            if len(answered) > 1 and len(faults) < len(answered) and isinstance(faults[0], QnodeError):
                text = f"{len(faults)} out of {len(answered)} shards failed to apply operation. First error captured: "
                raise _retold(faults[0], text)
            raise faults[0]
        op_nums = [op_num for part in answered if (op_num := part.result()) is not None]
        return max(op_nums) if len(op_nums) == len(answered) else None

    def _begin(self, number: int, part: WriteRequest) -> asyncio.Future[Any]:
        """Hand a part over; what is for a primary here is queued before this returns. Gives its op_num, or None if time ran out."""
        routes = self._routes()
        queued = self._queued(number, part) if routes.primary(number) == routes.me else None
        if queued is not None and self._remote.is_alone:
            return queued
        delivered = asyncio.create_task(self._deliver(number, part, queued))
        delivered.add_done_callback(forget)  # whoever has stopped waiting is not missed
        return delivered

    async def _deliver(self, number: int, part: WriteRequest, queued: asyncio.Future[int] | None) -> int | None:
        while True:
            heard = self._news.mark()
            try:
                op_num = await (self._attempt(number, part) if queued is None else self._finished(number, queued))
            except (NotPrimary, Unreached) as refusal:
                refused = refusal
            else:
                if op_num is None and self._timeout_seconds is None and self._ends is not None:
                    self._check_time(number, self._ends)
                return op_num
            queued = None
            await self._news.wait(heard, max(0.0, min(RETRY_SECONDS, self._until - self._now())))
            if self._now() >= self._until:  # an attempt without any time would only hide why there was none before
                raise self._given_up(number, refused)

    def _check_time(self, number: int, ends: float) -> None:
        """Do not let a client that has set no time believe that its write will stay, when only the time has ended it."""
        if self._now() >= ends:
            text = f"shard {number} has taken the write and not completed it in {WRITE_SECONDS:g} s; it may stay or not"
            raise UnknownOutcome(text)

    async def _attempt(self, number: int, part: WriteRequest) -> int | None:
        routes = self._routes()
        primary = routes.primary(number)
        if primary is None:
            raise NotPrimary(f"shard {number} has no primary")
        if primary == routes.me:
            return await self._finished(number, self._queued(number, part))
        assert self._ends is not None, "a node with others to ask"
        seconds = max(0.0, self._ends - self._now())
        return await self._remote.write(primary, routes.entry.folder, number, part, wait=self._wait, seconds=seconds)

    def _queued(self, number: int, part: WriteRequest) -> asyncio.Future[int]:
        """Queue a part here; a refusal is its answer, for other parts may be under way."""
        try:
            if (shard := self._held.get(number)) is None:
                raise NotPrimary(f"shard {number} is not served here yet")
            return shard.submit(part, wait=self._wait)
        except QnodeError as refusal:
            answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            answered.set_exception(refusal)
            return answered

    async def _finished(self, number: int, queued: asyncio.Future[int]) -> int | None:
        settled = partial(self._settled, number) if self._wait else None
        return await finished(queued, self._seconds_left(), lambda: self._is_sure(number), settled)

    def _seconds_left(self) -> float | None:
        return None if self._ends is None else max(0.0, self._ends - self._now())

    def _given_up(self, number: int, refusal: QnodeError) -> QnodeError:
        routes = self._routes()
        if (primary := routes.primary(number)) is None:
            return InternalError(f"The replica set for shard {number} on peer {routes.me} has no active replica")
        return Unavailable(f"peer {primary}, the primary of shard {number}, did not take the write: {refusal}")


async def finished(
    queued: asyncio.Future[int],
    seconds: float | None,
    is_sure: Callable[[], bool],
    settled: Callable[[float | None], Awaitable[bool]] | None,
) -> int | None:
    """Wait for a write that was queued, and then until it is `settled`; None if it will stay and is not complete, or not after so long.

    That a point is missing which must be there is the word of a primary alone: it counts if the primary is sure to be one still.
    """
    now = asyncio.get_running_loop().time
    ends = None if seconds is None else now() + seconds
    try:
        done, _ = await asyncio.wait({queued}, timeout=seconds)
    except asyncio.CancelledError:
        queued.add_done_callback(forget)
        raise
    if not done:
        queued.add_done_callback(forget)
        return None
    try:
        op_num = queued.result()
    except NotYetApplied:
        return None
    except NotFound as missing:
        if is_sure():
            raise
        raise NotPrimary(f"it may have another primary by now; here: {missing}") from None
    if settled is not None and not await settled(None if ends is None else max(0.0, ends - now())):
        return None
    return op_num


def forget(late: asyncio.Future[Any]) -> None:
    """Take notice of the fault of what nobody waits for any more."""
    if not late.cancelled():
        late.exception()


def _retold(error: QnodeError, text: str) -> QnodeError:
    """The same kind of error with a text in front."""
    told = error.__class__.__new__(error.__class__)
    told.__dict__.update(error.__dict__)
    Exception.__init__(told, f"{error.prefix}{text}{error}")
    return told
