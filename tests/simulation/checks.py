"""What must hold, checked while a cluster runs and at its end. The ledger is the one history that all replicas must share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

from qnode.shards.replication import ShardView

Stored = tuple[int, bytes]  # (epoch, payload)


class Fate(Enum):
    """What a client was told of a write."""

    PENDING = auto()
    REFUSED = auto()
    UNKNOWN = auto()
    ACKNOWLEDGED = auto()
    COMPLETED = auto()


class Violation(AssertionError):
    """The protocol broke a promise."""


class Holder(Protocol):
    """What the checks look at of a node."""

    def holds_durably(self, op_num: int, stored: Stored) -> bool: ...

    ever_applied_op: int


@dataclass
class Checks:
    nodes: Mapping[int, Holder]
    view: Callable[[], ShardView]
    ledger: dict[int, Stored] = field(default_factory=dict)
    fates: dict[bytes, Fate] = field(default_factory=dict)
    committers: dict[int, tuple[int, int]] = field(default_factory=dict)
    acknowledged_op: int = 0

    def committed(self, op_num: int, stored: Stored, who: str) -> None:
        """One history: whatever anybody takes for committed is the same everywhere, and was never refused."""
        known = self.ledger.setdefault(op_num, stored)
        if known != stored:
            raise Violation(f"{who} takes {stored} for operation {op_num}, which is {known}")
        if self.fates.get(stored[1]) is Fate.REFUSED:
            raise Violation(f"{who} commits {stored[1]!r}, which was refused")

    def primary_commits(self, epoch: int, peer: int, life: int) -> None:
        if self.committers.setdefault(epoch, (peer, life)) != (peer, life):
            raise Violation(f"{(peer, life)} and {self.committers[epoch]} commit in epoch {epoch}")

    def acknowledged(self, op_num: int, who: str) -> None:
        """R1 and R4: every replica that the topology calls in-sync has it, whatever the primary knows of the topology."""
        self.acknowledged_op = max(self.acknowledged_op, op_num)
        self._all_active_hold(op_num, f"{who} acknowledges")

    def in_sync_set_changed(self) -> None:
        """R1 again: who enters the set has all that was acknowledged."""
        if self.acknowledged_op:
            self._all_active_hold(self.acknowledged_op, "it is decided who is in sync when somebody had acknowledged")

    def _all_active_hold(self, op_num: int, what: str) -> None:
        for peer in self.view().active:
            if not self.nodes[peer].holds_durably(op_num, self.ledger[op_num]):
                raise Violation(f"{what} operation {op_num}, and in-sync replica {peer} does not have it")

    def completed(self, op_num: int, epoch: int, who: str) -> None:
        view = self.view()
        if view.epoch != epoch:
            return  # in-sync replicas that a later primary has added learn what was applied from that one
        for peer in view.active:
            if self.nodes[peer].ever_applied_op < op_num:
                raise Violation(f"{who} completes operation {op_num}, and in-sync replica {peer} has not applied it")

    def truncates(self, from_op: int, applied_op: int, who: str) -> None:
        if from_op <= applied_op:
            raise Violation(f"{who} cuts off operation {from_op}, and has applied {applied_op}")

    def fate(self, write: bytes, fate: Fate) -> None:
        before = self.fates.get(write, Fate.PENDING)
        if fate is Fate.REFUSED and before is not Fate.PENDING:
            raise Violation(f"{write!r} is refused after it was {before.name}")
        if before in (Fate.PENDING, Fate.ACKNOWLEDGED) and fate.value > before.value:
            self.fates[write] = fate

    def nothing_is_lost(self) -> None:
        committed = {payload for _, payload in self.ledger.values()}
        for write, fate in self.fates.items():
            if fate in (Fate.ACKNOWLEDGED, Fate.COMPLETED) and write not in committed:
                raise Violation(f"{write!r} was acknowledged and is in nobody's history")
            if fate is Fate.REFUSED and write in committed:
                raise Violation(f"{write!r} was refused and is in the history")
