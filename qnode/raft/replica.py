"""One peer of the group, without a clock or a network of its own: it is ticked, told of links and messages, and asked.

A proposal is sent to the leader, and again whenever that failed or nobody knows, until it is applied **here** or its time
is up. Copies of one proposal take effect once (see `applied`), so sending again is safe. When it ends, its proposer
knows one of three things: it took effect and this is the result, it certainly did not, or nobody can tell.

What it hears takes effect in its next turn (`turns`), and what it tells is durable by then. `tick`, and the commit that it has begun
when that is over, raise only what must end the peer: after that the replica must not be used again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random, SystemRandom
from typing import Final

from qnode.errors import BadRequest, InternalError, OutOfSpace, QnodeError
from qnode.raft.applied import AppliedState, Machine
from qnode.raft.commands import PROPOSAL_ID_BYTES, encode_change, encode_regular
from qnode.raft.core import Core
from qnode.raft.journal import Changes, Journal, JournalStore
from qnode.raft.lease import Lease, boot_time
from qnode.raft.library import LEADER, Peer, Timing, now
from qnode.raft.membership import ADD, LARGEST_ID, REMOVE, Membership, MembershipChange, is_id
from qnode.raft.snapshot import Snapshot
from qnode.raft.transport import Links, PeerTransport
from qnode.raft.turns import Commit, Done, Turns

FOUNDING_INDEX: Final = 2
"""The group's first snapshot; entry 1 is every empty journal's, so that nobody takes it for the group's beginning."""

DEFAULT_TIMING: Final = Timing()
RETRY_SECONDS: Final = 0.1
UNANSWERED_SECONDS: Final = 2.0
MAX_PROPOSALS: Final = 200
"""Proposals that wait at one peer; those of all peers together stay well below `RECENT_PROPOSALS`."""

_CERTAIN_FAILURES: Final = frozenset({1, 2, 3, 4, 6})
"""pysyncobj's QUEUE_FULL, MISSING_LEADER, DISCARDED, NOT_LEADER, REQUEST_DENIED, said by this peer: this copy is in no log."""


class NoLeader(InternalError):
    """The proposal certainly took no effect: nobody took it in time."""


class OutcomeUnknown(InternalError):
    """The proposal may have taken effect, or may still."""


@dataclass(frozen=True, slots=True)
class Status:
    """What this peer knows of the group. `pending` counts entries that are not applied yet."""

    term: int
    commit: int
    applied: int
    pending: int
    leader: int | None
    role: str
    is_voter: bool
    voters: tuple[int, ...]


OnDone = Callable[[bytes | None, QnodeError | None], None]
"""Hears the result, or the error; neither if it took effect and the result is known elsewhere only."""


@dataclass(slots=True)
class _Proposal:
    command: bytes
    deadline: float
    on_done: OnDone
    next_attempt: float
    change: MembershipChange | None = None
    under_way: bool = False
    may_be_logged: bool = False

    def hear_of_copy(self, _result: object, reason: int) -> None:
        """Hear from the library what became of the newest copy."""
        if reason != 0:
            self.may_be_logged |= reason not in _CERTAIN_FAILURES
            self.under_way = False
            self.next_attempt = min(self.next_attempt, now() + RETRY_SECONDS)


