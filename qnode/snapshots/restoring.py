"""Restoring: from an archive to a collection that serves what was in it.

    unpack  →  does it fit the collection that is there?  →  examine  →  make the collection, if there is none
    →  bring every copy to the node that is the primary of its shard
    →  all shards at once: a new epoch in which that replica alone is Active  →  the copy takes its place

Up to the last step nothing of a collection that is there has changed, and one that was made for it goes again if that fails. That
step is of single shards: each holds the one or the other, whatever happens, and who asked is told which. To ask again makes it
whole. The
other replicas of a shard are Dead in the new epoch, and come back like any that lost their files: with a copy of what was restored.
Shards of an archive and of a collection belong together by their order, within a shard key by the order there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from qnode.errors import BadInput, BadRequest, NotFound, QnodeError, TimedOut, Unavailable
from qnode.models.collection import CollectionConfig
from qnode.models.field_schema import FieldSchema
from qnode.models.topology import STANDALONE_PEER, CollectionEntry, KeyState, Shard
from qnode.models.topology_commands import CreateShardKey, ForcePrimary
from qnode.raft.topology_log import TopologyLog
from qnode.shards.collections import Collections
from qnode.shards.local_shard import LocalShard
from qnode.shards.news import News
from qnode.shards.placement import place
from qnode.snapshots import archive
from qnode.snapshots.examining import examine
from qnode.snapshots.fetching import Priority
from qnode.snapshots.fitting import INCOMPATIBLE, check_fits, check_vectors_fit, paired
from qnode.snapshots.manifest import Manifest
from qnode.snapshots.peers import Peers

ATTEMPTS: Final = 5
RETRY_SECONDS: Final = 1.0
"""A shard whose primary does not take a copy is tried again when the topology has changed, or after this."""

FOLLOW_SECONDS: Final = 10.0
"""So long a shard may take to hear of the epoch that was begun for it."""


class _Copy:
    """A copy for a shard; `at`: the peer that has it beside the shard, as `brought` unless that is this node."""

    def __init__(self, number: int, folder: Path, manifest: Manifest) -> None:
        self.number = number
        self.folder = folder
        self.manifest = manifest
        self.at: int | None = None
        self.brought: str | None = None


@dataclass(frozen=True, slots=True)
class _Unpacked:
    manifest: Manifest
    folder: Path


class Restoring:
    """Restores on this node, and has other nodes restore what they are primary of (`peers`)."""

    def __init__(self, collections: Collections, topology_log: TopologyLog, me: int, peers: Peers | None) -> None:
        self._collections = collections
        self._topology_log = topology_log
        self._me = me
        self._peers = peers
        self._news = News()
        self._locks: WeakValueDictionary[tuple[str, int], asyncio.Lock] = WeakValueDictionary()
        topology_log.subscribe(self._news.tell)

    async def restore_collection(self, name: str, file: Path, folder: Path, priority: Priority) -> None:
        """Restore an archive into a collection, which is made if there is none. `folder`: empty, on the disk of the shards.

        Raises BadInput for an archive that is damaged or does not fit, and nothing has changed.
        """
        unpacked = _Unpacked(await asyncio.to_thread(archive.unpack, file, folder), folder)
        manifest, entry = unpacked.manifest, self._topology_log.current.collections.get(name)
        if entry is not None:
            check_fits(manifest, entry)
        self._check_can_hold(manifest)
        params = CollectionConfig.from_json(manifest.config if entry is None else entry.config).index_params()
        await examine([folder / str(shard.number) for shard in manifest.shards], params)
        if entry is not None:
            await self._restore_shards(name, unpacked, priority)
            return
        await self._collections.create(name, CollectionConfig.from_json(manifest.config))
        try:
            await self._equip(name, manifest)
            await self._restore_shards(name, unpacked, Priority.SNAPSHOT)
        except BaseException:
            await asyncio.shield(self._collections.delete(name))
            raise

    async def restore_shard(self, name: str, number: int, file: Path, folder: Path, priority: Priority) -> None:
        """Restore the one shard of an archive into a shard of a collection that is there."""
        manifest = await asyncio.to_thread(archive.unpack, file, folder)
        entry = self._entry(name)
        if number not in entry.shards:
            raise NotFound(f"Shard {number} not found")
        if len(manifest.shards) != 1:
            raise BadInput(f"{INCOMPATIBLE}: it holds {len(manifest.shards)} shards instead of one")
        check_vectors_fit(manifest, entry)
        part = manifest.shards[0]
        params = CollectionConfig.from_json(entry.config).index_params()
        await examine([folder / str(part.number)], params)
        await self._put(name, [_Copy(number, folder / str(part.number), manifest)], priority)
        await self._add_fields(name, manifest.fields)
        await self._collections.wait_everywhere(name)

    async def restore_here(self, name: str, number: int, folder: Path) -> None:
        """Put a copy that may be trusted in the place of a shard of which this node is the primary; raise Unavailable if not."""
        async with self._locks.setdefault((name, number), asyncio.Lock()):
            shard = self._local(name, number)
            await shard.restore(folder, lambda: self._begin_epoch(name, number, shard))

    async def _begin_epoch(self, name: str, number: int, local: LocalShard) -> int:
        """Have this node's replica be the only Active one; give the epoch when the shard has heard of it."""
        known = self._shard(name, number)
        if known.primary != self._me:
            raise Unavailable(f"shard {number} of {name} has another primary by now")
        rejected = await self._topology_log.propose(ForcePrimary(name, number, self._me, known.epoch))
        if rejected is not None:
            raise Unavailable(f"shard {number} of {name} cannot be restored now: {rejected.error()}")
        epoch = known.epoch + 1

        def has_followed() -> bool:
            return local.view is not None and local.view.epoch >= epoch

        if not await self._news.until(has_followed, FOLLOW_SECONDS):
            raise TimedOut(f"shard {number} of {name} has not heard of its new epoch")
        return epoch

    async def _restore_shards(self, name: str, unpacked: _Unpacked, priority: Priority) -> None:
        manifest = unpacked.manifest
        numbers = paired(manifest, self._entry(name))
        copies = [
            _Copy(numbers[shard.number], unpacked.folder / str(shard.number), replace(manifest, shards=(shard,)))
            for shard in manifest.shards
        ]
        await self._put(name, copies, priority)
        await self._add_fields(name, manifest.fields)
        await self._collections.wait_everywhere(name)

    async def _put(self, name: str, copies: list[_Copy], priority: Priority) -> None:
        """Put copies in the places of shards: when all are where they are needed, and not before."""
        try:
            for copy in copies:
                await self._attempted(name, copy, priority, self._bring)
            switching = [self._attempted(name, copy, priority, self._switch) for copy in copies]
            outcomes = await asyncio.gather(*switching, return_exceptions=True)
        finally:
            for copy in copies:
                await self._forget(copy)
        faults = {copy.number: each for copy, each in zip(copies, outcomes, strict=True) if each is not None}
        if not faults:
            return
        first = next(iter(faults.values()))
        if len(faults) == len(copies) or not isinstance(first, QnodeError):
            raise first
        done = ", ".join(str(copy.number) for copy in copies if copy.number not in faults)
        left = ", ".join(map(str, faults))
        raise Unavailable(
            f"shards {done} of {name} hold the snapshot, shards {left} what they held before: {first}"
        ) from first

    async def _attempted(
        self, name: str, copy: _Copy, priority: Priority, step: Callable[[str, _Copy], Awaitable[None]]
    ) -> None:
        """Do a step for a shard that is to be restored; where its primary changes meanwhile, again."""
        for attempt in range(1, ATTEMPTS + 1):
            mark = self._news.mark()
            if priority is Priority.REPLICA and len(self._shard(name, copy.number).active()) > 1:
                return  # what the others hold counts, and all hold the same
            try:
                await step(name, copy)
                return
            except Unavailable:
                if attempt == ATTEMPTS:
                    raise
                await self._news.wait(mark, RETRY_SECONDS)

    async def _bring(self, name: str, copy: _Copy) -> None:
        """Have a copy on the node that is the primary of its shard."""
        primary = self._shard(name, copy.number).primary
        if primary is None:
            raise Unavailable(f"shard {copy.number} of {name} has no active replica")
        if copy.at == primary:
            return
        await self._forget(copy)
        if primary != self._me:
            if self._peers is None:
                raise Unavailable(f"shard {copy.number} of {name} is on peer {primary}, which cannot be reached")
            copy.brought = await self._peers.bring(primary, copy.folder, copy.manifest)
        copy.at = primary

    async def _switch(self, name: str, copy: _Copy) -> None:
        await self._bring(name, copy)
        if copy.brought is None:
            await self.restore_here(name, copy.number, copy.folder)
            return
        assert copy.at is not None
        assert self._peers is not None
        peer, brought, copy.at, copy.brought = copy.at, copy.brought, None, None
        await self._peers.switch(peer, brought, name, copy.number)

    async def _forget(self, copy: _Copy) -> None:
        if self._peers is not None and copy.at is not None and copy.brought is not None:
            with suppress(QnodeError):  # it forgets by itself in the end
                await self._peers.forget(copy.at, copy.brought)
        copy.at = copy.brought = None

    async def _equip(self, name: str, manifest: Manifest) -> None:
        """Give an empty collection the shard keys and payload indexes of the one that was copied."""
        for key in manifest.keys:
            factor = key.replication_factor or int(manifest.config["params"].get("replication_factor") or 1)
            placement = place(self._topology_log.current, len(key.shards), factor)
            command = CreateShardKey(name, key.key, placement, key.replication_factor, (), KeyState.ACTIVE)
            rejected = await self._topology_log.propose(command)
            if rejected is not None:
                raise rejected.error()
        await self._add_fields(name, manifest.fields)
        await self._collections.wait_everywhere(name)

    async def _add_fields(self, name: str, fields: Mapping[str, object]) -> None:
        """Have the payload indexes of the archive, beside those that there are."""
        there = self._entry(name).fields
        for path, schema in fields.items():
            if path not in there:
                await self._collections.create_field_index(name, path, FieldSchema.from_json(schema), False)

    def _check_can_hold(self, manifest: Manifest) -> None:
        if manifest.is_custom and self._me == STANDALONE_PEER:
            raise BadRequest("a collection with shard keys can be restored in a cluster only")

    def _entry(self, name: str) -> CollectionEntry:
        entry = self._topology_log.current.collections.get(name)
        if entry is None:
            raise NotFound(f"Collection `{name}` doesn't exist!")
        return entry

    def _shard(self, name: str, number: int) -> Shard:
        return self._entry(name).shards[number]

    def _local(self, name: str, number: int) -> LocalShard:
        shard = self._collections.get(name).shards.get(number)
        if shard is None:
            raise Unavailable(f"shard {number} of {name} is not open here")
        return shard
