"""The protocol broken on purpose, to see that the simulation notices. Each replaces one decision by a plausible mistake."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from qnode.shards.replication.actions import Propose
from qnode.shards.replication.log_image import LogImage
from qnode.shards.replication.primary import Primary
from qnode.shards.replication.progress import Mode, Progress
from qnode.shards.replication.replica import Replica
from qnode.shards.replication.shard import Shard
from qnode.shards.replication.view import ReplicaState
from tests.simulation.topology import Topology

Patch = tuple[type, str, Callable[[Any], Any]]


def _commit_without_one(original: Any) -> Any:
    """Commit when all required replicas but the slowest have an operation."""

    def required(self: Any) -> Any:
        return sorted(original(self), key=lambda replica: replica.matched_op)[1:]

    return required


def _forget_promotion(original: Any) -> Any:
    """Un-require a joiner that stalls, though it was proposed to be Active."""

    def promotion_is_open(self: Any, revision: int) -> bool:
        return bool(original(self, revision)) and self.is_connected and self.quiet_since is None

    return promotion_is_open


def _believe_the_gone(original: Any) -> Any:
    """Count what a replica said before it heard that it was dropped and made anew."""

    def who_says(self: Any, peer: int, message: Any, now: float) -> Any:
        replica = self._replicas.get(peer)
        if replica is not None:
            replica.since = 0
        return original(self, peer, message, now)

    return who_says


def _skip_epoch_check(original: Any) -> Any:
    """Take an Append of an older epoch."""

    def received(self: Any, sender: int, message: Any) -> None:
        role = self._role
        if isinstance(role, Replica) and message.epoch < self._view.epoch:
            obeyed = (role._primary, role._epoch)
            role._primary, role._epoch = sender, message.epoch
            role.append(message)
            role._primary, role._epoch = obeyed
        else:
            original(self, sender, message)

    return received


def _truncate_anything(original: Any) -> Any:
    """Cut the log off where records differ from the length on, instead of at the first difference."""

    def store(self: Any, message: Any) -> bool:
        first_op = self._standing.log.first_op
        records = [record for record in message.records if record.op_num >= first_op]
        if records:
            self._standing.actions.append(self._standing.log.store(records))
        return True

    return store


def _answer_before_sync(original: Any) -> Any:
    """Take what is in the file for durable."""

    def appended(self: Any, ticket: int) -> None:
        original(self, ticket)
        self.synced_op = max(self.synced_op, self.appended_op)

    return appended


def _old_syncs_count(original: Any) -> Any:
    """Let a report of an old sync vouch for new records of the same numbers."""

    def cut(self: Any, last_op: int) -> None:
        before = [(pending, pending.last_op) for pending in self._pending]
        original(self, last_op)
        for pending, op_num in before:
            pending.last_op = op_num

    return cut


def _promote_near(original: Any) -> Any:
    """Propose a joiner that is near, not one that has all that is committed."""

    def may_become_active(self: Any, replica: Any) -> bool:
        is_there = replica.mode is Mode.STREAMING and replica.is_connected and replica.holds_commits
        return is_there and not self._was_asked(replica, ReplicaState.DEAD)

    return may_become_active


def _forget_inheritance(original: Any) -> Any:
    """Promote by what this primary knows to be committed, not by what its predecessor may have committed."""

    def change(self: Any, *rest: Any) -> None:
        self._inherited_op = 0
        original(self, *rest)

    return change


def _miss_the_gone(original: Any) -> Any:
    """Take a replica that was dropped and made anew between two views for the one that was there."""

    def change(self: Any, view: Any, *rest: Any) -> None:
        before, self._view = self._view, replace(self._view, added=view.added)
        original(self, view, *rest)
        assert before.epoch == view.epoch

    return change


def _shrink_at_once(original: Any) -> Any:
    """Un-require a replica when its death is proposed, not when it is decided."""

    def ask(self: Any, replica: Any, state: ReplicaState, now: float) -> None:
        original(self, replica, state, now)
        if state is ReplicaState.DEAD and any(isinstance(action, Propose) for action in self._standing.actions):
            replica.state = ReplicaState.DEAD

    return ask


def _same_epoch_after_restart(original: Any) -> Any:
    """Leave the epoch as it is when the primary's process starts anew."""

    def apply(self: Any, command: Any) -> bool:
        before = self.head.view
        changed = bool(original(self, command))
        if changed and type(command).__name__ == "Started":
            self.entries[-1] = type(self.head)(before, self.head.lives)
        return changed

    return apply


def _commit_unmatched(original: Any) -> Any:
    """Apply what is committed as far as the own log reaches, whether or not it is known to be the primary's."""

    def commit(self: Any) -> None:
        self._standing.commit(min(self._told_commit_op, self._standing.log.synced_op))

    return commit


MUTATIONS: dict[str, Patch] = {
    "commit_without_one": (Primary, "_required", _commit_without_one),
    "forget_promotion": (Progress, "promotion_is_open", _forget_promotion),
    "believe_the_gone": (Primary, "_who_says", _believe_the_gone),
    "miss_the_gone": (Primary, "change", _miss_the_gone),
    "skip_epoch_check": (Shard, "_received_append", _skip_epoch_check),
    "truncate_anything": (Replica, "_store", _truncate_anything),
    "answer_before_sync": (LogImage, "appended", _answer_before_sync),
    "old_syncs_count": (LogImage, "_cut", _old_syncs_count),
    "promote_near": (Primary, "_may_become_active", _promote_near),
    "forget_inheritance": (Primary, "change", _forget_inheritance),
    "shrink_at_once": (Primary, "_ask", _shrink_at_once),
    "same_epoch_after_restart": (Topology, "apply", _same_epoch_after_restart),
    "commit_unmatched": (Replica, "_commit", _commit_unmatched),
}


@contextmanager
def broken(name: str) -> Iterator[None]:
    """Run with one mutation."""
    owner, attribute, mutate = MUTATIONS[name]
    original = getattr(owner, attribute)
    setattr(owner, attribute, mutate(original))
    try:
        yield
    finally:
        setattr(owner, attribute, original)
