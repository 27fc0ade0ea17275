"""Big files go a little at a time, and never under somebody's feet."""

from __future__ import annotations

import mmap
from itertools import pairwise
from pathlib import Path

import pytest

from qnode import removal
from qnode.disk import remove_tree
from tests.support.node import wait_for

STEP = 1 << 12
SIZE = 10 * STEP + 7


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "STEP_BYTES", STEP)
    monkeypatch.setattr(removal, "PAUSE_SECONDS", 0.0)


@pytest.fixture
def truncated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes that files were shrunk to, in order."""
    sizes: list[int] = []
    truncate = removal.os.ftruncate

    def noted(descriptor: int, size_bytes: int) -> None:
        sizes.append(size_bytes)
        truncate(descriptor, size_bytes)

    monkeypatch.setattr(removal.os, "ftruncate", noted)
    return sizes


def make(folder: Path, name: str = "data", size_bytes: int = SIZE) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_bytes(b"x" * size_bytes)
    return file


def test_big_file_goes_in_steps(tmp_path: Path, truncated: list[int]) -> None:
    make(tmp_path / "tree")
    remove_tree(tmp_path / "tree")
    wait_for(lambda: not list(tmp_path.iterdir()))
    assert truncated[0] == SIZE - STEP
    assert all(before - after == STEP for before, after in pairwise(truncated))
    assert truncated[-1] <= STEP


def test_small_tree_goes_at_once(tmp_path: Path, truncated: list[int]) -> None:
    make(tmp_path / "tree", size_bytes=STEP)
    remove_tree(tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []
    assert truncated == []


def test_tree_of_many_small_files_goes_too(tmp_path: Path) -> None:
    for number in range(20):
        make(tmp_path / "tree", str(number), STEP)
    remove_tree(tmp_path / "tree")
    wait_for(lambda: not list(tmp_path.iterdir()))


def test_file_with_another_name_keeps_what_it_holds(tmp_path: Path, truncated: list[int]) -> None:
    file = make(tmp_path / "tree")
    other = tmp_path / "other"
    other.hardlink_to(file)
    remove_tree(tmp_path / "tree")
    wait_for(lambda: list(tmp_path.iterdir()) == [other])
    assert other.stat().st_size == SIZE
    assert truncated == []


@pytest.mark.skipif(not removal._MAPPINGS.exists(), reason="the system does not tell what is mapped")
def test_mapped_file_is_not_shrunk_until_it_is_unmapped(tmp_path: Path, truncated: list[int]) -> None:
    file = make(tmp_path / "tree")
    looked: list[bool | None] = []
    look = removal._is_unmapped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(removal, "_is_unmapped", lambda path: looked.append(look(path)) or looked[-1])
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            remove_tree(tmp_path / "tree")
            wait_for(lambda: len(looked) > 3)
            assert truncated == []
            assert mapped[SIZE - 1 :] == b"x"
        wait_for(lambda: not list(tmp_path.iterdir()))
    assert truncated != []


@pytest.mark.parametrize("tells", [True, False])
def test_file_that_stays_mapped_loses_its_name_only(
    tmp_path: Path, truncated: list[int], monkeypatch: pytest.MonkeyPatch, tells: bool
) -> None:
    monkeypatch.setattr(removal, "UNMAPPED_SECONDS", 0.0)
    if not tells:
        monkeypatch.setattr(removal, "_MAPPINGS", tmp_path / "missing")
    file = make(tmp_path / "tree")
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        remove_tree(tmp_path / "tree")
        wait_for(lambda: not list(tmp_path.iterdir()))
        assert mapped[SIZE - 1 :] == b"x"
    assert truncated == []


def test_what_went_with_its_folder_holds_nobody_up(tmp_path: Path) -> None:
    removal.remove_steadily(tmp_path / "missing")
    make(tmp_path / "tree")
    remove_tree(tmp_path / "tree")
    wait_for(lambda: not list(tmp_path.iterdir()))


def test_where_room_is_scarce_nothing_pauses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "PAUSE_SECONDS", 3600.0)
    monkeypatch.setattr(removal, "SCARCE_SHARE", 1.0)
    make(tmp_path / "tree")
    remove_tree(tmp_path / "tree")
    wait_for(lambda: not list(tmp_path.iterdir()))


def test_many_mapped_trees_are_waited_for_as_long_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "UNMAPPED_SECONDS", 0.5)
    monkeypatch.setattr(removal, "PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(removal, "_is_unmapped", lambda path: False)
    for number in range(40):
        make(tmp_path / str(number))
        remove_tree(tmp_path / str(number))
    wait_for(lambda: not list(tmp_path.iterdir()), seconds=15.0)
