from typing import Any

import pytest

from qnode.api.cluster_json import NewShardKey, read_new_shard_key, read_operation, read_shard_key_to_drop
from qnode.errors import QnodeError
from qnode.models.topology import KeyState, TransferMethod
from qnode.models.topology_commands import (
    AbortMirroring,
    AbortTransfer,
    DropReplica,
    DropShardKey,
    RestartTransfer,
    StartMirroring,
    StartTransfer,
)

ENDS = {"shard_id": 2, "from_peer_id": 7, "to_peer_id": 8}


@pytest.mark.parametrize(
    ("operation", "given", "command"),
    [
        ("move_shard", ENDS, StartTransfer("c", 2, 7, 8, TransferMethod.SNAPSHOT, sync=False)),
        ("replicate_shard", ENDS, StartTransfer("c", 2, 7, 8, TransferMethod.SNAPSHOT, sync=True)),
        (
            "replicate_shard",
            {**ENDS, "method": "wal_delta", "to_shard_id": None},
            StartTransfer("c", 2, 7, 8, TransferMethod.WAL_DELTA, sync=True),
        ),
        ("abort_transfer", ENDS, AbortTransfer("c", 2, 7, 8)),
        (
            "restart_transfer",
            {**ENDS, "method": "stream_records"},
            RestartTransfer("c", 2, 7, 8, TransferMethod.STREAM_RECORDS),
        ),
        ("abort_transfer", {**ENDS, "to_peer_id": 7, "to_shard_id": 3}, AbortMirroring("c", 2, 3)),
        ("replicate_points", {"from_shard_key": 1, "to_shard_key": "1"}, StartMirroring("c", 1, "1", None)),
        (
            "replicate_points",
            {"from_shard_key": "a", "to_shard_key": "b", "filter": {"must": {"has_id": [1]}}},
            StartMirroring("c", "a", "b", {"must": {"has_id": [1]}}),
        ),
        ("drop_replica", {"shard_id": 0, "peer_id": 2**53 - 1}, DropReplica("c", 0, 2**53 - 1)),
        ("drop_sharding_key", {"shard_key": 5}, DropShardKey("c", 5)),
        (
            "create_sharding_key",
            {
                "shard_key": "5",
                "shards_number": 3,
                "replication_factor": 2,
                "placement": [7, 8],
                "initial_state": "Partial",
            },
            NewShardKey("5", 3, 2, (7, 8), KeyState.PARTIAL),
        ),
        ("create_sharding_key", {"shard_key": "k", "shard_number": 1}, NewShardKey("k", 1, None, None, None)),
    ],
)
def test_operation_becomes_the_command_that_it_asks_for(operation: str, given: dict[str, Any], command: object) -> None:
    assert read_operation({operation: given}, "c") == command


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ([], "Format error in JSON body: invalid type: sequence, expected a map with one operation"),
        ({}, "Format error in JSON body: data did not match any variant of untagged enum ClusterOperations"),
        ({"move_shard": 1}, "Format error in JSON body: invalid type: integer `1`, expected a map"),
        ({"move_shard": {"shard_id": 0}}, "Format error in JSON body: missing field `from_peer_id`"),
        (
            {"move_shard": {**ENDS, "shard_id": -1}},
            "Format error in JSON body: invalid value: integer `-1`, expected u32",
        ),
        (
            {"move_shard": {**ENDS, "method": "carrier_pigeon"}},
            "Format error in JSON body: unknown variant `carrier_pigeon`, expected one of "
            "`stream_records`, `snapshot`, `wal_delta`, `resharding_stream_records`",
        ),
        ({"restart_transfer": ENDS}, "Format error in JSON body: missing field `method`"),
        (
            {"move_shard": {**ENDS, "to_peer_id": 7}},
            "Validation error in JSON body: [move_shard.to_peer_id: cannot transfer shard to itself, "
            '"to_peer_id" must be different than 7 in "from_peer_id"]',
        ),
        (
            {"abort_transfer": {**ENDS, "to_peer_id": 7}},
            "Validation error in JSON body: [abort_transfer.to_peer_id: cannot transfer shard to itself, "
            '"to_peer_id" must be different than 7 in "from_peer_id"]',
        ),
        ({"move_shard": {**ENDS, "to_shard_id": 3}}, "Bad request: `to_shard_id` can only be set when resharding"),
        (
            {"move_shard": {**ENDS, "method": "resharding_stream_records"}},
            "Bad request: method `resharding_stream_records` can only be used when resharding",
        ),
        ({"start_resharding": {"direction": "up"}}, "Bad request: resharding is only supported in Qdrant Cloud"),
        ({"abort_resharding": {}}, "Bad request: resharding is only supported in Qdrant Cloud"),
        (
            {"replicate_points": {"from_shard_key": "a", "to_shard_key": "a"}},
            "Validation error in JSON body: "
            "[to_shard_key: Validation error: must be different from from_shard_key [{}]]",
        ),
        (
            {"replicate_points": {"from_shard_key": "a", "to_shard_key": "b", "filter": []}},
            "Format error in JSON body: invalid type: sequence, expected struct Filter",
        ),
        (
            {"drop_sharding_key": {"shard_key": 1.5}},
            "Format error in JSON body: data did not match any variant of untagged enum ShardKey",
        ),
    ],
)
def test_operation_that_cannot_be_meant_is_refused_in_the_words_that_clients_know(body: object, text: str) -> None:
    with pytest.raises(QnodeError) as raised:
        read_operation(body, "c")
    assert str(raised.value) == text


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, "Format error in JSON body: missing field `shard_key`"),
        ({"shard_key": True}, "Format error in JSON body: data did not match any variant of untagged enum ShardKey"),
        ({"shard_key": 2**64}, "Format error in JSON body: data did not match any variant of untagged enum ShardKey"),
        (
            {"shard_key": "k", "initial_state": "Dead"},
            "Bad request: Initial state cannot be Dead, only Active or Partial are allowed",
        ),
        (
            {"shard_key": "k", "shards_number": 0},
            "Format error in JSON body: invalid value: integer `0`, expected a nonzero u32",
        ),
        (
            {"shard_key": "k", "shards_number": 129},
            "Validation error in JSON body: [shards_number: value 129 invalid, must be from 1 to 128]",
        ),
        ({"shard_key": "k", "placement": ["a"]}, 'Format error in JSON body: invalid type: string "a", expected usize'),
    ],
)
def test_shard_key_that_cannot_be_made_is_refused(given: object, text: str) -> None:
    with pytest.raises(QnodeError) as raised:
        read_new_shard_key(given)
    assert str(raised.value) == text


def test_key_of_digits_and_the_number_are_two_keys() -> None:
    assert read_shard_key_to_drop({"shard_key": "5"}, "c") != read_shard_key_to_drop({"shard_key": 5}, "c")
