import os
import random

import msgpack
import pytest

from qnode.shards.replication.messages import Append, Appended, BadMessage, Message, Reason, Refused, decode, encode
from qnode.wal import Record

SEED = int(os.environ.get("QNODE_TEST_SEED", random.SystemRandom().randrange(1 << 32)))

MESSAGES: list[Message] = [
    Append(3, 7, 2, 6),
    Append(3, 7, 2, 6, (Record(2, 8, b"one"), Record(3, 9, b""), Record(3, 10, bytes(300)))),
    Appended(3, 9, 8, 20),
    Refused(3, Reason.MISMATCH, 9, 7, 2, 5, 20),
    Refused((1 << 63) - 1, Reason.UNABLE, 0, 0, 0, 0, 0),
]

APPEND_FIELDS = [1, 3, 7, 2, 6, [2, 3], [b"one", b"two"]]


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_comes_back_as_it_was(message: Message) -> None:
    assert decode(encode(message)) == message


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_cut_short_anywhere_is_refused(message: Message) -> None:
    data = encode(message)
    for length in range(len(data)):
        with pytest.raises(BadMessage):
            decode(data[:length])
    with pytest.raises(BadMessage):
        decode(data + b"\0")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, 9), (0, True), (0, None), (0, "append"),
        (1, 1), (1, -1), (1, 2.0), (1, 1 << 63), (1, True),
        (2, (1 << 63) - 1), (3, 3), (3, 4), (4, None),
        (5, [3, 2]), (5, [2]), (5, [2, 4]), (5, [1, 3]), (5, {}), (5, 2),
        (6, [b"one"]), (6, [b"one", "two"]), (6, [b"one", 2]), (6, None),
    ],
)  # fmt: skip
def test_values_that_make_no_sense_together_are_refused(place: int, value: object) -> None:
    fields: list[object] = list(APPEND_FIELDS)
    assert isinstance(decode(msgpack.packb(fields)), Append)
    fields[place] = value
    with pytest.raises(BadMessage):
        decode(msgpack.packb(fields))


def test_too_many_records_are_refused() -> None:
    with pytest.raises(BadMessage):
        decode(msgpack.packb([1, 1, 0, 0, 0, [1] * 5000, [b""] * 5000]))


def test_a_reason_that_nobody_knows_is_refused() -> None:
    with pytest.raises(BadMessage):
        decode(msgpack.packb([3, 1, 99, 0, 0, 0, 0]))


def test_damaged_bytes_give_a_message_or_one_error() -> None:
    print(f"QNODE_TEST_SEED={SEED}")
    chance = random.Random(SEED)
    for _ in range(3000):
        data = bytearray(encode(chance.choice(MESSAGES)))
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            message = decode(bytes(data))
        except BadMessage:
            continue
        assert decode(encode(message)) == message
    for _ in range(3000):
        try:
            decode(chance.randbytes(chance.randint(0, 40)))
        except BadMessage:
            continue
