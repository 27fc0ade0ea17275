"""All rows of one named vector: its segments, and which of their rows are alive.

Invariants: what is shown to searches (`Shown`) is replaced as a whole and never changes: a search sees one state, however
long it takes. `alive` is a hint that follows the commit, the point's record is the truth (`records.op_in`). A state is
shown with the operations that it holds all points for: around a commit it has the old and the new rows, and in no
transaction that fits it does a point have neither.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from qnode.index.population import Mask
from qnode.index.segments import Dense, OpNums, Sealed, Segment
from qnode.index.store import Numbers
from qnode.index.vectors.native import address_of
from qnode.models.query import AnyVector, Examples, QuantizationParams, SearchParams
from qnode.models.vector_params import IndexParams, SlotParams

if TYPE_CHECKING:
    from qnode.index.vectors.walks import Walks

Rows = npt.NDArray[np.int64]


@dataclass(slots=True, eq=False)
class Part:
    """A segment of the manifest, as the writer sees it. alive: (rows,), never written to, only replaced."""

    id: int
    segment: Segment
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
        return self.segment.is_sealed

    @property
    def is_indexed(self) -> bool:
        return self.segment.indexed

    @property
    def dense(self) -> Dense:
        """The segment, which is one of dense vectors."""
        segment = self.segment
        assert isinstance(segment, Dense)
        return segment

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

    segment: Segment
    alive: Mask
    points: Numbers
    op_nums: OpNums
    points_at: int
    op_nums_at: int

    @property
    def dense(self) -> Dense:
        """The segment, which is one of dense vectors."""
        segment = self.segment
        assert isinstance(segment, Dense)
        return segment


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


def _shown(part: Part) -> ShownPart:
    points, op_nums = part.segment.points, part.segment.op_nums
    return ShownPart(part.segment, part.alive, points, op_nums, address_of(points), address_of(op_nums))


class Space(ABC):
    """The segments of one vector slot; how they are searched is for the kind of vector to say."""

    def __init__(self, parts: tuple[Part, ...] = ()) -> None:
        self.parts = parts
        self.shown = Shown(0, 0, ())

    @property
    @abstractmethod
    def params(self) -> SlotParams:
        """What the collection says of the vector now."""

    @abstractmethod
    def configure(self, params: SlotParams, index: IndexParams) -> None:
        """Take over changed settings."""

    def show(self, oldest_op: int, newest_op: int) -> None:
        """Let searches that begin from now on see the parts as they are."""
        self.shown = Shown(oldest_op, newest_op, tuple(_shown(part) for part in self.parts))

    @property
    def growing(self) -> Part | None:
        """The part that takes new rows."""
        last = self.parts[-1] if self.parts else None
        return last if last is not None and not last.is_sealed and not last.is_full else None

    @abstractmethod
    def search(
        self,
        shown: Shown,
        target: AnyVector | Examples,
        k: int,
        params: SearchParams,
        selected: Mask | None,
        selected_count: int,
    ) -> Candidates:
        """Find the k alive rows that are best for the target, of the selected points if `selected` (capacity,) is given."""

    @abstractmethod
    def score(
        self, target: AnyVector | Examples, numbers: Numbers, ops: OpNums, params: SearchParams
    ) -> tuple[npt.NDArray[np.float32], Mask, Mask]:
        """Score current vectors as an exact search does.

        (n,) internal similarities; which of them were found; and of those, which a search with these params looks at.
        """

    @abstractmethod
    def read(self, numbers: Numbers, ops: OpNums) -> tuple[Sequence[AnyVector], Mask]:
        """Read current vectors, of each point one, and (n,) which of them were found."""

    @property
    def left_out(self) -> int:
        """How many vectors a search with `indexed_only` does not look at."""
        return 0

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

    def rows_of(self, segment: Sealed, numbers: Numbers, ops: OpNums) -> Rows:
        """Give the rows that these operations made of these points in a segment, as far as they are in it."""
        rows = segment.find(numbers, ops)
        return rows[rows >= 0]
