"""All collections of this node, kept in step with the topology.

The topology says what exists; `_reconcile` makes it so: it opens, reconfigures and removes. The same function runs at
start and after every change, so a node that is killed half-way through a change finishes it when it starts again.
A collection that cannot be opened is told of to whoever asks for it; unless its files are damaged, it is tried again
after a while and with every change. Changes are made one after the other. A folder that the topology does not know is removed in the background.

Cancellation: a change that was proposed is carried out even if the caller stops waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from qnode.disk import remove_trash, remove_tree
from qnode.errors import AlreadyExists, Corruption, InternalError, NotFound, QnodeError, Unavailable
from qnode.index import BuilderPool
from qnode.index.vectors import is_warm
from qnode.models.collection import CollectionConfig, CollectionDiff
from qnode.models.field_schema import FieldSchema
from qnode.models.topology import STANDALONE_PEER
from qnode.models.write import UpdateResult, UpdateStatus
from qnode.shards.collection import Collection
from qnode.shards.local_shard import LocalShard, ShardSettings
from qnode.shards.replication import ReplicaState, ShardView

_log = logging.getLogger(__name__)

Result = TypeVar("Result")

OPEN_RETRY_SECONDS = 10.0
"""A collection that could not be opened (a full disk) is tried again after this time."""


ALONE = ShardView(STANDALONE_PEER, epoch=1, revision=1, replicas={STANDALONE_PEER: ReplicaState.ACTIVE})
"""The one view that the shards of a node without peers obey."""


class CollectionRecord(Protocol):
    """What the topology says of a collection."""

    @property
    def folder(self) -> str: ...
    @property
    def config(self) -> Mapping[str, Any]: ...
    @property
    def fields(self) -> Mapping[str, Any]: ...


class Proposer(Protocol):
    """Where the topology is decided; a proposal that returns without raising is durable and shows in `records`."""

    def records(self) -> Mapping[str, CollectionRecord]: ...

    async def create(self, name: str, config: Mapping[str, Any]) -> bool:
        """Make a collection; False if there is one of this name."""

    async def update(self, name: str, expected: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
        """Replace settings; False if they are no longer `expected`."""

    async def delete(self, name: str) -> bool: ...

    async def set_field(self, name: str, field: str, schema: Any) -> bool:
        """Set the schema of a payload index, or take it away (None)."""


@dataclass(frozen=True, slots=True)
class CollectionsSettings:
    """Where collections live, and how their shards are run. build_threads 0: one for each core."""

    path: Path
    shard: ShardSettings = field(default_factory=ShardSettings)
    build_threads: int = 0


class Collections:
    """The collections of this node; `open` before use, `close` at the end."""

    def __init__(self, settings: CollectionsSettings, proposer: Proposer) -> None:
        self._settings = settings
        self._proposer = proposer
        self._open: dict[str, tuple[str, Collection]] = {}
        self._damaged: dict[str, QnodeError] = {}
        self._unadjusted: dict[str, QnodeError] = {}
        self._changing = asyncio.Lock()
        self._pool = BuilderPool(settings.build_threads or os.cpu_count() or 1)
        self._background: set[asyncio.Task[Any]] = set()
        self._retry: asyncio.TimerHandle | None = None
        self._closing = False

    async def open(self) -> None:
        """Open every collection of the topology and remove what is left of deleted ones."""
        self._settings.path.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(remove_trash, self._settings.path)
        known = {record.folder for record in self._proposer.records().values()}
        for folder in self._settings.path.iterdir():
            if folder.name not in known:
                self._in_background(asyncio.to_thread(remove_tree, folder))
        async with self._changing:
            await self._reconcile()

    async def close(self) -> None:
        self._closing = True
        if self._retry is not None:
            self._retry.cancel()
        async with self._changing:
            closing = [collection.close() for _, collection in self._open.values()]
            for fault in await asyncio.gather(*closing, return_exceptions=True):
                if fault is not None:
                    _log.error("a collection could not be closed in order: %s", fault)
            self._open.clear()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._pool.close()

    async def names(self) -> list[str]:
        """The names of all collections; one that is just being made is not there yet."""
        return sorted(name for name in self._proposer.records() if name in self._open or name in self._damaged)

    def open_collections(self) -> list[Collection]:
        """All collections that are being served."""
        return [collection for _, collection in list(self._open.values())]

    @property
    def all_served(self) -> bool:
        """Whether every collection is open, takes writes, and is searched without waiting for a compiler."""
        return (
            is_warm()
            and not self._damaged
            and all(
                shard.fault is None for collection in self.open_collections() for shard in collection.shards.values()
            )
        )

    def get(self, name: str) -> Collection:
        """The collection; raise NotFound, or what keeps it from being served."""
        found = self._open.get(name)
        if found is not None:
            return found[1]
        if name in self._damaged:
            raise self._damaged[name]
        raise NotFound(f"Collection `{name}` doesn't exist!")

    async def create(self, name: str, config: CollectionConfig) -> None:
        """Make an empty collection; raise AlreadyExists."""
        await self._carry_out(self._create(name, config))

    async def _create(self, name: str, config: CollectionConfig) -> None:
        async with self._changing:
            if not await self._proposer.create(name, config.to_json()):
                raise AlreadyExists(f"Collection `{name}` already exists!")
            await self._reconcile()
            fault = self._damaged.get(name) or self._unadjusted.get(name)
            if fault is not None:
                await self._proposer.delete(name)
                await self._reconcile()
                raise fault

    async def update(self, name: str, diff: CollectionDiff) -> None:
        """Merge changed settings; raise NotFound or BadInput."""
        await self._carry_out(self._update(name, diff))

    async def _update(self, name: str, diff: CollectionDiff) -> None:
        async with self._changing:
            record = self._record(name)
            config = CollectionConfig.from_json(record.config).patched(diff)
            if not await self._proposer.update(name, record.config, config.to_json()):
                raise InternalError(f"Collection `{name}` was changed by another request at the same time")
            await self._reconcile()
            if name in self._unadjusted:
                raise self._unadjusted[name]

    async def delete(self, name: str) -> bool:
        """Remove a collection; False if there is none."""
        return await self._carry_out(self._delete(name))

    async def _delete(self, name: str) -> bool:
        async with self._changing:
            record = self._proposer.records().get(name)
            deleted = await self._proposer.delete(name)
            if deleted and record is not None and name not in self._open:
                self._in_background(asyncio.to_thread(remove_tree, self._settings.path / record.folder))
            await self._reconcile()
            return deleted

    async def create_field_index(self, name: str, path: str, schema: FieldSchema, wait: bool) -> UpdateResult:
        """Index a payload field; with `wait` return when the index is built."""
        return await self._carry_out(self._change_field(name, path, schema, wait))

    async def drop_field_index(self, name: str, path: str, wait: bool) -> UpdateResult:
        """Take a payload index away; nothing happens if there is none."""
        return await self._carry_out(self._change_field(name, path, None, wait))

    async def _change_field(self, name: str, path: str, schema: FieldSchema | None, wait: bool) -> UpdateResult:
        async with self._changing:
            self._record(name)
            self.get(name)
            await self._proposer.set_field(name, path, None if schema is None else schema.to_json())
            await self._reconcile()
            if name in self._unadjusted:
                raise self._unadjusted[name]
            collection = self.get(name)
        if wait:
            try:
                await collection.wait_for_fields(None)
            except Unavailable:
                if collection.is_removed:
                    raise NotFound(f"Collection `{name}` doesn't exist!") from None
                raise
        last = max(shard.last_op for shard in collection.shards.values())
        return UpdateResult(last, UpdateStatus.COMPLETED if wait else UpdateStatus.ACKNOWLEDGED)

    def _record(self, name: str) -> CollectionRecord:
        record = self._proposer.records().get(name)
        if record is None:
            raise NotFound(f"Collection `{name}` doesn't exist!")
        return record

    async def _carry_out(self, change: Coroutine[Any, Any, Result]) -> Result:
        task = asyncio.create_task(change)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return await asyncio.shield(task)

    def _in_background(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.warning("a removed collection's files could not all be deleted: %s", task.exception())

    async def _reconcile(self) -> None:
        """Make what is open what the topology says."""
        records = self._proposer.records()
        for name, (folder, collection) in list(self._open.items()):
            record = records.get(name)
            if record is None or record.folder != folder:
                del self._open[name]
                collection.is_removed = True
                self._in_background(self._remove(collection, folder))
        for name in [name for name in self._damaged if name not in records]:
            del self._damaged[name]
        self._unadjusted.clear()
        for name, record in records.items():
            if name not in self._open and not isinstance(self._damaged.get(name), Corruption):
                await self._open_or_note(name, record)
            if name in self._open:
                try:
                    await self._adjust(self._open[name][1], record)
                except QnodeError as error:  # tried again with the next change; reads and the others must not suffer
                    _log.error("collection %s could not take over its settings: %s", name, error)
                    self._unadjusted[name] = error

    async def _open_or_note(self, name: str, record: CollectionRecord) -> None:
        """Open a collection; what keeps it from being served is told to whoever asks for it, and to nobody else."""
        try:
            self._open[name] = record.folder, await self._opened(name, record)
            self._damaged.pop(name, None)
        except QnodeError as error:
            _log.error("collection %s cannot be served: %s", name, error)
            self._damaged[name] = error
        except Exception as error:
            _log.exception("collection %s cannot be served", name)
            folder = self._settings.path / record.folder
            self._damaged[name] = InternalError(f"collection `{name}` in {folder} could not be opened: {error!r}")
        if name in self._damaged and not isinstance(self._damaged[name], Corruption) and self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(OPEN_RETRY_SECONDS, self._begin_retry)

    def _begin_retry(self) -> None:
        self._retry = None
        self._in_background(self._try_again())

    async def _try_again(self) -> None:
        async with self._changing:
            if not self._closing:
                await self._reconcile()

    async def _opened(self, name: str, record: CollectionRecord) -> Collection:
        config = CollectionConfig.from_json(record.config)
        params = config.index_params()
        shards: dict[int, LocalShard] = {}
        try:
            for shard in range(config.shard_number):
                path = self._settings.path / record.folder / str(shard)
                shards[shard] = await asyncio.to_thread(LocalShard.open, path, params, self._settings.shard, self._pool)
                shards[shard].start()
                shards[shard].follow(ALONE)
        except BaseException:
            for shard_opened in shards.values():
                await shard_opened.close()
            raise
        return Collection(name, config, {}, shards)

    async def _adjust(self, collection: Collection, record: CollectionRecord) -> None:
        """Bring settings and payload indexes of an open collection up to date."""
        if collection.config.to_json() != record.config:
            config = CollectionConfig.from_json(record.config)
            for shard in collection.shards.values():
                await shard.configure(config.index_params())
            collection.reconfigure(config)
        wanted = {path: FieldSchema.from_json(schema) for path, schema in record.fields.items()}
        for shard in collection.shards.values():
            there = shard.index.fields.schemas
            for path, schema in wanted.items():
                if there.get(path) != schema:
                    await shard.create_field_index(path, schema)
            for path in [path for path in there if path not in wanted]:
                await shard.drop_field_index(path)
        collection.fields = wanted

    async def _remove(self, collection: Collection, folder: str) -> None:
        with contextlib.suppress(QnodeError):
            await collection.close()
        await asyncio.to_thread(remove_tree, self._settings.path / folder)
