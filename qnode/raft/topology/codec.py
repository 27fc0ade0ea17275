"""The topology as bytes, for the disk and for peers that join: JSON with a version.

Version 2 writes every value as an object of its fields; shard keys stand in a list, since 5 and "5" are two of them. Version 1 is what
nodes wrote that knew no cluster: collections with settings and payload indexes. Its reader gives each the shards that
such a node has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import orjson

from qnode.models.topology import (
    STANDALONE_PEER,
    CollectionEntry,
    KeyState,
    Mirroring,
    MirrorStage,
    Peer,
    ReplicaState,
    Shard,
    ShardKeyEntry,
    Topology,
    Transfer,
    TransferMethod,
)
from qnode.models.topology_commands import Placement

FORMAT_VERSION = 2


def topology_to_bytes(topology: Topology) -> bytes:
    """Write what `topology_from_bytes` reads."""
    content = {
        "v": FORMAT_VERSION,
        "index": topology.index,
        "peers": topology.peers,
        "removed": sorted(topology.removed),
        "collections": {name: _entry_content(entry) for name, entry in topology.collections.items()},
        "aliases": topology.aliases,
        "metadata": topology.metadata,
        "quotas": topology.quotas,
    }
    return orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS)


def topology_from_bytes(value: bytes) -> Topology:
    """Read a topology of this version or an older one."""
    content = orjson.loads(value)
    assert content["v"] <= FORMAT_VERSION, "a topology of a later version"
    if content["v"] == 1:
        return _read_version_1(content)
    return Topology(
        content["index"],
        {int(peer): Peer(**entry) for peer, entry in content["peers"].items()},
        frozenset(content["removed"]),
        {name: _read_entry(entry) for name, entry in content["collections"].items()},
        content["aliases"],
        content["metadata"],
        content.get("quotas", {}),  # not told by the first versions
    )


def standalone_placement(config: Mapping[str, Any]) -> Placement:
    """Place a collection's shards on a node that runs alone."""
    params = config.get("params", {})
    if params.get("sharding_method") == "custom":
        return ()
    return ((STANDALONE_PEER,),) * int(params.get("shard_number", 1))


def _entry_content(entry: CollectionEntry) -> dict[str, Any]:
    content = {field.name: getattr(entry, field.name) for field in fields(entry)}
    return {**content, "keys": [[key, own] for key, own in entry.keys.items()]}


def _read_entry(content: Mapping[str, Any]) -> CollectionEntry:
    return CollectionEntry(
        content["folder"],
        content["config"],
        content["fields"],
        {int(number): _read_shard(shard) for number, shard in content["shards"].items()},
        {key: _read_key(own) for key, own in content["keys"]},
        content["next_shard"],
        tuple(_read_transfer(transfer) for transfer in content["transfers"]),
        tuple(map(_read_mirroring, content.get("mirrorings", ()))),  # not told by the first versions
    )


def _read_shard(content: Mapping[str, Any]) -> Shard:
    replicas = {int(peer): ReplicaState(state) for peer, state in content["replicas"].items()}
    told = content.get("added") or dict.fromkeys(
        content["replicas"], content["changed"]
    )  # not told by the first versions
    added = {int(peer): index for peer, index in told.items()}
    return Shard(content["key"], content["primary"], content["epoch"], content["changed"], replicas, added)


def _read_key(content: Mapping[str, Any]) -> ShardKeyEntry:
    shards, placement = tuple(content["shards"]), tuple(content["placement"])
    return ShardKeyEntry(shards, content["replication_factor"], placement, KeyState(content["state"]))


def _read_transfer(content: dict[str, Any]) -> Transfer:
    return Transfer(**{**content, "method": TransferMethod(content["method"])})


def _read_mirroring(content: dict[str, Any]) -> Mirroring:
    epochs = {int(number): epoch for number, epoch in content["epochs"].items()}
    stages = {int(number): MirrorStage(stage) for number, stage in content["stages"].items()}
    return Mirroring(**{**content, "epochs": epochs, "stages": stages})


def _read_version_1(content: Mapping[str, Any]) -> Topology:
    index = content["index"]
    collections = {}
    for name, entry in content["collections"].items():
        placement = standalone_placement(entry["config"])
        shards = {
            number: Shard(None, peers[0], index, index, {peers[0]: ReplicaState.ACTIVE}, {peers[0]: index})
            for number, peers in enumerate(placement)
        }
        collections[name] = CollectionEntry(**entry, shards=shards, next_shard=len(shards))
    return Topology(index, collections=collections)
