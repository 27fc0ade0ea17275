"""What commands on mirrorings do: points that are copied from one shard key to another.

Each primary of a source shard passes on what it holds, and says how far it is. It does so in one epoch: a mirroring of which
a source shard is in another one says nothing more, and is to be given up. A key that was being filled is
Partial again then: whatever was written through it stands under its fallback too.
"""

from __future__ import annotations

from dataclasses import replace

from qnode.models.shard_choice import shown
from qnode.models.topology import CollectionEntry, KeyState, Mirroring, MirrorStage, ShardKey, Topology
from qnode.models.topology_commands import AbortMirroring, AdvanceMirroring, StartMirroring
from qnode.raft.topology.parts import check_epoch, collection_of, key_of, with_collection
from qnode.raft.topology.rejection import Reason, Refused

_NEXT = {MirrorStage.COPYING: MirrorStage.FOLLOWING, MirrorStage.FOLLOWING: MirrorStage.ENDED}


def start_mirroring(topology: Topology, command: StartMirroring) -> Topology:
    """Begin to copy points from a key that holds what it shall to another one, to which nothing else is copied."""
    entry = collection_of(topology, command.name)
    source, _ = (key_of(entry, command.name, key) for key in (command.source, command.target))
    if command.source == command.target:
        raise Refused(Reason.REFUSED, f"Points under {shown(command.source)} cannot be copied to where they are")
    if source.state is not KeyState.ACTIVE:
        raise Refused(Reason.REFUSED, f"Sharding key {shown(command.source)} is not active")
    for other in entry.mirrorings:
        if command.target in (other.source, other.target) or command.source == other.target:
            text = f"Points are already being copied from {shown(other.source)} to {shown(other.target)}"
            raise Refused(Reason.REFUSED, text)
    for number in source.shards:
        if entry.shards[number].primary is None:
            raise Refused(Reason.REFUSED, f"Shard {number} has no active replica")
        for transfer in entry.transfers:
            if transfer.shard == number:
                text = f"Shard {number} is already involved in transfer {transfer.source} -> {transfer.target}"
                raise Refused(Reason.REFUSED, text)
    epochs = {number: entry.shards[number].epoch for number in source.shards}
    stages = dict.fromkeys(source.shards, MirrorStage.COPYING)
    made = Mirroring(command.source, command.target, command.filter, topology.index, epochs, stages)
    return with_collection(topology, command.name, replace(entry, mirrorings=(*entry.mirrorings, made)))


def advance_mirroring(topology: Topology, command: AdvanceMirroring) -> Topology:
    """Note how far a source shard is; what all of them have reached changes the target's state."""
    entry = collection_of(topology, command.name)
    old = next((each for each in entry.mirrorings if each.started == command.started), None)
    if old is None or command.shard not in old.stages:
        raise Refused(Reason.OUTDATED, f"The points of shard {command.shard} are not being copied any more")
    for epoch in (command.epoch, old.epochs[command.shard]):
        check_epoch(entry.shards[command.shard], command.shard, epoch)
    if _NEXT.get(old.stages[command.shard]) is not command.stage:
        raise Refused(Reason.OUTDATED, f"The mirroring of shard {command.shard} is {old.stages[command.shard]}")
    stages = {**old.stages, command.shard: command.stage}
    if command.stage is MirrorStage.ENDED and MirrorStage.COPYING in stages.values():
        raise Refused(Reason.OUTDATED, "other shards are still being copied")
    if set(stages.values()) == {MirrorStage.ENDED}:
        entry = _with_key_state(_without(entry, old), old.target, KeyState.ACTIVE_READ, KeyState.ACTIVE)
        return with_collection(topology, command.name, entry)
    if MirrorStage.COPYING not in stages.values():
        entry = _with_key_state(entry, old.target, KeyState.PARTIAL, KeyState.ACTIVE_READ)
    changed = tuple(replace(each, stages=stages) if each is old else each for each in entry.mirrorings)
    return with_collection(topology, command.name, replace(entry, mirrorings=changed))


def abort_mirroring(topology: Topology, command: AbortMirroring) -> Topology:
    """Give a mirroring up; what was copied stays under the target, which is not read if it was being filled."""
    entry = collection_of(topology, command.name)
    source, target = (entry.shards.get(number) for number in (command.shard, command.to_shard))
    for old in entry.mirrorings:
        if source is None or target is None or (old.source, old.target) != (source.key, target.key):
            continue
        if command.started is not None and old.started != command.started:
            raise Refused(Reason.OUTDATED, "The mirroring between these keys is another one")
        entry = _with_key_state(_without(entry, old), old.target, KeyState.ACTIVE_READ, KeyState.PARTIAL)
        return with_collection(topology, command.name, entry)
    raise Refused(
        Reason.MISSING,
        f"Shard transfer {command.shard} -> {command.to_shard} for collection {command.name} does not exist",
    )


def _without(entry: CollectionEntry, mirroring: Mirroring) -> CollectionEntry:
    return replace(entry, mirrorings=tuple(other for other in entry.mirrorings if other is not mirroring))


def _with_key_state(entry: CollectionEntry, key: ShardKey, before: KeyState, after: KeyState) -> CollectionEntry:
    """Put a key into another state if it is in one; a key that is Active all the time stays so."""
    own = entry.keys[key]
    if own.state is not before:
        return entry
    return replace(entry, keys={**entry.keys, key: replace(own, state=after)})
