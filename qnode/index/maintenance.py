"""Keeping an index in order: payload indexes are built in steps, segments are closed, built, merged and swapped.

All functions but `is_due`, `is_overdue` and `discard` are for the writer thread. A build runs in a process of its own between
`begin_build` and `install`, while writes and searches go on. `install` swaps in one transaction: the new segment enters
the manifest, its sources leave it, and rows that died meanwhile are dead in the new segment too. A crash before it
leaves a folder that no manifest knows, a crash after it leaves the sources' folders: both are removed at the next open.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from qnode import memory
from qnode.disk import remove_tree
from qnode.errors import QnodeError
from qnode.index.builders import Build, Source
from qnode.index.index import Index
from qnode.index.manifest import Manifest, SegmentEntry, SegmentState, write_manifest
from qnode.index.planning import Plan, SegmentSize, plan, should_close
from qnode.index.segment_rows import CHUNK_ROWS, forget_segment, put_dead_chunks, read_checks
from qnode.index.segments import open_sealed
from qnode.index.slots import change_slots
from qnode.index.space import Part, Space
from qnode.index.vectors import SealedSegment
from qnode.models.field_schema import FieldSchema
from qnode.models.vector_params import IndexParams, SlotParams, VectorParams

_log = logging.getLogger(__name__)


def create_field(index: Index, field: str, schema: FieldSchema) -> None:
    """Begin to index a payload field, or to index it in another way."""
    with index.store.writing() as txn:
        index.fields.create(txn, field, schema)


def drop_field(index: Index, field: str) -> None:
    """Take a payload index away; its postings go in the steps that follow."""
    with index.store.writing() as txn:
        index.fields.drop(txn, field)


def step_fields(index: Index, points: int) -> bool:
    """Do one piece of building and dropping payload indexes; True when nothing is left."""
    with index.store.writing() as txn:
        return index.fields.step(txn, index.population, points)


def configure(index: Index, params: IndexParams) -> None:
    """Take over changed settings; segments are rebuilt where they no longer fit, and removed where the vector is gone."""
    index.params = params
    for part in change_slots(index):
        _remove_when_unused(part, index.segment_path(part.id))
    for vector in params.by_name.values():
        index.spaces[vector.slot].configure(vector, params)


def is_due(index: Index) -> bool:
    """Whether `begin_build` would find something to do."""
    for space in index.spaces.values():
        growing = space.growing
        if growing is not None and should_close(_size(growing, space.params), index.params):
            return True
        if _planned(index, space) is not None:
            return True
    return False


def is_overdue(index: Index) -> bool:
    """Whether more rows of a vector wait for a graph than a growing segment is to hold."""
    limit_bytes = index.params.indexing_threshold_kb * 1024
    return limit_bytes > 0 and any(
        sum(part.segment.vector_bytes for part in space.parts if not part.is_sealed) > limit_bytes
        for space in index.spaces.values()
    )


def pending(index: Index) -> list[tuple[str, list[Part]]]:
    """Foretell the builds that are due, one after the other: what for, and the parts that each takes the place of."""
    found: list[tuple[str, list[Part]]] = []
    for space in index.spaces.values():
        sizes = [_size(part, space.params) for part in space.parts]
        growing = space.growing
        if growing is not None and should_close(_size(growing, space.params), index.params):
            sizes = [replace(size, is_full=True) if size.id == growing.id else size for size in sizes]
        while (chosen := plan(sizes, space.params, index.params)) is not None:
            parts = [part for part in space.parts if part.id in chosen.sources]
            found.append((purpose_of(parts), parts))
            sizes = [size for size in sizes if size.id not in chosen.sources]
    return found


def purpose_of(parts: Sequence[Part]) -> str:
    """Name what is gained by a build out of these parts, as Qdrant names its optimizers."""
    if not all(part.is_sealed for part in parts):
        return "indexing"
    if len(parts) > 1:
        return "merge"
    return "vacuum" if parts[0].dead else "config_mismatch"


def begin_build(index: Index) -> Build | None:
    """Close growing segments that are due, and prepare the next build; None if nothing needs one."""
    for slot in index.spaces:
        _close_growing(index, slot)
    for slot, space in index.spaces.items():
        while (chosen := _planned(index, space)) is not None:
            parts = [part for part in space.parts if part.id in chosen.sources]
            if any(part.living for part in parts):
                return _prepared(index, slot, parts, chosen.with_graph)
            _swap(index, slot, parts, None)  # what is left may be due for something else now
    return None


def _planned(index: Index, space: Space) -> Plan | None:
    return plan([_size(part, space.params) for part in space.parts], space.params, index.params)


def _prepared(index: Index, slot: int, parts: Sequence[Part], with_graph: bool) -> Build:
    """Give a build a number, and note which rows are alive now."""
    target = index.manifest.next_id
    index.manifest = Manifest(target + 1, index.manifest.segments)
    with index.store.reading() as txn:
        sources = [Source(part, part.alive, tuple(read_checks(txn, index.store, part.id))) for part in parts]
    return Build(slot, target, index.segment_path(target), index.spaces[slot].params, sources, with_graph)


def install(index: Index, build: Build) -> None:
    """Put a finished build in the place of its sources; there is nothing to do if the vector has gone meanwhile."""
    if build.slot not in index.spaces:
        discard(index, build)
        return
    space = index.spaces[build.slot]
    segment = open_sealed(build.folder, space.params, verify=False)
    alive = np.ones(segment.rows, np.bool_)
    for source in build.sources:
        died = np.flatnonzero(source.alive & ~source.part.alive[: len(source.alive)])
        made = source.part.segment
        alive[space.rows_of(segment, made.points[died], made.op_nums[died])] = False
    part = Part(build.target, segment, alive, int(np.count_nonzero(~alive)))
    _swap(index, build.slot, [source.part for source in build.sources], part)


def discard(index: Index, build: Build) -> None:
    """Remove the segment of a build that failed, unless it became part of the index before it did."""
    if all(entry.id != build.target for entry in index.manifest.segments):
        remove_tree(build.folder)


def _close_growing(index: Index, slot: int) -> None:
    space = index.spaces[slot]
    growing = space.growing
    if growing is None or not should_close(_size(growing, space.params), index.params):
        return
    entry = index.manifest.entry(growing.id)
    manifest = index.manifest.changed(replace(entry, state=SegmentState.FULL))
    with index.store.writing() as txn:
        write_manifest(txn, index.store, manifest)
    index.manifest = manifest
    growing.is_full = True


def _swap(index: Index, slot: int, parts: Sequence[Part], made: Part | None) -> None:
    gone = {part.id for part in parts}
    manifest = index.manifest.without(gone)
    if made is not None:
        entry = SegmentEntry(made.id, slot, SegmentState.SEALED, made.rows)
        at = next(at for at, old in enumerate(index.manifest.segments) if old.id in gone)
        manifest = replace(manifest, segments=(*manifest.segments[:at], entry, *manifest.segments[at:]))
    with index.store.writing() as txn:
        for part in parts:
            forget_segment(txn, index.store, part.id)
        if made is not None:
            chunks = np.unique(np.flatnonzero(~made.alive) // CHUNK_ROWS)
            put_dead_chunks(txn, index.store, made.id, made.alive, chunks)
        write_manifest(txn, index.store, manifest)
    index.manifest = manifest
    space = index.spaces[slot]
    order = {entry.id: place for place, entry in enumerate(manifest.segments)}
    left = [part for part in space.parts if part.id not in gone] + ([made] if made is not None else [])
    space.parts = tuple(sorted(left, key=lambda part: order[part.id]))
    space.show(index.applied_op, index.applied_op)
    for part in parts:
        _remove_when_unused(part, index.segment_path(part.id))


def _remove_when_unused(part: Part, folder: Path) -> None:
    """Remove a segment's files once no search holds it, in a thread of their own.

    To unmap a file that has no name any more frees all that the system has cached of it: .4 s for 400 MB, and Python unmaps
    with all its threads standing still. A crash before the end leaves a folder that no manifest knows.
    """
    memory.return_pages_of(folder)
    weakref.finalize(part.segment, _remove_beside, folder).atexit = False


def _remove_beside(folder: Path) -> None:
    threading.Thread(target=_remove, args=(folder,), name=f"remove {folder.name}", daemon=True).start()


def _remove(folder: Path) -> None:
    try:
        remove_tree(folder)
    except (OSError, QnodeError) as fault:  # the whole collection may be on its way out
        _log.info("%s was not removed now: %s", folder, fault)


def _size(part: Part, params: SlotParams) -> SegmentSize:
    is_outdated = is_extendable = False
    if isinstance(part.segment, SealedSegment) and isinstance(params, VectorParams):
        is_outdated = not part.segment.fits(params)
        is_extendable = part.segment.is_extendable(params, part.living)
    return SegmentSize(
        part.id,
        part.rows,
        part.living,
        part.segment.vector_bytes,
        part.is_sealed,
        part.is_full,
        part.is_indexed,
        is_outdated,
        is_extendable,
    )
