"""A replica of a shard that follows a primary, in one epoch: it makes its log the primary's, and applies what is committed.

It obeys only the topology that this node has applied. What its log holds beyond what it knows to agree with the primary's may
be cut off, but nothing that it knows to be committed: who asks for that holds another history, and this replica must be
copied anew. It answers for what is durable, never for what is merely in the file.
"""

from __future__ import annotations

from qnode.shards.replication.actions import Answer
from qnode.shards.replication.messages import Append, Appended, Reason
from qnode.shards.replication.standing import Standing
from qnode.shards.replication.view import PeerId


class Replica:
    """Made when an epoch begins that another node is primary of; given up with it."""

    def __init__(self, standing: Standing, primary: PeerId, epoch: int) -> None:
        self._standing = standing
        self._primary = primary
        self._epoch = epoch
        self._matched_op = standing.committed_op
        self._told_commit_op = 0
        self._answered: tuple[int, int] | None = None

    def append(self, message: Append) -> None:
        """Take what the primary of this epoch has sent."""
        assert message.epoch == self._epoch
        standing, log = self._standing, self._standing.log
        if message.prev_op > log.last_op:
            self._refuse(message, Reason.GAP, log.last_op)
            return
        epoch_here = log.epoch_at(message.prev_op)
        if epoch_here != message.prev_epoch and not (epoch_here is None and message.prev_op <= standing.committed_op):
            is_broken = message.prev_op <= standing.committed_op
            hint_op = log.latest_of(message.prev_epoch, message.prev_op)
            self._refuse(message, Reason.BROKEN if is_broken else Reason.MISMATCH, hint_op)
            return
        if not self._store(message):
            return
        self._matched_op = max(self._matched_op, message.last_op)
        self._told_commit_op = max(self._told_commit_op, message.commit_op)
        self._commit()
        if log.synced_op >= message.last_op:
            self._answer()

    def log_grew(self) -> None:
        """Go on after records became durable."""
        self._commit()
        self._answer_if_new()

    def log_shrank(self) -> None:
        """Go on after the disk refused records."""
        last_op = self._standing.log.last_op
        self._matched_op = min(self._matched_op, last_op)
        self._standing.refuse(self._primary, self._epoch, Reason.UNABLE, last_op, last_op)

    def applied(self) -> None:
        """Go on after operations were applied."""
        self._answer_if_new()

    def _store(self, message: Append) -> bool:
        """Store what is not held yet; tell whether the rest is the same as here."""
        log = self._standing.log
        for at, record in enumerate(message.records):
            epoch_here = log.epoch_at(record.op_num) if record.op_num >= log.first_op else record.epoch
            if epoch_here == record.epoch:
                continue
            if record.op_num <= self._standing.committed_op:
                self._refuse(message, Reason.BROKEN, self._standing.committed_op)
                return False
            self._standing.actions.append(log.store(message.records[at:]))
            break
        return True

    def _commit(self) -> None:
        self._standing.commit(min(self._told_commit_op, self._matched_op, self._standing.log.synced_op))

    def _position(self) -> tuple[int, int]:
        return min(self._matched_op, self._standing.log.synced_op), self._standing.applied_op

    def _answer(self) -> None:
        self._answered = self._position()
        self._standing.actions.append(
            Answer(self._primary, Appended(self._epoch, *self._answered, self._standing.revision))
        )

    def _answer_if_new(self) -> None:
        if self._position() != self._answered:
            self._answer()

    def _refuse(self, message: Append, reason: Reason, hint_op: int) -> None:
        hint_op = max(hint_op, self._standing.committed_op)
        self._standing.refuse(self._primary, self._epoch, reason, message.prev_op, hint_op)
