"""All that a node does with snapshots, for its clients and at its start.

A snapshot of a collection holds the shards that are Active on this node; one of the **whole cluster** holds all of them, the
others' copied by peers that have them, each at one position of its log. Both are the same kind of archive, and both are restored
the same way: through any node, onto any number of them.

One snapshot of a collection is made, or restored, at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from qnode.channel import Channel
from qnode.errors import BadInput, CannotStart, NeedsCluster, NotFound, Unavailable
from qnode.models import reading
from qnode.models.collection_sections import collection_name_faults
from qnode.models.topology import STANDALONE_PEER, CollectionEntry
from qnode.raft.topology_log import TopologyLog
from qnode.shards.collection import Collection
from qnode.shards.collections import Collections
from qnode.shards.copying import to_its_end
from qnode.snapshots import storage_archive
from qnode.snapshots.counts import SnapshotCounts
from qnode.snapshots.fetching import Location, Priority, fetch, sha256_of
from qnode.snapshots.packing import First, Member, pack, pieces, size_of
from qnode.snapshots.peers import Peers
from qnode.snapshots.restoring import Restoring
from qnode.snapshots.shelf import (
    Shelf,
    SnapshotDescription,
    remove_parts,
    shelf_of_collection,
    shelf_of_shard,
    shelf_of_storage,
)
from qnode.snapshots.staging import Staging
from qnode.snapshots.taking import Taken, contents, taken_as_copied, taken_as_held

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class SnapshotSettings:
    """folder: where finished snapshots stand. staging: emptied at start; on the file system of the collections."""

    folder: Path
    staging: Path
    allows_remote: bool = True


class Snapshots:
    """Made when the collections are open; `close` before they are closed."""

    def __init__(
        self,
        settings: SnapshotSettings,
        collections: Collections,
        topology_log: TopologyLog,
        *,
        me: int = STANDALONE_PEER,
        channel: Channel | None = None,
    ) -> None:
        """Take the topics of snapshots of a channel. Blocks for a moment."""
        self._settings = settings
        self._collections = collections
        self._topology_log = topology_log
        self._me = me
        self._channel = channel
        self.counts = SnapshotCounts()
        self._staging = Staging(settings.staging)
        remove_parts(settings.folder, me)
        self._peers = None if channel is None else Peers(channel, self._staging, collections.get)
        self._restoring = Restoring(collections, topology_log, me, self._peers)
        if self._peers is not None:
            self._peers.answer(self._restoring.restore_here)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._background: set[asyncio.Task[Any]] = set()

    async def close(self) -> None:
        """End what is under way; what was begun and cannot be left half-way is finished."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    def begin(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """Do something that goes on when the client that asked for it does not wait."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    # Where they stand

    def of_collection(self, name: str) -> Shelf:
        """The snapshots of a collection; raise NotFound if there is none of this name."""
        return shelf_of_collection(self._settings.folder, self._resolved(name), self._me)

    def of_shard(self, name: str, number: int) -> Shelf:
        """The snapshots of a shard; raise NotFound."""
        name = self._resolved(name)
        self._check_shard(name, number)
        return shelf_of_shard(self._settings.folder, name, number, self._me)

    def of_storage(self) -> Shelf:
        """The snapshots of everything."""
        return shelf_of_storage(self._settings.folder, self._me)

    # Making

    async def create(self, name: str, *, of_cluster: bool = False) -> SnapshotDescription:
        """Make a snapshot of a collection: of what is on this node, or of all of it."""
        name = self._resolved(name)
        if of_cluster and self._peers is None:
            raise NeedsCluster
        async with self._busy(name):
            return await self._create(name, self.of_collection(name), await self._holders(name, of_cluster))

    async def create_of_shard(self, name: str, number: int) -> SnapshotDescription:
        """Make a snapshot of a shard of this node."""
        shelf, name = self.of_shard(name, number), self._resolved(name)
        async with self._busy(name):
            return await self._create(name, shelf, {self._me: [number]})

    async def create_of_storage(self) -> SnapshotDescription:
        """Make a snapshot of all collections, as far as they are on this node."""
        async with AsyncExitStack() as opened:
            members, names = [], await self._collections.names()
            for number, name in enumerate(names):
                await opened.enter_async_context(self._busy(name))
                inner = await self._opened(name, await self._holders(name, False), opened)
                members.append(storage_archive.member_of(number, size_of(*inner), partial(pieces, *inner)))
            first = storage_archive.first_of(names, self._topology_log.current.aliases)
            return await self._kept(self.of_storage(), pieces(first, members))

    @asynccontextmanager
    async def stream_of_shard(self, name: str, number: int) -> AsyncIterator[tuple[int, Iterator[bytes]]]:
        """Give an archive of a shard as it is now, how long it is and its bytes, for as long as it is read."""
        self.of_shard(name, number)
        collection = self._collections.get(self._resolved(name))
        async with self._staging.place() as place:
            content = contents(collection, await taken_as_copied(collection, [number], place))
            yield size_of(*content), pieces(*content)

    async def _create(self, name: str, shelf: Shelf, holders: Mapping[int, list[int]]) -> SnapshotDescription:
        async with AsyncExitStack() as opened:
            opened.enter_context(self.counts.creating(name))
            return await self._kept(shelf, pieces(*await self._opened(name, holders, opened)))

    async def _kept(self, shelf: Shelf, content: Iterator[bytes]) -> SnapshotDescription:
        """Write a snapshot, and put it where it will be found."""
        part = await asyncio.to_thread(shelf.new_part)
        try:
            checksum = await to_its_end(asyncio.to_thread(pack, part, content))
            return await to_its_end(asyncio.to_thread(shelf.finish, part, checksum))
        finally:
            await asyncio.to_thread(part.unlink, True)

    async def _opened(
        self, name: str, holders: Mapping[int, list[int]], opened: AsyncExitStack
    ) -> tuple[First, list[Member]]:
        """Have shards of a collection taken by the peers that hold them; give what is in their archive, until `opened` ends."""
        collection = self._collections.get(name)
        place = await opened.enter_async_context(self._staging.place())
        taking = [self._take(peer, collection, numbers, place, opened) for peer, numbers in holders.items()]
        outcomes = await asyncio.gather(*taking, return_exceptions=True)
        taken: list[Taken] = []
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
            taken += outcome
        return contents(collection, taken)

    async def _take(
        self, peer: int, collection: Collection, numbers: list[int], place: Path, opened: AsyncExitStack
    ) -> list[Taken]:
        if peer != self._me:
            assert self._peers is not None
            return await self._peers.take(peer, collection.name, numbers, place)
        return await opened.enter_async_context(taken_as_held(collection, numbers))

    async def _holders(self, name: str, of_cluster: bool) -> dict[int, list[int]]:
        """Say who copies which shards: this node what it can, its peers the rest, if that is wanted."""
        collection = self._collections.get(name)
        entry = collection.entry
        here = list(collection.can_answer(tuple(sorted(entry.shards))))
        holders = {self._me: here} if here else {}
        if not of_cluster:
            if not here and entry.shards:
                raise Unavailable(f"no shard of {name} is in sync on this node")
            return holders
        for number in sorted(entry.shards.keys() - set(here)):
            holders.setdefault(self._holder_of(name, entry, number), []).append(number)
        return holders

    def _holder_of(self, name: str, entry: CollectionEntry, number: int) -> int:
        assert self._channel is not None
        shard, channel = entry.shards[number], self._channel
        reached = [peer for peer in shard.active() if channel.is_connected(peer)]
        if not reached:
            raise Unavailable(f"no replica of shard {number} of {name} that is in sync can be reached")
        return shard.primary if shard.primary in reached else reached[0]

    # Restoring

    @asynccontextmanager
    async def arriving(self) -> AsyncIterator[Path]:
        """Name a file that a snapshot may be written to; it is removed at the end."""
        async with self._staging.place() as place:
            yield place / "archive"

    async def recover(
        self, name: str, location: Location, priority: Priority, checksum: str | None, shard: int | None = None
    ) -> None:
        """Restore a collection, or a shard of one, from a snapshot that is fetched first; raise what is wrong with it."""
        self._check_target(name, shard)
        async with self.arriving() as target:
            root = self._settings.folder
            file = await fetch(location, root, target, allows_remote=self._settings.allows_remote)
            if checksum is not None and (actual := await asyncio.to_thread(sha256_of, file)) != checksum.lower():
                raise BadInput(f"Snapshot checksum mismatch: expected {checksum}, got {actual}")
            await self.restore(name, file, priority, shard)

    async def restore(self, name: str, file: Path, priority: Priority, shard: int | None = None) -> None:
        """Restore a collection, or a shard of one, from a file."""
        self._check_target(name, shard)
        name = self._topology_log.current.collection_named(name) or name
        async with self._busy(name), self._staging.place() as folder:
            with self.counts.recovering(name):
                if shard is None:
                    await self._restoring.restore_collection(name, file, folder, priority)
                else:
                    await self._restoring.restore_shard(name, shard, file, folder, priority)

    async def restore_storage(self, file: Path, *, replaces: bool) -> None:
        """Restore all collections, and aliases, of a snapshot of the whole storage; none of them if one may not be replaced."""
        async with self._staging.place() as place:
            found = await asyncio.to_thread(storage_archive.unpack, file, place)
            for name in found.files:
                self.check_may_replace(name, replaces=replaces)
            for name, path in found.files.items():
                await self.restore(name, path, Priority.SNAPSHOT)
            await self._topology_log.change_aliases(found.aliases)

    def check_may_replace(self, name: str, *, replaces: bool) -> None:
        """Raise CannotStart for a collection that is there already, unless it is to be replaced."""
        if not replaces and self._topology_log.current.collection_named(name) is not None:
            raise CannotStart(f"collection {name} exists already; --force-snapshot replaces what it holds")

    # Finding

    def _busy(self, name: str) -> asyncio.Lock:
        """The lock of what is made or restored of a collection."""
        return self._locks.setdefault(name, asyncio.Lock())

    def _resolved(self, name: str) -> str:
        resolved = self._topology_log.current.collection_named(name)
        if resolved is None:
            raise NotFound(f"Collection `{name}` doesn't exist!")
        return resolved

    def _check_target(self, name: str, shard: int | None) -> None:
        """Raise NotFound for a shard that is not there, ValidationFailed for a name that no collection can have."""
        if shard is not None:
            self._check_shard(self._resolved(name), shard)
        elif self._topology_log.current.collection_named(name) is None:
            reading.raise_faults(collection_name_faults(name), "path parameters")

    def _check_shard(self, name: str, number: int) -> None:
        if number not in self._topology_log.current.collections[name].shards:
            raise NotFound(f"Shard {number} not found")
