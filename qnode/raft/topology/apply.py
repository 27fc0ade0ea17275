"""Applying a command: pure, deterministic, and without exceptions.

Every node applies the same commands in the same order and must come to the same topology; so nothing here asks for the
time, for chance, or for anything but the topology and the command. What cannot be done is `Rejected`, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from qnode.models import topology_commands as commands
from qnode.models.topology import Topology
from qnode.models.topology_commands import Batch, Command
from qnode.raft.topology import collection_rules, mirror_rules, peer_rules, replica_rules, transfer_rules
from qnode.raft.topology.rejection import Refused, Rejected

_RULES: dict[type[Any], Callable[[Topology, Any], Topology]] = {
    commands.AddPeer: peer_rules.add_peer,
    commands.UpdatePeerUri: peer_rules.update_peer_uri,
    commands.PeerStarted: peer_rules.peer_started,
    commands.PromotePeer: peer_rules.promote_peer,
    commands.SetPeerDraining: peer_rules.set_peer_draining,
    commands.RemovePeer: peer_rules.remove_peer,
    commands.CreateCollection: collection_rules.create_collection,
    commands.UpdateCollection: collection_rules.update_collection,
    commands.DeleteCollection: collection_rules.delete_collection,
    commands.CreateFieldIndex: collection_rules.create_field_index,
    commands.DropFieldIndex: collection_rules.drop_field_index,
    commands.ChangeAliases: collection_rules.change_aliases,
    commands.CreateShardKey: collection_rules.create_shard_key,
    commands.SetShardKeyState: collection_rules.set_shard_key_state,
    commands.DropShardKey: collection_rules.drop_shard_key,
    commands.SetReplicaState: replica_rules.set_replica_state,
    commands.ChangePrimary: replica_rules.change_primary,
    commands.ForcePrimary: replica_rules.force_primary,
    commands.AddReplica: replica_rules.add_replica,
    commands.DropReplica: replica_rules.drop_replica,
    commands.StartTransfer: transfer_rules.start_transfer,
    commands.RestartTransfer: transfer_rules.restart_transfer,
    commands.FinishTransfer: transfer_rules.finish_transfer,
    commands.AbortTransfer: transfer_rules.abort_transfer,
    commands.StartMirroring: mirror_rules.start_mirroring,
    commands.AdvanceMirroring: mirror_rules.advance_mirroring,
    commands.AbortMirroring: mirror_rules.abort_mirroring,
    commands.PutMetadata: collection_rules.put_metadata,
    commands.DeleteMetadata: collection_rules.delete_metadata,
    commands.SetQuotas: collection_rules.set_quotas,
}


def apply_command(topology: Topology, command: Command) -> tuple[Topology, Rejected | None]:
    """Apply a command; the index moves on even if it is rejected. Of a batch, the first rejection is returned."""
    if isinstance(command, Batch):
        first = None
        for single in command.commands:
            topology, rejected = apply_command(topology, single)
            first = first or rejected
        return topology, first
    moved_on = replace(topology, index=topology.index + 1)
    try:
        return _RULES[type(command)](moved_on, command), None
    except Refused as refused:
        return moved_on, refused.rejected
