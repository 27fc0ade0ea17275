"""The topology of a cluster, as one member sees it: consensus orders the commands, and every member applies them.

The machine behind consensus is the topology itself. A command is answered when it is applied **here**; its result is the
rejection, if it was one. Proposals of the same bytes that are under way at once are one: all who asked are told its outcome.

Bytes that this version does not know as a command end this member's part: the others have applied them.

Left out: who takes part, and links (`Consensus`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qnode.models.topology import Topology
from qnode.models.topology_commands import Command, Placement
from qnode.raft.applied import AppliedState
from qnode.raft.commands import MAX_CONTENT_BYTES
from qnode.raft.consensus import Consensus, ConsensusSettings, OutcomeUnknown
from qnode.raft.journal import Journal
from qnode.raft.journal_store import LmdbJournalStore
from qnode.raft.membership import Membership
from qnode.raft.snapshot import Snapshot
from qnode.raft.topology import (
    Rejected,
    apply_command,
    command_from_bytes,
    command_to_bytes,
    result_from_bytes,
    result_to_bytes,
    topology_from_bytes,
    topology_to_bytes,
)
from qnode.raft.topology.command_codec import MAX_COMMAND_BYTES
from qnode.raft.topology_log import PROPOSAL_TIMEOUT_SECONDS, TopologyLog
from qnode.raft.transport import Links

assert MAX_COMMAND_BYTES <= MAX_CONTENT_BYTES, "what is too large is refused before it is proposed"

Place = Callable[[Topology, Mapping[str, Any]], Placement]
"""Chooses who holds the shards of a collection with these settings."""


class TopologyMachine:
    """The topology as consensus drives it; `became` hears of each one."""

    def __init__(self, initial: Topology, became: Callable[[Topology], None]) -> None:
        self.topology = initial
        self._became = became

    def apply(self, command: bytes) -> bytes:
        self.topology, rejected = apply_command(self.topology, command_from_bytes(command))
        self._became(self.topology)
        return result_to_bytes(rejected)

    def snapshot(self) -> bytes:
        return topology_to_bytes(self.topology)

    def restore(self, state: bytes) -> None:
        self.topology = topology_from_bytes(state)
        self._became(self.topology)


class ClusterLog(TopologyLog):
    """A member's view of the topology. Made in a running loop; `path` is the folder of the journal.

    With `found` and an empty journal, a cluster of this peer alone begins with `initial`; a peer that joins begins with nothing.
    """

    def __init__(
        self,
        path: Path,
        peer: int,
        links: Links,
        place: Place,
        on_stopped: Callable[[BaseException | None], None],
        *,
        found: bool,
        initial: Topology | None = None,
        settings: ConsensusSettings | None = None,
    ) -> None:
        assert found or initial is None
        super().__init__(initial or Topology())
        self._place = place
        self._under_way: dict[bytes, asyncio.Task[Rejected | None]] = {}
        machine = TopologyMachine(self.current, self._became)
        self.consensus = Consensus(peer, path, links, machine, on_stopped, found=found, settings=settings)

    async def propose(self, command: Command, timeout_seconds: float = PROPOSAL_TIMEOUT_SECONDS) -> Rejected | None:
        """Ask for a command; None: it is applied here, else why it changed nothing.

        Raise NoLeader (it certainly took no effect), OutcomeUnknown, or BadRequest for a command that is too large. If the
        caller is cancelled, it goes on.
        """
        content = command_to_bytes(command)
        task = self._under_way.get(content)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._propose(content, timeout_seconds))
            self._under_way[content] = task
            task.add_done_callback(lambda ended: self._ended(content, ended))
        return await asyncio.shield(task)

    async def _propose(self, content: bytes, timeout_seconds: float) -> Rejected | None:
        result = await self.consensus.propose(content, timeout_seconds)
        if result is None:
            raise OutcomeUnknown("The change was decided, and this node has heard of it by way of a snapshot only")
        return result_from_bytes(result)

    def _ended(self, content: bytes, task: asyncio.Task[Rejected | None]) -> None:
        del self._under_way[content]
        if not task.cancelled():
            task.exception()  # a caller that was cancelled leaves no warning

    def _placement(self, config: Mapping[str, Any]) -> Placement:
        return self._place(self.current, config)

    def close(self) -> None:
        """Take part no more; whoever waits is told that nobody knows."""
        self.consensus.close()

    async def wait_closed(self) -> None:
        """Wait until the journal's files can be opened by somebody else."""
        await self.consensus.wait_closed()


def stored_topology(path: Path) -> Topology:
    """Read the newest topology that a stopped member has stored in its journal's folder; raise Corruption."""
    store = LmdbJournalStore(path)
    try:
        return _applied(store)[1]
    finally:
        store.close()


def refound(path: Path, peer: int, begin: Callable[[Topology], Topology]) -> bool:
    """Make a stopped member the only one, in one step that a crash cannot split; False: it was already.

    `begin` makes the first topology of the new group out of the newest that was committed here; what was not committed is
    dropped. The other members of the old group are removed ones to it: none of them is listened to any more.
    """
    store = LmdbJournalStore(path)
    try:
        applied, topology = _applied(store)
        journal = Journal(store, 1)
        others = {number for voter, number in applied.membership.voters.items() if voter != peer}
        if not others and set(topology.peers) <= {peer}:
            return False
        membership = Membership({peer: journal.incarnation}, applied.membership.removed | others)
        index, term = journal.last_index + 1, journal.getCurrentTerm() + 1
        journal.install(Snapshot(index, term, membership, (), topology_to_bytes(begin(topology))))
        journal.setCurrentTerm(term, None)
        journal.flush()
        return True
    finally:
        store.close()


def _applied(store: LmdbJournalStore) -> tuple[AppliedState, Topology]:
    """Apply what is known to be committed."""
    stored = store.load()
    machine = TopologyMachine(Topology(), lambda _: None)
    applied = AppliedState(machine, lambda *_: None)
    if stored.snapshot is not None:
        applied.restore(stored.snapshot)
    behind = 1 if stored.snapshot is None else stored.snapshot.index
    for command, index, _ in stored.entries:
        if stored.hard is not None and behind < index <= stored.hard.commit:
            applied.apply(command)
    return applied, machine.topology
