"""Where a replica stands: its log, what of it is committed and applied. It outlives the changes of role.

Invariants: applied_op <= committed_op <= synced_op of the log. `committed_op` is what this replica knows of, never less than
what it was asked to apply; an operation up to it is never cut off.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from qnode.shards.replication.actions import Action, ApplyTo
from qnode.shards.replication.log_image import LogImage
from qnode.shards.replication.view import PeerId, Settings


@dataclass(slots=True)
class Standing:
    """`actions` are those of the event that is being handled, `revision` is that of the view which is obeyed."""

    me: PeerId
    settings: Settings
    log: LogImage
    applied_op: int
    committed_op: int
    revision: int = 0
    actions: list[Action] = field(default_factory=list)

    def commit(self, op_num: int) -> bool:
        """Take operations up to this one as committed; tell whether any of them was not known to be."""
        if op_num <= self.committed_op:
            return False
        assert op_num <= self.log.synced_op, f"{op_num} is committed, {self.log.synced_op} durable"
        self.committed_op = op_num
        self.actions.append(ApplyTo(op_num))
        return True

    def take_actions(self) -> list[Action]:
        actions, self.actions = self.actions, []
        return actions
