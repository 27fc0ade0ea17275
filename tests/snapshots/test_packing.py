"""Archives are as long as was said before they were written, any reader of tar reads them, and their SHA-256 is that of the file."""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from qnode.errors import Corruption
from qnode.snapshots import packing
from qnode.snapshots.packing import CHECKSUMS, First, Member, next_of, pack, pieces, size_of

FIRST = First("first.json", b"{}")


def in_pieces(content: bytes, size_bytes: int) -> Iterator[bytes]:
    for at in range(0, len(content), size_bytes):
        yield content[at : at + size_bytes]


def members(*sizes: int) -> list[Member]:
    contents = [bytes(range(256)) * (size // 256 + 1) for size in sizes]
    return [
        Member(f"files/{number}", size, partial(in_pieces, content[:size], 1000))
        for number, (size, content) in enumerate(zip(sizes, contents, strict=True))
    ]


@pytest.mark.parametrize("sizes", [(), (0,), (1, 512, 513, 0), (5000, 511)])
def test_an_archive_is_as_long_as_was_said_and_tar_reads_it(sizes: tuple[int, ...]) -> None:
    put = members(*sizes)
    whole = b"".join(pieces(FIRST, put))
    assert len(whole) == size_of(FIRST, put)
    with tarfile.open(fileobj=io.BytesIO(whole)) as opened:
        assert opened.getnames() == ["first.json", *(member.name for member in put), CHECKSUMS]
        for member in put:
            found = opened.extractfile(member.name)
            assert found is not None
            assert found.read() == b"".join(member.pieces())


def test_no_piece_is_empty_before_the_last() -> None:
    content = pieces(FIRST, members(512, 0, 1))
    read = []
    while piece := next_of(content):
        read.append(piece)
    assert b"".join(read) == b"".join(pieces(FIRST, members(512, 0, 1)))


def test_the_sha256_is_that_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "SYNC_STEP_BYTES", 10_000)
    put = members(100_000, 3)
    digest = pack(tmp_path / "archive", pieces(FIRST, put))
    content = (tmp_path / "archive").read_bytes()
    assert content == b"".join(pieces(FIRST, put))
    assert digest == hashlib.sha256(content).hexdigest()


def test_what_reading_a_member_raises_is_raised(tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"x"
        raise Corruption(tmp_path / "source", "it is short", "Restore it")

    with pytest.raises(Corruption, match="it is short"):
        pack(tmp_path / "archive", pieces(FIRST, [Member("a", 2, broken)]))
