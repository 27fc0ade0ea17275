"""What to do next so that every shard has the replicas that it should have, where they should be.

A mirroring whose source has another primary is given up. Each shard takes one step at a time: a transfer that can end ends; a Dead replica whose peer is back is recovered; what is
missing is copied to another peer; what stands on a peer that is being drained moves off. When there is nothing else to
do, primaries are spread. Repeated until nothing is left, it comes to rest: a step that was taken is not taken back.

A shard whose primary is silent is left alone: who follows is decided with the replicas' log positions, not here. Replicas
beyond the replication factor stay if they are well, for somebody may have wanted them. Left out: moving replicas to peers
that hold less, and limits of a collection's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from qnode.models.topology import (
    CollectionEntry,
    Mirroring,
    MirrorStage,
    ReplicaState,
    Shard,
    Topology,
    Transfer,
    TransferMethod,
)
from qnode.models.topology_commands import (
    AbortMirroring,
    AbortTransfer,
    ChangePrimary,
    DropReplica,
    FinishTransfer,
    SingleCommand,
    StartTransfer,
)
from qnode.shards.placement.placing import Load, choose, loads

_TO_RECOVER = (ReplicaState.DEAD, ReplicaState.RECOVERY)
_WORTHWHILE_DIFFERENCE = 2
"""Moving a primary between peers that differ by one would only swap them."""


@dataclass(frozen=True, slots=True)
class ReconcileSettings:
    """How patient, and how much at a time. Limits are a peer's, over all collections; None: none, 0: no transfers."""

    replace_after_seconds: float = 600.0
    transfer_timeout_seconds: float = 30.0
    incoming_transfers: int | None = 1
    outgoing_transfers: int | None = 1
    spread_primaries: bool = True


def reconcile(
    topology: Topology, silent_since: Mapping[int, float], now: float, settings: ReconcileSettings
) -> tuple[SingleCommand, ...]:
    """Name the commands that are wanted now; `silent_since`: the peers that do not answer, and since when."""
    step = _Round(topology, silent_since, now, settings)
    commands: list[SingleCommand] = []
    for name, entry in topology.collections.items():
        busy = {transfer.shard for transfer in entry.transfers}
        commands += filter(None, (_torn(name, entry, mirroring) for mirroring in entry.mirrorings))
        commands += filter(None, (step.after_transfer(name, entry, transfer) for transfer in entry.transfers))
        for number in entry.shards:
            if number not in busy and (command := step.next_step(name, entry, number)) is not None:
                commands.append(command)
    quiet = not commands and not silent_since and not any(map(_is_copied, topology.collections.values()))
    if quiet and settings.spread_primaries and (change := _spread_primary(topology, step.load)) is not None:
        commands.append(change)
    return tuple(commands)


def _is_copied(entry: CollectionEntry) -> bool:
    return bool(entry.transfers or entry.mirrorings)


def _torn(name: str, entry: CollectionEntry, mirroring: Mirroring) -> AbortMirroring | None:
    """Give up a mirroring of which a source shard has another primary, or one that has started anew."""
    going_on = [number for number, stage in mirroring.stages.items() if stage is not MirrorStage.ENDED]
    if all(entry.shards[number].epoch == mirroring.epochs[number] for number in going_on):
        return None
    return AbortMirroring(name, going_on[0], entry.keys[mirroring.target].shards[0], mirroring.started)


