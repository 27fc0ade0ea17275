"""The builder process: one on a node, with all the threads that building may use, and one job at a time.

It is started for the first job and stays for the next ones, since starting it takes longer than many a build. When it has
been idle for IDLE_SECONDS it ends, so that its memory is free. A build that fails leaves nothing behind; the index is as it
was. A builder that ended by itself is replaced for the next build. Cancelling `BuilderPool.build` kills it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from asyncio.subprocess import PIPE, Process
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
from qnode.models.vector_params import SlotParams, VectorParams

SHOWN_OUTPUT_BYTES = 2000

IDLE_SECONDS = 5.0
"""A builder that has nothing to do for so long is ended."""


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
    params: SlotParams
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
    """The node's builder: who has the `place` may run a build. `close` it on the event loop that it was used on."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._free = asyncio.Semaphore(1)
        self._builder: _Builder | None = None
        self._retirement: asyncio.TimerHandle | None = None

    def place(self) -> AbstractAsyncContextManager[None]:
        """Wait for the turn to build."""
        return self._free

    async def build(self, build: Build) -> None:
        """Run a build to its end; raise Corruption or InternalError if it fails."""
        job_file = await asyncio.to_thread(write_job, build, self._threads)
        self._stay()
        builder = self._builder
        if builder is None or builder.has_ended:
            builder = self._builder = await _Builder.start()
        try:
            answer = await builder.do(job_file)
        except BaseException:
            self._builder = None
            await builder.end()
            raise
        if answer is None:
            self._builder = None
            raise InternalError(f"the builder of {build.folder} ended with {await builder.last_words()}")
        self._retirement = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._retire)
        _check(answer, build)

    async def close(self) -> None:
        """End the builder, if one is left."""
        self._stay()
        builder, self._builder = self._builder, None
        if builder is not None:
            await builder.end()

    def _stay(self) -> None:
        if self._retirement is not None:
            self._retirement.cancel()
        self._retirement = None

    def _retire(self) -> None:
        assert self._builder is not None
        self._builder.dismiss()
        self._builder = None


class _Builder:
    """A builder process."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process, self._jobs, self._answers = process, process.stdin, process.stdout
        self._errors = asyncio.create_task(_tail(process.stderr))

    @classmethod
    async def start(cls) -> _Builder:
        # -P: nothing in the working directory may stand in for a library.
        arguments = ("-P", "-m", "qnode.index.vectors.build")
        return cls(
            await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        )

    @property
    def has_ended(self) -> bool:
        return self._process.returncode is not None

    async def do(self, job_file: Path) -> bytes | None:
        """Have a job done; give the builder's answer, None if it ended without one."""
        try:
            self._jobs.write(orjson.dumps(str(job_file)) + b"\n")
            await self._jobs.drain()
        except ConnectionError:
            return None
        line = await self._answers.readline()
        return line if line.endswith(b"\n") else None

    def dismiss(self) -> None:
        """Let the builder end, which has nothing to do."""
        self._jobs.close()

    async def end(self) -> None:
        """Kill the builder, whatever it does, and wait for its end."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._errors

    async def last_words(self) -> str:
        """Wait for the end of a builder that ends by itself; tell its status and what it wrote at last."""
        status = await self._process.wait()
        return f"{status}: {(await self._errors).decode(errors='replace')}"


async def _tail(stream: asyncio.StreamReader) -> bytes:
    """Read a stream to its end and give the last of it."""
    shown = b""
    while read := await stream.read(SHOWN_OUTPUT_BYTES):
        shown = (shown + read)[-SHOWN_OUTPUT_BYTES:]
    return shown


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
    asked = build.params.max_indexing_threads if isinstance(build.params, VectorParams) else 0
    wanted = asked or threads
    job = BuildJob(
        tuple(sources), build.folder, build.params, os.getpid(), threads=min(wanted, threads), graph=build.with_graph
    )
    job_file = folder / "job.json"
    job_file.write_bytes(job.to_json())
    return job_file


def _check(line: bytes, build: Build) -> None:
    answer = orjson.loads(line)
    if answer.get("damaged"):
        raise Corruption(answer["damaged"], answer["error"], WAY_OUT_SEGMENT)
    if "error" in answer:
        raise InternalError(f"segment {build.folder} could not be built: {answer['error']}")
