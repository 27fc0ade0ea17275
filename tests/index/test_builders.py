"""The builder process between its jobs: it stays, it ends, it is replaced."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from qnode.errors import Corruption, InternalError
from qnode.index import BuilderPool, builders
from qnode.index.builders import Build, Source
from qnode.index.space import Part
from qnode.index.vectors import SealedSegment
from tests.index.vectors.common import growing_of, params_of, vectors_for
from tests.support.node import children_of, command_of, is_running, wait_for

PARAMS = params_of(16)


def build_in(folder: Path, number: int, rows: int = 300) -> Build:
    growing = growing_of(folder / f"growing-{number}", PARAMS, vectors_for(PARAMS, rows, seed=number))
    alive = np.ones(rows, np.bool_)
    checks = ((0, rows, growing.checksum(0, rows)),)
    return Build(0, number, folder / str(number), PARAMS, [Source(Part(number, growing, alive), alive, checks)], True)


def run(act: Callable[[BuilderPool], Awaitable[None]]) -> None:
    async def running() -> None:
        pool = BuilderPool(1)
        try:
            await act(pool)
        finally:
            await pool.close()
        assert not processes()

    asyncio.run(running())


def processes() -> list[int]:
    return [child for child in children_of(os.getpid()) if "qnode.index.vectors.build" in command_of(child)]


def files_of(process: int) -> list[str]:
    return [str(link.readlink()) for link in Path(f"/proc/{process}/fd").iterdir()]


def test_one_process_does_all_builds_also_after_a_damaged_source(tmp_path):
    async def act(pool: BuilderPool) -> None:
        await pool.build(build_in(tmp_path, 1))
        (first,) = processes()
        damaged = build_in(tmp_path, 2)
        with (damaged.sources[0].part.segment.directory / "vectors.bin").open("r+b") as file:
            file.write(b"\x77\x77")
        with pytest.raises(Corruption, match="growing-2"):
            await pool.build(damaged)
        await pool.build(build_in(tmp_path, 3))
        assert processes() == [first]
        for number in (1, 3):
            assert SealedSegment.open(tmp_path / str(number), PARAMS, verify=True).rows == 300

    run(act)


def test_an_idle_builder_ends_and_the_next_build_has_another(tmp_path, monkeypatch):
    monkeypatch.setattr(builders, "IDLE_SECONDS", 0.05)

    async def act(pool: BuilderPool) -> None:
        await pool.build(build_in(tmp_path, 1))
        (first,) = processes()
        await asyncio.to_thread(wait_for, lambda: not is_running(first))
        await pool.build(build_in(tmp_path, 2))
        assert SealedSegment.open(tmp_path / "2", PARAMS, verify=True).rows == 300

    run(act)


def test_a_builder_that_was_killed_fails_its_build_and_is_replaced(tmp_path):
    async def act(pool: BuilderPool) -> None:
        running = asyncio.ensure_future(pool.build(build_in(tmp_path, 1, rows=50_000)))
        await asyncio.to_thread(wait_for, processes)
        os.kill(processes()[0], signal.SIGKILL)
        with pytest.raises(InternalError, match="ended with -9"):
            await running
        await pool.build(build_in(tmp_path, 2))
        (idle,) = processes()
        os.kill(idle, signal.SIGKILL)
        await asyncio.to_thread(wait_for, lambda: not is_running(idle))
        with contextlib.suppress(InternalError):  # that the idle one ended may not be known yet
            await pool.build(build_in(tmp_path, 3))
        await pool.build(build_in(tmp_path, 4))

    run(act)


def test_a_cancelled_build_ends_its_builder(tmp_path):
    async def act(pool: BuilderPool) -> None:
        running = asyncio.ensure_future(pool.build(build_in(tmp_path, 1, rows=50_000)))
        await asyncio.to_thread(wait_for, (tmp_path / "1.building").exists)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not processes()
        await pool.build(build_in(tmp_path, 2))

    run(act)


def test_a_builder_holds_no_descriptor_of_its_starter(tmp_path):
    async def act(pool: BuilderPool) -> None:
        handle = os.open(tmp_path, os.O_RDONLY)
        os.set_inheritable(handle, True)
        try:
            await pool.build(build_in(tmp_path, 1))
            (builder,) = processes()
            assert str(tmp_path) not in files_of(builder)
        finally:
            os.close(handle)

    run(act)


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="only Linux knows processes that run when no other wants to")
def test_a_builder_leaves_the_core_to_every_other_process(tmp_path):
    async def act(pool: BuilderPool) -> None:
        await pool.build(build_in(tmp_path, 1))
        (builder,) = processes()
        assert os.sched_getscheduler(builder) == os.SCHED_IDLE

    run(act)
