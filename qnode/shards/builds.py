"""What is known of a shard's builds: the one that runs, the last ones, those that are due.

On the event loop alone. Left out: what happened before the node was started.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from qnode.index import Index, maintenance
from qnode.index.builders import Build
from qnode.index.space import Part

REMEMBERED_BUILDS: Final = 64
"""So many finished builds of a shard are remembered."""


@dataclass(frozen=True, slots=True)
class SegmentNote:
    """A segment: its number in the shard, a name that no other has, and how many rows of it are alive."""

    id: int
    uuid: str
    points: int


@dataclass(slots=True, eq=False)
class BuildNote:
    """A build. finished_at None: it runs. fault: why it failed; was_cancelled: it was stopped."""

    uuid: str
    purpose: str
    segments: tuple[SegmentNote, ...]
    started_at: datetime
    finished_at: datetime | None = None
    fault: str | None = None
    was_cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is due: builds by purpose and the segments that they take the place of. idle: segments that are well."""

    queued: tuple[tuple[str, tuple[SegmentNote, ...]], ...]
    idle: tuple[SegmentNote, ...]


class BuildLog:
    """The builds of one shard, and since it was opened: how many succeeded and failed, and what these took and had."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.running: BuildNote | None = None
        self.finished: deque[BuildNote] = deque(maxlen=REMEMBERED_BUILDS)
        self._taken: frozenset[int] = frozenset()
        self.succeeded = self.failed = self.points = 0
        self.total_seconds = 0.0

    @contextmanager
    def recorded(self, build: Build) -> Iterator[None]:
        """Note that a build runs, and how it ends."""
        parts = [source.part for source in build.sources]
        note = BuildNote(self.uuid_of(build.target), maintenance.purpose_of(parts), self._notes(parts), _now())
        self.running, self._taken = note, frozenset(part.id for part in parts)
        try:
            yield
            self.succeeded += 1
            self.points += sum(segment.points for segment in note.segments)
            self.total_seconds += (_now() - note.started_at).total_seconds()
        except asyncio.CancelledError:
            note.was_cancelled = True
            raise
        except Exception as error:
            note.fault = str(error)
            self.failed += 1
            raise
        finally:
            note.finished_at = _now()
            self.running, self._taken = None, frozenset()
            self.finished.appendleft(note)

    def outlook(self, index: Index) -> Outlook:
        """Tell what is due beside the build that runs."""
        queued = [
            (purpose, parts)
            for purpose, parts in maintenance.pending(index)
            if not self._taken.intersection(part.id for part in parts)
        ]
        busy = self._taken.union(part.id for _, parts in queued for part in parts)
        idle = [part for space in index.spaces.values() for part in space.parts if part.id not in busy]
        return Outlook(tuple((purpose, self._notes(parts)) for purpose, parts in queued), self._notes(idle))

    def _notes(self, parts: Sequence[Part]) -> tuple[SegmentNote, ...]:
        return tuple(SegmentNote(part.id, self.uuid_of(part.id), part.living) for part in parts)

    def uuid_of(self, segment: int) -> str:
        """Give the name of a segment."""
        shard = self._path
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{shard.parent.name}/{shard.name}/{segment}"))


def _now() -> datetime:
    return datetime.now(UTC)
