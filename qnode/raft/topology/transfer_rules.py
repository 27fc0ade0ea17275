"""What commands on transfers do. A transfer ends when its target has become Active, or when one of its ends is lost."""

from __future__ import annotations

from dataclasses import replace

from qnode.models.topology import CollectionEntry, ReplicaState, Topology, Transfer, TransferMethod
from qnode.models.topology_commands import AbortTransfer, FinishTransfer, RestartTransfer, StartTransfer
from qnode.raft.topology.parts import check_peer, collection_of, shard_in_epoch, with_collection, with_shard
from qnode.raft.topology.rejection import Reason, Refused
from qnode.raft.topology.replicas import (
    ACTIVE,
    check_may_leave,
    end_transfer,
    with_state,
    without_replica,
    without_transfer,
)


def start_transfer(topology: Topology, command: StartTransfer) -> Topology:
    """Begin to copy an Active replica to a peer that takes part in no other transfer of the shard."""
    number, source, target = command.shard, command.source, command.target
    entry, shard = shard_in_epoch(topology, command.name, number, command.epoch)
    for peer in (source, target):
        check_peer(topology, peer)
    if source == target:
        raise Refused(Reason.REFUSED, f"Shard {number} cannot be transferred from peer {source} to itself")
    if shard.replicas.get(source) is not ACTIVE:
        raise Refused(Reason.REFUSED, f"Shard {number} is not active on peer {source}")
    for other in entry.transfers:
        if other.involves(number, source) or other.involves(number, target):
            raise Refused(
                Reason.REFUSED,
                f"Shard {number} is already involved in transfer {other.source} -> {other.target}",
            )
    if shard.replicas.get(target) is ACTIVE:
        check_may_leave(shard, number, target)
    transfer = Transfer(number, source, target, command.method, command.sync, topology.index)
    return with_collection(topology, command.name, _begun(entry, transfer))


def restart_transfer(topology: Topology, command: RestartTransfer) -> Topology:
    """Begin a transfer anew by another method."""
    entry = collection_of(topology, command.name)
    old = _transfer_of(entry, command)
    if old.method is command.method:
        raise Refused(
            Reason.REFUSED, f"Cannot restart transfer for shard {command.shard}, its configuration did not change"
        )
    shard = entry.shards[command.shard]
    if shard.replicas[command.target] is ACTIVE:
        check_may_leave(shard, command.shard, command.target)
    left = without_transfer(entry, old)
    return with_collection(
        topology, command.name, _begun(left, replace(old, method=command.method, started=topology.index))
    )


def finish_transfer(topology: Topology, command: FinishTransfer) -> Topology:
    """End a transfer; of a move, the target takes the place of the source, also as the primary."""
    entry = collection_of(topology, command.name)
    transfer = _transfer_of(entry, command)
    shard = entry.shards[transfer.shard]
    if shard.replicas[transfer.target] is not ACTIVE:
        raise Refused(Reason.OUTDATED, f"Shard {transfer.shard} is not active on peer {transfer.target}")
    entry = without_transfer(entry, transfer)
    if not transfer.sync:
        if shard.primary == transfer.source:  # the copy takes the place of its source in every respect
            changed = replace(shard, primary=transfer.target, epoch=shard.epoch + 1)
            entry = with_shard(entry, transfer.shard, changed)
        entry = without_replica(entry, transfer.shard, transfer.source, topology.index)
    return with_collection(topology, command.name, entry)


def abort_transfer(topology: Topology, command: AbortTransfer) -> Topology:
    """Give a transfer up."""
    entry = collection_of(topology, command.name)
    changed = end_transfer(entry, _transfer_of(entry, command), topology.index)
    return with_collection(topology, command.name, changed)


def _begun(entry: CollectionEntry, transfer: Transfer) -> CollectionEntry:
    """Note a transfer, and that its target is being recovered."""
    state = ReplicaState.RECOVERY if transfer.method is TransferMethod.SNAPSHOT else ReplicaState.PARTIAL
    shard = with_state(entry.shards[transfer.shard], transfer.target, state, transfer.started)
    return replace(with_shard(entry, transfer.shard, shard), transfers=(*entry.transfers, transfer))


def _transfer_of(entry: CollectionEntry, command: RestartTransfer | FinishTransfer | AbortTransfer) -> Transfer:
    shard, source, target = command.shard, command.source, command.target
    started = None if isinstance(command, RestartTransfer) else command.started
    for transfer in entry.transfers:
        if (transfer.shard, transfer.source, transfer.target) == (shard, source, target):
            if started is not None and transfer.started != started:
                raise Refused(Reason.OUTDATED, f"The transfer of shard {shard} to peer {target} is another one")
            return transfer
    raise Refused(
        Reason.MISSING, f"Shard transfer {source} -> {target} for collection {command.name}:{shard} does not exist"
    )
