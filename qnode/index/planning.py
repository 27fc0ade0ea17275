"""What the builder should do next: pure decisions over the sizes of segments.

A growing segment that is larger than `indexing_threshold` is closed and given a graph. When a graph is built anyway,
sealed segments of less than MERGE_FACTOR times its size are merged into it: so each segment is at least that many
times as large as the next, their number is logarithmic in the number of rows, and so is how often a row is rebuilt. A segment with too many dead
rows is rewritten by itself, which gives the space back and restores recall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qnode.models.vector_params import IndexParams, VectorParams

MERGE_FACTOR = 2

DEFAULT_MAX_SEGMENT_BYTES = 4 << 30
"""Segments are not merged beyond this many bytes of vectors unless the collection says otherwise."""

GROWING_WASTE_ROWS = 10_000
"""A growing segment is rewritten when it has this many dead rows and more dead than living ones."""

UNINDEXED_SEGMENT_BYTES = 256 << 20
"""Where no graph is ever built, a growing segment is closed at this size all the same."""


@dataclass(frozen=True, slots=True)
class SegmentSize:
    """What a decision needs to know of a segment; outdated: built with other settings than the collection has now."""

    id: int
    rows: int
    living: int
    vector_bytes: int
    is_sealed: bool
    is_full: bool
    is_indexed: bool
    is_outdated: bool = False

    @property
    def dead(self) -> int:
        return self.rows - self.living

    @property
    def living_bytes(self) -> int:
        return self.vector_bytes * self.living // max(self.rows, 1)


@dataclass(frozen=True, slots=True)
class Plan:
    """Build one segment out of these; `with_graph` False only copies the living rows together."""

    sources: tuple[int, ...]
    with_graph: bool


def should_close(growing: SegmentSize, index: IndexParams) -> bool:
    """Whether a growing segment should take no more rows and be handed to the builder."""
    if growing.dead > GROWING_WASTE_ROWS and growing.dead > growing.living:
        return True
    limit = index.indexing_threshold_kb * 1024 or UNINDEXED_SEGMENT_BYTES
    return growing.vector_bytes > limit


def plan(segments: Sequence[SegmentSize], params: VectorParams, index: IndexParams) -> Plan | None:
    """Choose the next build of a vector's segments, or None if all is well."""
    sources = [segment for segment in segments if segment.is_full]
    if not sources:
        sources = [max(wasted, key=lambda segment: segment.dead)] if (wasted := _wasted(segments, index)) else []
    if not sources:
        sources = [s for s in segments if s.is_sealed and (s.is_outdated or _lacks_graph(s, params, index))][:1]
    if not sources:
        return None
    limit = index.max_segment_size_kb * 1024 if index.max_segment_size_kb else DEFAULT_MAX_SEGMENT_BYTES
    total = sum(segment.living_bytes for segment in sources)
    chosen = {segment.id for segment in sources}
    for segment in sorted((s for s in segments if s.is_sealed), key=lambda s: s.living_bytes):
        if (
            segment.id not in chosen
            and segment.living_bytes < MERGE_FACTOR * total
            and total + segment.living_bytes <= limit
        ):
            chosen.add(segment.id)
            total += segment.living_bytes
    with_graph = wants_graph(total, params, index)
    return Plan(tuple(segment.id for segment in segments if segment.id in chosen), with_graph)


def wants_graph(vector_bytes: int, params: VectorParams, index: IndexParams) -> bool:
    """Whether a segment of this size gets a graph."""
    return index.indexing_threshold_kb > 0 and params.m > 0 and vector_bytes > index.indexing_threshold_kb * 1024


def _wasted(segments: Sequence[SegmentSize], index: IndexParams) -> list[SegmentSize]:
    return [
        segment
        for segment in segments
        if segment.is_sealed
        and segment.rows >= index.vacuum_min_vector_number
        and segment.dead > index.deleted_threshold * segment.rows
    ]


def _lacks_graph(segment: SegmentSize, params: VectorParams, index: IndexParams) -> bool:
    return (
        not segment.is_indexed and segment.living > 1 and wants_graph(segment.living_bytes, params, index)
    )  # one row has nothing to be linked to
