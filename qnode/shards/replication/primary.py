"""The primary of a shard in one epoch: it sends its log to the replicas, and decides what is committed.

**Required** are the replicas that any later primary may come from: those that are Active in the topology as we know it, and
those that we have proposed to be Active by a command that may still have its effect. A commit needs all of them, and
this node's own log, durably. So whoever the topology makes primary has every committed operation.

- A replica stops being required only when the topology shows it: after Dead was proposed and applied, or when a new revision
  has ruled out an open promotion.
- A Partial replica is first made to hold commits up; it is proposed to be Active only when it has all that is committed **and
  all that this primary began its epoch with**: its predecessor may have committed any of that, and may still say so to
  its clients with answers that are on their way.
- In its own log a primary never cuts anything off.
- One that hands over takes no write, and proposes its heir when it has answered all that it took: then nobody waits for it.
  The heir is safe as every Active replica is; that it is in time is all that the waiting is for.

Nothing is sent and no deadline is set while nothing waits: whether a peer lives, its link tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qnode.errors import InternalError
from qnode.shards.replication.actions import Acknowledge, Complete, NeedsCopy, Propose, SendRecords
from qnode.shards.replication.messages import Appended, Reason, Refused
from qnode.shards.replication.progress import Mode, Progress
from qnode.shards.replication.standing import Standing
from qnode.shards.replication.view import HandOver, PeerId, ReplicaState, SetState, ShardView


class Primary:
    """Made when an epoch begins that this node is primary of; given up with it."""

    def __init__(self, standing: Standing, view: ShardView, now: float) -> None:
        self._standing = standing
        self._settings = standing.settings
        self._view = view
        self._inherited_op = standing.log.last_op
        self._inherited_applied_op = self._completed_op = standing.applied_op
        self._acknowledged_op = standing.committed_op
        self._replicas: dict[PeerId, Progress] = {}
        self._heirs: tuple[PeerId, ...] = ()
        self._hands_over_until = self._hand_over_again_at = now
        self.change(view, now)

    @property
    def required(self) -> frozenset[PeerId]:
        """The other replicas that a commit needs."""
        return frozenset(replica.peer for replica in self._required())

    @property
    def copying(self) -> frozenset[PeerId]:
        """The replicas that wait for a copy."""
        return frozenset(replica.peer for replica in self._replicas.values() if replica.mode is Mode.COPYING)

    @property
    def has_quorum(self) -> bool:
        """Whether so many replicas are in sync as a write must have."""
        return self._has_quorum

    @property
    def has_followers(self) -> bool:
        """Whether there are replicas that are sent to, connected or not."""
        return bool(self._replicas)

    @property
    def is_handing_over(self) -> bool:
        """Whether another replica is to follow, and no write is taken until then."""
        return bool(self._heirs)

    def change(self, view: ShardView, now: float) -> None:
        """Follow a change of the topology within this epoch."""
        assert (view.primary, view.epoch) == (self._standing.me, self._view.epoch)
        added, self._view = self._view.added, view
        self._has_quorum = len(view.active) >= view.floor
        replicas: dict[PeerId, Progress] = {}
        for peer in view.followers:
            state = view.replicas[peer]
            replica = self._replicas.get(peer)
            is_another = added.get(peer) != view.added.get(peer)
            if replica is None or (is_another and state is not ReplicaState.ACTIVE):
                # Views may have been missed in which it was dropped and made anew; one that is Active was never away.
                since = 0 if state is ReplicaState.ACTIVE else view.revision
                standing = self._standing
                is_connected, has_left = peer in standing.connected, peer in standing.left
                replica = Progress(peer, state, is_connected, has_left, standing.log.appended_op + 1, since)
            elif state is ReplicaState.ACTIVE:
                replica.holds_commits = False
            replica.state = state
            replicas[peer] = replica
        self._replicas = replicas
        self._advance(now)

    def link_changed(self, peer: PeerId, now: float) -> None:
        """Note that the link to a peer came up, or broke with all that was under way."""
        if (replica := self._replicas.get(peer)) is None:
            return
        replica.is_connected, replica.has_left = peer in self._standing.connected, peer in self._standing.left
        if replica.mode is not Mode.COPYING:
            replica.seek_again()
        self._advance(now)

    def log_grew(self, now: float) -> None:
        """Go on after records were appended or synced here."""
        self._advance(now)

    def log_shrank(self, now: float) -> None:
        """Go on after records were refused by the disk; nothing was sent, or asked, beyond what was appended."""
        self._inherited_op = min(self._inherited_op, self._standing.log.last_op)
        self._advance(now)

    def applied(self, now: float) -> None:
        """Go on after operations were applied here."""
        self._advance(now)

    def copied(self, peer: PeerId, op_num: int, now: float) -> None:
        """Send to a replica that has been given a copy of the shard as of an operation."""
        replica = self._replicas.get(peer)
        if replica is not None and replica.mode is Mode.COPYING:
            replica.matched_op = replica.applied_op = 0
            replica.seek(op_num + 1)
            self._advance(now)

    def took(self, peer: PeerId, message: Appended, now: float) -> None:
        """Hear from a replica how far it has come."""
        if (replica := self._who_says(peer, message, now)) is None:
            return
        if max(message.logged_op, message.applied_op) > self._standing.log.last_op:
            self._check_history(replica)
            self._needs_copy(replica, now)  # an operator has made a node primary that lacks what others had applied
            return
        if message.logged_op > replica.matched_op or message.applied_op > replica.applied_op:
            replica.quiet_since = None
            if replica.asked_state is ReplicaState.DEAD:
                replica.asked_state = None
        if message.applied_op > replica.applied_op or message.applied_op >= self._standing.committed_op:
            replica.is_stuck = False
        replica.retry_seconds = 0.0
        replica.matched_op = max(replica.matched_op, message.logged_op)
        replica.applied_op = message.applied_op
        if replica.mode is Mode.PROBING and replica.is_probe_under_way and message.logged_op >= replica.next_op - 1:
            replica.mode, replica.is_probe_under_way = Mode.STREAMING, False
        self._advance(now)

    def was_refused(self, peer: PeerId, message: Refused, now: float) -> None:
        """Hear from a replica that it did not take what was sent."""
        if (replica := self._who_says(peer, message, now)) is None:
            return
        if message.reason is Reason.BROKEN:
            if message.hint_op:  # it is well, and holds something else as committed
                self._check_history(replica)
            self._needs_copy(replica, now)
        elif message.reason in (Reason.GAP, Reason.MISMATCH):
            if message.hint_op < replica.matched_op:
                self._needs_copy(replica, now)  # it has lost what it had answered for
            elif replica.mode is Mode.STREAMING or message.prev_op == replica.next_op - 1:
                self._back_up(replica, message, now)
        else:
            replica.seek_again()
            replica.wait(now, self._settings)
            if message.reason is Reason.UNABLE:
                self._give_up_waiting(replica, now)
        self._advance(now)

    def _check_history(self, replica: Progress) -> None:
        """Stop where an in-sync replica holds as committed what this log does not have.

        Both cannot be in the set unless this node has lost files. It must not be copied to those that still have the
        data: broken, it is replaced by one of them.
        """
        if replica.state is ReplicaState.ACTIVE:
            raise InternalError(f"peer {replica.peer} is in sync, and holds operations that this primary has lost")

    def _who_says(self, peer: PeerId, message: Appended | Refused, now: float) -> Progress | None:
        """Give the replica whose word counts; one that is behind in the topology is asked again later."""
        replica = self._replicas.get(peer)
        if replica is None or message.epoch != self._view.epoch or replica.mode is Mode.COPYING:
            return None
        if message.revision >= replica.since:
            return replica
        if replica.mode is not Mode.WAITING:
            replica.seek_again()
            replica.wait(now, self._settings)
            self._advance(now)
        return None

    def hand_over(self, heirs: Sequence[PeerId], seconds: float, now: float) -> None:
        """Take no more writes, and propose the first of these as primary that can be, when all writes are completed.

        It ends after so long; not even that if none of them can follow as things are.
        """
        if any(self._answers(peer) for peer in heirs):
            self._heirs, self._hands_over_until, self._hand_over_again_at = tuple(heirs), now + seconds, now
        self._advance(now)

    def tick(self, now: float) -> None:
        """Do what is due."""
        if now >= self._hands_over_until:
            self._heirs = ()
        for replica in self._replicas.values():
            if replica.retry_at is not None and now >= replica.retry_at:
                replica.seek(replica.next_op)
            stalls_at = replica.stalls_at(self._settings)
            if stalls_at is None or now < stalls_at:
                continue
            self._give_up_waiting(replica, now)
            if not replica.is_required(self._view.revision):
                replica.seek_again()
        self._advance(now)

    def _give_up_waiting(self, replica: Progress, now: float) -> None:
        """Let no commit wait for a replica that does not get on."""
        replica.is_stuck = True
        if replica.state is ReplicaState.ACTIVE or replica.promotion_is_open(self._view.revision):
            self._ask(replica, ReplicaState.DEAD, now)
        else:
            replica.holds_commits = False  # nobody was asked to make it Active

    @property
    def deadline(self) -> float | None:
        """When `tick` is due; None while nothing waits."""
        return min(self._deadlines(), default=None)

    def _deadlines(self) -> Iterable[float]:
        if self._heirs:
            yield self._hands_over_until
            if self._heir() is not None:
                yield self._hand_over_again_at
        for replica in self._replicas.values():
            if replica.retry_at is not None:
                yield replica.retry_at
            stalls_at = replica.stalls_at(self._settings)
            if stalls_at is not None and self._was_asked(replica, ReplicaState.DEAD):
                yield max(stalls_at, replica.ask_again_at)
            elif stalls_at is not None:
                yield stalls_at
            elif self._was_asked(replica, ReplicaState.ACTIVE) and self._may_become_active(replica):
                yield replica.ask_again_at

    def _required(self) -> Iterable[Progress]:
        return (replica for replica in self._replicas.values() if replica.is_required(self._view.revision))

    # What every event ends with

    def _advance(self, now: float) -> None:
        for replica in self._replicas.values():
            if replica.state is not ReplicaState.ACTIVE:
                self._advance_joiner(replica, now)
        self._commit()
        self._complete()
        for replica in self._replicas.values():
            self._send(replica, now)
            self._watch(replica, now)
        if now >= self._hand_over_again_at and (heir := self._heir()) is not None:
            self._hand_over_again_at = now + self._settings.longest_retry_seconds
            self._standing.actions.append(Propose(HandOver(heir, self._view.epoch)))

    def _commit(self) -> None:
        standing = self._standing
        if self.has_quorum:
            matched = (replica.matched_op for replica in self._required())
            standing.commit(min((standing.log.synced_op, *matched)))
        if standing.committed_op > self._acknowledged_op:
            self._acknowledged_op = standing.committed_op
            standing.actions.append(Acknowledge(standing.committed_op))

    def _complete(self) -> None:
        applied = (replica.applied_op for replica in self._required())
        op_num = min((self._standing.applied_op, *applied))
        if op_num > self._completed_op:
            self._completed_op = op_num
            self._standing.actions.append(Complete(op_num))

    def _answers(self, peer: PeerId) -> bool:
        """Whether a replica is in sync, and its log is known to go on with this one."""
        replica = self._replicas.get(peer)
        is_active = replica is not None and replica.state is ReplicaState.ACTIVE
        return is_active and replica is not None and replica.is_connected and replica.mode is Mode.STREAMING

    def _heir(self) -> PeerId | None:
        """Say who can follow now: every write is completed, so its client has an answer."""
        last_op = self._standing.log.last_op
        if self._completed_op < last_op:
            return None
        return next((peer for peer in self._heirs if self._answers(peer)), None)

    def _advance_joiner(self, replica: Progress, now: float) -> None:
        """Bring a Partial replica nearer to being Active."""
        standing = self._standing
        if replica.mode is not Mode.STREAMING or not replica.is_connected or replica.is_stuck:
            replica.near_since = None
        else:
            left_ops = max(standing.log.last_op - replica.matched_op, standing.committed_op - replica.applied_op)
            replica.holds_commits |= replica.is_near(left_ops, now, self._settings)
        if self._may_become_active(replica):
            self._ask(replica, ReplicaState.ACTIVE, now)

    def _may_become_active(self, replica: Progress) -> bool:
        """Whether a Partial replica holds, and will hold, whatever may have been acknowledged, and shows what was completed."""
        is_there = replica.mode is Mode.STREAMING and replica.is_connected and replica.holds_commits
        has_all = replica.matched_op >= max(self._standing.committed_op, self._inherited_op)
        has_applied = replica.applied_op >= max(self._completed_op, self._inherited_applied_op)
        return is_there and has_all and has_applied and not self._was_asked(replica, ReplicaState.DEAD)

    def _send(self, replica: Progress, now: float) -> None:
        """Send what there is to send, as far as the window goes."""
        log, standing = self._standing.log, self._standing
        if not replica.is_connected:
            return
        if replica.mode is Mode.PROBING and not replica.is_probe_under_way:
            replica.is_probe_under_way = True
            self._append(replica, replica.next_op - 1, now)
        elif replica.mode is Mode.STREAMING:
            last_op = min(log.appended_op, replica.matched_op + self._settings.window_ops)
            if replica.next_op <= last_op or replica.told_commit_op < standing.committed_op:
                self._append(replica, max(last_op, replica.next_op - 1), now)

    def _append(self, replica: Progress, last_op: int, now: float) -> None:
        prev_op, commit_op = replica.next_op - 1, self._standing.committed_op
        prev_epoch = self._standing.log.epoch_at(prev_op)
        if prev_epoch is None:
            self._needs_copy(replica, now)
            return
        replica.next_op, replica.told_commit_op = last_op + 1, commit_op
        self._standing.actions.append(
            SendRecords(replica.peer, self._view.epoch, prev_op, prev_epoch, last_op, commit_op)
        )

    def _back_up(self, replica: Progress, message: Refused, now: float) -> None:
        """Go back to where the logs may agree, run by run of an epoch (Ongaro, "Consensus", section 3.5)."""
        log = self._standing.log
        agreed = max(log.latest_of(message.hint_epoch, message.hint_op), message.applied_op)
        if agreed >= message.prev_op or log.epoch_at(agreed) is None:
            self._needs_copy(replica, now)
        else:
            replica.seek(agreed + 1)

    def _needs_copy(self, replica: Progress, now: float) -> None:
        """Give up on sending; an Active replica must first be taken out of the set."""
        if replica.state is not ReplicaState.ACTIVE and not replica.promotion_is_open(self._view.revision):
            replica.mode, replica.holds_commits = Mode.COPYING, False
            replica.retry_at = replica.quiet_since = None
            replica.is_probe_under_way = False
            self._standing.actions.append(NeedsCopy(replica.peer))
        else:
            replica.seek(replica.next_op)
            replica.wait(now, self._settings)
            self._ask(replica, ReplicaState.DEAD, now)

    def _watch(self, replica: Progress, now: float) -> None:
        """Note since when something waits for a replica."""
        waits = replica.is_required(self._view.revision) and (
            replica.matched_op < self._standing.log.appended_op or replica.applied_op < self._standing.committed_op
        )
        if not waits:
            replica.quiet_since = None
        elif replica.quiet_since is None:
            replica.quiet_since = now

    def _was_asked(self, replica: Progress, state: ReplicaState) -> bool:
        return replica.asked_state is state and replica.asked_revision == self._view.revision

    def _ask(self, replica: Progress, state: ReplicaState, now: float) -> None:
        """Propose a state, and again only when the proposal may have been lost."""
        if self._was_asked(replica, state) and now < replica.ask_again_at:
            return
        view = self._view
        replica.asked_state, replica.asked_revision = state, view.revision
        replica.ask_again_at = now + self._settings.longest_retry_seconds
        if state is ReplicaState.ACTIVE:
            replica.may_become_active_at = view.revision
        self._standing.actions.append(Propose(SetState(replica.peer, state, view.epoch, view.revision)))
