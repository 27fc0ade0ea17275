"""The commands that change the topology. What each does, and when it is refused, is decided in `raft`.

A command carries what it depends on: one that was overtaken by another change is rejected and changes nothing. Commands
on a replica name the shard's `epoch`; None means whatever it is, for what a user asks for. `seen` guards more strictly:
it is the shard's `changed` that the proposer knew, so nothing at all may have happened to its replicas since.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qnode.models.topology import KeyState, ReplicaState, ShardKey, TransferMethod

Placement = tuple[tuple[int, ...], ...]
"""For each shard to be made the peers that hold it, the primary first."""


@dataclass(frozen=True, slots=True)
class AddPeer:
    """Let a node join, or take over what a member says of itself when it has started again."""

    peer: int
    uri: str
    incarnation: str
    name: str = ""
    version: str = ""
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class UpdatePeerUri:
    """A member is reached at another address."""

    peer: int
    incarnation: str
    uri: str


@dataclass(frozen=True, slots=True)
class PeerStarted:
    """A member's process has begun: what it is primary of goes on in the next epoch.

    `life` is a random word of the process, `seen` that of the member which it knew: of a process that is gone, nothing comes late.
    `lease_ms`: see `Peer`.
    """

    peer: int
    life: str
    seen: str
    lease_ms: int = 0


@dataclass(frozen=True, slots=True)
class PromotePeer:
    """Make a member that has caught up a voter."""

    peer: int


@dataclass(frozen=True, slots=True)
class SetPeerDraining:
    """Say whether everything is to be moved off a peer."""

    peer: int
    draining: bool


@dataclass(frozen=True, slots=True)
class RemovePeer:
    """Take a member out for good. With `force` its replicas go too, last copies among them."""

    peer: int
    force: bool = False


@dataclass(frozen=True, slots=True)
class CreateCollection:
    """Make a collection under a free name."""

    name: str
    config: Mapping[str, Any]
    placement: Placement


@dataclass(frozen=True, slots=True)
class UpdateCollection:
    """Replace a collection's settings; rejected if they are no longer `expected`."""

    name: str
    expected: Mapping[str, Any]
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DeleteCollection:
    """Remove a collection with all that it holds, and its aliases."""

    name: str


@dataclass(frozen=True, slots=True)
class CreateFieldIndex:
    """Index a payload field, or index it in another way."""

    name: str
    field: str
    schema: Any


@dataclass(frozen=True, slots=True)
class DropFieldIndex:
    """Take a payload index away."""

    name: str
    field: str


@dataclass(frozen=True, slots=True)
class SetAlias:
    """Let an alias stand for a collection, whatever it stood for before."""

    alias: str
    collection: str


@dataclass(frozen=True, slots=True)
class RenameAlias:
    """Give an alias another name."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class DropAlias:
    """Take an alias away; nothing happens if there is none."""

    alias: str


AliasChange = SetAlias | RenameAlias | DropAlias


@dataclass(frozen=True, slots=True)
class ChangeAliases:
    """Make all of these changes in order, or none."""

    changes: tuple[AliasChange, ...]


@dataclass(frozen=True, slots=True)
class CreateShardKey:
    """Make the shards of a new key. `peers`: the only ones that may ever hold them; empty: all."""

    name: str
    key: ShardKey
    placement: Placement
    replication_factor: int | None = None
    peers: tuple[int, ...] = ()
    state: KeyState = KeyState.ACTIVE


@dataclass(frozen=True, slots=True)
class SetShardKeyState:
    """A key has been filled further; rejected if it is no longer `expected`."""

    name: str
    key: ShardKey
    expected: KeyState
    state: KeyState


@dataclass(frozen=True, slots=True)
class DropShardKey:
    """Remove a key with its shards and all that they hold."""

    name: str
    key: ShardKey


@dataclass(frozen=True, slots=True)
class SetReplicaState:
    """Put a replica into a state; rejected if it is no longer `expected` (None: in whatever state it is).

    To make it Active `seen` is required: the shard's `changed` when the primary began to wait for this replica.
    """

    name: str
    shard: int
    peer: int
    state: ReplicaState
    epoch: int
    expected: ReplicaState | None = None
    seen: int | None = None


@dataclass(frozen=True, slots=True)
class ChangePrimary:
    """Make an Active replica the primary, in the next epoch.

    The old one becomes Dead, for it did not answer. With `hands_over` it lives and stays Active.
    """

    name: str
    shard: int
    peer: int
    epoch: int
    hands_over: bool = False


@dataclass(frozen=True, slots=True)
class ForcePrimary:
    """Make any replica the primary and the only Active one: an operator gives up what it does not hold."""

    name: str
    shard: int
    peer: int
    epoch: int


@dataclass(frozen=True, slots=True)
class AddReplica:
    """Let a peer hold a shard too, beginning with nothing."""

    name: str
    shard: int
    peer: int
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class DropReplica:
    """Take a replica away. If it was the primary, another Active one takes its place in the next epoch."""

    name: str
    shard: int
    peer: int
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class StartTransfer:
    """Begin to copy a replica to a peer, which holds one afterwards; without `sync` in place of the source.

    `source` says which replica a move takes away, and whose limits count. What is copied comes from the shard's primary, whoever
    is named: it alone knows what is committed, and goes on from the copy with its log.
    """

    name: str
    shard: int
    source: int
    target: int
    method: TransferMethod
    sync: bool
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class RestartTransfer:
    """Begin a transfer anew, in another way."""

    name: str
    shard: int
    source: int
    target: int
    method: TransferMethod


@dataclass(frozen=True, slots=True)
class FinishTransfer:
    """End a transfer whose target has become Active; drop its source if it was a move."""

    name: str
    shard: int
    source: int
    target: int
    started: int


@dataclass(frozen=True, slots=True)
class AbortTransfer:
    """Give a transfer up. `started` None: whichever there is between these peers."""

    name: str
    shard: int
    source: int
    target: int
    started: int | None = None


@dataclass(frozen=True, slots=True)
class PutMetadata:
    """Keep a JSON value under a key for the users of the cluster; null takes the key away."""

    key: str
    value: Any


@dataclass(frozen=True, slots=True)
class DeleteMetadata:
    """Take a key away; nothing happens if there is none."""

    key: str


@dataclass(frozen=True, slots=True)
class SetQuotas:
    """Replace the quotas of all nodes."""

    quotas: Mapping[str, Any]


SingleCommand = (
    AddPeer
    | UpdatePeerUri
    | PeerStarted
    | PromotePeer
    | SetPeerDraining
    | RemovePeer
    | CreateCollection
    | UpdateCollection
    | DeleteCollection
    | CreateFieldIndex
    | DropFieldIndex
    | ChangeAliases
    | CreateShardKey
    | SetShardKeyState
    | DropShardKey
    | SetReplicaState
    | ChangePrimary
    | ForcePrimary
    | AddReplica
    | DropReplica
    | StartTransfer
    | RestartTransfer
    | FinishTransfer
    | AbortTransfer
    | PutMetadata
    | DeleteMetadata
    | SetQuotas
)


@dataclass(frozen=True, slots=True)
class Batch:
    """Many commands in one entry of the log, each applied or rejected by itself."""

    commands: tuple[SingleCommand, ...]


Command = SingleCommand | Batch
