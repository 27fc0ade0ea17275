"""What the applied entries have led to: the machine, the committed membership, and which proposals were applied.

A proposal may be in the log several times, because its proposer could not tell whether it had arrived. Only the first copy
counts; the ids of the newest `RECENT_PROPOSALS` are part of the state, the same on every peer. The machine must be
deterministic and must not raise: what cannot be done is a result too. Whatever it raises ends the peer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from qnode.raft.commands import decode
from qnode.raft.membership import Membership
from qnode.raft.snapshot import Snapshot

RECENT_PROPOSALS: Final = 4096


class Machine(Protocol):
    """The replicated state. `snapshot` and `restore` carry all of it; `apply` is called once for each command, in order."""

    def apply(self, command: bytes) -> bytes: ...

    def snapshot(self) -> bytes: ...

    def restore(self, state: bytes) -> None: ...


class AppliedState:
    """The state behind the log; `on_applied` hears of each proposal that took effect, with its result.

    The result is None if the proposal came with a snapshot.
    """

    def __init__(self, machine: Machine, on_applied: Callable[[bytes, bytes | None], None]) -> None:
        self._machine = machine
        self._on_applied = on_applied
        self._recent: dict[bytes, None] = {}
        self.membership = Membership()

    def apply(self, command: bytes) -> None:
        """Take an entry's command."""
        proposed = decode(command)
        if proposed is None or proposed.proposal_id in self._recent:
            return
        self._recent[proposed.proposal_id] = None
        if len(self._recent) > RECENT_PROPOSALS:
            del self._recent[next(iter(self._recent))]
        result = b""
        if proposed.change is not None:
            self.membership = self.membership.changed(proposed.change)
        if proposed.content is not None:
            result = self._machine.apply(proposed.content)
        self._on_applied(proposed.proposal_id, result)

    def snapshot(self, index: int, term: int) -> Snapshot:
        """Take everything, with the entry that was applied last."""
        return Snapshot(index, term, self.membership, tuple(self._recent), self._machine.snapshot())

    def restore(self, snapshot: Snapshot) -> None:
        """Become what a snapshot holds, and tell those who proposed what is in it."""
        known = self._recent
        self.membership = snapshot.membership
        self._recent = dict.fromkeys(snapshot.recent)
        self._machine.restore(snapshot.state)
        for proposal_id in snapshot.recent:
            if proposal_id not in known:
                self._on_applied(proposal_id, None)
