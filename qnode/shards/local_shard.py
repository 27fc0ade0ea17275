"""A shard on this node: a log and an index, a writer thread, and the builder that keeps its segments in order.

    write  → queue → writer thread: resolve, log, fsync, replicate, apply → answer
    search → any thread, straight at the index

It takes part in the shard's replication as the views of the topology say that it is told (`follow`); before the first it takes no
write. A shard of a node that runs alone is told one view for life. `index` is another one after a copy was installed: who holds
the old one reads what was there, or hears that it is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

from qnode import memory
from qnode.disk import REAL, Disk
from qnode.index import BuilderPool, Index, compaction, maintenance
from qnode.models.field_schema import FieldSchema
from qnode.models.point_id import PointKey
from qnode.models.topology import STANDALONE_PEER
from qnode.models.vector_params import IndexParams
from qnode.models.write import WriteRequest
from qnode.shards.builds import BuildLog
from qnode.shards.opening import ShardFiles, open_files
from qnode.shards.replicating import Replicating
from qnode.shards.replication import Settings, ShardView
from qnode.shards.replication.failover import LogEnd
from qnode.shards.replication.view import PeerId
from qnode.shards.resolve import absent
from qnode.shards.surroundings import ALONE, Surroundings
from qnode.shards.writer import Writer

BUILD_RETRY_SECONDS = 1.0
"""After a build failed, the next one is tried after this time …"""

LONGEST_BUILD_RETRY_SECONDS = 60.0
"""… which doubles with each failure in a row, up to this."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ShardSettings:
    """keep_log_bytes: so much of the log is kept for replicas that fell behind. verify: check files at open.

    disk: what the log is on.
    """

    keep_log_bytes: int = 32 << 20
    verify: bool = True
    replication: Settings = field(default_factory=Settings)
    disk: Disk = REAL


class MirrorOf(Protocol):
    """What passes on the changes of a shard to other ones."""

    async def caught_up(self, op_num: int, seconds: float | None) -> bool:
        """Wait until all changes up to an operation are passed on, or will not be; False if that takes longer."""