class Replica:
    """An open peer. `found`: if the journal is new, begin a group of this peer alone; else it waits to be added.

    `commit`: how to make what a turn has changed durable; without it, in the same breath.
    """

    def __init__(
        self,
        peer: int,
        store: JournalStore,
        links: Links,
        machine: Machine,
        *,
        found: bool,
        timing: Timing = DEFAULT_TIMING,
        random: Random | None = None,
        compact_after: int = 128,
        commit: Commit | None = None,
        lease: Lease | None = None,
    ) -> None:
        assert is_id(peer)
        self._random = random or SystemRandom()
        self._proposals: dict[bytes, _Proposal] = {}
        self._applied = AppliedState(machine, self._on_applied)
        self.is_expelled = False
        self.lease = lease or Lease(0, boot_time)
        self._journal = Journal(store, self._random.randint(1, LARGEST_ID))
        if found and self._journal.is_new:
            membership = Membership({peer: self._journal.incarnation})
            self._journal.install(Snapshot(FOUNDING_INDEX, 1, membership, (), machine.snapshot()))
            self._journal.flush()
        self._transport = PeerTransport(
            self._journal,
            links,
            committed=lambda: self._applied.membership,
            current=lambda: self._core.membership,
            on_expelled=self._on_expelled,
        )
        self._core = Core(
            peer, self._journal, self._transport, self._applied, timing, self._random, compact_after, self.lease
        )
        self._journal.flush()
        self._turns = Turns(self._run, self._release, self._transport.discard, commit or _at_once(store))

    @property
    def incarnation(self) -> int:
        """The number that tells this peer's journal from a later one under the same id."""
        return self._journal.incarnation

    @property
    def is_leader(self) -> bool:
        return self._core.state == LEADER and not self.is_expelled

    def status(self) -> Status:
        core = self._core
        return Status(
            term=core.term,
            commit=core.commit_index,
            applied=core.last_applied,
            pending=self._journal.last_index - core.last_applied,
            leader=core.leader.id if core.leader is not None else None,
            role=("Follower", "Candidate", "Leader")[core.state],
            is_voter=core.is_voter,
            voters=tuple(sorted(self._applied.membership.voters)),
        )

    def propose(self, content: bytes, timeout_seconds: float, on_done: OnDone) -> None:
        """Ask for a command of the machine."""
        proposal_id = self._random.randbytes(PROPOSAL_ID_BYTES)
        self._propose(proposal_id, encode_regular(proposal_id, content), timeout_seconds, on_done)

    def add_peer(self, peer: int, incarnation: int, timeout_seconds: float, on_done: OnDone) -> None:
        """Ask for another voter. A link to it must be there, for it is caught up first."""
        membership = self._applied.membership
        if membership.is_impostor(peer, incarnation):
            on_done(None, BadRequest(f"Peer {peer} was removed or has lost its state: remove it, then join anew"))
            return
        self._change(MembershipChange(ADD, peer, incarnation), timeout_seconds, on_done)

    def remove_peer(self, peer: int, timeout_seconds: float, on_done: OnDone) -> None:
        """Ask for a voter to leave, dead or alive."""
        incarnation = self._applied.membership.voters.get(peer)
        if incarnation is None:
            on_done(None, BadRequest(f"Peer {peer} does not exist"))
        elif len(self._applied.membership.voters) == 1:
            on_done(None, BadRequest(f"Peer {peer} is the only one"))
        else:
            self._change(MembershipChange(REMOVE, peer, incarnation), timeout_seconds, on_done)

    def hand_leadership_over(self) -> None:
        """Ask another voter to lead, in the next turn; nothing happens if none is ready to, or this peer does not lead."""
        self._turns.add(self._hand_leadership_over, may_be_dropped=True)

    def _hand_leadership_over(self) -> None:
        """Tell the voter that is furthest to campaign at once, if it has the whole log."""
        if self.is_leader:
            self._core.transferLeadership()

    def tick(self) -> None:
        """Let time, and what has arrived, have their effects, as soon as the turn that is under way is over."""
        self._give_up_late_proposals()  # a disk that hangs does not keep them
        self._turns.take()

    def connected(self, peer: int) -> None:
        """Hear that there is a link to a peer now."""
        self._turns.add(lambda: self._link_changed(peer, self._transport.connected), may_be_dropped=False)

    def disconnected(self, peer: int) -> None:
        """Hear that a link broke, with all that was under way on it."""
        self._turns.add(lambda: self._link_changed(peer, self._transport.disconnected), may_be_dropped=False)

    def received(self, peer: int, message: bytes) -> None:
        """Take a peer's message."""
        self._turns.add(lambda: self._take(peer, message), may_be_dropped=True)

    # turns

    def _link_changed(self, peer: int, hear: Callable[[int], None]) -> None:
        self._core.link_changed(Peer(peer))
        hear(peer)

    def _take(self, peer: int, message: bytes) -> None:
        if not self.is_expelled:
            self._transport.received(peer, message)

    def _run(self) -> Changes | None:
        """Let time have its effects; give what has to be durable before anything is said."""
        if self.is_expelled:
            self._fail_all()
        else:
            self._attempt_proposals()
            self._core.doTick(0.0)
        return self._journal.unsaved()

    def _release(self) -> bool:
        """Say what was to be said, all of which is durable now."""
        self._journal.saved()
        self._core.became_durable()
        self._transport.release()
        self.lease.applied(self._core.last_applied)
        return not self.is_expelled and self._core.may_apply()

    # proposals

    def _change(self, change: MembershipChange, timeout_seconds: float, on_done: OnDone) -> None:
        proposal_id = self._random.randbytes(PROPOSAL_ID_BYTES)
        self._propose(proposal_id, encode_change(proposal_id, change), timeout_seconds, on_done, change)

    def _propose(
        self,
        proposal_id: bytes,
        command: bytes,
        timeout_seconds: float,
        on_done: OnDone,
        change: MembershipChange | None = None,
    ) -> None:
        if len(self._proposals) >= MAX_PROPOSALS or self.is_expelled:
            on_done(None, NoLeader("Failed to propose operation: this peer takes no more proposals"))
            return
        start = now()
        self._proposals[proposal_id] = _Proposal(command, start + timeout_seconds, on_done, start, change)

    def _give_up_late_proposals(self) -> None:
        for proposal_id, proposal in list(self._proposals.items()):
            if now() >= proposal.deadline:
                self._end(proposal_id, None, _late(proposal))

    def _attempt_proposals(self) -> None:
        time = now()
        for proposal_id, proposal in list(self._proposals.items()):
            if proposal.change is not None and self._applied.membership.changed(proposal.change) == (
                self._applied.membership
            ):
                self._end(proposal_id, b"", None)
            elif time >= proposal.next_attempt:
                proposal.may_be_logged |= proposal.under_way
                proposal.under_way = True
                proposal.next_attempt = time + UNANSWERED_SECONDS
                self._core.submit(proposal.command, proposal.hear_of_copy)

    def _on_applied(self, proposal_id: bytes, result: bytes | None) -> None:
        self._end(proposal_id, result, None)

    def _end(self, proposal_id: bytes, result: bytes | None, error: QnodeError | None) -> None:
        proposal = self._proposals.pop(proposal_id, None)
        if proposal is not None:
            proposal.on_done(result, error)

    def _on_expelled(self) -> None:
        self.is_expelled = True

    def _fail_all(self) -> None:
        for proposal_id, proposal in list(self._proposals.items()):
            self._end(proposal_id, None, _late(proposal))


def _at_once(store: JournalStore) -> Commit:
    def commit(changes: Changes, done: Done) -> None:
        fault: OutOfSpace | None = None
        try:
            store.commit(changes)
        except OutOfSpace as error:
            fault = error
        done(fault)

    return commit


def _late(proposal: _Proposal) -> QnodeError:
    if proposal.may_be_logged or proposal.under_way:
        return OutcomeUnknown("Waiting for consensus operation commit failed")
    return NoLeader("Failed to propose operation: leader is not established")
