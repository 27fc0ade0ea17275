"""`qnode check` on what a stopped node left: whole, damaged, in use."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qnode.disk import hold
from tests.e2e.test_damage import POINTS, bad_shard, damages, stopped  # noqa: F401 - a fixture


def check(storage: Path) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-m", "qnode", "check", "--storage", str(storage)], capture_output=True, text=True, check=False
    )
    return done.returncode, (done.stdout + done.stderr).splitlines()


def contents(storage: Path) -> dict[str, str]:
    """What every file holds, but those of locks."""
    return {
        str(path.relative_to(storage)): hashlib.blake2b(path.read_bytes()).hexdigest()
        for path in storage.rglob("*")
        if path.is_file() and path.name not in (".lock", "lock.mdb")
    }


def test_a_whole_storage_is_in_order_and_is_not_changed(stopped: Path, tmp_path: Path) -> None:  # noqa: F811
    storage = tmp_path / "storage"
    shutil.copytree(stopped, storage)
    before = contents(storage)
    code, told = check(storage)
    assert code == 0, told
    assert [line.rpartition(": ")[2] for line in told] == [
        f"{POINTS + 10} points, 2 operations in the log",
        "10 points, 1 operations in the log",
        "everything is in order",
    ]
    assert contents(storage) == before


def cut_pages(shard: Path) -> None:
    """Fill the middle of the store with what another file might hold."""
    path = shard / "store" / "data.mdb"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 4096 // 3 * 4096)
        file.write(b"\xff" * (size // 3))


DAMAGES: dict[str, Callable[[Path], object]] = {
    **{what: damages()[what][0] for what in ("sealed links.bin", "store cut off")},
    "overwritten pages": cut_pages,
}


@pytest.mark.parametrize("what", DAMAGES)
def test_damage_is_found_and_the_others_are_checked(
    stopped: Path,  # noqa: F811
    tmp_path: Path,
    what: str,
) -> None:
    storage = tmp_path / "storage"
    shutil.copytree(stopped, storage)
    DAMAGES[what](bad_shard(storage))
    code, told = check(storage)
    assert code == 1
    assert told[0].startswith("bad, shard 0 in ")
    assert str(bad_shard(storage)) in told[1]
    assert told[-2].startswith("good, shard 0 in ")
    assert told[-1].endswith("faults were found")


def test_a_storage_in_use_or_of_no_node_is_not_checked(stopped: Path, tmp_path: Path) -> None:  # noqa: F811
    code, told = check(tmp_path / "nothing")
    assert (code, told[-1]) == (1, f"qnode: there is no node's storage in {tmp_path / 'nothing'} "
                                   "(storage.storage_path, --storage)")  # fmt: skip
    assert not (tmp_path / "nothing").exists()
    with hold(stopped):
        code, told = check(stopped)
    assert (code, told[-1]) == (1, f"qnode: the storage folder {stopped} is in use by another node")
