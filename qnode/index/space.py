"""All rows of one named vector: its segments, and which of their rows are alive.

Invariants: what is shown to searches (`Shown`) is replaced as a whole and never changes: a search sees one state, however
long it takes. `alive` is a hint that follows the commit, the point's record is the truth (`records.op_in`). A state is
shown with the operations that it holds all points for: around a commit it has the old and the new rows, and in no
transaction that fits it does a point have neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import numpy.typing as npt

from qnode.index.population import Mask
from qnode.index.store import Numbers
from qnode.index.vectors import GrowingSegment, Query, SealedSegment, prepare_query
from qnode.index.vectors.native import address_of
from qnode.index.vectors.walks import Walked, Walks, plan_walks
from qnode.index.vectors.winners import take
from qnode.models.operation import Column, MultiColumn, SparseColumn
from qnode.models.query import AnyVector, QuantizationParams, SearchParams
from qnode.models.vector_params import VectorParams

OpNums = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]

DEFAULT_EF_FLOOR = 64
"""A search without hnsw_ef looks at least at this many candidates, and at no fewer than ef_construct."""

REMEMBERED_WALKS = 64


@dataclass(slots=True, eq=False)
class Part:
    """A segment of the manifest, as the writer sees it. alive: (rows,), never written to, only replaced."""

    id: int
    segment: GrowingSegment | SealedSegment
    alive: Mask
    dead: int = 0
    is_full: bool = False
    _room: Mask = field(init=False)

    def __post_init__(self) -> None:
        self._room = self.alive

    @property
    def rows(self) -> int:
        return self.segment.rows

    @property
    def living(self) -> int:
        return self.segment.rows - self.dead

    @property
    def is_sealed(self) -> bool:
        return isinstance(self.segment, SealedSegment)

    @property
    def is_indexed(self) -> bool:
        return self.segment.indexed

    def kill(self, rows: Rows) -> None:
        """Mark rows as dead; each must be alive."""
        self._room = self._room.copy()
        self._room[rows] = False
        self.alive = self._room[: len(self.alive)]
        self.dead += len(rows)

    def follow(self) -> None:
        """Let `alive` reach as far as the segment's rows; new rows are alive."""
        rows, known = self.segment.rows, len(self._room)
        if rows > known:
            wide = np.ones(max(rows, 2 * known, 1024), np.bool_)
            wide[:known] = self._room
            self._room = wide
        self.alive = self._room[:rows]


@dataclass(frozen=True, slots=True, eq=False)
class ShownPart:
    """A segment in one state: its first rows, which of them are alive, whose they are and which operation made them.

    points_at, op_nums_at: where these arrays lie.
    """

    segment: GrowingSegment | SealedSegment
    alive: Mask
    points: Numbers
    op_nums: OpNums
    points_at: int
    op_nums_at: int


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What a search sees: every point's row as of any operation from `oldest_op` to `newest_op`, and more rows.

    walks: by k, hnsw_ef and quantization how to walk all parts in one call, None where that cannot be done.
    """

    oldest_op: int
    newest_op: int
    parts: tuple[ShownPart, ...]
    walks: dict[tuple[int, int | None, QuantizationParams], Walks | None] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return sum(len(part.alive) for part in self.parts)


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What a search found: internal similarity (larger is better), point number, and the row's op_num; best first."""

    scores: npt.NDArray[np.float32]
    numbers: Numbers
    ops: OpNums


def append(segment: GrowingSegment, numbers: Numbers, ops: OpNums, column: Column) -> tuple[int, int]:
    """Append the vectors of points, set by `ops`, and make them durable; give the first new row, and the one behind the last."""
    assert not isinstance(column, SparseColumn)
    if isinstance(column, MultiColumn):
        lengths = np.diff(column.offsets)
        numbers, ops = np.repeat(numbers, lengths), np.repeat(ops, lengths)
    first = segment.append(numbers, ops, column.values)
    return first, first + len(numbers)


def _shown(part: Part) -> ShownPart:
    points, op_nums = part.segment.points, part.segment.op_nums
    return ShownPart(part.segment, part.alive, points, op_nums, address_of(points), address_of(op_nums))


def _walked(part: ShownPart) -> Walked:
    assert isinstance(part.segment, SealedSegment)
    return Walked(part.segment.view, part.alive, part.points_at, part.op_nums_at)


