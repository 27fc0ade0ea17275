"""Where a replica stands: its log, what of it is committed and applied. It outlives the changes of role.

Invariants: applied_op <= committed_op <= synced_op of the log. `committed_op` is what this replica knows of, never less than
what it was asked to apply; an operation up to it is never cut off.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from qnode.shards.replication.actions import Action, Answer, ApplyTo
from qnode.shards.replication.log_image import LogImage
from qnode.shards.replication.messages import Reason, Refused
from qnode.shards.replication.view import PeerId, Settings


@dataclass(slots=True)
class Standing:
    """`actions` are those of the event that is being handled, `revision` is that of the view which is obeyed.

    connected: the peers with a link. left: those that said before it broke that they go.
    """

    me: PeerId
    settings: Settings
    log: LogImage
    applied_op: int
    committed_op: int
    revision: int = 0
    connected: set[PeerId] = field(default_factory=set)
    left: set[PeerId] = field(default_factory=set)
    actions: list[Action] = field(default_factory=list)

    def commit(self, op_num: int) -> None:
        """Take operations up to this one as committed."""
        if op_num <= self.committed_op:
            return
        assert op_num <= self.log.synced_op, f"{op_num} is committed, {self.log.synced_op} durable"
        self.committed_op = op_num
        self.actions.append(ApplyTo(op_num))

    def refuse(self, peer: PeerId, epoch: int, reason: Reason, prev_op: int, hint_op: int) -> None:
        """Tell a primary that an Append of its epoch behind `prev_op` was not taken."""
        hint_epoch = self.log.epoch_at(hint_op) or 0
        refusal = Refused(epoch, reason, prev_op, hint_op, hint_epoch, self.applied_op, self.revision)
        self.actions.append(Answer(peer, refusal))

    def take_actions(self) -> list[Action]:
        actions, self.actions = self.actions, []
        return actions
