"""The topology as values: who is in the cluster, which collections there are, and who holds what.

One value holds all that the nodes agree on; it changes by commands alone (`topology_commands`, applied in `raft`). Values
are never changed in place: a change makes new ones along the path to what changed and shares the rest.

What holds in every topology that commands can lead to:

- A shard has a primary exactly if it has an Active replica, and its primary is one of them.
- A shard's epoch rises by one with each change of its primary, and when its primary's process has started anew. It begins at the index of the command that made the shard,
  so no epoch is seen twice under one name and number, also when a collection was deleted and made again.
- `added` names the peers of `replicas`.
- Numbers of shards, folders of collections and ids of peers that were removed are never given again.
- Only an Active replica is the source of a transfer, and the two transfers of a shard have no peer in common.

Left out: resharding, and replicas that only listen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from qnode.models.shard_choice import ShardKey

__all__ = [
    "LARGEST_PEER_ID",
    "STANDALONE_PEER",
    "CollectionEntry",
    "KeyState",
    "Peer",
    "ReplicaState",
    "Shard",
    "ShardKey",
    "ShardKeyEntry",
    "ShardingMethod",
    "Topology",
    "Transfer",
    "TransferMethod",
]

STANDALONE_PEER = 0
"""Who holds the shards of a node that was never part of a cluster. The first peer of a cluster takes its place."""

LARGEST_PEER_ID = (1 << 53) - 1
"""So that every reader of JSON reads it as it is."""


class ReplicaState(StrEnum):
    """How a replica stands to its shard's primary.

    Active: in-sync, a commit needs it. Initializing, Partial: follows the log, and is not read. Recovery: its files are
    being copied. ManualRecovery: a user puts a snapshot into it. Dead: behind, and to be recovered.
    """

    ACTIVE = "Active"
    INITIALIZING = "Initializing"
    PARTIAL = "Partial"
    RECOVERY = "Recovery"
    MANUAL_RECOVERY = "ManualRecovery"
    DEAD = "Dead"


class KeyState(StrEnum):
    """How far a shard key has been filled: Partial is not read, ActiveRead is read and still being filled."""

    PARTIAL = "Partial"
    ACTIVE_READ = "ActiveRead"
    ACTIVE = "Active"


class TransferMethod(StrEnum):
    """How a replica is brought up to its source; the first two copy, the last sends what the log still has."""

    STREAM_RECORDS = "stream_records"
    SNAPSHOT = "snapshot"
    WAL_DELTA = "wal_delta"


class ShardingMethod(StrEnum):
    """auto: a fixed number of shards, by hash; custom: shards by keys that users name."""

    AUTO = "auto"
    CUSTOM = "custom"


@dataclass(frozen=True, slots=True)
class Peer:
    """A member. `incarnation` is a random word that the node made when its storage was new, and kept there.

    `life` is a random word of the newest process that has told of its start, `lease_ms` how long that one reads without a word
    of the leader; 0: it does not say.
    """

    uri: str
    incarnation: str
    name: str = ""
    version: str = ""
    zone: str | None = None
    is_voter: bool = False
    is_draining: bool = False
    life: str = ""
    lease_ms: int = 0


@dataclass(frozen=True, slots=True)
class Shard:
    """Who holds a shard. `changed`: index of the command that last changed primary or replicas.

    added: for each replica the index of the command since which its peer has one, whatever states it has been in.
    """

    key: ShardKey | None
    primary: int | None
    epoch: int
    changed: int
    replicas: Mapping[int, ReplicaState]
    added: Mapping[int, int] = field(default_factory=dict)

    def active(self) -> list[int]:
        """List the peers whose replicas are in-sync, ascending."""
        return sorted(peer for peer, state in self.replicas.items() if state is ReplicaState.ACTIVE)


@dataclass(frozen=True, slots=True)
class Transfer:
    """A replica being copied. With `sync` the source stays, else it is dropped at the end.

    `started` is the index of the command that began it, and tells it from a later one between the same peers.
    """

    shard: int
    source: int
    target: int
    method: TransferMethod
    sync: bool
    started: int

    def involves(self, shard: int, peer: int) -> bool:
        return self.shard == shard and peer in (self.source, self.target)


@dataclass(frozen=True, slots=True)
class ShardKeyEntry:
    """The shards of a key. `placement`: the only peers that may hold them; empty: all."""

    shards: tuple[int, ...]
    replication_factor: int | None = None
    placement: tuple[int, ...] = ()
    state: KeyState = KeyState.ACTIVE


@dataclass(frozen=True, slots=True)
class CollectionEntry:
    """A collection: its settings and payload indexes (field path to schema) as JSON values, its shards by number."""

    folder: str
    config: Mapping[str, Any]
    fields: Mapping[str, Any] = field(default_factory=dict)
    shards: Mapping[int, Shard] = field(default_factory=dict)
    keys: Mapping[ShardKey, ShardKeyEntry] = field(default_factory=dict)
    next_shard: int = 0
    transfers: tuple[Transfer, ...] = ()

    @property
    def sharding_method(self) -> ShardingMethod:
        return ShardingMethod(self._param("sharding_method", ShardingMethod.AUTO))

    @property
    def replication_factor(self) -> int:
        return int(self._param("replication_factor", 1))

    @property
    def write_consistency_factor(self) -> int:
        return int(self._param("write_consistency_factor", 1))

    def replication_factor_of(self, shard: int) -> int:
        """Tell how many replicas a shard should have: its key may say so, else the collection."""
        key = self.shards[shard].key
        own = None if key is None else self.keys[key].replication_factor
        return self.replication_factor if own is None else own

    def _param(self, name: str, default: Any) -> Any:
        return self.config.get("params", {}).get(name) or default


@dataclass(frozen=True, slots=True)
class Topology:
    """All that the commands so far have led to; `index` counts them. `removed`: ids of peers that are members no more.

    quotas: as `quotas.QuotaConfig` has them.
    """

    index: int = 0
    peers: Mapping[int, Peer] = field(default_factory=dict)
    removed: frozenset[int] = frozenset()
    collections: Mapping[str, CollectionEntry] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    quotas: Mapping[str, Any] = field(default_factory=dict)

    def collection_named(self, name: str) -> str | None:
        """Resolve the name of a collection, or an alias of one."""
        return name if name in self.collections else self.aliases.get(name)

    def shards(self) -> Iterator[tuple[str, int, Shard]]:
        """Go through all shards: collection, number, shard."""
        for name, entry in self.collections.items():
            for number, shard in entry.shards.items():
                yield name, number, shard

    def shards_on(self, peer: int) -> Iterator[tuple[str, int, Shard]]:
        """Go through the shards of which a peer has a replica, in whatever state."""
        return ((name, number, shard) for name, number, shard in self.shards() if peer in shard.replicas)
