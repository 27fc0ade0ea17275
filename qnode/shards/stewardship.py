"""What is on this node of the collections: opening, adjusting and removing it, as the topology says.

The steward decides nothing about when: `Collections` calls `reconcile` one at a time, and `follow` at any moment, also while
`reconcile` waits for a disk. Files are removed only by a topology that is current. A shard that is Active here and whose files
are lost is never begun anew by itself: it counts as damaged.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from qnode.disk import remove_trash, remove_tree
from qnode.errors import Corruption, InternalError, QnodeError
from qnode.index import BuilderPool
from qnode.index.store import RESTORE
from qnode.models.collection import CollectionConfig
from qnode.models.field_schema import FieldSchema
from qnode.models.topology import CollectionEntry, ReplicaState, Shard
from qnode.shards.collection import Collection
from qnode.shards.held import HeldShards
from qnode.shards.local_shard import LocalShard
from qnode.shards.opening import missing_part, set_aside
from qnode.shards.place import Place
from qnode.shards.replication import view_of
from qnode.shards.surroundings import Surroundings

if TYPE_CHECKING:
    from qnode.shards.collections import CollectionsSettings

_log = logging.getLogger(__name__)

Entries = Mapping[str, CollectionEntry]


class Hub(Protocol):
    """Where peers reach the shards of this node; a shard is named by its collection's folder and its number."""

    def surroundings(self, folder: str, number: int) -> Surroundings: ...

    def add(self, folder: str, number: int, shard: LocalShard) -> None: ...

    def followed(self, folder: str, number: int) -> None:
        """Hear that the shard was told another view."""

    def remove(self, folder: str, number: int) -> None: ...


