"""The bytes of frames: written, read in any pieces, damaged."""

import random
import secrets

import pytest

from qnode.channel.frames import (
    HEAD_BYTES,
    MAX_FRAME_BYTES,
    MAX_HANDSHAKE_FRAME_BYTES,
    SEAL_BYTES,
    BadFrame,
    Decoder,
    Frame,
    Kind,
    Seal,
    encode,
)

KEY = b"k" * 32


def sealed_decoder() -> Decoder:
    decoder = Decoder()
    decoder.begin_link(Seal(KEY))
    return decoder


def test_frames_are_read_as_they_were_written_however_they_are_cut() -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    written = [
        Frame(
            chance.choice(list(Kind)),
            chance.random() < 0.5,
            chance.randrange(1 << 16),
            chance.randrange(1 << 64),
            chance.randbytes(chance.choice([0, 1, 15, 16, 17, 1000, MAX_FRAME_BYTES])),
        )
        for _ in range(60)
    ]
    seal = Seal(KEY)
    data = b"".join(
        encode(Kind(kind), topic=topic, call_id=call_id, payload=payload, more=more, seal=seal)
        for kind, more, topic, call_id, payload in written
    )
    decoder, read, at = sealed_decoder(), [], 0
    while at < len(data):
        size = chance.choice([1, 2, 15, 16, 17, 5000, 200_000])
        read += decoder.feed(data[at : at + size])
        at += size
    assert read == written


def test_every_flipped_bit_of_a_sealed_frame_is_noticed() -> None:
    frame = encode(Kind.MESSAGE, topic=7, payload=b"payload", seal=Seal(KEY))
    for bit in range(len(frame) * 8):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        decoder = sealed_decoder()
        try:
            assert list(decoder.feed(bytes(damaged))) == [], f"bit {bit}"
        except BadFrame:
            continue
        with pytest.raises(BadFrame):  # a longer length only waits for what then does not match
            list(decoder.feed(bytes(2 * MAX_FRAME_BYTES)))


@pytest.mark.parametrize("order", [(0, 0), (1, 0), (0, 2), (1,)])
def test_a_repeated_swapped_or_missing_frame_is_noticed(order: tuple[int, ...]) -> None:
    seal = Seal(KEY)
    frames = [encode(Kind.MESSAGE, payload=bytes([number]), seal=seal) for number in range(3)]
    with pytest.raises(BadFrame):
        list(sealed_decoder().feed(b"".join(frames[number] for number in order)))


def test_a_frame_turned_back_to_its_sender_is_noticed() -> None:
    frame = encode(Kind.PING, seal=Seal(KEY))
    decoder = Decoder()
    decoder.begin_link(Seal(b"the other direction's key"))
    with pytest.raises(BadFrame):
        list(decoder.feed(frame))


def test_random_bytes_are_refused_and_never_kept_beyond_one_frame() -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    for _ in range(300):
        decoder, fed_bytes = Decoder(), 0
        try:
            while fed_bytes < HEAD_BYTES + MAX_HANDSHAKE_FRAME_BYTES + 1:
                size = chance.randrange(1, 400)
                fed_bytes += size
                assert list(decoder.feed(chance.randbytes(size))) == []
        except BadFrame:
            continue
        pytest.fail("took more than a handshake's frame may have")


@pytest.mark.parametrize("length", [MAX_HANDSHAKE_FRAME_BYTES + 1, MAX_FRAME_BYTES, (1 << 32) - 1])
def test_a_length_beyond_the_limit_is_refused_at_its_head(length: int) -> None:
    head = length.to_bytes(4, "little") + bytes([Kind.HELLO]) + bytes(HEAD_BYTES - 5)
    with pytest.raises(BadFrame):
        list(Decoder().feed(head))


def test_a_cut_frame_is_not_given_and_the_rest_completes_it() -> None:
    frame = encode(Kind.MESSAGE, payload=secrets.token_bytes(50), seal=Seal(KEY))
    assert len(frame) == HEAD_BYTES + 50 + SEAL_BYTES
    for cut in range(len(frame)):
        decoder = sealed_decoder()
        assert list(decoder.feed(frame[:cut])) == []
        assert len(list(decoder.feed(frame[cut:]))) == 1
