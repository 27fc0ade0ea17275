"""What the builder should do next: pure decisions over the sizes of segments.

A growing segment that is larger than `indexing_threshold` is closed. Closed segments come first, the oldest ones, a
piece at a time: so in a long upload graphs follow closely, and a search has few rows to scan. They are added to the
graph of the largest sealed segment that can be extended and is not EXTEND_FACTOR times as large, so that a row is put
into a graph about once: copying a row is some forty times as cheap as putting it into a graph, and a piece is the
larger the more there is to copy.

When no closed segment waits, sealed ones are merged: into one that can be extended if it is no more than EXTEND_FACTOR times
as large as the smaller ones together, else if it is not MERGE_FACTOR times as large. So their number is logarithmic in the
number of rows, and so is how often a row is copied or put into a graph. A segment with too many dead rows is rewritten by
itself, which gives the space back and restores recall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qnode.models.vector_params import IndexParams, SlotParams, VectorParams

MERGE_FACTOR = 2

EXTEND_FACTOR = 32
"""The larger, the fewer segments a search visits. Here 200 000 rows take a tail of 7 000: two seconds of work, which
spare every search half its time."""

DEFAULT_MAX_SEGMENT_BYTES = 4 << 30
"""Segments are not merged beyond this many bytes of vectors unless the collection says otherwise."""

PIECE_BYTES = 32 << 20
"""A growing segment takes no more rows from this size on, or from the threshold if that is larger, due or not."""

PIECE_SHARE = 8
"""No more is built at once than PIECE_BYTES, or this part of the segment that it may be added to."""

MOST_PIECES = 12
"""So many segments that could be merged are left alone while closed ones wait; each of them costs every search a walk."""

GROWING_WASTE_ROWS = 10_000
"""A growing segment is rewritten when it has this many dead rows and more dead than living ones."""

UNINDEXED_SEGMENT_BYTES = 256 << 20
"""Where no graph is ever built, a growing segment is closed at this size all the same."""


@dataclass(frozen=True, slots=True)
class SegmentSize:
    """What a decision needs to know of a segment.

    outdated: built with other settings than the collection has now. extendable: rows can be added to its graph.
    """

    id: int
    rows: int
    living: int
    vector_bytes: int
    is_sealed: bool
    is_full: bool
    is_indexed: bool
    is_outdated: bool = False
    is_extendable: bool = False

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


def is_overfull(vector_bytes: int, index: IndexParams) -> bool:
    """Whether a growing segment must take no more rows, also while the builder is busy."""
    if index.indexing_threshold_kb == 0:
        return vector_bytes > UNINDEXED_SEGMENT_BYTES
    return vector_bytes > max(PIECE_BYTES, index.indexing_threshold_kb * 1024)


def plan(segments: Sequence[SegmentSize], params: SlotParams, index: IndexParams) -> Plan | None:
    """Choose the next build of a vector's segments, or None if all is well."""
    mergeable = _mergeable(segments, index)
    sources = _piece(segments, index)
    if len(mergeable) > MOST_PIECES:
        sources = mergeable
    if not sources:
        sources = [max(wasted, key=lambda segment: segment.dead)] if (wasted := _wasted(segments, index)) else []
    if not sources:
        sources = [s for s in segments if s.is_sealed and (s.is_outdated or _lacks_graph(s, params, index))][:1]
    sources = sources or mergeable
    if not sources:
        return None
    chosen = {segment.id for segment in sources}
    with_graph = wants_graph(sum(segment.living_bytes for segment in sources), params, index)
    return Plan(tuple(segment.id for segment in segments if segment.id in chosen), with_graph)


def _piece(segments: Sequence[SegmentSize], index: IndexParams) -> list[SegmentSize]:
    """The oldest closed segments that are no more than a piece together, at least one, and what they are added to."""
    bases = sorted((segment for segment in segments if segment.is_extendable), key=lambda s: -s.living_bytes)
    most = max([PIECE_BYTES, *(base.living_bytes // PIECE_SHARE for base in bases)])
    taken: list[SegmentSize] = []
    total = 0
    for segment in segments:
        if not segment.is_full:
            continue
        if taken and total + segment.living_bytes > most:
            break
        taken.append(segment)
        total += segment.living_bytes
    limit = _largest_bytes(index)
    fit = (base for base in bases if base.living_bytes <= min(EXTEND_FACTOR * total, limit - total))
    return [*taken, base] if taken and (base := next(fit, None)) is not None else taken


def _largest_bytes(index: IndexParams) -> int:
    return index.max_segment_size_kb * 1024 if index.max_segment_size_kb else DEFAULT_MAX_SEGMENT_BYTES


def _mergeable(segments: Sequence[SegmentSize], index: IndexParams) -> list[SegmentSize]:
    """The smallest sealed segments that should be one; none if each is as much larger than the next as it should be."""
    limit = _largest_bytes(index)
    ordered = sorted((segment for segment in segments if segment.is_sealed), key=lambda s: s.living_bytes)
    for first, smallest in enumerate(ordered):
        chosen, total = [smallest], smallest.living_bytes
        for segment in ordered[first + 1 :]:
            most = EXTEND_FACTOR * total if segment.is_extendable else MERGE_FACTOR * total - 1
            if segment.living_bytes <= min(most, limit - total):
                chosen.append(segment)
                total += segment.living_bytes
        if len(chosen) > 1:
            return chosen
    return []


def wants_graph(vector_bytes: int, params: SlotParams, index: IndexParams) -> bool:
    """Whether a segment of this size gets a graph; sparse vectors never do."""
    if not isinstance(params, VectorParams) or params.m == 0:
        return False
    return 0 < index.indexing_threshold_kb * 1024 < vector_bytes


def _wasted(segments: Sequence[SegmentSize], index: IndexParams) -> list[SegmentSize]:
    return [
        segment
        for segment in segments
        if segment.is_sealed
        and segment.rows >= index.vacuum_min_vector_number
        and segment.dead > index.deleted_threshold * segment.rows
    ]


def _lacks_graph(segment: SegmentSize, params: SlotParams, index: IndexParams) -> bool:
    return (
        not segment.is_indexed and segment.living > 1 and wants_graph(segment.living_bytes, params, index)
    )  # one row has nothing to be linked to