class Steward:
    """The collections of this node as they are open now, and why others are not.

    open: by name. unadjusted: what kept a collection from taking over its settings, at the last try.
    """

    def __init__(
        self,
        settings: CollectionsSettings,
        place: Place,
        hub: Hub | None,
        pool: BuilderPool,
        in_background: Callable[[Coroutine[Any, Any, Any]], None],
    ) -> None:
        self.open: dict[str, Collection] = {}
        self.unadjusted: dict[str, QnodeError] = {}
        self._settings = settings
        self._place = place
        self._hub = hub
        self._held = HeldShards(settings.path)
        self._pool = pool
        self._in_background = in_background
        self._by_folder: dict[str, Collection] = {}
        self._newest: Entries = {}
        self._told: dict[tuple[str, int], tuple[int, int]] = {}
        self._damaged: dict[str, tuple[str, QnodeError]] = {}
        self._unopened: dict[tuple[str, int], QnodeError] = {}
        self._carried_out: dict[str, CollectionEntry] = {}  # what need not be looked at again before it changes

    def find(self, folder: str) -> Collection | None:
        """Give the open collection of a folder."""
        return self._by_folder.get(folder)

    def knows(self, name: str) -> bool:
        """Tell whether a collection is open, or could not be opened."""
        return name in self.open or name in self._damaged

    def fault_of(self, name: str) -> QnodeError | None:
        """Tell why a collection is not open, if it could not be opened."""
        damaged = self._damaged.get(name)
        return None if damaged is None else damaged[1]

    @property
    def has_faults(self) -> bool:
        return bool(self._damaged or self._unopened)

    @property
    def may_open_later(self) -> bool:
        """Whether something could not be opened for a reason that may pass."""
        faults = [fault for _, fault in self._damaged.values()] + list(self._unopened.values())
        return any(not isinstance(fault, Corruption) for fault in faults)

    def follow(self, entries: Entries, *, are_current: bool) -> None:
        """Let every open collection route by its entry, and tell its shards what has changed about them."""
        self._newest = entries
        for name, collection in self.open.items():
            entry = entries.get(name)
            if entry is None or entry.folder != collection.folder:
                continue
            if entry is not collection.entry or collection.is_current != are_current:
                collection.follow(entry, is_current=are_current)
                if are_current:
                    self._tell(collection)

    def _tell(self, collection: Collection) -> None:
        for number, shard in collection.shards.items():
            said = collection.entry.shards.get(number)
            address = (collection.folder, number)
            if said is None or self._place.me not in said.replicas:
                continue
            view = view_of(said, write_floor(collection.entry, number))
            if self._told.get(address) != (view.revision, view.floor):
                self._told[address] = (view.revision, view.floor)
                shard.follow(view)
                if self._hub is not None:
                    self._hub.followed(*address)

    async def reconcile(self, entries: Entries, *, are_current: bool) -> None:
        """Make what is on this node what the entries say; what fails is noted, and keeps nothing else from being done.

        A collection whose turn comes late is opened and adjusted by its newest entry: reads rely on it that what is
        followed is all that this node has heard.
        """
        self._newest = entries
        if are_current:
            self._close_removed(entries)
        self.unadjusted.clear()
        for name in entries:
            entry = self._newest.get(name)
            if entry is None or entry.folder != entries[name].folder or self._carried_out.get(name) is entry:
                continue
            if name not in self.open and not isinstance(self.fault_of(name), Corruption):
                await self._open_or_note(name, entry, are_current=are_current)
            collection = self.open.get(name)
            if collection is None or collection.folder != entry.folder:
                continue
            try:
                if are_current:
                    await self._drop_shards(collection)
                if not self._place.remote.is_alone:
                    await self._open_missing(collection, entry)
                if are_current:
                    await _adjust(collection, entry)
                    if not any(folder == entry.folder for folder, _ in self._unopened):
                        self._carried_out[name] = entry
            except QnodeError as error:  # tried again later; reads and the others must not suffer
                _log.error("collection %s could not take over its settings: %s", name, error)
                self.unadjusted[name] = error

    def _close_removed(self, entries: Entries) -> None:
        for name, collection in list(self.open.items()):
            entry = entries.get(name)
            if entry is None or entry.folder != collection.folder:
                del self.open[name], self._by_folder[collection.folder]
                self._carried_out.pop(name, None)
                collection.is_removed = True
                self._place.freshness.forget(collection.folder)
                for number in collection.shards:
                    self._forget(collection.folder, number)
                self._in_background(self._remove(collection))
        for name, (folder, _) in list(self._damaged.items()):
            if name not in entries or entries[name].folder != folder:
                del self._damaged[name]
                self._in_background(asyncio.to_thread(self._remove_files, folder))
        folders = {entry.folder for entry in entries.values()}
        for address in [address for address in self._unopened if address[0] not in folders]:
            del self._unopened[address]

    async def _open_or_note(self, name: str, entry: CollectionEntry, *, are_current: bool) -> None:
        """Open a collection; what keeps it from being served is told to whoever asks for it, and to nobody else."""
        folder = self._settings.path / entry.folder
        collection = Collection(name, entry, self._place, is_current=are_current)
        try:
            if self._place.remote.is_alone:
                await self._open_all(collection, entry)
            self._damaged.pop(name, None)
        except QnodeError as error:
            _log.error("collection %s cannot be served: %s", name, error)
            self._damaged[name] = entry.folder, error
            return
        except Exception as error:
            _log.exception("collection %s cannot be served", name)
            fault = InternalError(f"collection `{name}` in {folder} could not be opened: {error!r}")
            self._damaged[name] = entry.folder, fault
            return
        self.open[name] = self._by_folder[entry.folder] = collection
        collection.follow(entry, is_current=are_current)
        if are_current:
            self._tell(collection)

    async def _open_all(self, collection: Collection, entry: CollectionEntry) -> None:
        """Open all shards of a collection or none: a node that runs alone has nobody else to ask."""
        try:
            for number in entry.shards:
                if fault := await self._loss(entry, number):
                    raise fault
                collection.shards[number] = await self._open_shard(collection, number)
        except BaseException:
            await collection.close()
            raise

    async def _open_missing(self, collection: Collection, entry: CollectionEntry) -> None:
        """Open the shards that this node holds a replica of; what keeps one from being opened concerns that one alone."""
        for number, shard in entry.shards.items():
            address = (entry.folder, number)
            if self._place.me not in shard.replicas or number in collection.shards:
                continue
            path = self._settings.path / entry.folder / str(number)
            if address not in self._unopened and (loss := await self._loss(entry, number)):
                _log.error("shard %d of collection %s cannot be served here: %s", number, collection.name, loss)
                self._unopened[address] = loss
            if isinstance(self._unopened.get(address), Corruption):
                if not self._can_be_copied(collection, shard):
                    continue
                _log.warning("shard %d of collection %s is damaged here, and is copied anew", number, collection.name)
                await asyncio.to_thread(set_aside, path)
            if not collection.is_current and not path.exists():
                continue
            try:
                opened = await self._open_shard(collection, number)
            except Exception as error:
                _log.exception("shard %d of collection %s cannot be served here", number, collection.name)
                text = f"shard {number} in {entry.folder} could not be opened: {error!r}"
                self._unopened[address] = error if isinstance(error, QnodeError) else InternalError(text)
                continue
            self._unopened.pop(address, None)
            collection.shards[number] = opened
            if self._hub is not None:
                self._hub.add(entry.folder, number, opened)
            collection.follow(collection.entry, is_current=collection.is_current)
            if collection.is_current:
                self._tell(collection)

    async def _loss(self, entry: CollectionEntry, number: int) -> Corruption | None:
        """Say that the files of a shard are gone which this node counts as Active with."""
        is_active = entry.shards[number].replicas.get(self._place.me) is ReplicaState.ACTIVE
        if not is_active or not await asyncio.to_thread(self._held.is_lost, entry.folder, number):
            return None
        return Corruption(missing_part(self._settings.path / entry.folder / str(number)), "it is missing", RESTORE)

    def _can_be_copied(self, collection: Collection, shard: Shard) -> bool:
        """Tell whether others hold all that a damaged replica here held, as far as it counts."""
        return collection.is_current and any(peer != self._place.me for peer in shard.active())

    async def _open_shard(self, collection: Collection, number: int) -> LocalShard:
        path = self._settings.path / collection.folder / str(number)
        params, settings = collection.config.index_params(), self._settings.shard
        if self._hub is None:
            shard = await asyncio.to_thread(LocalShard.open, path, params, settings, self._pool)
        else:
            surroundings = self._hub.surroundings(collection.folder, number)
            me = self._place.me
            shard = await asyncio.to_thread(
                lambda: LocalShard.open(path, params, settings, self._pool, me=me, surroundings=surroundings)
            )
        try:
            await asyncio.to_thread(self._held.opened, collection.folder, number)
        except BaseException:
            await shard.close()
            raise
        shard.start()
        return shard

    def _is_held(self, collection: Collection, number: int) -> bool:
        """Tell whether this node shall hold a shard, by the newest entry that its shards were told of.

        One that is reconciled may be older: to remove by it a replica that has come back since would take away what that
        replica has already answered for.
        """
        shard = collection.entry.shards.get(number)
        return shard is not None and self._place.me in shard.replicas

    async def _drop_shards(self, collection: Collection) -> None:
        """Close the shards that this node shall not hold any more. Their files are gone under their name when this returns."""
        for address in [at for at in self._unopened if at[0] == collection.folder]:
            if not self._is_held(collection, address[1]):
                del self._unopened[address]
                await asyncio.to_thread(self._remove_files, collection.folder, address[1])
        for number in list(collection.shards):
            if not self._is_held(collection, number):
                shard = collection.shards.pop(number)
                self._forget(collection.folder, number)
                collection.follow(collection.entry, is_current=collection.is_current)
                with contextlib.suppress(QnodeError):
                    await shard.close()
                await asyncio.to_thread(self._remove_files, collection.folder, number)

    def _forget(self, folder: str, number: int) -> None:
        self._told.pop((folder, number), None)
        if self._hub is not None:
            self._hub.remove(folder, number)

    async def _remove(self, collection: Collection) -> None:
        with contextlib.suppress(QnodeError):
            await collection.close()
        await asyncio.to_thread(self._remove_files, collection.folder)

    def _remove_files(self, folder: str, number: int | None = None) -> None:
        """Remove what is here of a shard, or of a collection; blocks."""
        path = self._settings.path / folder
        remove_tree(path if number is None else path / str(number))
        self._held.removed(folder, number)

    async def remove_strays(self, entries: Entries) -> None:
        """Remove what is left of shards that this node shall not hold, and in the background what is left of collections."""
        known = {entry.folder: entry for entry in entries.values()}
        for folder in list(self._settings.path.iterdir()):
            entry = known.get(folder.name)
            if entry is None:
                self._in_background(asyncio.to_thread(self._remove_files, folder.name))
            elif not self._place.remote.is_alone:
                await asyncio.to_thread(remove_trash, folder)
                for stray in _strays(folder, entry, self._place.me):
                    try:
                        await asyncio.to_thread(remove_tree, stray)
                        self._held.removed(entry.folder, int(stray.name.partition(".")[0]))
                    except QnodeError as error:  # it is in nobody's way
                        _log.warning("what is left of a shard was not removed: %s", error)

    async def close(self) -> None:
        """Close all shards."""
        collections = list(self.open.values())
        for collection in collections:
            for number in collection.shards:
                self._forget(collection.folder, number)
        for fault in await asyncio.gather(*(collection.close() for collection in collections), return_exceptions=True):
            if fault is not None:
                _log.error("a collection could not be closed in order: %s", fault)
        self.open.clear()
        self._by_folder.clear()
        self._carried_out.clear()


