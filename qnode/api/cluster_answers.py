"""Answers about the cluster, in Qdrant's shapes: who is in it, how consensus stands, who holds what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import time
from typing import TYPE_CHECKING, Any

from qnode.api.answers import shown_time
from qnode.models.topology import (
    CollectionEntry,
    MirrorStage,
    ReplicaState,
    Shard,
    ShardingMethod,
    Topology,
    Transfer,
    TransferMethod,
)

if TYPE_CHECKING:
    from qnode.cluster import ClusterStatus, PeerStatus
    from qnode.shards.copying import CopyProgress

_SHARDS_LEVEL = 2
"""From this level on the cluster's telemetry tells of each shard."""
_STANDING_LEVEL = 1
_PEERS_LEVEL = 3
"""From these levels on a node's telemetry tells how consensus stands, and of all peers."""

PointsCount = Callable[[int], int]
"""How many points the local replica of a shard has."""
Comment = Callable[[CollectionEntry, Transfer], str | None]
"""How far a transfer is, where this node is its source."""


def status(standing: ClusterStatus) -> dict[str, Any]:
    """Show who is in the cluster, and how consensus stands on this node."""
    return {
        "status": "enabled",
        "peer_id": standing.peer_id,
        "peers": {str(peer): {"uri": uri} for peer, uri in sorted(standing.peers.items())},
        "raft_info": {
            "term": standing.term,
            "commit": standing.commit,
            "pending_operations": standing.pending,
            "leader": standing.leader,
            "role": standing.role,
            "is_voter": standing.is_voter,
        },
        "consensus_thread_status": _thread_status(standing.consensus_thread_status, standing.stopped),
        "message_send_failures": {
            address: {
                "count": failures.count,
                "latest_error": failures.latest_error,
                "latest_error_timestamp": shown_time(failures.latest_error_at),
            }
            for address, failures in standing.message_send_failures.items()
        },
    }


def collection(entry: CollectionEntry, me: int, points_count: PointsCount, told: Comment) -> dict[str, Any]:
    """Show where the shards of a collection are."""
    numbers = sorted(entry.shards)
    local: list[dict[str, Any]] = []
    remote: list[dict[str, Any]] = []
    for number in numbers:
        shard = entry.shards[number]
        for peer, state in sorted(shard.replicas.items()):
            shown = {"shard_id": number, **_key(shard, "shard_key")}
            if peer == me:
                local.append(
                    {**shown, "points_count": points_count(number), "state": _shown_state(entry, shard, state)}
                )
            else:
                remote.append({**shown, "peer_id": peer, "state": _shown_state(entry, shard, state)})
    return {
        "peer_id": me,
        "shard_count": len(numbers),
        "local_shards": local,
        "remote_shards": remote,
        "shard_transfers": transfers(entry, told),
    }


def _shown_state(entry: CollectionEntry, shard: Shard, state: ReplicaState) -> str:
    """Show a replica that is in sync as its shard key is: one that is being filled is not simply Active."""
    return state if shard.key is None or state is not ReplicaState.ACTIVE else entry.keys[shard.key].state


def transfers(entry: CollectionEntry, told: Comment) -> list[dict[str, Any]]:
    """Show what is being copied."""
    shown = []
    for transfer in sorted(entry.transfers, key=lambda each: (each.shard, each.started)):
        one: dict[str, Any] = {
            "shard_id": transfer.shard,
            "from": transfer.source,
            "to": transfer.target,
            "sync": transfer.sync,
            "method": transfer.method,
        }
        if (text := told(entry, transfer)) is not None:
            one["comment"] = text
        shown.append(one)
    return shown + mirrorings(entry)


def mirrorings(entry: CollectionEntry) -> list[dict[str, Any]]:
    """Show the copying of points from key to key: from each source shard to each target shard, by their primaries."""
    led = {number for number, shard in entry.shards.items() if shard.primary is not None}
    return [
        {
            "shard_id": number,
            "to_shard_id": to_number,
            "from": entry.shards[number].primary,
            "to": entry.shards[to_number].primary,
            "sync": True,
            "method": TransferMethod.STREAM_RECORDS,
        }
        for mirroring in entry.mirrorings
        for number in sorted(mirroring.stages)
        for to_number in sorted(entry.keys[mirroring.target].shards)
        if mirroring.stages[number] is not MirrorStage.ENDED and {number, to_number} <= led
    ]


