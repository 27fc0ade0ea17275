"""Uploads give their file, however they are cut into pieces."""

import random

import pytest

from qnode.api.multipart import FileReader, boundary_of
from qnode.errors import BadRequest

SEED = 5
CONTENT = b"\r\n--b\r\n-- \r\n--boundar\r\n\r\n" + bytes(range(256)) * 20 + b"\r\n--boundary"[:-1]


def body(content: bytes, name: bytes = b"snapshot") -> bytes:
    return (
        b'--boundary\r\nContent-Disposition: form-data; name="other"\r\n\r\nvalue\r\n'
        b'--boundary\r\nContent-Type: application/octet-stream\r\ncontent-disposition: form-data; filename="a;b"; name="'
        + name + b'"\r\n\r\n' + content + b"\r\n--boundary--\r\nepilogue"
    )  # fmt: skip


def read(sent: bytes, cuts: list[int]) -> bytes:
    written: list[bytes] = []
    reader = FileReader(b"boundary", "snapshot", written.append)
    for begin, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        reader.feed(sent[begin:end])
    reader.finish()
    return b"".join(written)


@pytest.mark.parametrize("content", [CONTENT, b"", b"\r\n", b"--boundary"])
def test_a_file_is_read_whole_wherever_it_was_cut(content: bytes) -> None:
    print(f"seed {SEED}")
    chance, sent = random.Random(SEED), body(content)
    assert read(sent, []) == content
    assert read(sent, list(range(1, len(sent)))) == content
    for _ in range(50):
        assert read(sent, sorted(chance.sample(range(1, len(sent)), 5))) == content


def test_what_has_no_file_or_no_end_is_refused() -> None:
    sent = body(CONTENT)
    for torn in (
        b"",
        sent[:50],
        sent[: sent.index(b"--boundary--")],
        body(CONTENT, b"file"),
        b"--boundary\r\n" + b"x" * 20_000,
    ):
        with pytest.raises(BadRequest):
            read(torn, [])


def test_only_an_upload_has_a_boundary() -> None:
    assert boundary_of('multipart/form-data; charset=x; boundary="a b"') == b"a b"
    for other in (
        "",
        "application/json",
        "multipart/form-data",
        "multipart/mixed; boundary=b",
        f"multipart/form-data; boundary={'b' * 80}",
    ):
        with pytest.raises(BadRequest):
            boundary_of(other)
