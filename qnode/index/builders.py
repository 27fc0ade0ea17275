"""Running builder processes: one at a time on a node, each with all the threads that building may use.

A build that fails leaves nothing behind; the index is as it was. Cancelling `BuilderPool.build` kills the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import orjson

from qnode.errors import Corruption, InternalError
from qnode.index.population import Mask
from qnode.index.space import Part
from qnode.index.vectors import BuildJob, BuildSource
from qnode.index.vectors.files import WAY_OUT_SEGMENT
from qnode.models.vector_params import VectorParams

SHOWN_OUTPUT_BYTES = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A part that is built from, which of its rows were alive when the build began, and the checksums of its rows."""

    part: Part
    alive: Mask
    checks: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Build:
    """A build between its beginning and its end: the segment `target` shall stand in `folder`."""

    slot: int
    target: int
    folder: Path
    params: VectorParams
    sources: Sequence[Source]
    with_graph: bool

    @property
    def job_folder(self) -> Path:
        return self.folder.with_name(f"{self.target}.job")

    def clean_up(self) -> None:
        """Remove what only the builder needed, and what a killed one left unfinished."""
        shutil.rmtree(self.job_folder, ignore_errors=True)
        shutil.rmtree(self.folder.with_name(f"{self.target}.building"), ignore_errors=True)


class BuilderPool:
    """The node's builder: who has the `place` may run a build."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._free = asyncio.Semaphore(1)

    def place(self) -> AbstractAsyncContextManager[None]:
        """Wait for the turn to build."""
        return self._free

    async def build(self, build: Build) -> None:
        """Run a build to its end; raise Corruption or InternalError if it fails."""
        job_file = await asyncio.to_thread(write_job, build, self._threads)
        # -P: nothing in the working directory may stand in for a library.
        arguments = ("-P", "-m", "qnode.index.vectors.build", str(job_file))
        process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=PIPE, stderr=PIPE)
        try:
            output, errors = await process.communicate()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        _check(process.returncode, output, errors, build)


def write_job(build: Build, threads: int) -> Path:
    """Write what the builder process reads: the job, and which rows are alive."""
    folder = build.job_folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    sources = []
    for source in build.sources:
        alive = folder / f"{source.part.id}.alive"
        source.alive.tofile(alive)
        segment = source.part.segment
        sources.append(BuildSource(segment.directory, source.part.is_sealed, len(source.alive), alive, source.checks))
    wanted = build.params.max_indexing_threads or threads
    job = BuildJob(
        tuple(sources), build.folder, build.params, os.getpid(), threads=min(wanted, threads), graph=build.with_graph
    )
    job_file = folder / "job.json"
    job_file.write_bytes(job.to_json())
    return job_file


def _check(status: int | None, output: bytes, errors: bytes, build: Build) -> None:
    if status == 0:
        return
    try:
        answer = orjson.loads(output.splitlines()[-1])
    except (orjson.JSONDecodeError, IndexError):
        shown = errors[-SHOWN_OUTPUT_BYTES:].decode(errors="replace")
        raise InternalError(f"the builder of {build.folder} ended with {status}: {shown}") from None
    if answer.get("damaged"):
        raise Corruption(answer["damaged"], answer["error"], WAY_OUT_SEGMENT)
    raise InternalError(f"segment {build.folder} could not be built: {answer['error']}")
