"""The topology of a node that runs alone: a command is committed when the new topology is on disk.

One LMDB environment holds it, with a checksum in front. Commits are synchronous, and made in a thread, one after the other:
a command is applied to what the one before it has led to. Left out: everything that several
nodes would need to agree.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lmdb
import xxhash

from qnode.disk import is_full
from qnode.errors import Corruption, InternalError, OutOfSpace
from qnode.models.topology import CollectionEntry, Topology
from qnode.models.topology_commands import (
    ChangeAliases,
    Command,
    CreateCollection,
    CreateFieldIndex,
    DeleteCollection,
    DropAlias,
    DropFieldIndex,
    RenameAlias,
    SetAlias,
    UpdateCollection,
)
from qnode.raft.topology import (
    Reason,
    Rejected,
    apply_command,
    standalone_placement,
    topology_from_bytes,
    topology_to_bytes,
)

MAP_BYTES = 1 << 30
LMDB_ENGINE = 0
"""The 0.9 engine (data format v1), for a new file; an old one's format decides by itself."""

_NAME = b"topology"
_WAY_OUT = "Restore the storage folder from a backup"


class StandaloneLog:
    """Where the topology is kept; one owner process."""

    def __init__(self, path: Path) -> None:
        self._file = path / "data.mdb"
        try:
            engine: dict[str, Any] = {} if self._file.exists() else {"lib_version": LMDB_ENGINE}
            self._env = lmdb.open(str(path), map_size=MAP_BYTES, **engine)
            with self._env.begin() as txn:
                value = txn.get(_NAME)
        except (lmdb.CorruptedError, lmdb.InvalidError, lmdb.VersionMismatchError) as error:
            raise Corruption(self._file, str(error), _WAY_OUT) from error
        self.current = Topology() if value is None else self._opened(value)
        self._changing = asyncio.Lock()

    def _opened(self, value: bytes) -> Topology:
        if xxhash.xxh3_64_digest(value[8:]) != value[:8]:
            raise Corruption(self._file, "the checksum of the topology does not match", _WAY_OUT)
        return topology_from_bytes(value[8:])

    async def propose(self, command: Command) -> Rejected | None:
        """Apply a command; when it returns None the change is durable and `current` shows it.

        What was begun is finished if the caller is cancelled.
        """
        return await asyncio.shield(asyncio.create_task(self._propose(command)))

    async def _propose(self, command: Command) -> Rejected | None:
        async with self._changing:
            topology, rejected = apply_command(self.current, command)
            if rejected is None:
                await asyncio.to_thread(self._write, topology_to_bytes(topology))
                self.current = topology
            return rejected

    def _write(self, value: bytes) -> None:
        try:
            with self._env.begin(write=True) as txn:
                txn.put(_NAME, xxhash.xxh3_64_digest(value) + value)
        except lmdb.Error as error:
            if isinstance(error, lmdb.MapFullError) or is_full(self._file):
                raise OutOfSpace(f"no space left for {self._file}") from error
            raise InternalError(f"{self._file} could not be written: {error}") from error

    def records(self) -> Mapping[str, CollectionEntry]:
        """The collections that there are."""
        return self.current.collections

    def aliases(self) -> Mapping[str, str]:
        """The aliases that there are, each with the collection that it stands for."""
        return self.current.aliases

    async def create(self, name: str, config: Mapping[str, Any]) -> bool:
        """Make a collection; False if there is one of this name, BadRequest if there is such an alias."""
        return await self._succeeded(CreateCollection(name, config, standalone_placement(config)), Reason.EXISTS)

    async def update(self, name: str, expected: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
        """Replace settings; False if they are no longer `expected`, or the collection is gone."""
        return await self._succeeded(UpdateCollection(name, expected, config), Reason.OUTDATED, Reason.MISSING)

    async def delete(self, name: str) -> bool:
        """Remove a collection; False if there is none."""
        return await self._succeeded(DeleteCollection(name), Reason.MISSING)

    async def set_field(self, name: str, field: str, schema: Any) -> bool:
        """Set the schema of a payload index, or take it away (None); False if there is no such collection."""
        command = DropFieldIndex(name, field) if schema is None else CreateFieldIndex(name, field, schema)
        return await self._succeeded(command, Reason.MISSING)

    async def change_aliases(self, changes: Sequence[SetAlias | RenameAlias | DropAlias]) -> None:
        """Make all changes in order or none; raise NotFound or AlreadyExists."""
        await self._succeeded(ChangeAliases(tuple(changes)))

    async def _succeeded(self, command: Command, *expected: Reason) -> bool:
        """Propose a command; False if it is rejected for an expected reason, else raise what a client is told."""
        rejected = await self.propose(command)
        if rejected is not None and rejected.reason not in expected:
            raise rejected.error()
        return rejected is None

    def close(self) -> None:
        self._env.close()
