"""The builder: a process that turns segments into one sealed segment, with a graph if asked.

    python -m qnode.index.vectors.build

It does one job after another until its standard input ends. A line of input names a job file, as a JSON string; a line of
output says how it went: {"rows": n} or {"error": text, "damaged": path or null}. What is not a QnodeError ends the process.

A job's sources are read from their files; the new segment is written beside the output, fsynced, and renamed into place as
the last act: a builder that dies leaves nothing but a directory that no manifest names. It keeps no memory between jobs but
that of its libraries, and no descriptor that it was started with.

The kernel ends it when the thread that started it ends (PR_SET_PDEATHSIG), so it must be started from a thread that lives as
long as the owner.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from qnode import memory
from qnode.disk import fault_of, sync_directory
from qnode.errors import Corruption, QnodeError
from qnode.index.segments import Dense, Segment, Sparse, open_growing, open_sealed
from qnode.index.sparse import build as sparse_build
from qnode.index.vectors import codes, files, scoring, sealed
from qnode.index.vectors.codes import CodeKind
from qnode.index.vectors.graph_builder import CHUNK_ROWS, GraphBuilder
from qnode.index.vectors.job import BuildJob, BuildSource
from qnode.index.vectors.sealed import Description, SealedSegment
from qnode.models.vector_params import Datatype, SlotParams, VectorParams

NICENESS = 19
PR_SET_PDEATHSIG = 1
FIRST_INHERITED = 3
SAMPLE_SEED = 0
SCRATCH = "graph.usearch"

SMALLEST_GRAPH_ROWS = 2


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The rows to write, in order: from which source, which row of it, of which point, set by which operation."""

    source: npt.NDArray[np.int32]
    row: npt.NDArray[np.int64]
    points: npt.NDArray[np.uint32]
    op_nums: npt.NDArray[np.uint64]


def open_source(source: BuildSource, params: SlotParams) -> Segment:
    """Open and verify a source; raise Corruption."""
    if source.sealed:
        return open_sealed(source.directory, params, verify=True)
    segment = open_growing(source.directory, params, source.rows, read_only=True, for_search=False)
    for first, last, expected in source.checksums:
        if segment.checksum(first, last) != expected:
            raise Corruption(
                source.directory, f"the checksum of its rows {first} to {last} is wrong", files.WAY_OUT_SEGMENT
            )
    return segment


def gather(job: BuildJob, segments: Sequence[Segment]) -> Rows:
    """Choose the alive rows, in ascending order of points, of each point those set last, in their order."""
    parts: list[tuple[npt.NDArray[Any], ...]] = []
    for number, (source, segment) in enumerate(zip(job.sources, segments, strict=True)):
        alive = np.fromfile(source.alive, np.bool_)
        if len(alive) < source.rows:
            raise Corruption(source.alive, f"it has {len(alive)} bytes of {source.rows}", files.WAY_OUT_SEGMENT)
        rows = np.flatnonzero(alive[: source.rows])
        origin = np.full(len(rows), number, np.int32)
        parts.append((origin, rows, segment.points[rows], segment.op_nums[rows]))
    source_of, row, points, op_nums = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((op_nums, points))
    last = np.append(points[order][1:] != points[order][:-1], True)[: len(order)]
    if isinstance(job.params, VectorParams) and job.params.multivector:
        ends = np.flatnonzero(last)
        order = order[op_nums[order] == np.repeat(op_nums[order][ends], np.diff(ends, prepend=-1))]
    else:
        order = order[last]
    return Rows(source_of[order], row[order], points[order], op_nums[order])


def read_rows(rows: Rows, segments: list[Dense], chosen: Any, dimensions: int) -> npt.NDArray[np.float32]:
    """Read the vectors of some of the output's rows."""
    origin, row = rows.source[chosen], rows.row[chosen]
    values = np.empty((len(row), dimensions), np.float32)
    for number, segment in enumerate(segments):
        mine = origin == number
        if mine.any():
            values[mine] = segment.read(row[mine])
        if isinstance(segment, SealedSegment):
            files.let_go(segment.vectors)
    return values


def base_of(rows: Rows, segments: list[Dense], params: VectorParams) -> int | None:
    """Choose the source whose graph shall be extended: of those that are fit for it, the one that gives most rows."""
    given = np.bincount(rows.source, minlength=len(segments))
    for number in sorted(range(len(segments)), key=lambda number: -int(given[number])):
        segment = segments[number]
        if isinstance(segment, SealedSegment) and given[number] and segment.is_extendable(params, int(given[number])):
            return number
    return None


def build(job: BuildJob) -> int:
    """Write the sealed segment of a job; return its number of rows. Raises Corruption, OutOfSpace."""
    building = job.output.with_name(job.output.name + ".building")
    shutil.rmtree(building, ignore_errors=True)
    try:
        building.mkdir(parents=True)
        segments = [open_source(source, job.params) for source in job.sources]
        rows = gather(job, segments)
        if isinstance(job.params, VectorParams):
            _write(job, job.params, [one for one in segments if isinstance(one, Dense)], rows, building)
        else:
            sparse = [one for one in segments if isinstance(one, Sparse)]
            sparse_build.write(building, sparse, rows.source, rows.row, rows.points, rows.op_nums)
        sync_directory(building)
        building.rename(job.output)
        sync_directory(job.output.parent)
    except OSError as error:
        shutil.rmtree(building, ignore_errors=True)
        raise fault_of(error, f"{job.output} could not be written") from error
    return len(rows.points)


