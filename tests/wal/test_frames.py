"""The bytes of a log file, pinned: a change of the format must be a decision."""

import io
import random

import pytest

from qnode.wal import frames
from qnode.wal.frames import BadFrame, Header, Mark, Record

IDENTITY = 0x0123456789ABCDEF


def read(data: bytes, identity: int = IDENTITY, offset: int = 48) -> Record | Mark:
    return frames.read_frame(io.BytesIO(data), identity, offset, len(data))


def record_bytes(record: Record, offset: int = 48) -> bytes:
    return frames.encode_record_head(record, IDENTITY, offset) + record.payload


def test_bytes_on_disk_are_those_of_format_version_1() -> None:
    header = frames.encode_header(Header(generation=3, identity=IDENTITY, first_op=7, epoch_before=2))
    assert header.hex() == (
        "716e6f64656c6f67" "01000000" "03000000" "efcdab8967452301" "0700000000000000" "0200000000000000"
        "41e6b812674949b6"
    )  # fmt: skip
    assert record_bytes(Record(2, 7, b"abc")).hex() == (
        "0a6d2a2ca11b2922" "03000000" "0200000000000000" "0700000000000000" "616263"
    )  # fmt: skip
    assert frames.encode_mark(Mark(79, 8), IDENTITY, 79).hex() == (
        "4257f1359f165f5e" "f5ffffff" "4f00000000000000" "0800000000000000"
    )  # fmt: skip


def test_header_and_frames_are_read_as_they_were_written() -> None:
    header = Header(generation=1, identity=2**64 - 1, first_op=2**64 - 1, epoch_before=5)
    assert frames.decode_header(frames.encode_header(header)) == header
    for payload in (b"", b"x", bytes(100_000)):
        assert read(record_bytes(Record(4, 9, payload))) == Record(4, 9, payload)
    assert read(frames.encode_mark(Mark(100, 3), IDENTITY, 48)) == Mark(100, 3)


@pytest.mark.parametrize("bit", [0, 3, 7])
def test_any_flipped_bit_is_noticed(bit: int) -> None:
    whole = record_bytes(Record(1, 1, b"payload"))
    header = frames.encode_header(Header(1, IDENTITY, 1, 0))
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << bit
        with pytest.raises(BadFrame):
            read(bytes(damaged))
    for position in range(len(header)):
        damaged = bytearray(header)
        damaged[position] ^= 1 << bit
        with pytest.raises(BadFrame):
            frames.decode_header(bytes(damaged))


def test_any_cut_is_noticed() -> None:
    whole = record_bytes(Record(1, 1, b"payload"))
    for size in range(len(whole)):
        with pytest.raises(BadFrame, match="cut short"):
            read(whole[:size])


def test_frame_of_another_file_or_place_does_not_pass() -> None:
    whole = record_bytes(Record(1, 1, b"payload"))
    with pytest.raises(BadFrame, match="checksum"):
        read(whole, identity=IDENTITY + 1)
    with pytest.raises(BadFrame, match="checksum"):
        read(whole, offset=49)


def test_header_of_a_later_version_is_refused() -> None:
    later = bytearray(frames.encode_header(Header(1, IDENTITY, 1, 0)))
    later[8] = 2
    later[40:] = frames.xxh3_64_intdigest(bytes(later[:40])).to_bytes(8, "little")
    with pytest.raises(BadFrame, match="version 2, this program knows 1"):
        frames.decode_header(bytes(later))


def test_marks_are_found_among_garbage_and_only_at_their_place() -> None:
    chance = random.Random(5)
    before = b"\xf5\xff\xff\xff" * 10 + chance.randbytes(101)
    start = 1000
    mark = frames.encode_mark(Mark(60, 2), IDENTITY, start + len(before))
    moved = frames.encode_mark(Mark(61, 3), IDENTITY, 0)
    data = before + mark + moved + b"\xf5\xff\xff\xff"
    assert list(frames.find_marks(data, IDENTITY, start)) == [Mark(60, 2)]