def write_floor(entry: CollectionEntry, number: int) -> int:
    """Tell how many replicas must be in sync for a shard to take writes: what was asked for, or a majority of three or more.

    Never more than there are replicas of the shard, for then it could not be written at all.
    """
    replicas = entry.replication_factor_of(number)
    majority = replicas // 2 + 1 if replicas >= 3 else 1
    return min(max(entry.write_consistency_factor, majority), len(entry.shards[number].replicas))


def _strays(folder: Path, entry: CollectionEntry, me: int) -> list[Path]:
    """List what belongs to shards that are not held here: their folders, and what copies of them have left beside those."""
    held = {str(number) for number, shard in entry.shards.items() if me in shard.replicas}
    numbers = ((path, path.name.partition(".")[0]) for path in folder.iterdir())
    return [path for path, number in numbers if number.isdigit() and number not in held]


async def _adjust(collection: Collection, entry: CollectionEntry) -> None:
    """Bring settings and payload indexes of an open collection up to date."""
    if collection.config.to_json() != entry.config:
        config = CollectionConfig.from_json(entry.config)
        for shard in collection.shards.values():
            await shard.configure(config.index_params())
        collection.reconfigure(config)
    wanted = {path: FieldSchema.from_json(schema) for path, schema in entry.fields.items()}
    for shard in collection.shards.values():
        there = shard.index.fields.schemas
        for path, schema in wanted.items():
            if there.get(path) != schema:
                await shard.create_field_index(path, schema)
        for path in [path for path in there if path not in wanted]:
            await shard.drop_field_index(path)
    collection.index_fields(wanted)