def comment(copy: CopyProgress) -> str:
    """Say how far a copy is, in Qdrant's words."""
    stage = f"{copy.stage} ({copy.seconds:.2f}s)"
    if not copy.total_bytes:
        return stage
    return f"{stage} | Transferring bytes ({copy.done_bytes}/{copy.total_bytes})"


def telemetry(
    topology: Topology,
    level: int,
    peers: Mapping[int, PeerStatus | None] | None,
    told: Comment,
) -> dict[str, Any]:
    """Show the cluster; `peers`: what each tells, None for one that does not answer. Without a cluster it is None."""
    collections = {name: _collection_telemetry(name, topology, level, told) for name in topology.collections}
    cluster: dict[str, Any] = {"enabled": peers is not None, "peers": {}}
    if peers is not None:
        cluster["number_of_peers"] = len(topology.peers)
        cluster["peers"] = {
            str(peer): _peer(member.uri, peers.get(peer)) for peer, member in sorted(topology.peers.items())
        }
    return {"collections": collections, "cluster": cluster}


def _collection_telemetry(name: str, topology: Topology, level: int, told: Comment) -> dict[str, Any]:
    entry = topology.collections[name]
    shown: dict[str, Any] = {"id": name}
    if level >= _SHARDS_LEVEL:
        shown["shards"] = [
            {
                "id": number,
                **_key(shard, "key"),
                "replicas": [
                    {"peer_id": peer, "state": state, "is_primary": peer == shard.primary}
                    for peer, state in sorted(shard.replicas.items())
                ],
            }
            for number, shard in sorted(entry.shards.items())
        ]
        shown["shard_transfers"] = transfers(entry, told)
    return shown


def _peer(uri: str, told: PeerStatus | None) -> dict[str, Any]:
    if told is None:
        return {"uri": uri, "responsive": False}
    details = {
        "version": told.version,
        "role": told.role,
        "is_voter": told.is_voter,
        "term": told.term,
        "commit": told.commit,
        "num_pending_operations": told.pending,
        "consensus_thread_status": _thread_status(told.consensus_thread_status),
    }
    return {"uri": uri, "responsive": True, "details": details}


def node_telemetry(standing: ClusterStatus | None, topology: Topology, level: int) -> dict[str, Any]:
    """Show what a node says of the cluster beside all else that it knows of itself."""
    if standing is None:
        return {"enabled": False}
    shown: dict[str, Any] = {"enabled": True}
    if level >= _STANDING_LEVEL:
        shown["status"] = {
            "number_of_peers": len(standing.peers),
            "term": standing.term,
            "commit": standing.commit,
            "pending_operations": standing.pending,
            "role": standing.role,
            "is_voter": standing.is_voter,
            "peer_id": standing.peer_id,
            "consensus_thread_status": _thread_status(standing.consensus_thread_status, standing.stopped),
        }
    if level >= _PEERS_LEVEL:
        peers = sorted(topology.peers.items())
        shown["peers"] = {str(peer): {"uri": member.uri} for peer, member in peers}
        shown["peer_metadata"] = {str(peer): {"version": member.version} for peer, member in peers}
        shown["metadata"] = dict(topology.metadata)
        shown["resharding_enabled"] = False
    return shown


def _thread_status(word: str, error: str | None = None) -> dict[str, Any]:
    """Show whether consensus works, in one of Qdrant's three shapes."""
    shown = {"consensus_thread_status": word}
    if word == "working":
        shown["last_update"] = shown_time(time())
    elif word != "stopped":
        shown["err"] = error or "see the log of that node"
    return shown


def shard_keys(entry: CollectionEntry) -> dict[str, Any]:
    """Show the keys of a collection that has such."""
    if entry.sharding_method is not ShardingMethod.CUSTOM:
        return {}
    return {"shard_keys": [{"key": key} for key in entry.keys]}


def _key(shard: Shard, name: str) -> dict[str, Any]:
    return {} if shard.key is None else {name: shard.key}
