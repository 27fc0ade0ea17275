"""The group's rules where they are ours: taking and sending entries, snapshots, membership, who may campaign.

Invariants, beside those of the journal:
- Entries are truncated on a conflict alone, and never at or below the commit index: that would be `Diverged`, which ends the
  peer.
- The commit index moves only as far as this peer's log is known to be the leader's.
- A peer campaigns only if its own log says that it is a voter: one that joins does not before it has caught up.
- A peer is added only after it has caught up as a learner, so the voters are not held up by one that never comes.
- An entry is applied, and a snapshot becomes the state, only when it is durable here that it is committed.
- A match is believed only if it was said in this leader's term. Everything else that arrives late, twice or in another
  order does no harm.

Left out: links, journals' bytes, proposals' fates, time.
"""

from __future__ import annotations

from random import Random
from typing import Final

from qnode.errors import InternalError
from qnode.raft.applied import AppliedState
from qnode.raft.campaign import Campaign
from qnode.raft.commands import change_in
from qnode.raft.journal import Journal
from qnode.raft.lease import Lease
from qnode.raft.library import LEADER, Library, Peer, Timing, Transport, now
from qnode.raft.membership import ADD, Membership, MembershipChange
from qnode.raft.messages import Message
from qnode.raft.snapshot import Snapshot
from qnode.raft.snapshot_transfer import IncomingSnapshot, OutgoingSnapshot

BATCH_BYTES: Final = 64 << 10
"""A message takes entries until it has so many bytes."""

CATCH_UP_ENTRIES: Final = 16
"""A learner that lacks no more committed entries than this may become a voter."""

LEARNER_SECONDS: Final = 10.0
"""A learner for which nobody asks any more is forgotten after this time."""


class Diverged(InternalError):
    """The log that is committed here contradicts the leader's: one of them lost what it had acknowledged."""