def _write(job: BuildJob, params: VectorParams, segments: list[Dense], rows: Rows, directory: Path) -> None:
    """Write all files of a segment."""
    count = len(rows.points)
    chosen = np.arange(count)
    if count > codes.SAMPLE_ROWS:
        generator = np.random.default_rng(SAMPLE_SEED)
        chosen = np.sort(generator.choice(count, codes.SAMPLE_ROWS, replace=False))
    kind, limit = codes.choose(params, read_rows(rows, segments, chosen, params.size))
    with_graph = job.graph and params.m > 0 and count >= SMALLEST_GRAPH_ROWS
    builder, base = None, None
    if with_graph:
        coarse = kind is not CodeKind.NONE or params.datatype is Datatype.UINT8
        builder, base = GraphBuilder(params, job.threads, coarse=coarse), base_of(rows, segments, params)
    removed = 0
    if builder is not None and base is not None:
        mine, segment = np.flatnonzero(rows.source == base), segments[base]
        assert isinstance(segment, SealedSegment)
        builder.extend(segment, rows.row[mine], mine, directory / SCRATCH)
        removed = segment.removed_with(len(mine))
    writers = {name: files.ArrayWriter(directory / name) for name in _names(params, kind)}
    writers["points.bin"].write(rows.points.astype("<u4"))
    writers["op_nums.bin"].write(rows.op_nums.astype("<u8"))
    for first in range(0, count, CHUNK_ROWS):
        values = read_rows(rows, segments, slice(first, first + CHUNK_ROWS), params.size)
        writers["vectors.bin"].write(scoring.to_stored(values, params.datatype))
        if kind is CodeKind.INT8:
            encoded, bounds = codes.to_int8(values, limit)
            writers["codes.bin"].write(encoded)
            if "bounds.bin" in writers:
                writers["bounds.bin"].write(bounds.astype("<f4"))
        elif kind is not CodeKind.NONE:
            writers["codes.bin"].write(codes.encode(kind, values, limit))
        if builder is not None:
            new = np.flatnonzero(rows.source[first : first + CHUNK_ROWS] != (-1 if base is None else base))
            if len(new):
                builder.add(first + new, values[new])
    graph = builder.flatten(directory / SCRATCH) if builder is not None else None
    if graph is not None:
        for name, array in (("links.bin", graph.links), ("upper.bin", graph.upper), ("first.bin", graph.first)):
            writers[name] = files.ArrayWriter(directory / name)
            writers[name].write(array.astype("<i4", copy=False))
    facts = {name: files.FileFacts(writer.bytes, writer.close()) for name, writer in writers.items()}
    Description(
        version=sealed.FORMAT_VERSION,
        rows=count,
        dimensions=params.size,
        datatype=params.datatype.value,
        distance=params.distance.value,
        codes=kind.value,
        code_limit=limit,
        quantization=sealed.named(params.quantization),
        m=params.m if graph is not None else 0,
        ef_construct=params.ef_construct,
        upper_rows=len(graph.upper) if graph is not None else 0,
        entry=graph.entry if graph is not None else 0,
        top=graph.top if graph is not None else 0,
        files=facts,
        removed=removed,
    ).write(directory / sealed.DESCRIPTION)


def _names(params: VectorParams, kind: CodeKind) -> list[str]:
    names = ["vectors.bin", "points.bin", "op_nums.bin"]
    if kind is not CodeKind.NONE:
        names.append("codes.bin")
    if kind is CodeKind.INT8 and codes.has_bounds(params):
        names.append("bounds.bin")
    return names


def die_with(parent: int) -> None:
    """Have the kernel end this process when its parent ends; end it now if that has happened."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)


def give_way() -> None:
    """Let any other process have a core as soon as it wants one.

    Niceness alone would let the builder end its turn first, and that is longer than a search.
    """
    os.nice(NICENESS)
    if sys.platform == "linux":
        with contextlib.suppress(PermissionError):  # in a sandbox; threads that are started later inherit it
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def answer(job_file: Path) -> dict[str, Any]:
    """Do the job in a file; say how it went."""
    job = BuildJob.from_json(job_file.read_bytes())
    die_with(job.parent)
    try:
        return {"rows": build(job)}
    except QnodeError as error:
        return {"error": str(error), "damaged": str(error.path) if isinstance(error, Corruption) else None}


def main() -> None:
    """Do jobs until there are no more."""
    os.closerange(FIRST_INHERITED, os.sysconf("SC_OPEN_MAX"))
    give_way()
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(orjson.dumps(answer(Path(orjson.loads(line)))) + b"\n")
        sys.stdout.buffer.flush()
        memory.return_free_blocks()


if __name__ == "__main__":
    main()