class Space:
    """The segments of one vector slot."""

    def __init__(self, params: VectorParams, small_kb: int, parts: tuple[Part, ...] = ()) -> None:
        """`small_kb`: a part with no more than these KB of vectors needs no graph, also for `indexed_only`."""
        self.params = params
        self.small_bytes = small_kb * 1024
        self.parts = parts
        self.shown = Shown(0, 0, ())

    def show(self, oldest_op: int, newest_op: int) -> None:
        """Let searches that begin from now on see the parts as they are."""
        self.shown = Shown(oldest_op, newest_op, tuple(_shown(part) for part in self.parts))

    @property
    def growing(self) -> Part | None:
        """The part that takes new rows."""
        last = self.parts[-1] if self.parts else None
        return last if last is not None and not last.is_sealed and not last.is_full else None

    def search(
        self, shown: Shown, vector: AnyVector, k: int, params: SearchParams, selected: Mask | None, selected_count: int
    ) -> Candidates:
        """Find the k most similar alive rows, of the selected points if `selected` (capacity,) is given."""
        assert isinstance(vector, np.ndarray)
        if selected is None and not params.exact and (walks := self._walks(shown, k, params)) is not None:
            found_by_walks = walks.search(vector)
            if found_by_walks is not None:
                return Candidates(*found_by_walks)
        query = prepare_query(self.params, vector)
        scores, numbers, ops = np.empty(k, np.float32), np.empty(k, np.uint32), np.empty(k, np.uint64)
        count = 0
        for part in shown.parts:
            floor = float(scores[k - 1]) if count == k else -np.inf
            found, rows = self.search_part(part, query, k, params, selected, selected_count, floor)
            count = take(found, rows, part.points_at, part.op_nums_at, scores, numbers, ops, count)
        return Candidates(scores[:count], numbers[:count], ops[:count])

    def search_part(
        self,
        part: ShownPart,
        query: Query,
        k: int,
        params: SearchParams,
        selected: Mask | None,
        selected_count: int,
        floor: float = -np.inf,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
        """Find the k most similar alive rows of one part: (similarities, rows), best first.

        Rows less similar than `floor`, the worst winner so far, may be left out.
        """
        segment = part.segment
        if params.indexed_only and self._awaits_graph(segment):
            return np.empty(0, np.float32), np.empty(0, np.int32)
        return segment.search(
            query,
            k,
            self._ef(k, params),
            part.alive,
            selected,
            selected_count,
            exact=params.exact,
            quantization=params.quantization,
            floor=floor,
        )

    @property
    def left_out(self) -> int:
        """How many vectors a search with `indexed_only` does not look at."""
        return sum(self._living(part) for part in self.parts if self._awaits_graph(part.segment))

    @property
    def count(self) -> int:
        """How many points have such a vector."""
        return sum(map(self._living, self.parts))

    @property
    def indexed_count(self) -> int:
        """Of how many of them the vector is in a graph."""
        return sum(self._living(part) for part in self.parts if part.is_indexed)

    def _living(self, part: Part) -> int:
        """Count the points whose vector is in a part."""
        return part.living

    def _awaits_graph(self, segment: GrowingSegment | SealedSegment) -> bool:
        return not segment.indexed and segment.vector_bytes > self.small_bytes

    def _ef(self, k: int, params: SearchParams) -> int:
        return max(params.hnsw_ef or max(self.params.ef_construct, DEFAULT_EF_FLOOR), k)

    def _walks(self, shown: Shown, k: int, params: SearchParams) -> Walks | None:
        asked = (k, params.hnsw_ef, params.quantization)
        if asked in shown.walks:
            return shown.walks[asked]
        if len(shown.walks) >= REMEMBERED_WALKS:
            shown.walks.clear()
        planned, graphs = None, [_walked(part) for part in shown.parts if isinstance(part.segment, SealedSegment)]
        if len(graphs) == len(shown.parts):
            planned = plan_walks(self.params, graphs, k, self._ef(k, params), params.quantization)
        shown.walks[asked] = planned
        return planned

    def locate(self, numbers: Numbers, ops: OpNums) -> list[tuple[Part, Rows, npt.NDArray[np.intp]]]:
        """Find the current rows of points whose vectors were set by `ops`: per part the rows, and whose they are."""
        found = []
        missing = np.flatnonzero(ops)
        for part in reversed(self.parts):
            if not len(missing):
                break
            rows = part.segment.find(numbers[missing], ops[missing])
            hit = rows >= 0
            if hit.any():
                found.append((part, rows[hit], missing[hit]))
                missing = missing[~hit]
        return found

    def rows_of(self, segment: SealedSegment, numbers: Numbers, ops: OpNums) -> Rows:
        """Give the rows that these operations made of these points in a segment, as far as they are in it."""
        rows = segment.find(numbers, ops)
        return rows[rows >= 0]

    def read(self, numbers: Numbers, ops: OpNums) -> tuple[Sequence[AnyVector], Mask]:
        """Read current vectors, of each point one, and (n,) which of them were found."""
        vectors = np.zeros((len(numbers), self.params.size), np.float32)
        known = np.zeros(len(numbers), np.bool_)
        for part, rows, at in self.locate(numbers, ops):
            vectors[at] = part.segment.read(rows)
            known[at] = True
        return cast("Sequence[AnyVector]", vectors), known
