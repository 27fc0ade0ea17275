"""The bytes that shards of two peers exchange: written, read, and refused when they are none."""

import random

import pytest

from qnode.errors import BadRequest
from qnode.index.copying import CopiedFile
from qnode.shards.copying import Offer, decode_offer, decode_opening, encode_offer, encode_opening
from qnode.shards.peer_frames import Copied, Frame, Install, NotCopied, decode_frame, encode_frame
from qnode.shards.replication.messages import BadMessage

SEED = 11
COPY = bytes(range(16))
ADDRESS = ("größe", 2**32 - 1)
FILE = CopiedFile("store/data.mdb", 4096, "0123456789abcdef")


@pytest.mark.parametrize(
    "content",
    [b"", b"message" * 1000, Install(COPY, 2**63, 7, 0), Copied(COPY, 2**64 - 1), NotCopied(COPY, is_lost=True)],
)
def test_a_frame_is_read_as_it_was_written(content: object) -> None:
    assert decode_frame(encode_frame(ADDRESS, content)) == Frame(ADDRESS, content)  # type: ignore[arg-type]


def test_other_bytes_are_no_frame() -> None:
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    whole = encode_frame(ADDRESS, Install(COPY, 1, 2, 3))
    for length in range(len(whole)):
        with pytest.raises(BadMessage):
            decode_frame(whole[:length])
    for _ in range(2000):
        data = bytearray(whole)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        try:
            decode_frame(bytes(data))
        except BadMessage:
            continue
    with pytest.raises(BadMessage):
        decode_frame(whole + b"\0")


def test_an_offer_is_read_as_it_was_written() -> None:
    offer = Offer(ADDRESS, COPY, 5, (FILE, CopiedFile("segments/1/points.bin", 0, "0" * 16)))
    assert decode_offer(encode_offer(offer)) == offer
    assert offer.total_bytes == 4096
    assert decode_opening(encode_opening(ADDRESS, COPY, 77)) == (ADDRESS, COPY, 77)


@pytest.mark.parametrize(
    "files",
    [
        (),
        (FILE, FILE),
        (CopiedFile("store/data.mdb", 0, "0" * 16),),
        (CopiedFile("store/data.mdb", -1, "0" * 16),),
        (CopiedFile("store/data.mdb", 1, "short"),),
        (FILE, CopiedFile("../../.bashrc", 1, "0" * 16)),
        (FILE, CopiedFile("/etc/passwd", 1, "0" * 16)),
        (FILE, CopiedFile("segments/1/../../../x.bin", 1, "0" * 16)),
        (FILE, CopiedFile("wal/00000000000000000001.log", 1, "0" * 16)),
        (FILE, CopiedFile("position", 1, "0" * 16)),
    ],
)
def test_an_offer_of_anything_but_the_files_of_an_index_is_refused(files: tuple[CopiedFile, ...]) -> None:
    with pytest.raises(BadRequest):
        decode_offer(encode_offer(Offer(ADDRESS, COPY, 5, files)))


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"{}", b'["a",1,"00",1,[]]', b'["a",1,2,3]', b"\xff"])
def test_what_is_no_offer_and_no_opening_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequest):
        decode_offer(data)
    with pytest.raises(BadRequest):
        decode_opening(data)
