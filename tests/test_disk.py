"""Durable file operations: all or nothing, whatever the disk does."""

import errno
import random
from pathlib import Path

import pytest

from qnode import disk as qnode_disk
from qnode.disk import (
    REAL,
    fault_of,
    make_directory,
    new_file,
    remove_trash,
    remove_tree,
    write_file_durably,
    write_fully,
)
from qnode.errors import InternalError, OutOfSpace
from tests.support.faulty_disk import FaultyDisk, PowerCut


def test_written_file_replaces_the_old_one(tmp_path: Path) -> None:
    write_file_durably(tmp_path / "settings", b"old")
    write_file_durably(tmp_path / "settings", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("settings", b"new")]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("calls", range(5))
def test_file_that_a_power_cut_interrupts_is_the_old_or_the_new_one(tmp_path: Path, calls: int, seed: int) -> None:
    disk = FaultyDisk(tmp_path, random.Random(seed))
    write_file_durably(tmp_path / "settings", b"old" * 1000, disk)
    disk.calls_before_power_cut = calls
    with pytest.raises(PowerCut):
        write_file_durably(tmp_path / "settings", b"new" * 2000, disk)
    disk.crash()
    assert (tmp_path / "settings").read_bytes() in (b"old" * 1000, b"new" * 2000)


def test_finished_file_survives_a_power_cut(tmp_path: Path) -> None:
    disk = FaultyDisk(tmp_path, random.Random(1))
    write_file_durably(tmp_path / "settings", b"new", disk)
    disk.crash()
    assert (tmp_path / "settings").read_bytes() == b"new"


def test_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    disk = FaultyDisk(tmp_path, random.Random(1))
    write_file_durably(tmp_path / "settings", b"old", disk)
    disk.free_bytes = 2
    with pytest.raises(OutOfSpace, match="settings could not be written: No space left"):
        write_file_durably(tmp_path / "settings", b"newer", disk)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("settings", b"old")]


def test_failed_sync_leaves_the_old_file(tmp_path: Path) -> None:
    disk = FaultyDisk(tmp_path, random.Random(1))
    write_file_durably(tmp_path / "settings", b"old", disk)
    disk.fail_next_syncs = 1
    with pytest.raises(InternalError, match="could not be written"):
        write_file_durably(tmp_path / "settings", b"newer", disk)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("settings", b"old")]


@pytest.mark.parametrize("short", [False, True])
def test_buffers_of_any_number_are_written_whole(tmp_path: Path, short: bool) -> None:
    disk = FaultyDisk(tmp_path, random.Random(3))
    disk.short_writes = short
    buffers = [b"", *(bytes([i % 256]) * (i % 7) for i in range(3000)), memoryview(bytearray(b"end")), b""]
    descriptor = disk.create(tmp_path / "file")
    end = write_fully(disk, descriptor, buffers, 5)
    disk.close(descriptor)
    assert (tmp_path / "file").read_bytes() == bytes(5) + b"".join(buffers)
    assert end == 5 + sum(map(len, buffers))


def test_full_disks_and_quotas_are_told_apart_from_failures() -> None:
    assert isinstance(fault_of(OSError(errno.ENOSPC, "full"), "x"), OutOfSpace)
    assert isinstance(fault_of(OSError(errno.EDQUOT, "quota"), "x"), OutOfSpace)
    assert not isinstance(fault_of(OSError(errno.EIO, "broken"), "x"), OutOfSpace)


def test_directories_are_made_with_their_parents_and_may_be_there(tmp_path: Path) -> None:
    make_directory(tmp_path / "a" / "b" / "c")
    make_directory(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(InternalError, match="could not be made"):
        make_directory(tmp_path / "file" / "x")


def test_removed_tree_is_gone(tmp_path: Path) -> None:
    make_directory(tmp_path / "shard" / "wal")
    (tmp_path / "shard" / "wal" / "file").write_bytes(b"data")
    remove_tree(tmp_path / "shard")
    remove_tree(tmp_path / "shard")
    assert list(tmp_path.iterdir()) == []


def test_tree_whose_removal_was_interrupted_is_gone_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_directory(tmp_path / "shard" / "wal")
    (tmp_path / "shard" / "wal" / "file").write_bytes(b"data")
    with monkeypatch.context() as patch:
        patch.setattr(qnode_disk, "remove_steadily", lambda _: None)
        remove_tree(tmp_path / "shard")
    assert not (tmp_path / "shard").exists()
    assert len(list(tmp_path.iterdir())) == 1
    remove_trash(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_directory_is_synced_without_a_word(tmp_path: Path) -> None:
    qnode_disk.sync_directory(tmp_path)
    with pytest.raises(InternalError, match="could not be synced"):
        qnode_disk.sync_directory(tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        REAL.sync_directory(tmp_path / "missing")


def test_new_file_is_synced_on_its_way_and_at_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qnode_disk, "SYNC_STEP_BYTES", 10)
    path = tmp_path / "file"
    synced = []
    monkeypatch.setattr(qnode_disk.REAL, "sync", lambda _: synced.append(path.stat().st_size))
    with new_file(path) as file:
        for _ in range(9):
            file.write(b"1234")
    assert synced == [12, 24, 36, 36]
    assert path.read_bytes() == b"1234" * 9


def test_new_file_that_is_given_up_is_closed_and_not_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qnode_disk.REAL, "sync", lambda _: pytest.fail("it was synced"))
    opened = new_file(tmp_path / "file")
    file = opened.__enter__()
    file.write(b"1234")
    opened.__exit__(KeyError, KeyError(), None)
    with pytest.raises(ValueError, match="closed"):
        file.write(b"5")
    with pytest.raises(FileExistsError), new_file(tmp_path / "file"):
        pass
