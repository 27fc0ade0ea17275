"""What collections need of the log of the topology, whichever it is: that of a node that runs alone, or consensus."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from qnode.models.topology import Topology
from qnode.models.topology_commands import AliasChange, Command


class Proposer(Protocol):
    """Where the topology is decided; a proposal that returns without raising shows in `current`, and subscribers are told."""

    @property
    def current(self) -> Topology: ...

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Let `changed` be called on the event loop after each change of `current`."""

    async def propose(self, command: Command) -> object | None:
        """Ask for a command; None: it is applied here, else why it changed nothing."""

    async def create(self, name: str, config: Mapping[str, Any]) -> bool:
        """Make a collection; False if there is one of this name."""

    async def update(self, name: str, expected: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
        """Replace settings; False if they are no longer `expected`, or the collection is gone."""

    async def delete(self, name: str) -> bool: ...

    async def set_field(self, name: str, field: str, schema: Any) -> bool:
        """Set the schema of a payload index, or take it away (None)."""

    async def change_aliases(self, changes: Sequence[AliasChange]) -> None:
        """Make all changes in order or none; raise NotFound or AlreadyExists."""