class LocalShard:
    """One shard; make it with `open`, then `start` it on the event loop that it shall live on."""

    def __init__(self, path: Path, driver: Replicating, pool: BuilderPool) -> None:
        self.path = path
        self.index = driver.index
        self._driver = driver
        self._pool = pool
        self._vectors = driver.index.params.by_name
        self._writer = Writer(path.name, driver, self._vectors, self._was_applied)
        self._view: ShardView | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._optimizer: asyncio.Task[None] | None = None
        self._installing: asyncio.Task[None] | None = None
        self.optimizer_error: str | None = None
        self.mirrors: set[MirrorOf] = set()
        self.is_building = False
        self.builds = BuildLog(path)
        self.opening_seconds = 0.0

    @classmethod
    def open(
        cls,
        path: Path,
        params: IndexParams,
        settings: ShardSettings,
        pool: BuilderPool,
        *,
        me: PeerId = STANDALONE_PEER,
        surroundings: Surroundings = ALONE,
    ) -> LocalShard:
        """Open or make the shard in `path`, and put a copy in place that was accepted. Blocks.

        A node alone replays its log here. Raises Corruption naming a damaged file, OutOfSpace.
        """

        def open_again(params: IndexParams) -> ShardFiles:
            return open_files(
                path,
                params,
                keep_log_bytes=settings.keep_log_bytes,
                verify=settings.verify,
                has_peers=surroundings is not ALONE,
                disk=settings.disk,
            )

        began = perf_counter()
        files = open_again(params)
        driver = Replicating(me, settings.replication, surroundings, open_again, files, settings.keep_log_bytes)
        shard = cls(path, driver, pool)
        shard.opening_seconds = perf_counter() - began
        return shard

    def start(self) -> None:
        """Begin to take writes, events and to build."""
        self._loop = asyncio.get_running_loop()
        self._writer.start()
        self._begin_optimizing()

    async def close(self) -> None:
        """Finish the writes that were taken, as far as they need no other node, stop building, close the files."""
        if self._installing is not None:
            await asyncio.gather(self._installing, return_exceptions=True)
        if self._loop is not None:
            await self._stop_optimizing()
            await asyncio.to_thread(self._writer.stop)
        await asyncio.to_thread(self._driver.close)

    # Replication. All of it on the event loop; events take effect in the order of the calls.

    def follow(self, view: ShardView) -> None:
        """Obey what the topology says of this shard; views come in order."""
        self._view = view
        self._writer.tell(partial(self._driver.follow, view))

    def link_changed(self, peer: PeerId, is_up: bool, *, has_left: bool = False) -> None:
        """Hear that the link to a peer came up, or broke; `has_left`: because the peer goes, as it said before."""
        self._writer.tell(partial(self._driver.link_changed, peer, is_up, has_left))

    def received(self, peer: PeerId, data: bytes) -> None:
        """Hear from a peer what its `Surroundings.send` was given."""
        self._writer.tell(partial(self._driver.received, peer, data))

    def has_room(self, peer: PeerId) -> None:
        """Hear that what waits for the window of a peer has its turn."""
        self._writer.tell(partial(self._driver.has_room, peer))

    def hand_over(self, heirs: Sequence[PeerId], seconds: float) -> None:
        """Let one of these replicas be primary, the first that can, once all writes that were taken are answered.

        Writes are refused as NotPrimary until then, or for so long. Nothing happens if none of them can be.
        """
        self._writer.tell(partial(self._driver.hand_over, tuple(heirs), seconds))

    def ailment(self, patience_seconds: float) -> str | None:
        """Say why this replica should not be primary, if there has been a reason for so long."""
        return self._driver.ailment(patience_seconds)

    def copied(self, peer: PeerId, op_num: int) -> None:
        """Hear that a peer holds a copy of this shard as of an operation."""
        self._writer.tell(partial(self._driver.copied, peer, op_num))

    async def install(self, folder: Path, applied_op: int, applied_epoch: int, *, epoch: int | None = None) -> None:
        """Put a received copy, durable and on the same file system, in place of what is here; the folder is gone then.

        applied_epoch: of the operation `applied_op`, 0 if not known. epoch: of the order to do so; the last view's if not given.
        Raises Unavailable, and nothing has changed, if that epoch has passed by then, or this replica is in-sync. May be cancelled: the installation goes on.
        """
        assert self._installing is None or self._installing.done(), "one copy at a time"
        if epoch is None:
            epoch = -1 if self._view is None else self._view.epoch
        begin = partial(self._writer.install, folder, applied_op, applied_epoch, epoch)
        self._installing = asyncio.create_task(self._install(begin))
        await asyncio.shield(self._installing)

    async def restore(self, folder: Path, begin_epoch: Callable[[], Awaitable[int]]) -> None:
        """Put a copy with a history of its own, durable and on the same file system, in place of what is here.

        `begin_epoch` has the topology make this replica the only Active one, in a new epoch, which it gives when it was followed.
        Raises what it raises, and Unavailable if that epoch has passed by then: nothing has changed in the shard. What is written
        meanwhile is replaced too.
        """
        assert self._installing is None or self._installing.done(), "one copy at a time"
        self._writer.tell(partial(self._let_promote, False))
        try:
            epoch = await begin_epoch()
            self._installing = asyncio.create_task(self._install(partial(self._writer.restore, folder, epoch)))
            await asyncio.shield(self._installing)
        finally:
            self._writer.tell(partial(self._let_promote, True))

    def _let_promote(self, may: bool) -> None:
        self._driver.may_promote = may

    async def _install(self, begin: Callable[[], Awaitable[None]]) -> None:
        await self._stop_optimizing()
        try:
            await begin()
        finally:
            self.index = self._driver.index
            self._begin_optimizing()

    @property
    def view(self) -> ShardView | None:
        """The last view that was followed."""
        return self._view

    @property
    def log_end(self) -> LogEnd | None:
        """Where the log ends; None while the shard cannot serve: broken, or a copy is being installed."""
        return self._driver.log_end

    def applied_epoch(self) -> int:
        """Tell the epoch of the last applied operation, 0 if that is not known; on the writer thread only (`run`)."""
        return self._driver.applied_epoch

    # For who copies the shard to others. On the writer thread only (`run`).

    def copying_epoch(self, peer: PeerId) -> int | None:
        """Tell in which epoch a peer waits for a copy of this primary, as of all that it was sent; None: it does not."""
        return self._driver.copying_epoch(peer)

    def keep_log_from(self, peer: PeerId, op_num: int | None) -> None:
        """Keep the log from an operation on for a peer whose copy ends before it, up to a bound; None: no longer."""
        self._driver.trimming.keep_from(peer, op_num)

    # Writes and settings

    def submit(self, request: WriteRequest, *, wait: bool = True) -> asyncio.Future[int]:
        """Queue a request that `resolve.check` has passed, in the order of the calls; the future gets its op_num.

        wait: answered when every in-sync replica has applied it, else when it is committed. Raises, or the future does: NotPrimary
        (nothing was taken), Unavailable (too few replicas, too many waiting), OutOfSpace, UnknownOutcome, NotYetApplied.
        """
        answered = self._writer.submit(request, until_applied=wait)
        answered.add_done_callback(lambda _: self._wake.set())
        return answered

    async def run(self, work: Callable[[], Any]) -> Any:
        """Run a function on the writer thread, between groups."""
        return await self._writer.run(work)

    def tell(self, event: Callable[[], None]) -> None:
        """Have something done on the writer thread, in the order of the calls; nothing if the shard is being closed."""
        self._writer.tell(event)

    async def pause(self) -> None:
        """Hold all writes that come from now on until `resume`, which has to be soon."""
        await self._writer.run(partial(self._set_paused, True))

    def resume(self) -> None:
        """Go on with the writes that were held."""
        self._writer.tell(partial(self._set_paused, False))

    def _set_paused(self, paused: bool) -> None:
        self._writer.is_paused = paused

    @property
    def is_all_applied(self) -> bool:
        """Whether reads show all that is logged; on the writer thread only (`run`)."""
        return self._driver.is_all_applied

    async def absent(self, keys: Sequence[PointKey]) -> list[PointKey]:
        """List those of the keys that are no points once all writes that were taken before are applied; empty if that cannot be told."""
        if not await asyncio.to_thread(absent, keys, self.index):
            return []
        return list(await self._writer.run(partial(self._absent_of_all, keys)))

    def _absent_of_all(self, keys: Sequence[PointKey]) -> list[PointKey]:
        end = self._driver.log_end
        return absent(keys, self.index) if end is not None and end.last_op <= self.index.applied_op else []

    async def create_field_index(self, field: str, schema: FieldSchema) -> None:
        """Begin to index a payload field; it is built between writes."""
        await self._writer.run(lambda: maintenance.create_field(self._driver.index, field, schema))

    async def drop_field_index(self, field: str) -> None:
        """Take a payload index away."""
        await self._writer.run(lambda: maintenance.drop_field(self._driver.index, field))

    async def wait_for_fields(self) -> None:
        """Return when no payload index is being built; raise what stopped the building."""
        while self._writer.indexes_fields:
            await self._writer.run(lambda: None)
        if self._writer.fields_fault is not None:
            raise self._writer.fields_fault

    async def configure(self, params: IndexParams) -> None:
        """Take over changed settings."""
        await self._writer.run(lambda: maintenance.configure(self._driver.index, params))
        vectors = params.by_name
        self._vectors.update(vectors)
        for name in self._vectors.keys() - vectors.keys():
            del self._vectors[name]
        self._wake.set()

    @property
    def needs_build(self) -> bool:
        """Whether a segment waits for the builder, or writes for a segment that does."""
        return not self._driver.applying.postponed.is_empty or maintenance.is_due(self.index)

    @property
    def queue_length(self) -> int:
        return self._writer.queue_length

    @property
    def deferred_points_count(self) -> int:
        """How many points are logged, and not seen before rows in front of them have graphs."""
        return self._driver.applying.postponed.points

    @property
    def last_op(self) -> int:
        """The last operation that searches see."""
        return self.index.applied_op

    @property
    def fault(self) -> str | None:
        """Why the shard takes no writes, if it takes none."""
        return None if self._driver.fault is None else str(self._driver.fault)

    def _was_applied(self) -> None:
        """Look for builds; told on the writer thread."""
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(self._wake.set)

    def _begin_optimizing(self) -> None:
        self._wake.set()
        self._optimizer = asyncio.create_task(self._optimize(), name=f"optimizer {self.path}")

    async def _stop_optimizing(self) -> None:
        optimizer, self._optimizer = self._optimizer, None  # its traceback would keep the shard, and so its files
        if optimizer is not None:
            optimizer.cancel()
            await asyncio.gather(optimizer, return_exceptions=True)

    async def _optimize(self) -> None:
        """Close, build, merge and rewrite segments whenever writes have made it necessary."""
        retry_seconds = BUILD_RETRY_SECONDS
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                while await self._optimize_once():
                    pass
                self.optimizer_error, retry_seconds = None, BUILD_RETRY_SECONDS
                self._driver.applying.postponed.expects_no_build = False
            except asyncio.CancelledError:
                raise
            except Exception as error:
                _log.exception("a build of %s failed", self.path)
                self.optimizer_error = str(error)
                self._driver.applying.postponed.expects_no_build = True
                self._writer.tell(lambda: None)  # what waits can be applied now
                await asyncio.sleep(retry_seconds)
                self._wake.set()
                retry_seconds = min(2 * retry_seconds, LONGEST_BUILD_RETRY_SECONDS)

    async def _optimize_once(self) -> bool:
        """Do the next build, if there is one to do."""
        if not maintenance.is_due(self.index):
            if compaction.is_due(self.index.store):
                await self.run(lambda: compaction.compact(self.index.store))
            return False
        self.is_building = True
        try:
            async with self._pool.place():
                build = await self.run(lambda: maintenance.begin_build(self.index))
                if build is None:
                    return False
                try:
                    with self.builds.recorded(build):
                        await self._pool.build(build)
                        await self.run(lambda: maintenance.install(self.index, build))
                except Exception:
                    # Not when cancelled: the writer may be installing it at this moment.
                    maintenance.discard(self.index, build)
                    raise
                finally:
                    build.clean_up()
            await asyncio.to_thread(_return_memory, self.index)
            return True
        finally:
            self.is_building = False


def _return_memory(index: Index) -> None:
    """Give back what an upload, a build, or reading all records has left behind."""
    memory.return_free_blocks()
    memory.return_pages_of(index.store.path / "data.mdb")
