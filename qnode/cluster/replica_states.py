"""What the primaries of this node ask of the topology: that one of their replicas is in another state, or primary.

Shards ask again until they see it, so what cannot be proposed now is dropped. All that is asked in one turn of the event
loop, or while an earlier proposal is under way, goes as one batch: a peer that dies concerns many shards at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from qnode.errors import QnodeError
from qnode.models.topology_commands import Batch, ChangePrimary, SetReplicaState, SingleCommand
from qnode.raft import TopologyLog
from qnode.shards.replication.view import HandOver, SetState

BATCH_COMMANDS: Final = 50
"""As many as fit into one entry of the log, however long the names of their collections are."""

PROPOSAL_SECONDS: Final = 5.0

_log = logging.getLogger(__name__)


async def propose_all(log: TopologyLog, proposed: Sequence[SingleCommand], timeout_seconds: float) -> None:
    """Propose many commands; what is rejected, because the topology has changed meanwhile, is logged. Raise as `propose`."""
    for first in range(0, len(proposed), BATCH_COMMANDS):
        batch = tuple(proposed[first : first + BATCH_COMMANDS])
        rejected = await log.propose(batch[0] if len(batch) == 1 else Batch(batch), timeout_seconds)
        if rejected is not None:
            _log.debug("Of %s something was rejected: %s", batch, rejected.text)


class ReplicaStates:
    """Collects and proposes, one batch at a time."""

    def __init__(self, log: TopologyLog) -> None:
        self._topology_log = log
        self._wanted: dict[tuple[str, int, int], SetState | HandOver] = {}
        self._proposing: asyncio.Task[None] | None = None

    def propose(self, folder: str, number: int, command: SetState | HandOver) -> None:
        """Ask for a replica's state, or that it is primary; on the event loop. Of several for one replica, the last counts."""
        self._wanted[folder, number, command.peer] = command
        if self._proposing is None:
            self._proposing = asyncio.get_running_loop().create_task(self._propose())

    async def _propose(self) -> None:
        try:
            while self._wanted:
                try:
                    await propose_all(self._topology_log, self._take(), PROPOSAL_SECONDS)
                except QnodeError as error:
                    _log.info("States of replicas could not be proposed: %s", error)
                except Exception:
                    _log.exception("States of replicas were not proposed")  # their shards ask again
        finally:
            self._proposing = None

    def _take(self) -> list[SingleCommand]:
        names = {entry.folder: name for name, entry in self._topology_log.current.collections.items()}
        wanted, self._wanted = self._wanted, {}
        return [
            _command(names[folder], number, each) for (folder, number, _), each in wanted.items() if folder in names
        ]

    async def close(self) -> None:
        """Propose nothing more."""
        if self._proposing is not None:
            self._proposing.cancel()
            await asyncio.gather(self._proposing, return_exceptions=True)


def _command(name: str, number: int, asked: SetState | HandOver) -> SingleCommand:
    if isinstance(asked, HandOver):
        return ChangePrimary(name, number, asked.peer, asked.epoch, hands_over=True)
    return SetReplicaState(name, number, asked.peer, asked.state, asked.epoch, seen=asked.revision)