@dataclass(slots=True)
class _Round:
    """One look at the topology; what was decided already counts against the limits."""

    topology: Topology
    silent_since: Mapping[int, float]
    now: float
    settings: ReconcileSettings
    load: dict[int, Load] = field(init=False)
    incoming: Counter[int] = field(default_factory=Counter)
    outgoing: Counter[int] = field(default_factory=Counter)
    unsure: set[int] = field(init=False)

    def __post_init__(self) -> None:
        self.load = loads(self.topology)
        drained = {peer for peer, member in self.topology.peers.items() if member.is_draining}
        self.unsure = drained.union(self.silent_since)
        for entry in self.topology.collections.values():
            self.incoming.update(transfer.target for transfer in entry.transfers)
            self.outgoing.update(transfer.source for transfer in entry.transfers)

    def after_transfer(self, name: str, entry: CollectionEntry, transfer: Transfer) -> SingleCommand | None:
        """End a transfer that is done, or of which one end has been silent for too long.

        A primary that is to go hands over first: so nobody is left without an answer.
        """
        place = (name, transfer.shard, transfer.source, transfer.target)
        shard = entry.shards[transfer.shard]
        if shard.replicas[transfer.target] is ReplicaState.ACTIVE:
            if not transfer.sync and shard.primary == transfer.source and transfer.target not in self.silent_since:
                return ChangePrimary(name, transfer.shard, transfer.target, shard.epoch, hands_over=True)
            return FinishTransfer(*place, transfer.started)
        limit = self.settings.transfer_timeout_seconds
        if any(self._silent_for(peer) >= limit for peer in (transfer.source, transfer.target)):
            return AbortTransfer(*place, transfer.started)
        return None

    def next_step(self, name: str, entry: CollectionEntry, number: int) -> SingleCommand | None:
        """Decide what a shard without transfers needs most."""
        shard, wanted = entry.shards[number], entry.replication_factor_of(number)
        if shard.primary is None or shard.primary in self.silent_since or self._is_settled(shard, wanted):
            return None
        staying = [peer for peer in sorted(shard.replicas) if self._stays(peer)]
        is_safe = bool(set(staying) & set(shard.active()))
        enough = len(set(staying) & set(shard.active())) >= wanted
        for peer in sorted(shard.replicas):
            if enough and self._is_lost(peer):
                return DropReplica(name, number, peer, shard.epoch)
            if shard.replicas[peer] in _TO_RECOVER and peer in staying and peer not in self.silent_since:
                return self._recovery(name, number, shard, peer)
        leaving = [peer for peer in sorted(shard.replicas) if self._is_draining(peer)]
        newcomers = self._newcomers(entry, shard) if len(staying) < wanted else []
        if leaving and (enough or (is_safe and not newcomers and len(staying) < wanted)):
            return self._departure(name, number, shard, leaving[0])
        answering = [peer for peer in newcomers if peer not in self.silent_since]
        newcomer = choose(self.topology.peers, answering, staying, self.load)
        if newcomer is None:
            return None
        source = next((peer for peer in leaving if self._can_give(shard, peer)), None)
        if source is not None:
            return self._started(name, number, shard, source, newcomer, TransferMethod.SNAPSHOT, sync=False)
        return self._copy(name, number, shard, newcomer)

    def _is_settled(self, shard: Shard, wanted: int) -> bool:
        """Tell at little cost that nothing is to be done, which is so for most shards at most times."""
        return (
            len(shard.replicas) >= wanted
            and self.unsure.isdisjoint(shard.replicas)
            and all(state is ReplicaState.ACTIVE for state in shard.replicas.values())
        )

    def _recovery(self, name: str, number: int, shard: Shard, peer: int) -> SingleCommand | None:
        """Send a Dead replica what it missed; one in Recovery has found that the log no longer has it."""
        if shard.replicas[peer] is ReplicaState.RECOVERY:
            return self._copy(name, number, shard, peer)
        assert shard.primary is not None
        return self._started(name, number, shard, shard.primary, peer, TransferMethod.WAL_DELTA, sync=True)

    def _copy(self, name: str, number: int, shard: Shard, target: int) -> SingleCommand | None:
        """Copy from the primary, which sends all copies of its shard, whoever is named: so the limits count what there is."""
        assert shard.primary is not None
        return self._started(name, number, shard, shard.primary, target, TransferMethod.SNAPSHOT, sync=True)

    def _started(
        self, name: str, number: int, shard: Shard, source: int, target: int, method: TransferMethod, *, sync: bool
    ) -> SingleCommand | None:
        """Start a transfer if the limits leave room for it; moving off a drained peer was asked for, and goes on with 0."""
        if not self._has_room(self.incoming[target], self.settings.incoming_transfers, asked_for=not sync):
            return None
        if not self._has_room(self.outgoing[source], self.settings.outgoing_transfers, asked_for=not sync):
            return None
        self.incoming[target] += 1
        self.outgoing[source] += 1
        if target not in shard.replicas:
            self.load[target] = Load(self.load[target].replicas + 1, self.load[target].primaries)
        return StartTransfer(name, number, source, target, method, sync, shard.epoch)

    def _has_room(self, under_way: int, limit: int | None, *, asked_for: bool) -> bool:
        return limit is None or under_way < (max(limit, 1) if asked_for else limit)

    def _departure(self, name: str, number: int, shard: Shard, peer: int) -> SingleCommand | None:
        """Take a replica off a peer that is being drained; the primary hands over first, to one that answers."""
        if shard.primary != peer:
            return DropReplica(name, number, peer, shard.epoch)
        heirs = [other for other in shard.active() if self._stays(other) and other not in self.silent_since]
        if not heirs:
            return None
        heir = min(heirs, key=lambda other: (self.load[other].primaries, other))
        return ChangePrimary(name, number, heir, shard.epoch, hands_over=True)

    def _newcomers(self, entry: CollectionEntry, shard: Shard) -> list[int]:
        """List who may take a replica, now or when they answer again."""
        only = () if shard.key is None else entry.keys[shard.key].placement
        return [
            peer
            for peer in self.topology.peers
            if peer not in shard.replicas and self._stays(peer) and (not only or peer in only)
        ]

    def _stays(self, peer: int) -> bool:
        """Tell whether a peer can be counted on: it answers, or may do so again, and is not being drained."""
        return not self._is_draining(peer) and not self._is_lost(peer)

    def _is_lost(self, peer: int) -> bool:
        return peer in self.silent_since and self._silent_for(peer) >= self.settings.replace_after_seconds

    def _can_give(self, shard: Shard, peer: int) -> bool:
        return shard.replicas[peer] is ReplicaState.ACTIVE and peer not in self.silent_since

    def _is_draining(self, peer: int) -> bool:
        return peer in self.topology.peers and self.topology.peers[peer].is_draining

    def _silent_for(self, peer: int) -> float:
        return self.now - self.silent_since.get(peer, self.now)


def _spread_primary(topology: Topology, load: Mapping[int, Load]) -> SingleCommand | None:
    """Hand one primary over from a peer that has many to one that has few, if that makes them more even."""
    counts = [each.primaries for each in load.values()]
    if max(counts) - min(counts) < _WORTHWHILE_DIFFERENCE:
        return None
    best, command = _WORTHWHILE_DIFFERENCE - 1, None
    for name, number, shard in topology.shards():
        if shard.primary is None:
            continue
        for peer in shard.active():
            difference = load[shard.primary].primaries - load[peer].primaries
            if difference > best and not (peer in topology.peers and topology.peers[peer].is_draining):
                best, command = difference, ChangePrimary(name, number, peer, shard.epoch, hands_over=True)
    return command
