from random import Random

import orjson
import pytest

from qnode.errors import AlreadyExists, BadRequest, InternalError, NotFound
from qnode.models.topology import ReplicaState, Topology
from qnode.models.topology_commands import (
    Batch,
    ChangeAliases,
    CreateShardKey,
    DropAlias,
    PutMetadata,
    RemovePeer,
    SetAlias,
    SetReplicaState,
)
from qnode.raft.topology import (
    Reason,
    Rejected,
    UnknownCommand,
    apply_command,
    command_from_bytes,
    command_to_bytes,
    result_from_bytes,
    result_to_bytes,
)
from tests.raft.topology.random_commands import random_command


def test_shard_keys_keep_their_type():
    for key in (5, "5"):
        command = command_from_bytes(command_to_bytes(CreateShardKey("c", key, ((1, 2), (2, 1)), peers=(1, 2))))
        assert command == CreateShardKey("c", key, ((1, 2), (2, 1)), peers=(1, 2))
        assert type(command.key) is type(key)


def test_commands_within_commands_survive_their_bytes():
    command = Batch(
        (
            SetReplicaState("c", 0, 1, ReplicaState.DEAD, 4, ReplicaState.ACTIVE, 7),
            ChangeAliases((SetAlias("x", "c"), DropAlias("y"))),
            PutMetadata("k", {"c": "remove_peer", "peer": [1]}),
        )
    )
    assert command_from_bytes(command_to_bytes(command)) == command


def test_a_command_that_is_too_large_is_refused():
    with pytest.raises(BadRequest, match="the change takes 70045 bytes, and at most 61439 are possible"):
        command_to_bytes(PutMetadata("k", "x" * 70_000))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b'[2, {"c": "remove_peer", "peer": 1}]',
        b'[1, {"c": "no such", "peer": 1}]',
        b'[1, {"c": "remove_peer"}]',
        b'[1, {"c": "remove_peer", "peer": "1"}]',
        b'[1, {"c": "remove_peer", "peer": true}]',
        b'[1, {"c": "remove_peer", "peer": 1, "more": 1}]',
        b'[1, {"c": "drop_alias", "alias": "x"}]',
        b'[1, {"c": "batch", "commands": [{"c": "batch", "commands": []}]}]',
        b'[1, {"c": "batch", "commands": [{"c": "drop_alias", "alias": "x"}]}]',
        b'[1, {"c": "batch", "commands": "x"}]',
        b'[1, {"c": "drop_shard_key", "name": "c", "key": 1.5}]',
        b'[1, {"c": "set_replica_state", "name": "c", "shard": 0, "peer": 1, "state": "Alive", "epoch": 1}]',
        b'[1, {"c": ["x"], "name": "c"}]',
    ],
)
def test_bytes_that_are_no_command_are_told_from_commands(content: bytes):
    with pytest.raises(UnknownCommand):
        command_from_bytes(content)


def test_damaged_commands_are_unknown_or_commands():
    random = Random(1)
    for _ in range(2000):
        value = bytearray(command_to_bytes(random_command(Topology(peers={1: None}), random)))  # type: ignore[dict-item]
        for _ in range(random.randint(1, 4)):
            value[random.randrange(len(value))] = random.choice(b'"[]{}:,0129ancu')
        try:
            command = command_from_bytes(bytes(value))
        except UnknownCommand:
            continue
        apply_command(Topology(), command)


def test_a_field_added_later_may_be_missing():
    content = [1, {"c": "remove_peer", "peer": 3}]
    assert command_from_bytes(orjson.dumps(content)) == RemovePeer(3, force=False)


@pytest.mark.parametrize(
    ("reason", "error", "text"),
    [
        (Reason.EXISTS, AlreadyExists, "Wrong input: x"),
        (Reason.MISSING, NotFound, "Not found: x"),
        (Reason.REFUSED, BadRequest, "Bad request: x"),
        (Reason.OUTDATED, InternalError, "Service internal error: x"),
    ],
)
def test_a_rejection_reaches_the_client_in_its_words(reason, error, text):
    rejected = result_from_bytes(result_to_bytes(Rejected(reason, "x")))
    assert rejected == Rejected(reason, "x")
    assert type(rejected.error()) is error
    assert str(rejected.error()) == text
    assert result_from_bytes(result_to_bytes(None)) is None
