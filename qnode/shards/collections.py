"""All collections of this node, kept in step with the topology.

The topology says what exists and who holds it. Two things follow from a change of it, of whoever has made it:

- at once, on the event loop: every collection routes by it, and every shard here is told of it (`follow`);
- as soon as the changes before are carried out, one after the other: `_reconcile` opens, adjusts and removes what is on this node.

`_reconcile` also runs at start, so a node that is killed half-way through a change finishes it when it starts again. Whoever changes
something waits until it has been carried out here. What cannot be opened is told of to whoever asks for it; unless its files are
damaged, it is tried again after a while and with every change. On a node that runs alone a collection is served whole or not at all; in a
cluster, shards that cannot be opened here are read and written elsewhere.

**In a cluster a node that starts may know a topology that is older than what it did before.** Until `release_views` it opens what it
holds, and does nothing else: no shard is told anything, nothing is removed, adjusted or made anew.

Cancellation: a change that was proposed is carried out even if the caller stops waiting.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from qnode import memory
from qnode.channel import Channel
from qnode.disk import remove_trash
from qnode.errors import AlreadyExists, InternalError, NotFound, Unavailable
from qnode.index import BuilderPool
from qnode.index.vectors import is_warm
from qnode.models.collection import CollectionConfig, CollectionDiff
from qnode.models.field_schema import FieldSchema
from qnode.models.topology import STANDALONE_PEER, CollectionEntry, ReplicaState, Topology
from qnode.models.topology_commands import AliasChange
from qnode.models.write import UpdateResult, UpdateStatus
from qnode.shards.answering import Answering
from qnode.shards.collection import Collection
from qnode.shards.freshness import UNBOUNDED, Freshness, ReadLease
from qnode.shards.local_shard import ShardSettings
from qnode.shards.mirrors import Mirrors
from qnode.shards.news import News
from qnode.shards.place import Place
from qnode.shards.proposer import Proposer
from qnode.shards.remote import Remote
from qnode.shards.stewardship import Hub, Steward

_log = logging.getLogger(__name__)

Result = TypeVar("Result")
Change = Callable[[CollectionConfig], CollectionConfig]

OPEN_RETRY_SECONDS = 10.0
"""A collection that could not be opened, or could not take over its settings (a full disk), is tried again after this time."""

ACTIVATION_SECONDS = 10.0
"""A collection is made when all its replicas are Active and all peers know it, or after this time at the latest."""

UPDATE_ATTEMPTS = 10
"""A change of settings is put on top of what another request has changed meanwhile so often."""


@dataclass(frozen=True, slots=True)
class CollectionsSettings:
    """Where collections live, and how their shards are run. build_threads 0: one for each core."""

    path: Path
    shard: ShardSettings = field(default_factory=ShardSettings)
    build_threads: int = 0


class Collections:
    """The collections of this node; `open` before use, `close` at the end.

    In a cluster, `replicas` is where peers reach the shards here, and `channel` the way to them; `lease` says when they may be read.
    """

    def __init__(
        self,
        settings: CollectionsSettings,
        topology_log: Proposer,
        *,
        me: int = STANDALONE_PEER,
        replicas: Hub | None = None,
        channel: Channel | None = None,
        lease: ReadLease = UNBOUNDED,
    ) -> None:
        self._path = settings.path
        self._topology_log = topology_log
        self._news = News()
        remote = Remote(channel)
        self._freshness = Freshness(lease, remote)
        self._place = Place(me, remote, self._news, self._freshness)
        self._pool = BuilderPool(settings.build_threads or os.cpu_count() or 1)
        self._background: set[asyncio.Task[Any]] = set()
        self._steward = Steward(settings, self._place, replicas, self._pool, self._in_background)
        self._mirrors = Mirrors(self.open_collections, self._place, topology_log)
        self._changing = asyncio.Lock()
        self._reached: Topology | None = None
        self._has_current_views = channel is None
        self._retry: asyncio.TimerHandle | None = None
        self._closing = False
        if channel is not None:
            Answering(channel, self._steward.find, self._wait_reached)

    async def open(self) -> None:
        """Open every collection of the topology, and remove what is left of deleted ones."""
        self._path.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(remove_trash, self._path)
        self._topology_log.subscribe(self._topology_changed)
        async with self._changing:
            if self._has_current_views:
                await self._steward.remove_strays(self._topology_log.current.collections)
            await self._reconcile()
        await asyncio.to_thread(_return_memory, self._path)

    async def release_views(self) -> None:
        """Obey the topology from now on: all that this node did before it was started is in it."""
        async with self._changing:
            if self._has_current_views or self._closing:
                return
            self._has_current_views = True
            self._follow()
            await self._steward.remove_strays(self._topology_log.current.collections)
            await self._reconcile()

    async def close(self) -> None:
        self._closing = True
        if self._retry is not None:
            self._retry.cancel()
        await self._mirrors.close()
        async with self._changing:
            await self._steward.close()
        await self._freshness.close()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._pool.close()

    async def names(self) -> list[str]:
        """The names of all collections; one that is just being made is not there yet."""
        return sorted(name for name in self._topology_log.current.collections if self._steward.knows(name))

    @property
    def aliases(self) -> Mapping[str, str]:
        """Which aliases stand for which collections."""
        return self._topology_log.current.aliases

    def exists(self, name: str) -> bool:
        """Tell whether a name or an alias stands for a collection that can be used."""
        resolved = self._topology_log.current.collection_named(name)
        return resolved is not None and self._steward.knows(resolved)

    def open_collections(self) -> list[Collection]:
        """All collections that are being served."""
        return list(self._steward.open.values())

    @property
    def all_served(self) -> bool:
        """Whether every collection is open, takes writes, and is searched without waiting for a compiler."""
        return (
            is_warm()
            and not self._steward.has_faults
            and all(
                shard.fault is None for collection in self.open_collections() for shard in collection.shards.values()
            )
        )

    @property
    def is_settled(self) -> bool:
        """Whether what the topology says has been carried out here."""
        return self._reached is self._topology_log.current

    def get(self, name: str) -> Collection:
        """The collection of a name or an alias; raise NotFound, or what keeps it from being served."""
        found = self._steward.open.get(name)
        if found is not None:
            return found
        if (aliased := self.aliases.get(name)) is not None:
            return self.get(aliased)
        raise self._steward.fault_of(name) or NotFound(f"Collection `{name}` doesn't exist!")

    async def create(self, name: str, config: CollectionConfig) -> None:
        """Make an empty collection; raise AlreadyExists."""
        await self._carry_out(self._create(name, config))

    async def _create(self, name: str, config: CollectionConfig) -> None:
        if not await self._topology_log.create(name, config.to_json()):
            raise AlreadyExists(f"Collection `{name}` already exists!")
        await self._caught_up()
        if not self._place.remote.is_alone:
            await self.wait_everywhere(name)
            return
        fault = self._steward.fault_of(name) or self._steward.unadjusted.get(name)
        if fault is not None:
            await self._topology_log.delete(name)
            await self._caught_up()
            raise fault

    async def wait_everywhere(self, name: str) -> None:
        """Return when a collection can be used through any peer, or when that takes too long: it is there all the same."""

        def is_active() -> bool:
            entry = self._topology_log.current.collections.get(name)
            return entry is None or all(
                state is ReplicaState.ACTIVE for shard in entry.shards.values() for state in shard.replicas.values()
            )

        if not await self._news.until(is_active, ACTIVATION_SECONDS):
            _log.warning("shards of collection %s were made, and not all of its replicas are active yet", name)
        await self._peers_reached(self._topology_log.current.index)

    async def _peers_reached(self, index: int) -> None:
        """Return when all peers in reach have carried out what the topology of this index says, or when that takes too long."""
        remote, peers = self._place.remote, self._place.remote.peers_in_reach()
        telling = [remote.reached(peer, index, ACTIVATION_SECONDS) for peer in peers]
        for peer, fault in zip(peers, await asyncio.gather(*telling, return_exceptions=True), strict=True):
            if fault is not None:
                _log.warning("peer %d may not have carried out command %d of the topology yet: %s", peer, index, fault)

    async def update(self, name: str, diff: CollectionDiff) -> None:
        """Merge changed settings; raise NotFound or BadInput."""
        await self._carry_out(self._change(name, lambda config: config.patched(diff)))

    async def change_vectors(self, name: str, change: Change) -> UpdateResult:
        """Add or take away a named vector, on every peer in reach; raise NotFound or BadInput."""
        return await self._carry_out(self._change_vectors(name, change))

    async def _change_vectors(self, name: str, change: Change) -> UpdateResult:
        await self._change(name, change)
        await self._peers_reached(self._topology_log.current.index)
        return UpdateResult(self.get(name).last_op, UpdateStatus.COMPLETED)

    async def _change(self, name: str, change: Change) -> None:
        """Replace the settings by what `change` makes of them, also if others change them at the same time."""
        name = self._resolved(name)
        for _ in range(UPDATE_ATTEMPTS):
            known = self._entry(name).config
            config = change(CollectionConfig.from_json(known))
            if await self._topology_log.update(name, known, config.to_json()):
                break
        else:
            raise InternalError(f"Collection `{name}` was changed by other requests at the same time")
        await self._caught_up()
        if name in self._steward.unadjusted:
            raise self._steward.unadjusted[name]

    async def delete(self, name: str) -> bool:
        """Remove a collection; False if there is none."""
        return await self._carry_out(self._delete(name))

    async def _delete(self, name: str) -> bool:
        deleted = await self._topology_log.delete(name)
        await self._caught_up()
        return deleted

    async def create_field_index(self, name: str, path: str, schema: FieldSchema, wait: bool) -> UpdateResult:
        """Index a payload field; with `wait` return when the index is built."""
        return await self._carry_out(self._change_field(name, path, schema, wait))

    async def drop_field_index(self, name: str, path: str, wait: bool) -> UpdateResult:
        """Take a payload index away; nothing happens if there is none."""
        return await self._carry_out(self._change_field(name, path, None, wait))

    async def _change_field(self, name: str, path: str, schema: FieldSchema | None, wait: bool) -> UpdateResult:
        name = self._resolved(name)
        self.get(name)
        await self._topology_log.set_field(name, path, None if schema is None else schema.to_json())
        await self._caught_up()
        if name in self._steward.unadjusted:
            raise self._steward.unadjusted[name]
        collection = self.get(name)
        if wait:
            await self._peers_reached(self._topology_log.current.index)
            try:
                await collection.wait_for_fields(None)
            except Unavailable:
                if collection.is_removed:
                    raise NotFound(f"Collection `{name}` doesn't exist!") from None
                raise
        return UpdateResult(collection.last_op, UpdateStatus.COMPLETED if wait else UpdateStatus.ACKNOWLEDGED)

    async def change_aliases(self, changes: Sequence[AliasChange]) -> None:
        """Change what aliases stand for: all of it at once, or, if one change is refused, those before it, and raise why."""
        await self._carry_out(self._change_aliases(changes))

    async def _change_aliases(self, changes: Sequence[AliasChange]) -> None:
        try:
            await self._topology_log.change_aliases(changes)
        except (NotFound, AlreadyExists):
            if len(changes) > 1:
                with suppress(NotFound, AlreadyExists):
                    await self._change_aliases(changes[:-1])
            raise
        await self._caught_up()
        if not self._place.remote.is_alone:
            await self._peers_reached(self._topology_log.current.index)

    def _resolved(self, name: str) -> str:
        """Give the name of the collection that a name or an alias stands for; raise NotFound."""
        resolved = self._topology_log.current.collection_named(name)
        if resolved is None:
            raise NotFound(f"Collection `{name}` doesn't exist!")
        return resolved

    def _entry(self, name: str) -> CollectionEntry:
        entry = self._topology_log.current.collections.get(name)
        if entry is None:
            raise NotFound(f"Collection `{name}` doesn't exist!")
        return entry

    # Keeping step

    def _topology_changed(self) -> None:
        """Route by the newest topology at once; the rest takes its time."""
        if not self._closing:
            self._follow()
            self._in_background(self._keep_step())

    def _follow(self) -> None:
        self._steward.follow(self._topology_log.current.collections, are_current=self._has_current_views)
        self._news.tell()
        if not self._closing:
            self._mirrors.look()

    async def _keep_step(self) -> None:
        async with self._changing:
            if not self._closing and self._reached is not self._topology_log.current:
                await self._reconcile()

    async def _caught_up(self) -> None:
        """Return when what the topology says now has been carried out here."""
        async with self._changing:
            if self._closing:
                raise Unavailable("the node is being stopped")
            if self._reached is not self._topology_log.current:
                await self._reconcile()

    async def _wait_reached(self, index: int, seconds: float | None) -> None:
        """Return when what a topology of this index says has been carried out here; raise Unavailable after so long."""
        has_reached = lambda: self._reached is not None and self._reached.index >= index  # noqa: E731
        if not await self._news.until(has_reached, ACTIVATION_SECONDS if seconds is None else seconds):
            raise Unavailable(f"the topology of index {index} is not in force here yet")

    async def _reconcile(self) -> None:
        """Make what is on this node what the topology says."""
        topology = self._topology_log.current
        are_current = self._has_current_views
        await self._steward.reconcile(topology.collections, are_current=are_current)
        self._reached = topology
        self._follow()
        if (self._steward.may_open_later or self._steward.unadjusted) and self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(OPEN_RETRY_SECONDS, self._begin_retry)

    def _begin_retry(self) -> None:
        self._retry = None
        self._in_background(self._try_again())

    async def _try_again(self) -> None:
        async with self._changing:
            if not self._closing:
                await self._reconcile()

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
            _log.warning("the collections on this node could not be kept in order", exc_info=task.exception())


def _return_memory(path: Path) -> None:
    """Give back what reading all records has left behind."""
    memory.return_free_blocks()
    memory.return_pages_of(path)
