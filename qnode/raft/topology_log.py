"""What every log of the topology offers, whoever decides: the newest topology, changes of it, and word of each change.

A method that changes something returns when the change is applied here: `current` shows it, and subscribers were told, or
are told before the caller goes on. Subscribers are called on the event loop, and may hear of several changes at once.

Left out: how a command is committed, and where new shards are put.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from qnode.models.topology import Topology
from qnode.models.topology_commands import (
    AliasChange,
    ChangeAliases,
    Command,
    CreateCollection,
    CreateFieldIndex,
    DeleteCollection,
    DropFieldIndex,
    Placement,
    UpdateCollection,
)
from qnode.raft.topology import Reason, Rejected

PROPOSAL_TIMEOUT_SECONDS: Final = 10.0
"""How long a change may take of which nobody has said it."""

_log = logging.getLogger(__name__)


class TopologyLog(ABC):
    """The order of all commands, as one node sees it."""

    def __init__(self, current: Topology) -> None:
        self.current = current
        self._subscribers: list[Callable[[], None]] = []
        self._telling: asyncio.Handle | None = None

    @abstractmethod
    async def propose(self, command: Command, timeout_seconds: float = PROPOSAL_TIMEOUT_SECONDS) -> Rejected | None:
        """Ask for a command; None: it is applied here, else why it changed nothing."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what is stored; nothing is proposed any more."""

    @abstractmethod
    def _placement(self, config: Mapping[str, Any]) -> Placement:
        """Choose who holds the shards of a collection with these settings."""

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Let `changed` be called after each change of `current`, for as long as the log lives."""
        self._subscribers.append(changed)

    async def create(
        self, name: str, config: Mapping[str, Any], timeout_seconds: float = PROPOSAL_TIMEOUT_SECONDS
    ) -> bool:
        """Make a collection; False if there is one of this name, BadRequest if there is such an alias."""
        command = CreateCollection(name, config, self._placement(config))
        return await self._succeeded(command, timeout_seconds, Reason.EXISTS)

    async def update(
        self,
        name: str,
        expected: Mapping[str, Any],
        config: Mapping[str, Any],
        timeout_seconds: float = PROPOSAL_TIMEOUT_SECONDS,
    ) -> bool:
        """Replace settings; False if they are no longer `expected`, or the collection is gone."""
        command = UpdateCollection(name, expected, config)
        return await self._succeeded(command, timeout_seconds, Reason.OUTDATED, Reason.MISSING)

    async def delete(self, name: str, timeout_seconds: float = PROPOSAL_TIMEOUT_SECONDS) -> bool:
        """Remove a collection; False if there is none."""
        return await self._succeeded(DeleteCollection(name), timeout_seconds, Reason.MISSING)

    async def set_field(
        self, name: str, field: str, schema: Any, timeout_seconds: float = PROPOSAL_TIMEOUT_SECONDS
    ) -> bool:
        """Set the schema of a payload index, or take it away (None); False if there is no such collection."""
        command = DropFieldIndex(name, field) if schema is None else CreateFieldIndex(name, field, schema)
        return await self._succeeded(command, timeout_seconds, Reason.MISSING)

    async def change_aliases(
        self, changes: Sequence[AliasChange], timeout_seconds: float = PROPOSAL_TIMEOUT_SECONDS
    ) -> None:
        """Make all changes in order or none; raise NotFound or AlreadyExists."""
        await self._succeeded(ChangeAliases(tuple(changes)), timeout_seconds)

    async def _succeeded(self, command: Command, timeout_seconds: float, *expected: Reason) -> bool:
        """Propose a command; False if it is rejected for an expected reason, else raise what a client is told."""
        rejected = await self.propose(command, timeout_seconds)
        if rejected is not None and rejected.reason not in expected:
            raise rejected.error()
        return rejected is None

    def _became(self, topology: Topology) -> None:
        """Take over what a command has led to, on the event loop, and let subscribers hear of it in its next turn."""
        self.current = topology
        if self._telling is None and self._subscribers:
            self._telling = asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._telling = None
        for changed in self._subscribers:
            try:
                changed()
            except Exception:  # the others must follow all the same
                _log.exception("something could not follow a change of the topology")
