import pickle
import random
from typing import Any

import msgpack
import pytest

from qnode.raft.commands import MAX_CONTENT_BYTES, NO_OPERATION, decode, encode_change, encode_regular
from qnode.raft.membership import MembershipChange
from qnode.raft.messages import MalformedMessage, encode, read
from qnode.raft.snapshot import Snapshot

APPEND: dict[str, Any] = {
    "type": "append_entries",
    "term": 3,
    "commit_index": 1,
    "prevLogIdx": 4,
    "prevLogTerm": 2,
    "entries": [[NO_OPERATION, 5, 3], [encode_regular(bytes(16), b"x"), 6, 3]],
}


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("hostile bytes were executed",))


def test_a_message_arrives_as_it_was_said():
    assert read(encode(APPEND, 9)) == (9, APPEND)


@pytest.mark.parametrize(
    "changed",
    [
        {"type": "utility"},
        {"term": -1},
        {"term": "3"},
        {"term": True},
        {"prevLogIdx": None},
        {"transmission": "start"},
        {"entries": [[NO_OPERATION, 7, 3]]},
        {"entries": [[NO_OPERATION, 5, 1]]},
        {"entries": [[NO_OPERATION, 5, 4]]},
        {"entries": [[b"", 5, 3]]},
        {"entries": [[b"\x03" + bytes(16), 5, 3]]},
        {"entries": [[b"\x02" + bytes(16) + pickle.dumps(["add", 1, 1]), 5, 3]]},
        {"entries": [[b"\x00" + bytes(MAX_CONTENT_BYTES + 17), 5, 3]]},
    ],
)
def test_a_message_of_another_shape_is_refused(changed: dict[str, Any]):
    with pytest.raises(MalformedMessage):
        read(encode({**APPEND, **changed}, 9))


@pytest.mark.parametrize("command", [NO_OPERATION, b"\x03" + bytes(16), b"\x02" + bytes(20), b""])
def test_only_commands_that_may_be_asked_for_are_forwarded(command: bytes):
    with pytest.raises(MalformedMessage):
        read(encode({"type": "apply_command", "command": command, "request_id": 1}, 9))


def test_pickled_bytes_are_refused_wherever_they_stand():
    hostile = pickle.dumps(Bomb())
    with pytest.raises(MalformedMessage):
        read(hostile)
    with pytest.raises(MalformedMessage):
        read(msgpack.packb({"v": 1, "from": 9, "type": hostile}))
    with pytest.raises(ValueError, match="checksum"):
        Snapshot.from_bytes(hostile)
    assert decode(encode_regular(bytes(16), hostile)).content == hostile  # the machine's own bytes stay bytes


def test_random_and_damaged_bytes_are_refused_and_nothing_else():
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    whole = encode(APPEND, 9)
    for _ in range(3000):
        data = bytearray(whole if rng.random() < 0.7 else rng.randbytes(rng.randrange(80)))
        for _ in range(rng.randrange(4)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            read(bytes(data[: rng.randrange(len(data) + 1)] if rng.random() < 0.2 else data))
        except MalformedMessage:
            continue


def test_a_change_of_membership_arrives_as_it_was_asked_for():
    change = MembershipChange("add", 5, 77)
    assert decode(encode_change(bytes(16), change)).change == change


def test_a_command_that_is_too_large_is_our_own_mistake():
    encode_regular(bytes(16), bytes(MAX_CONTENT_BYTES))
    with pytest.raises(AssertionError):
        encode_regular(bytes(16), bytes(MAX_CONTENT_BYTES + 1))
