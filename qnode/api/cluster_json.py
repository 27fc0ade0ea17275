"""Bodies of cluster operations, read into the commands that they ask for.

What can be told from the body alone is checked here; whether peers, shards and transfers are there is decided by the rules
of the topology. The shards of a new key need peers first, so that operation is read into a value of its own.

Left out: resharding, which is refused as Qdrant refuses it where it is off, and copying points from key to key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from qnode.errors import BadRequest, MalformedBody, ValidationFailed
from qnode.models import reading
from qnode.models.collection import MAX_SHARDS
from qnode.models.topology import KeyState, ShardKey, TransferMethod
from qnode.models.topology_commands import (
    AbortTransfer,
    DropReplica,
    DropShardKey,
    RestartTransfer,
    StartTransfer,
)

_MAX_U64 = 2**64 - 1
_RESHARDING_METHOD = "resharding_stream_records"
_DEFAULT_METHOD = TransferMethod.SNAPSHOT
_RESHARDING = (
    "start_resharding",
    "finish_migrating_points",
    "commit_read_hash_ring",
    "commit_write_hash_ring",
    "finish_resharding",
    "abort_resharding",
)
_REPLICA_STATES = (
    "Active",
    "Dead",
    "Partial",
    "Initializing",
    "Listener",
    "PartialSnapshot",
    "Recovery",
    "Resharding",
    "ReshardingScaleDown",
    "ActiveRead",
    "ManualRecovery",
)
_FIRST_STATES = {"Active": KeyState.ACTIVE, "Partial": KeyState.PARTIAL}

_ENDS: dict[str, reading.Reader] = {
    "shard_id": reading.unsigned_32,
    "from_peer_id": reading.unsigned,
    "to_peer_id": reading.unsigned,
}
_METHOD = reading.one_of(*TransferMethod, _RESHARDING_METHOD)


@dataclass(frozen=True, slots=True)
class NewShardKey:
    """A key whose shards are yet to be placed. None: as the collection has it; `peers` None: all may hold them."""

    key: ShardKey
    shards: int | None
    replication_factor: int | None
    peers: tuple[int, ...] | None
    state: KeyState | None


Operation = StartTransfer | AbortTransfer | RestartTransfer | DropReplica | DropShardKey | NewShardKey


def read_operation(body: object, name: str) -> Operation:
    """Read the one operation on a collection that a body holds."""
    given = reading.mapping(body, "a map with one operation")
    for operation, read in _OPERATIONS.items():
        if given.get(operation) is not None:
            return read(reading.mapping(given[operation]), name, operation)
    raise MalformedBody("data did not match any variant of untagged enum ClusterOperations")


def read_new_shard_key(body: object) -> NewShardKey:
    """Read a key that is to be made."""
    given = reading.mapping(body, "struct CreateShardingKey")
    _require(given, "shard_key")
    shards = reading.first_of(given, "shards_number", "shard_number")
    read = reading.fields(
        given, {"replication_factor": reading.nonzero_32, "placement": _peers, "initial_state": _replica_state}
    )
    shown_state = read.get("initial_state")
    if shown_state is not None and shown_state not in _FIRST_STATES:
        raise BadRequest(f"Initial state cannot be {shown_state}, only Active or Partial are allowed")
    shards_number = None if shards is None else reading.nonzero_32(shards)
    if shards_number is not None:
        reading.raise_faults(reading.out_of_bounds("shards_number", shards_number, (1, MAX_SHARDS)))
    return NewShardKey(
        shard_key(given["shard_key"]),
        shards_number,
        read.get("replication_factor"),
        read.get("placement"),
        None if shown_state is None else _FIRST_STATES[shown_state],
    )


def read_shard_key_to_drop(body: object, name: str) -> DropShardKey:
    """Read which key is to be removed."""
    given = reading.mapping(body, "struct DropShardingKey")
    _require(given, "shard_key")
    return DropShardKey(name, shard_key(given["shard_key"]))


def shard_key(value: object) -> ShardKey:
    """Read a key: text, or an integer from 0 to 2^64-1."""
    if isinstance(value, str) or (type(value) is int and 0 <= value <= _MAX_U64):
        return value
    raise MalformedBody("data did not match any variant of untagged enum ShardKey")


def _start(given: Mapping[str, Any], name: str, operation: str) -> StartTransfer:
    shard, source, target = _ends(given, operation)
    method = _METHOD(given["method"]) if given.get("method") is not None else _DEFAULT_METHOD
    return StartTransfer(name, shard, source, target, _transfer_method(method), operation == "replicate_shard")


def _restart(given: Mapping[str, Any], name: str, operation: str) -> RestartTransfer:
    _require(given, "method")
    shard, source, target = _ends(given, operation)
    return RestartTransfer(name, shard, source, target, _transfer_method(_METHOD(given["method"])))


def _abort(given: Mapping[str, Any], name: str, operation: str) -> AbortTransfer:
    return AbortTransfer(name, *_ends(given, operation))


def _drop_replica(given: Mapping[str, Any], name: str, operation: str) -> DropReplica:
    _require(given, "shard_id", "peer_id")
    return DropReplica(name, reading.unsigned_32(given["shard_id"]), reading.unsigned(given["peer_id"]))


def _create_key(given: Mapping[str, Any], name: str, operation: str) -> NewShardKey:
    return read_new_shard_key(given)


def _drop_key(given: Mapping[str, Any], name: str, operation: str) -> DropShardKey:
    return read_shard_key_to_drop(given, name)


def _replicate_points(given: Mapping[str, Any], name: str, operation: str) -> Operation:
    _require(given, "from_shard_key", "to_shard_key")
    if shard_key(given["from_shard_key"]) == shard_key(given["to_shard_key"]):
        raise ValidationFailed([("to_shard_key", "Validation error: must be different from from_shard_key [{}]")])
    raise BadRequest("replicate_points is not supported yet")


def _refuse_resharding(given: Mapping[str, Any], name: str, operation: str) -> Operation:
    raise BadRequest("resharding is only supported in Qdrant Cloud")


def _ends(given: Mapping[str, Any], operation: str) -> tuple[int, int, int]:
    """Read shard, source and target, which must be another peer: no shard is sent to another number here."""
    _require(given, *_ENDS)
    shard, source, target = (read(given[field]) for field, read in _ENDS.items())
    if given.get("to_shard_id") is not None:
        raise BadRequest("`to_shard_id` can only be set when resharding")
    if source == target:
        text = f'cannot transfer shard to itself, "to_peer_id" must be different than {source} in "from_peer_id"'
        raise ValidationFailed([(f"{operation}.to_peer_id", text)])
    return shard, source, target


def _transfer_method(name: str) -> TransferMethod:
    if name == _RESHARDING_METHOD:
        raise BadRequest(f"method `{name}` can only be used when resharding")
    return TransferMethod(name)


def _require(given: Mapping[str, Any], *names: str) -> None:
    for name in names:
        reading.required(given, name)


def _peers(value: object) -> tuple[int, ...]:
    return tuple(reading.unsigned(peer) for peer in reading.sequence(value))


_replica_state = reading.one_of(*_REPLICA_STATES)

_OPERATIONS: dict[str, Callable[[Mapping[str, Any], str, str], Operation]] = {
    "move_shard": _start,
    "replicate_shard": _start,
    "abort_transfer": _abort,
    "restart_transfer": _restart,
    "drop_replica": _drop_replica,
    "create_sharding_key": _create_key,
    "drop_sharding_key": _drop_key,
    "replicate_points": _replicate_points,
    **dict.fromkeys(_RESHARDING, _refuse_resharding),
}
