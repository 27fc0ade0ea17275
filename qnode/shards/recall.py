"""The recall of this node's collections, estimated again and again: a task that measures a little whenever the node has time.

At every interval each vector that has a graph is probed (`index/probing.py`), one after the other, in steps of milliseconds in
a thread. After a step the task rests for REST_FACTOR times as long, but no longer than LONGEST_REST_SECONDS; it waits while
the process is busy or the shard is being built, and what has not come to its end by the next interval is begun anew. So it
takes a twentieth of one core at most, and of a busy node nothing. A reading joins the last probes of all shards here.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qnode.index import probing
from qnode.index.probing import Tally
from qnode.machine import CpuMeter, cores

if TYPE_CHECKING:
    from qnode.shards.collections import Collections
    from qnode.shards.local_shard import LocalShard

PROBED_K = 10
"""The recall is that of searches for so many points."""

REMEMBERED_PROBES = 8
"""A reading joins so many probes of a shard, for the larger a collection is, the less of it one of them looks at."""

REST_FACTOR = 19
SHORTEST_REST_SECONDS, LONGEST_REST_SECONDS = 0.01, 2.0
"""Rest after a step."""

BUSY_SHARE = 0.3
"""A process that uses more than this share of its cores is busy …"""

BUSY_REST_SECONDS = 1.0
"""… and is looked at again after so long."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """interval_seconds 0: no probes. queries: for each shard and vector. most_rows: so many rows are scanned for them."""

    interval_seconds: float = 300.0
    queries: int = 8
    most_rows: int = 200_000


@dataclass(frozen=True, slots=True)
class RecallReading:
    """The recall of a vector as of `at`, in seconds since 1970. neighbours: so many found ones it rests on. scanned: share of rows."""

    recall: float
    at: float
    neighbours: int
    scanned: float


class _Remembered:
    """The last probes of one vector of one shard."""

    def __init__(self) -> None:
        self.tallies: deque[Tally] = deque(maxlen=REMEMBERED_PROBES)
        self.at = 0.0


class RecallProbe:
    """Measures while it runs; `start` it on the event loop, `close` it before the collections."""

    def __init__(self, collections: Collections, settings: ProbeSettings) -> None:
        self._collections = collections
        self._settings = settings
        self._random = np.random.default_rng()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._ends = math.inf
        self._meter = CpuMeter()
        self._looked_at = time.monotonic()
        self._known: dict[tuple[str, int, str], _Remembered] = {}

    def start(self) -> None:
        """Begin, if the settings want it."""
        if self._settings.interval_seconds > 0:
            self._task = asyncio.create_task(self._run(), name="recall probe")

    async def close(self) -> None:
        """Return when the step that is under way has come to its end."""
        self._stopping.set()
        if self._task is not None:
            await self._task

    def readings(self, collection: str) -> Mapping[str, RecallReading]:
        """Tell what is known of a collection, by the names of its vectors."""
        named: dict[str, list[_Remembered]] = {}
        for (known, _, vector), remembered in self._known.items():
            if known == collection and remembered.tallies:
                named.setdefault(vector, []).append(remembered)
        return {vector: _joined(shards) for vector, shards in named.items()}

    async def _run(self) -> None:
        while not await self._rests(self._settings.interval_seconds):
            self._ends = time.monotonic() + self._settings.interval_seconds
            self._meter.read()
            if await self._rests(BUSY_REST_SECONDS):
                return
            self._looked_at = -math.inf
            try:
                await self.probe_all()
            except Exception:
                _log.exception("the recall could not be estimated")
            self._ends = math.inf

    async def probe_all(self) -> None:
        """Probe every vector of every shard here once."""
        due = [
            (collection.name, number, shard)
            for collection in self._collections.open_collections()
            for number, shard in collection.shards.items()
        ]
        seen = set()
        for name, number, shard in due:
            for vector, slot in list(shard.index.slots.items()):
                seen.add((name, number, vector))
                tally = await self._probe(shard, slot)
                if self._stopping.is_set() or time.monotonic() > self._ends:
                    return
                self._note((name, number, vector), shard, slot, tally)
        for gone in self._known.keys() - seen:
            del self._known[gone]

    def _note(self, key: tuple[str, int, str], shard: LocalShard, slot: int, tally: Tally | None) -> None:
        if tally is not None:
            remembered = self._known.setdefault(key, _Remembered())
            remembered.tallies.append(tally)
            remembered.at = time.time()
        elif (space := shard.index.spaces.get(slot)) is None or not probing.has_graph(space):
            self._known.pop(key, None)

    async def _probe(self, shard: LocalShard, slot: int) -> Tally | None:
        settings = self._settings
        steps = probing.probe(shard.index, slot, settings.queries, PROBED_K, settings.most_rows, self._random)
        while True:
            while self._is_busy(shard):
                if await self._rests(BUSY_REST_SECONDS):
                    return None
            began = time.monotonic()
            is_done, tally = await asyncio.to_thread(_step, steps)
            if is_done:
                return tally
            rest_seconds = min(REST_FACTOR * (time.monotonic() - began), LONGEST_REST_SECONDS)
            if await self._rests(max(rest_seconds, SHORTEST_REST_SECONDS)):
                return None

    def _is_busy(self, shard: LocalShard) -> bool:
        if shard.is_building:
            return True
        now = time.monotonic()
        if now - self._looked_at < BUSY_REST_SECONDS:
            return False
        if self._meter.read() > BUSY_SHARE * cores():
            return True
        self._looked_at = now
        return False

    async def _rests(self, seconds: float) -> bool:
        """Rest; True if the node stops, or the round has taken too long."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        return self._stopping.is_set() or time.monotonic() > self._ends


def _step(steps: Iterator[Tally | None]) -> tuple[bool, Tally | None]:
    """Take a step; whether it was the last one, and what has come out."""
    try:
        tally = next(steps)
    except StopIteration:
        return True, None
    return tally is not None, tally


def _joined(shards: list[_Remembered]) -> RecallReading:
    tallies = [tally for remembered in shards for tally in remembered.tallies]
    whole = Tally(
        sum(tally.found for tally in tallies),
        sum(tally.missed for tally in tallies),
        sum(tally.scanned for tally in tallies) / len(tallies),
    )
    return RecallReading(whole.recall, max(remembered.at for remembered in shards), whole.found, whole.scanned)
