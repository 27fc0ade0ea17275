"""Archives hold what was put in, and nothing that was not expected comes out of one."""

import io
import random
import shutil
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest

from qnode.errors import BadInput
from qnode.index.copying import files_of_copy
from qnode.snapshots.archive import unpack
from qnode.snapshots.manifest import MANIFEST, Manifest
from qnode.snapshots.packing import CHECKSUMS
from tests.snapshots import strangers
from tests.snapshots.strangers import Files, archive_of, files_of, rebuilt, written

STORE = "shards/0/store/data.mdb"
GOOD = "shards/0/segments/1/vectors.bin"


def refused(archive: Path, folder: Path, text: str = "snapshot") -> None:
    room = folder / "room"  # what escapes two folders upwards is still within this test's own folder
    room.mkdir()
    before = set(folder.rglob("*"))
    target = room / "unpacked"
    with pytest.raises(BadInput, match=text):
        unpack(archive, target)
    outside = [path for path in folder.rglob("*") if path not in before and target not in (path, *path.parents)]
    assert outside == []
    assert not any(path.is_symlink() for path in folder.rglob("*"))


def test_what_is_packed_is_unpacked(tmp_path: Path) -> None:
    manifest = unpack(archive_of(tmp_path), tmp_path / "unpacked")
    assert manifest == strangers.MANIFEST
    assert files_of_copy(tmp_path / "unpacked" / "0") == files_of_copy(tmp_path / "copy")


@pytest.mark.parametrize(
    "name",
    [
        "../../escaped", "/tmp/escaped", "shards/0/../../escaped", "shards/0/store/../../../escaped", "shards/1/store/data.mdb",
        "shards/0/segments/1/x.sh", "shards/00/store/data.mdb", "shards/0/position", "shards/0/wal/1.log", "shards/0/store/lock.mdb",
        "shards/0/segments/1/\nvectors.bin", "x" * 90, "",
    ],
)  # fmt: skip
def test_a_file_that_is_none_of_its_shards_is_refused(tmp_path: Path, name: str) -> None:
    def add(files: Files) -> None:
        last = files.pop(CHECKSUMS)
        files[name] = b"x"
        files[CHECKSUMS] = last

    refused(rebuilt(archive_of(tmp_path), add), tmp_path)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE]
)  # fmt: skip
def test_what_is_no_plain_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    members = [(tarfile.TarInfo(name), data) for name, data in files_of(archive_of(tmp_path)).items()]
    link = tarfile.TarInfo(GOOD)
    link.type, link.linkname = kind, "/etc/passwd"
    refused(written(tmp_path / "archive", [members[0], (link, b""), *members[1:]]), tmp_path)


def test_extended_headers_are_refused(tmp_path: Path) -> None:
    members = [(tarfile.TarInfo(name), data) for name, data in files_of(archive_of(tmp_path)).items()]
    members[1][0].pax_headers = {"comment": "x" * 10_000}
    refused(written(tmp_path / "archive", members, format=tarfile.PAX_FORMAT), tmp_path)


def test_a_size_that_is_not_there_is_refused_without_room_for_it(tmp_path: Path) -> None:
    whole = archive_of(tmp_path).read_bytes()
    huge = tarfile.TarInfo(GOOD)
    huge.size = 1 << 50
    torn = tmp_path / "torn"
    manifest_end = 512 + -(-len(files_of(tmp_path / "archive")[MANIFEST]) // 512) * 512
    torn.write_bytes(whole[:manifest_end] + huge.tobuf(tarfile.GNU_FORMAT) + b"x" * 5000)
    refused(torn, tmp_path, "ends within a file")


def test_an_archive_that_was_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    whole = archive_of(tmp_path).read_bytes()
    end = len(whole) - 1024
    for number, length in enumerate([0, 1, 511, 512, 700, *range(2000, end, max(1, end // 20))]):
        torn = tmp_path / f"torn{number}"
        torn.write_bytes(whole[:length])
        with pytest.raises(BadInput):
            unpack(torn, tmp_path / f"unpacked{number}")


def test_a_file_twice_and_a_wrong_checksum_are_refused(tmp_path: Path) -> None:
    members = [(tarfile.TarInfo(name), data) for name, data in files_of(archive_of(tmp_path)).items()]
    refused(written(tmp_path / "archive", [*members[:2], members[1], *members[2:]]), tmp_path, "twice")
    info, data = members[1]
    members[1] = (info, data[:-1] + bytes([data[-1] ^ 1]))
    (tmp_path / "second").mkdir()
    refused(written(tmp_path / "archive", members), tmp_path / "second", "checksums")


def test_a_shard_without_its_store_is_refused(tmp_path: Path) -> None:
    refused(rebuilt(archive_of(tmp_path), lambda files: files.pop(STORE)), tmp_path, "lacks the store")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"qnode-snapshot"', b'"other"'), (b'"version": 1', b'"version": 2'), (b'"numbers": [\n    0', b'"numbers": [\n    -1'),
        (b'"size": 4', b'"size": "four"'), (b'"collection": "c"', b'"collection": "../c"'), (b'"op_num": 1', b'"op_num": null'),
        (b"{", b"["), (b'"distance": "Dot"', b'"distance": "Far"'), (b'"fields": {}', b'"fields": {"a": 7}'),  (b'"keys": []', b'"keys": [7]'),
    ],
)  # fmt: skip
def test_a_manifest_that_says_what_cannot_be_is_refused(old: bytes, new: bytes) -> None:
    written = strangers.MANIFEST.to_bytes()
    assert Manifest.from_bytes(written) == strangers.MANIFEST
    assert old in written
    with pytest.raises(BadInput):
        Manifest.from_bytes(written.replace(old, new, 1))


def mutated(whole: bytes, chance: random.Random) -> bytes:
    """Change an archive somewhere in its heads or its manifest; heads get checksums that fit again."""
    content = bytearray(whole)
    with tarfile.open(fileobj=io.BytesIO(whole)) as opened:
        heads = [member.offset for member in opened]
    for _ in range(chance.choice([1, 1, 2, 5])):
        head = chance.choice(heads)
        begin = head + chance.choice([0, 100, 124, 148, 156, 257, 345, 512])
        for at in range(begin, begin + chance.choice([1, 3, 12])):
            content[at] = chance.choice([chance.randrange(256), *b"\0 /.0127xgLKS\xff\x80"])
        if chance.random() < 0.8:
            block = content[head : head + 512]
            block[148:156] = b" " * 8
            content[head + 148 : head + 156] = b"%06o\0 " % sum(block)
    return bytes(content)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_mutated_archive_is_refused_or_becomes_files_within_its_folder(tmp_path: Path, seed: int) -> None:
    print(f"seed {seed}")
    chance, whole, room = random.Random(seed), archive_of(tmp_path).read_bytes(), tmp_path / "a" / "b"
    room.mkdir(parents=True)
    there = set(tmp_path.rglob("*"))
    for number in range(30):
        (room / "archive").write_bytes(mutated(whole, chance))
        with suppress(BadInput):
            unpack(room / "archive", room / str(number))
        for path in set(room.rglob("*")) - there:
            assert not path.is_symlink()
            assert path.stat().st_size <= len(whole)
        shutil.rmtree(room / str(number), ignore_errors=True)
        assert set(tmp_path.rglob("*")) - there == {room / "archive"}
