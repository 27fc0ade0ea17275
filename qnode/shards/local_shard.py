"""A shard on this node: a log and an index, a writer thread, and the builder that keeps its segments in order.

    write  → queue → writer thread: resolve, log, fsync, apply → answer
    search → any thread, straight at the index

Opening replays what the log holds behind the index's `applied_op`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qnode import memory
from qnode.errors import Corruption
from qnode.index import BuilderPool, Index, compaction, maintenance
from qnode.index.store import RESTORE
from qnode.models.field_schema import FieldSchema
from qnode.models.operation import decode
from qnode.models.vector_params import IndexParams
from qnode.models.write import WriteRequest
from qnode.shards.writer import GROUP_BYTES, GROUP_REQUESTS, Writer
from qnode.wal import DEFAULT_FILE_BYTES, Log

SMALLEST_LOG_FILE_BYTES = 64 << 10
"""A file of the log is no smaller, however little of the log is kept."""

BUILD_RETRY_SECONDS = 1.0
"""After a build failed, the next one is tried after this time …"""

LONGEST_BUILD_RETRY_SECONDS = 60.0
"""… which doubles with each failure in a row, up to this."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ShardSettings:
    """keep_log_bytes: so much of the log is kept for replicas that fell behind. verify: check files at open."""

    keep_log_bytes: int = 32 << 20
    verify: bool = True


class LocalShard:
    """One shard; make it with `open`, then `start` it on the event loop that it shall live on."""

    def __init__(self, path: Path, log: Log, index: Index, settings: ShardSettings, pool: BuilderPool) -> None:
        self.path = path
        self.index = index
        self._log = log
        self._pool = pool
        self._vectors = {vector.name: vector for vector in index.params.vectors}
        self._writer = Writer(path.name, log, index, self._vectors, settings.keep_log_bytes)
        self._wake = asyncio.Event()
        self._optimizer: asyncio.Task[None] | None = None
        self.optimizer_error: str | None = None
        self.is_building = False

    @classmethod
    def open(cls, path: Path, params: IndexParams, settings: ShardSettings, pool: BuilderPool) -> LocalShard:
        """Open or make the shard in `path` and replay its log. Blocks; raises Corruption naming a damaged file."""
        index = Index.open(path, params, verify=settings.verify)
        try:
            file_bytes = min(DEFAULT_FILE_BYTES, max(settings.keep_log_bytes, SMALLEST_LOG_FILE_BYTES))
            log = Log.open(path / "wal", file_bytes=file_bytes, next_op=index.applied_op + 1)
            try:
                _catch_up(log, index)
                _replay(log, index)
            except BaseException:
                log.close()
                raise
        except BaseException:
            index.close()
            raise
        _return_memory(index)
        return cls(path, log, index, settings, pool)

    def start(self) -> None:
        """Begin to take writes and to build."""
        self._writer.start()
        self._wake.set()
        self._optimizer = asyncio.create_task(self._optimize(), name=f"optimizer {self.path}")

    async def close(self) -> None:
        """Finish the writes that were taken, stop building, close the files."""
        if self._optimizer is not None:
            self._optimizer.cancel()
            await asyncio.gather(self._optimizer, return_exceptions=True)
            await asyncio.to_thread(self._writer.stop)
        await asyncio.to_thread(self._close_files)

    def _close_files(self) -> None:
        try:
            self._log.close()
        finally:
            self.index.close()  # waits for who is reading

    def submit(self, request: WriteRequest) -> asyncio.Future[Any]:
        """Queue a request that `resolve.check` has passed, in the order of the calls; the future gets its op_num."""
        answered = self._writer.submit(request)
        answered.add_done_callback(lambda _: self._wake.set())
        return answered

    async def create_field_index(self, field: str, schema: FieldSchema) -> None:
        """Begin to index a payload field; it is built between writes."""
        await self._writer.run(lambda: maintenance.create_field(self.index, field, schema))

    async def drop_field_index(self, field: str) -> None:
        """Take a payload index away."""
        await self._writer.run(lambda: maintenance.drop_field(self.index, field))

    async def wait_for_fields(self) -> None:
        """Return when no payload index is being built; raise what stopped the building."""
        while self._writer.indexes_fields:
            await self._writer.run(lambda: None)
        if self._writer.fields_fault is not None:
            raise self._writer.fields_fault

    async def configure(self, params: IndexParams) -> None:
        """Take over changed settings."""
        await self._writer.run(lambda: maintenance.configure(self.index, params))
        self._vectors.update({vector.name: vector for vector in params.vectors})
        self._wake.set()

    @property
    def needs_build(self) -> bool:
        """Whether a segment waits for the builder."""
        return maintenance.is_due(self.index)

    @property
    def queue_length(self) -> int:
        return self._writer.queue_length

    @property
    def last_op(self) -> int:
        return self.index.applied_op

    @property
    def fault(self) -> str | None:
        """Why the shard takes no writes, if it takes none."""
        return None if self._writer.fault is None else str(self._writer.fault)

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
            except asyncio.CancelledError:
                raise
            except Exception as error:
                _log.exception("a build of %s failed", self.path)
                self.optimizer_error = str(error)
                await asyncio.sleep(retry_seconds)
                self._wake.set()
                retry_seconds = min(2 * retry_seconds, LONGEST_BUILD_RETRY_SECONDS)

    async def _optimize_once(self) -> bool:
        """Do the next build, if there is one to do."""
        if not maintenance.is_due(self.index):
            if compaction.is_due(self.index.store):
                await self._run(lambda: compaction.compact(self.index.store))
            return False
        self.is_building = True
        try:
            async with self._pool.place():
                build = await self._run(lambda: maintenance.begin_build(self.index))
                if build is None:
                    return False
                try:
                    await self._pool.build(build)
                    await self._run(lambda: maintenance.install(self.index, build))
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

    async def _run(self, work: Callable[[], Any]) -> Any:
        return await self._writer.run(work)


def _return_memory(index: Index) -> None:
    """Give back what an upload, a build, or reading all records has left behind."""
    memory.return_free_blocks()
    memory.return_pages_of(index.store.path / "data.mdb")


def _catch_up(log: Log, index: Index) -> None:
    """Let the log go on behind what was applied, if its own end was lost.

    What was applied is durable without the log; a number that is given twice would make two operations one.
    """
    if log.first_op > index.applied_op + 1:
        fault = f"operations {index.applied_op + 1} to {log.first_op - 1} are neither in it nor in the log"
        raise Corruption(index.store.path / "data.mdb", fault, RESTORE)
    if log.next_op <= index.applied_op:
        _log.warning("the log of %s ends before operation %d, which was applied", index.path, index.applied_op)
        log.reset(index.applied_op + 1, log.last_epoch)


def _replay(log: Log, index: Index) -> None:
    operations = []
    group_bytes = 0
    for record in log.read(index.applied_op + 1):
        operations.append((record.op_num, decode(record.payload)))
        group_bytes += len(record.payload)
        if len(operations) == GROUP_REQUESTS or group_bytes >= GROUP_BYTES:
            index.apply(operations)
            operations, group_bytes = [], 0
    if operations:
        index.apply(operations)
