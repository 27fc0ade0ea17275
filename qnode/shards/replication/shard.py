"""The replication of one shard on one node: primary or replica, as the topology says.

    shard = Shard(me, settings, log_image, applied_op)
    actions = shard.topology_changed(view, now)      # and so every event: the driver performs what it gets

The protocol is that of PacificA (Lin et al., 2008), with Raft's way of making logs agree. What it keeps, on every replica:

- R1  applied <= committed <= durable in the log of every in-sync replica.
- R2  What is committed is never cut off a log.
- R3  Two logs that hold an operation of the same epoch are equal up to it.
- R4  A write is acknowledged when it is committed, and completed when every in-sync replica has applied it.

What it needs of its surroundings:

- Topology: views come in order, each at most as new as the cluster's; commands are guarded by epoch and revision (`view`).
- **An epoch is one life of one process.** A process that starts makes the topology raise the epoch of every shard
  that it is primary of, and gives no view to a Shard before it has seen that happen. Else a primary that forgot what it proposed,
  or what it sent and lost in a crash, would go on in the same epoch; and a node could go back behind a view that it had obeyed.
- Links: what arrives from a peer is in order and complete up to where the link breaks; both ends are told.
- Log and index: `actions`. What was reported as applied and as synced is there after a crash, or the log's tail is applied again.

Left out: the bytes of records (the driver's log has them), resolving requests, copying a shard's files.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from qnode.shards.replication.actions import Action, Refuse, StepDown
from qnode.shards.replication.log_image import LogImage
from qnode.shards.replication.messages import Append, Message, Reason, Refused
from qnode.shards.replication.primary import Primary
from qnode.shards.replication.replica import Replica
from qnode.shards.replication.standing import Standing
from qnode.shards.replication.view import PeerId, Settings, ShardView
from qnode.wal import Record


class Shard:
    """Every event gives the actions that follow from it. `now` is in seconds of a clock that never goes back."""

    def __init__(self, me: PeerId, settings: Settings, log: LogImage, applied_op: int) -> None:
        assert log.first_op - 1 <= applied_op <= log.last_op, (
            f"{applied_op} is not in {log.first_op - 1}..{log.last_op}"
        )
        self._standing = Standing(me, settings, log, applied_op, applied_op)
        self._view: ShardView | None = None
        self._role: Primary | Replica | None = None
        self._pending: deque[tuple[int, int]] = deque()  # last operation and size of what was written and not committed
        self._pending_bytes = 0

    @property
    def view(self) -> ShardView | None:
        return self._view

    @property
    def log(self) -> LogImage:
        return self._standing.log

    @property
    def committed_op(self) -> int:
        """What this node knows to be committed."""
        return self._standing.committed_op

    @property
    def applied_op(self) -> int:
        return self._standing.applied_op

    @property
    def is_primary(self) -> bool:
        return isinstance(self._role, Primary)

    @property
    def takes_writes(self) -> bool:
        """Whether writes are for this node: it is primary, and not about to be none."""
        return isinstance(self._role, Primary) and not self._role.is_handing_over

    @property
    def is_sole_holder(self) -> bool:
        """Whether this node is primary and no other replica is sent to: what it has not acknowledged is nowhere else."""
        return isinstance(self._role, Primary) and not self._role.has_followers

    @property
    def required(self) -> frozenset[PeerId]:
        """The other replicas that a commit of this primary needs; none for a replica."""
        return self._role.required if isinstance(self._role, Primary) else frozenset()

    @property
    def copying(self) -> frozenset[PeerId]:
        """The replicas that wait for a copy of the shard from this primary."""
        return self._role.copying if isinstance(self._role, Primary) else frozenset()

    @property
    def deadline(self) -> float | None:
        """When `tick` is due; None, as for every idle shard, if nothing is waited for."""
        return self._role.deadline if isinstance(self._role, Primary) else None

    def refusal(self) -> str | None:
        """Say why no write can be taken now; None if one can."""
        if not isinstance(self._role, Primary):
            return "this node is not the shard's primary"
        if self._role.is_handing_over:
            return "the shard is being handed over to another primary"
        if not self._role.has_quorum:
            return "too few replicas are in sync"
        if self.log.last_op - self.committed_op >= self._standing.settings.max_pending_ops:
            return "too many writes wait for replicas"
        while self._pending and self._pending[0][0] <= self.committed_op:
            self._pending_bytes -= self._pending.popleft()[1]
        if self._pending_bytes >= self._standing.settings.max_pending_bytes:
            return "too many bytes of writes wait for replicas"
        return None

    # Events

    def topology_changed(self, view: ShardView, now: float) -> list[Action]:
        """Follow the topology; in another epoch, in another role."""
        before, self._view = self._view, view
        self._standing.revision = view.revision
        assert before is None or (before.epoch, before.revision) <= (view.epoch, view.revision), "views come in order"
        if before is not None and before.epoch == view.epoch:
            if isinstance(self._role, Primary):
                self._role.change(view, now)
            return self._standing.take_actions()
        if isinstance(self._role, Primary):
            self._standing.actions.append(StepDown(self.committed_op))
        self._pending.clear()
        self._pending_bytes = 0
        if view.primary == self._standing.me:
            self._role = Primary(self._standing, view, now)
        else:
            self._role = None if view.primary is None else Replica(self._standing, view.primary, view.epoch)
        return self._standing.take_actions()

    def write(self, payloads: list[bytes], now: float) -> list[Action]:
        """Log operations; the Store says their numbers. Only when `refusal` is None."""
        assert self._view is not None
        assert self.refusal() is None
        assert payloads
        first_op = self.log.last_op + 1
        records = [Record(self._view.epoch, first_op + at, payload) for at, payload in enumerate(payloads)]
        self._standing.actions.append(self.log.store(records))
        size_bytes = sum(map(len, payloads))
        self._pending.append((records[-1].op_num, size_bytes))
        self._pending_bytes += size_bytes
        return self._standing.take_actions()

    def appended(self, ticket: int, now: float) -> list[Action]:
        """Hear that a Store, and all before it, is in the file: no full disk can refuse it any more."""
        self.log.appended(ticket)
        if isinstance(self._role, Primary):
            self._role.log_grew(now)
        return self._standing.take_actions()

    def synced(self, ticket: int, now: float) -> list[Action]:
        """Hear that a Store, and all before it, is durable."""
        self.log.synced(ticket)
        if isinstance(self._role, Primary):
            self._role.log_grew(now)
        elif self._role is not None:
            self._role.log_grew()
        return self._standing.take_actions()

    def refused(self, ticket: int, now: float) -> list[Action]:
        """Hear that the disk had no room for a Store, and that nothing of it, nor of those behind it, is in the file.

        What they were to cut off must have been cut off.
        """
        self.log.refused(ticket)
        while self._pending and self._pending[-1][0] > self.log.last_op:
            self._pending_bytes -= self._pending.pop()[1]
        if isinstance(self._role, Primary):
            self._standing.actions.append(Refuse(self.log.last_op + 1))
            self._role.log_shrank(now)
        elif self._role is not None:
            self._role.log_shrank()
        return self._standing.take_actions()

    def applied(self, op_num: int, now: float) -> list[Action]:
        """Hear that operations are applied and visible, up to this one."""
        assert self._standing.applied_op <= op_num <= self.committed_op
        self._standing.applied_op = op_num
        if isinstance(self._role, Primary):
            self._role.applied(now)
        elif self._role is not None:
            self._role.applied()
        return self._standing.take_actions()

    def received(self, sender: PeerId, message: Message, now: float) -> list[Action]:
        """Hear from a peer."""
        if isinstance(message, Append):
            self._received_append(sender, message)
        elif isinstance(self._role, Primary):
            if isinstance(message, Refused):
                self._role.was_refused(sender, message, now)
            else:
                self._role.took(sender, message, now)
        return self._standing.take_actions()

    def link_changed(self, peer: PeerId, is_up: bool, now: float, *, has_left: bool = False) -> list[Action]:
        """Hear that the link to a peer came up, or broke; `has_left`: because the peer goes, as it said before."""
        standing = self._standing
        (standing.connected.add if is_up else standing.connected.discard)(peer)
        (standing.left.add if has_left and not is_up else standing.left.discard)(peer)
        if isinstance(self._role, Primary):
            self._role.link_changed(peer, now)
        return self._standing.take_actions()

    def tick(self, now: float) -> list[Action]:
        """Hear that it is so late; needed at `deadline`, harmless at any time."""
        if isinstance(self._role, Primary):
            self._role.tick(now)
        return self._standing.take_actions()

    def hand_over(self, heirs: Sequence[PeerId], seconds: float, now: float) -> list[Action]:
        """Let one of these replicas be primary, the first that can; refuse writes meanwhile, for so long at most.

        Nothing happens if this node is no primary, or none of them is in sync and answers.
        """
        if isinstance(self._role, Primary):
            self._role.hand_over(heirs, seconds, now)
        return self._standing.take_actions()

    def copied(self, peer: PeerId, op_num: int, now: float) -> list[Action]:
        """Hear that a peer now holds a copy of the shard as of an operation that is applied here."""
        if isinstance(self._role, Primary):
            self._role.copied(peer, op_num, now)
        return self._standing.take_actions()

    def dropped_before(self, op_num: int) -> None:
        """Hear that the log no longer holds the operations before this one; they must be applied."""
        assert op_num <= self.applied_op + 1
        self.log.drop_before(op_num)

    def _received_append(self, sender: PeerId, message: Append) -> None:
        view = self._view
        if view is not None and message.epoch == view.epoch and sender == view.primary:
            assert isinstance(self._role, Replica), "a primary does not send to itself"
            self._role.append(message)
            return
        is_stale = view is not None and message.epoch < view.epoch
        reason = Reason.STALE_EPOCH if is_stale else Reason.NOT_HERE
        self._standing.refuse(sender, message.epoch, reason, message.prev_op, self.log.last_op)
