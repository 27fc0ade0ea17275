"""A perfect topology service in place of consensus: one order of commands; each node sees it late, and in order.

A proposal may take long, be lost, be repeated, or come to effect after its proposer has died. `Started` is the command of a
process that begins: it raises the epoch of the shard if that process is its primary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from qnode.shards.replication.view import HandOver, PeerId, ReplicaState, SetState, ShardView


@dataclass(frozen=True)
class Started:
    peer: int
    life: int


@dataclass(frozen=True)
class ChangePrimary:
    """Make an Active replica the primary of epoch + 1, if the epoch is still this; the old primary becomes Dead."""

    primary: PeerId
    epoch: int


@dataclass(frozen=True)
class Drop:
    """Take a replica away that is not the primary; its node removes its files when it hears of that."""

    peer: PeerId
    epoch: int


Command = SetState | HandOver | ChangePrimary | Drop


@dataclass(frozen=True)
class Entry:
    """The topology after a command."""

    view: ShardView
    lives: Mapping[int, int] = field(default_factory=dict)


class Topology:
    """All states that the topology has had, the newest last."""

    def __init__(self, replicas: Mapping[int, ReplicaState], primary: int, floor: int = 1) -> None:
        added = dict.fromkeys(replicas, 1)
        self.entries = [Entry(ShardView(primary, 1, 1, dict(replicas), floor, added))]
        self.commands: list[object] = []

    @property
    def head(self) -> Entry:
        return self.entries[-1]

    def apply(self, command: Command | Started) -> bool:
        """Apply a command; tell whether its guard held."""
        changed = _changed(self.head, command)
        if changed is None:
            return False
        self.entries.append(changed)
        self.commands.append(command)
        return True


def _changed(entry: Entry, command: Command | Started) -> Entry | None:
    view = entry.view
    if isinstance(command, Started):
        if entry.lives.get(command.peer, 0) >= command.life:
            return None
        lives = {**entry.lives, command.peer: command.life}
        if view.primary == command.peer:
            view = replace(view, epoch=view.epoch + 1, revision=view.revision + 1)
        return Entry(view, lives)
    if command.epoch != view.epoch:
        return None
    if isinstance(command, ChangePrimary):
        if view.replicas.get(command.primary) is not ReplicaState.ACTIVE:
            return None
        replicas = dict(view.replicas)
        if view.primary is not None and view.primary != command.primary:
            replicas[view.primary] = ReplicaState.DEAD
        changed = replace(view, epoch=view.epoch + 1, revision=view.revision + 1)
        return replace(entry, view=replace(changed, primary=command.primary, replicas=replicas))
    if isinstance(command, HandOver):
        if view.replicas.get(command.peer) is not ReplicaState.ACTIVE or command.peer == view.primary:
            return None
        changed = replace(view, epoch=view.epoch + 1, revision=view.revision + 1)
        return replace(entry, view=replace(changed, primary=command.peer))
    if isinstance(command, Drop):
        if command.peer == view.primary or command.peer not in view.replicas:
            return None
        replicas = {peer: state for peer, state in view.replicas.items() if peer != command.peer}
        added = {peer: revision for peer, revision in view.added.items() if peer != command.peer}
        return replace(entry, view=replace(view, revision=view.revision + 1, replicas=replicas, added=added))
    if command.revision != view.revision or command.peer == view.primary:
        return None
    replicas = {**view.replicas, command.peer: command.state}
    added = {command.peer: view.revision + 1} | dict(view.added)
    return replace(entry, view=replace(view, revision=view.revision + 1, replicas=replicas, added=added))