class Core(Library):
    """One peer of the group. `compact_after`: entries between snapshots, 0 for never; as many stay in the log."""

    def __init__(
        self,
        own: int,
        journal: Journal,
        transport: Transport,
        applied: AppliedState,
        timing: Timing,
        random: Random,
        compact_after: int,
        lease: Lease,
    ) -> None:
        self._applied = applied
        self.lease = lease
        self._compact_after = compact_after
        self._learners: dict[Peer, float] = {}
        self._unanswered: dict[Peer, float] = {}
        self._told_commit: dict[Peer, int] = {}
        self._outgoing: dict[Peer, OutgoingSnapshot] = {}
        self._incoming = IncomingSnapshot()
        self._installing: Snapshot | None = None
        self._led_term = 0
        self._campaign = Campaign()
        if journal.snapshot is not None:
            applied.restore(journal.snapshot)
        self.membership = Membership()  # the library asks for every attribute while it is made
        super().__init__(own, journal, transport, timing, random)
        self._update_membership()
        self.replay()

    # membership

    def change_in(self, command: bytes) -> MembershipChange | None:
        return change_in(command)

    def accepts_change(self, change: MembershipChange) -> bool:
        """Decide as leader whether a change may enter the log now; what it needs is set going, for the next attempt."""
        pending = any(change_in(command) for command, _, _ in self.journal.since(self.last_applied + 1))
        if pending or not self.own_term_is_committed() or self.membership.changed(change) == self.membership:
            return False
        peer = Peer(change.peer)
        if change.action == ADD:
            if peer not in self._learners:
                self.track(peer)
            self._learners[peer] = now() + LEARNER_SECONDS
            return self.match_index[peer] + CATCH_UP_ENTRIES >= self.commit_index and self.match_index[peer] > 0
        if peer == self.own:
            self.transferLeadership()
            return False
        return True

    def _update_membership(self) -> None:
        """Compute who takes part from the log as it is."""
        snapshot = self.journal.snapshot
        membership = Membership() if snapshot is None else snapshot.membership
        for command, _, _ in self.journal.since(self.journal.snapshot_index + 1):
            change = change_in(command)
            if change is not None:
                membership = membership.changed(change)
        self.membership = membership
        others = {Peer(voter) for voter in membership.voters if voter != self.own.id}
        for peer in others & self._learners.keys():
            del self._learners[peer]
        self.set_others(others)

    @property
    def is_voter(self) -> bool:
        return self.membership.is_voter(self.own.id, self.journal.incarnation)

    # elections

    def may_campaign(self) -> bool:
        """Say whether to campaign, when the election timeout has run out; if others must be asked first, ask them."""
        if not self.is_voter:
            return False
        if not self.others or self.transfer_is_asked or self._campaign.is_won(self.term):
            return True
        self.ask_again_soon()
        if self.hasQuorum:
            self._campaign.ask(self.term)
            for peer in sorted(self.others, key=lambda other: other.id):
                self.transport.send(peer, self._position("pre_vote", self.term + 1))
        return False

    def _position(self, kind: str, term: int) -> Message:
        last = self.journal[-1]
        return {"type": kind, "term": term, "last_log_index": last[1], "last_log_term": last[2]}

    def _answer_pre_vote(self, peer: Peer, message: Message) -> None:
        if message["term"] <= self.term:
            self.transport.send(peer, {"type": "stale_term", "term": self.term})
            return
        last = self.journal[-1]
        asked = (message["last_log_term"], message["last_log_index"])
        is_behind = asked < (last[2], last[1])
        precedes = self._campaign.is_asking(self.term) and (*asked, peer.id) < (last[2], last[1], self.own.id)
        if is_behind or precedes or self.state == LEADER or self._campaign.heard_leader(self.timing.election_min):
            return
        self._campaign.give_way()
        self.delay_election()
        self.transport.send(peer, {"type": "pre_vote_granted", "term": message["term"]})

    def _count_pre_vote(self, peer: Peer, message: Message) -> None:
        if message["term"] == self.term + 1 and peer in self.others:
            self._campaign.grant(peer.id, self.term, len(self.others) + 1)
            if self._campaign.is_won(self.term):
                self.hasten_election()

    # messages

    def receive(self, node: Peer, message: Message) -> None:
        """Take one message of a peer that is no impostor."""
        match message["type"]:
            case "append_entries":
                self._take_entries(node, message)
            case "install_snapshot":
                self._take_snapshot(node, message)
            case "snapshot_part" | "next_node_idx":
                self._take_answer(node, message)
            case "lease_offer":
                if (message["term"], node) == (self.term, self.leader):
                    self.lease.take_offer(message["commit"], message["age"], message["heard"])
                    self.transport.send(node, self.lease.answer(self.term, message["at"]))
            case "lease_answer":
                if self.state == LEADER and message["term"] == self.term:
                    self.lease.hear_answer(node.id, message["at"], message["heard"])
            case "pre_vote":
                self._answer_pre_vote(node, message)
            case "pre_vote_granted":
                self._count_pre_vote(node, message)
            case "stale_term":
                if message["term"] > self.term:
                    self.step_up_to(message["term"])
            case "response_vote":
                if node in self.others and self._campaign.is_first_vote(node.id, self.term):
                    self.library_receive(node, message)
            case _:
                self.library_receive(node, message)

    def _obey(self, node: Peer, term: int) -> bool:
        """Follow the leader of a term, or tell it that its term is over."""
        if term < self.term:
            self.transport.send(node, {"type": "stale_term", "term": self.term})
            return False
        self.follow(node, term)
        self._campaign.hear_leader()
        return True

    def _take_entries(self, node: Peer, message: Message) -> None:
        if not self._obey(node, message["term"]):
            return
        journal, previous = self.journal, message["prevLogIdx"]
        if previous > journal.last_index:
            self._answer(node, journal.last_index + 1, matches=False)
            return
        if journal.term_of(previous) not in (None, message["prevLogTerm"]):
            if previous <= self.commit_index:
                raise Diverged(f"entry {previous} is committed here, and the leader has another one")
            back = max(self.commit_index + 1, journal.first_index_of_term(previous))
            self._answer(node, back, matches=False)
            return
        changes_membership = False
        for command, index, term in message["entries"]:
            if index < journal.first_index:
                continue
            if index <= journal.last_index:
                if journal.term_of(index) == term:
                    continue
                changes_membership |= self._truncate(index)
            journal.add(command, index, term)
            changes_membership |= change_in(command) is not None
        if changes_membership:
            self._update_membership()
        matched = previous + len(message["entries"])
        self.commit_to(min(message["commit_index"], matched))
        self._answer(node, matched + 1, matches=True)

    def _truncate(self, index: int) -> bool:
        """Drop a conflicting end of the log; say whether the membership changes with it."""
        if index <= self.commit_index:
            raise Diverged(f"entry {index} is committed here, and the leader has another one")
        dropped = self.journal.since(index)
        self.journal.deleteEntriesFrom(index - self.journal.first_index)
        return any(change_in(command) for command, _, _ in dropped)

    def _answer(self, node: Peer, next_index: int, *, matches: bool) -> None:
        self.transport.send(
            node,
            {
                "type": "next_node_idx",
                "term": self.term,
                "next_node_idx": next_index,
                "reset": not matches,
                "success": matches,
            },
        )

    def _take_snapshot(self, node: Peer, message: Message) -> None:
        if not self._obey(node, message["term"]):
            return
        index = message["index"]
        if index <= self.commit_index:
            self._answer(node, index + 1, matches=True)
            return
        snapshot = self._incoming.take(node.id, message)
        if snapshot is None:
            received = {
                "type": "snapshot_part",
                "term": self.term,
                "index": index,
                "offset": self._incoming.received_bytes,
            }
            self.transport.send(node, received)
            return
        if self.journal.term_of(index) == snapshot.term:  # what follows may be acknowledged, and is kept
            self.commit_to(index)
            self._answer(node, index + 1, matches=True)
            return
        self.journal.install(snapshot)
        self.commit_to(index)
        self._installing = snapshot
        self._update_membership()
        self._answer(node, index + 1, matches=True)

    def _take_answer(self, node: Peer, message: Message) -> None:
        if message["term"] > self.term:
            self.step_up_to(message["term"])
        if self.state != LEADER or message["term"] < self.term or node not in self.match_index:
            return
        self.heard_from(node)
        self._unanswered.pop(node, None)
        if message["type"] == "snapshot_part":
            outgoing = self._outgoing.get(node)
            if outgoing is not None and outgoing.index == message["index"]:
                outgoing.offset = message["offset"]
        else:
            self._outgoing.pop(node, None)
            self.library_receive(node, message)
        is_behind = self.next_index[node] <= self.journal.last_index
        if is_behind or self._told_commit.get(node, 0) < self.commit_index:
            self._replicate_to(node)

    # sending

    def replicate(self) -> None:
        """Send to everybody who has answered what comes next, if only that this is the leader."""
        if self._led_term != self.term:
            self._led_term = self.term
            self._learners.clear()
            self._unanswered.clear()
            self._told_commit.clear()
            self._outgoing.clear()
            self.lease.begin_term()
        self.sent_to_all()
        for peer in [peer for peer, until in self._learners.items() if until < now()]:
            del self._learners[peer]
        for peer in self.match_index.keys() - self.others - self._learners.keys():
            self.next_index.pop(peer, None)
            self.match_index.pop(peer, None)
        for peer in sorted(self.others | self._learners.keys(), key=lambda other: other.id):
            self._replicate_to(peer)
        self._offer_leases()

    def _offer_leases(self) -> None:
        if not self.lease.is_due(self.timing.heartbeat / 2):
            return
        voters, is_sure = [other.id for other in self.others], self.own_term_is_committed()
        for peer in sorted(self.connected & (self.others | self._learners.keys()), key=lambda other: other.id):
            self.transport.send(peer, self.lease.offer(peer.id, voters, self.term, self.commit_index, is_sure=is_sure))
        if is_sure and self.is_voter:
            self.lease.lead(voters, self.commit_index)

    def _replicate_to(self, peer: Peer) -> None:
        if peer not in self.connected or self._unanswered.get(peer, 0.0) > now():
            return
        self._unanswered[peer] = now() + self.timing.resend
        next_index = min(self.next_index[peer], self.journal.last_index + 1)
        if peer in self._outgoing or next_index <= self.journal.first_index:
            self._send_snapshot(peer)
            return
        entries, size_bytes = [], 0
        for entry in self.journal.since(next_index):
            entries.append(entry)
            size_bytes += len(entry[0])
            if size_bytes >= BATCH_BYTES:
                break
        self._told_commit[peer] = self.commit_index
        self.transport.send(
            peer,
            {
                "type": "append_entries",
                "term": self.term,
                "commit_index": self.commit_index,
                "prevLogIdx": next_index - 1,
                "prevLogTerm": self.journal.term_of(next_index - 1),
                "entries": entries,
            },
        )

    def _send_snapshot(self, peer: Peer) -> None:
        outgoing = self._outgoing.get(peer)
        if outgoing is None:
            assert self.journal.snapshot is not None, "only a snapshot lets the log begin later"
            outgoing = self._outgoing[peer] = OutgoingSnapshot(self.journal.snapshot)
        self.transport.send(
            peer,
            {"type": "install_snapshot", "term": self.term, "commit_index": self.commit_index, **outgoing.part()},
        )

    def after_proposals(self, first_index: int) -> None:
        """Send what was just proposed, without waiting for the heartbeat."""
        if any(change_in(command) for command, _, _ in self.journal.since(first_index)):
            self._update_membership()
        if self.state == LEADER:
            self.replicate()

    def link_changed(self, peer: Peer) -> None:
        """Forget what was under way to a peer whose link was made or broke."""
        self._unanswered.pop(peer, None)
        self._outgoing.pop(peer, None)
        self.lease.forget_link(peer.id)
        if peer in self._learners:
            self.match_index[peer] = 0

    # applying

    def became_durable(self) -> None:
        """Take over a snapshot that was installed in the journal, now that it is durable."""
        if (snapshot := self._installing) is not None:
            self._installing = None
            self._applied.restore(snapshot)
            self.jump_to(snapshot.index)
            self.discard_waiting()

    def may_apply(self) -> bool:
        """Say whether there are entries of which it is durable that they are committed, and that are not applied."""
        return self._installing is None and self.journal.durable_commit > self.last_applied

    def apply_entry(self, command: bytes) -> None:
        self._applied.apply(command)

    def compact(self) -> None:
        """Take a snapshot, if enough was applied since the last one, and cut the log behind it."""
        journal, applied = self.journal, self.last_applied
        if not self._compact_after or applied - journal.snapshot_index < self._compact_after:
            return
        term = journal.term_of(applied)
        assert term is not None
        kept = self._compact_after if self._compact_after > 1 else 0
        journal.compact(self._applied.snapshot(applied, term), max(journal.first_index, applied - kept))
