"""All rows of one named vector: its segments, and which of their rows are alive.

Invariants: `parts` is replaced as a whole, never changed in place; `alive` is a hint that the writer clears after the
commit, the point's record is the truth (`records.op_in`). So for a moment a search may see the old and the new row of a
point, and never neither.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qnode.index.population import Mask
from qnode.index.store import Numbers
from qnode.index.vectors import GrowingSegment, SealedSegment, prepare_query
from qnode.models.query import SearchParams, Vector
from qnode.models.vector_params import VectorParams

OpNums = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]

DEFAULT_EF_FLOOR = 64
"""A search without hnsw_ef looks at least at this many candidates, and at no fewer than ef_construct."""


@dataclass(slots=True, eq=False)
class Part:
    """A segment of the manifest. alive: at least (rows,), a growing one has room to grow into."""

    id: int
    segment: GrowingSegment | SealedSegment
    alive: Mask
    dead: int = 0
    is_full: bool = False

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
        return isinstance(self.segment, SealedSegment) and self.segment.indexed

    def living_rows(self) -> Mask:
        """(rows,) which are alive; of a sealed segment always the same array, which the kernel recognises.

        Of a growing one it is a copy, made before the rows are looked at: a row that dies during the search still counts,
        for the row that took its place may have come too late to be seen.
        """
        if self.is_sealed:
            return self.alive
        alive = self.alive.copy()
        return alive[: self.segment.rows]

    def kill(self, rows: Rows) -> None:
        """Mark rows as dead; each must be alive."""
        self.alive[rows] = False
        self.dead += len(rows)

    def make_room(self, rows: int) -> None:
        """See that `alive` reaches to `rows`; new rows are alive."""
        if rows > len(self.alive):
            wide = np.ones(max(rows, 2 * len(self.alive), 1024), np.bool_)
            wide[: len(self.alive)] = self.alive
            self.alive = wide


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What a search found: internal similarity (larger is better), point number, and the row's op_num; best first."""

    scores: npt.NDArray[np.float32]
    numbers: Numbers
    ops: OpNums


class Space:
    """The segments of one vector slot."""

    def __init__(self, params: VectorParams, small_kb: int, parts: tuple[Part, ...] = ()) -> None:
        """`small_kb`: a part with no more than these KB of vectors needs no graph, also for `indexed_only`."""
        self.params = params
        self.small_bytes = small_kb * 1024
        self.parts = parts

    @property
    def growing(self) -> Part | None:
        """The part that takes new rows."""
        last = self.parts[-1] if self.parts else None
        return last if last is not None and not last.is_sealed and not last.is_full else None

    def search(
        self, vector: Vector, k: int, params: SearchParams, selected: Mask | None, selected_count: int
    ) -> Candidates:
        """Find the k most similar alive rows, of the selected points if `selected` (capacity,) is given."""
        query = prepare_query(self.params, vector)
        ef = max(params.hnsw_ef or max(self.params.ef_construct, DEFAULT_EF_FLOOR), k)
        scores, numbers, ops = [], [], []
        for part in self.parts:
            if params.indexed_only and not part.is_indexed and part.segment.vector_bytes > self.small_bytes:
                continue
            segment = part.segment
            found, rows = segment.search(
                query, k, ef, part.living_rows(), selected, selected_count,
                exact=params.exact, quantization=params.quantization,
            )  # fmt: skip
            if len(rows):
                scores.append(found)
                numbers.append(segment.points[rows])
                ops.append(segment.op_nums[rows])
        if len(scores) == 1:
            return Candidates(scores[0], numbers[0], ops[0])
        if not scores:
            return Candidates(np.empty(0, np.float32), np.empty(0, np.uint32), np.empty(0, np.uint64))
        all_scores = np.concatenate(scores)
        best = np.argsort(-all_scores, kind="stable")[:k]
        return Candidates(all_scores[best], np.concatenate(numbers)[best], np.concatenate(ops)[best])

    def locate(self, numbers: Numbers, ops: OpNums) -> list[tuple[Part, Rows, npt.NDArray[np.intp]]]:
        """Find the current rows of points whose vectors were set by `ops`: per part the rows, and whose they are."""
        found = []
        missing = np.flatnonzero(ops)
        for part in reversed(self.parts):
            if not len(missing):
                break
            rows = part.segment.find(numbers[missing])
            hit = rows >= 0
            hit[hit] = part.segment.op_nums[rows[hit]] == ops[missing[hit]]
            if hit.any():
                found.append((part, rows[hit], missing[hit]))
                missing = missing[~hit]
        return found

    def read(self, numbers: Numbers, ops: OpNums) -> tuple[npt.NDArray[np.float32], Mask]:
        """Read current vectors: (n, dim) float32, and (n,) which of them were found."""
        vectors = np.zeros((len(numbers), self.params.size), np.float32)
        known = np.zeros(len(numbers), np.bool_)
        for part, rows, at in self.locate(numbers, ops):
            vectors[at] = part.segment.read(rows)
            known[at] = True
        return vectors, known
