"""Copies that take a shard's place: whatever is interrupted, what is opened next is one state as a whole."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from qnode import disk
from qnode.index import Index, reading
from qnode.index.copying import hold
from qnode.models.operation import encode
from qnode.models.query import ALL_PAYLOAD, ScrollRequest, VectorSelector
from qnode.shards.opening import ShardFiles, accept_copy, open_files
from qnode.shards.resolve import resolve
from qnode.wal import Record
from tests.shards.shard_group import PARAMS, upsert

VECTORS = {vector.name: vector for vector in PARAMS.vectors}


class Crash(BaseException):
    """The process ends in the middle of a call."""


class Steps:
    """Counts what changes the disk's directories, and ends the process before one of these calls."""

    def __init__(self) -> None:
        self.left: int | None = None

    def __call__(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Crash


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    counted = Steps()

    def before(call: Callable[..., object]) -> Callable[..., object]:
        def counting(*arguments: object, **options: object) -> object:
            counted()
            return call(*arguments, **options)

        return counting

    for name in ("rename", "unlink", "mkdir"):
        monkeypatch.setattr(Path, name, before(getattr(Path, name)))
    monkeypatch.setattr(shutil, "rmtree", before(shutil.rmtree))
    monkeypatch.setattr(disk.RealDisk, "sync_directory", before(disk.RealDisk.sync_directory))
    return counted


def opened(path: Path) -> ShardFiles:
    return open_files(path, PARAMS, keep_log_bytes=1 << 20, verify=True, has_peers=True)


def shown(index: Index) -> set[tuple[int, int]]:
    """How many points there are of which vector."""
    page = ScrollRequest(limit=1000, with_payload=ALL_PAYLOAD, with_vector=VectorSelector(True))
    points = list(reading.scroll(index, page))
    return {(len(points), int((point.vectors or {})[""][0])) for point in points}


def write(files: ShardFiles, points: int, value: int) -> None:
    operation = resolve(upsert(range(points), value), files.index, VECTORS)
    op_num = files.log.next_op
    files.log.append([Record(1, op_num, encode(operation))])
    files.log.sync()
    files.index.apply([(op_num, operation)])


def copied(folder: Path, points: int, value: int, operations: int) -> Path:
    """Make a copy of a shard of so many operations that holds so many points of one vector."""
    with closing(opened(folder / "made")) as files:
        for _ in range(operations):
            write(files, points, value)
        with closing(hold(files.index)) as held:
            held.write(folder / "copy")
    return folder / "copy"


@contextmanager
def crashing(steps: Steps, at: int) -> Iterator[list[bool]]:
    """Run what may be ended before the step of this number; the list tells whether it was."""
    was_ended: list[bool] = []
    steps.left = at
    try:
        yield was_ended
    except Crash:
        was_ended.append(True)
    finally:
        steps.left = None


def left_by(trial: Path) -> Path:
    """Give what an ended process has left, where no library believes that it is still open."""
    left = trial.with_name(f"{trial.name} left")
    shutil.copytree(trial, left)
    shutil.rmtree(trial)
    return left


def test_a_copy_that_comes_after_one_that_is_half_in_its_place_never_mixes_with_it(
    tmp_path: Path, steps: Steps
) -> None:
    states = {1: (10, 1), 3: (20, 2), 5: (30, 3)}
    (tmp_path / "first").mkdir()
    with closing(opened(tmp_path / "first" / "shard")) as files:
        write(files, *states[1])
    first, second = copied(tmp_path / "b", *states[3], 3), copied(tmp_path / "c", *states[5], 5)
    seen: set[int] = set()
    for half_way in range(1, 100, 5):
        for at in range(100):
            trial = tmp_path / f"{half_way} {at}"
            shutil.copytree(tmp_path / "first", trial)
            shutil.copytree(first, trial / "copy1")
            shutil.copytree(second, trial / "copy2")
            accept_copy(trial / "shard", trial / "copy1", 3, 1)
            with crashing(steps, half_way) as opening_was_ended, closing(opened(trial / "shard")):
                pass
            trial = left_by(trial)
            with crashing(steps, at) as was_ended:
                accept_copy(trial / "shard", trial / "copy2", 5, 1)
                opened(trial / "shard").close()
            trial = left_by(trial)
            with closing(opened(trial / "shard")) as files:
                assert shown(files.index) == {states[files.index.applied_op]}, (half_way, at)
                assert files.log.next_op == files.index.applied_op + 1
                assert files.fault is None
                assert not [path.name for path in files.index.path.iterdir() if path.name.startswith("arrived")]
                seen.add(files.index.applied_op)
            shutil.rmtree(trial)
            if not was_ended:
                break
        if not opening_was_ended:
            break
    assert seen == {3, 5}
