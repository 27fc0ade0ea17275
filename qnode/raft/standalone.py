"""The topology of a node that runs alone: a command is committed when the new topology is on disk.

One LMDB environment holds it, with a checksum in front. Commits are synchronous, and made in a thread, one after the other:
a command is applied to what the one before it has led to. Left out: everything that several
nodes would need to agree.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lmdb
import xxhash

from qnode.disk import is_full
from qnode.errors import Corruption, InternalError, OutOfSpace
from qnode.models.topology import Topology
from qnode.models.topology_commands import Command, Placement
from qnode.raft.topology import (
    Rejected,
    apply_command,
    standalone_placement,
    topology_from_bytes,
    topology_to_bytes,
)
from qnode.raft.topology_log import PROPOSAL_TIMEOUT_SECONDS, TopologyLog

MAP_BYTES = 1 << 30
LMDB_ENGINE = 0
"""The 0.9 engine (data format v1), for a new file; an old one's format decides by itself."""

_NAME = b"topology"
_WAY_OUT = "Restore the storage folder from a backup"


class StandaloneLog(TopologyLog):
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
        super().__init__(Topology() if value is None else self._opened(value))
        self._changing = asyncio.Lock()

    def _opened(self, value: bytes) -> Topology:
        if xxhash.xxh3_64_digest(value[8:]) != value[:8]:
            raise Corruption(self._file, "the checksum of the topology does not match", _WAY_OUT)
        return topology_from_bytes(value[8:])

    async def propose(self, command: Command, timeout_seconds: float = PROPOSAL_TIMEOUT_SECONDS) -> Rejected | None:
        """Apply a command; when it returns None the change is durable and `current` shows it.

        What was begun is finished if the caller is cancelled; nobody has to be waited for, so no time runs out.
        """
        return await asyncio.shield(asyncio.create_task(self._propose(command)))

    async def _propose(self, command: Command) -> Rejected | None:
        async with self._changing:
            topology, rejected = apply_command(self.current, command)
            if rejected is None:
                await asyncio.to_thread(self._write, topology_to_bytes(topology))
                self._became(topology)
            return rejected

    def _write(self, value: bytes) -> None:
        try:
            with self._env.begin(write=True) as txn:
                txn.put(_NAME, xxhash.xxh3_64_digest(value) + value)
        except lmdb.Error as error:
            if isinstance(error, lmdb.MapFullError) or is_full(self._file):
                raise OutOfSpace(f"no space left for {self._file}") from error
            raise InternalError(f"{self._file} could not be written: {error}") from error

    def _placement(self, config: Mapping[str, Any]) -> Placement:
        return standalone_placement(config)

    def close(self) -> None:
        self._env.close()
