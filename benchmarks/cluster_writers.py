"""Writers on a cluster: they go on through another node when one fails, and keep account of what they were told.

A writer is a thread with one connection and one request under way. What became of a write is known when it was answered with
200 (`acknowledged`) or 503 (refused, it is nowhere); anything else leaves it open.
"""

from __future__ import annotations

import http.client
import random
import threading
import time
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import numpy as np
import orjson

from benchmarks.cluster import Points
from benchmarks.data import Floats, payload
from benchmarks.load import Latencies
from benchmarks.servers import NAME, connected

REQUEST_SECONDS = 15.0
PAUSE_SECONDS = 0.02
"""A writer that was not served waits so long before it goes to the next node."""

_CERTAIN = (200, 404)
"""Of what is asked for here; 404 is for the payload of a point that somebody has deleted."""

UPSERT = f"/collections/{NAME}/points?wait=true"


class Writer(threading.Thread, ABC):
    """Writes until it is stopped; `ports` are the nodes, of which it begins with the `number`th."""

    def __init__(self, number: int, ports: Sequence[int]) -> None:
        super().__init__(daemon=True)
        self._ports, self._at = ports, number
        self._connection: http.client.HTTPConnection | None = None
        self.stopping = threading.Event()
        self.fault: BaseException | None = None

    @abstractmethod
    def write(self) -> None:
        """Do the next write."""

    def run(self) -> None:
        try:
            while not self.stopping.is_set():
                self.write()
        except BaseException as fault:
            self.fault = fault
            raise

    def send(self, method: str, path: str, body: bytes) -> int:
        """Send a request and give the status of its answer, 0 for none; go to the next node unless it is certain."""
        status = 0
        with suppress(OSError, http.client.HTTPException):
            if self._connection is None:
                self._connection = connected(self._ports[self._at % len(self._ports)], REQUEST_SECONDS)
            self._connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = self._connection.getresponse()
            text = answer.read()
            status = answer.status
            assert status in (*_CERTAIN, 408) or status >= 500, text
        if status not in _CERTAIN:
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            self._at += 1
            self.stopping.wait(PAUSE_SECONDS)
        return status


@contextmanager
def writing(writers: Sequence[Writer]) -> Iterator[None]:
    """Let writers write while the block runs; raise what went wrong with any."""
    for writer in writers:
        writer.start()
    try:
        yield
    finally:
        for writer in writers:
            writer.stopping.set()
        for writer in writers:
            writer.join()
    for writer in writers:
        if writer.fault is not None:
            raise writer.fault


@dataclass(slots=True)
class Entry:
    """What a writer was told of a point: versions that are there, or may be."""

    acknowledged: int = 0
    unknown: set[int] = field(default_factory=set)


class AccountingWriter(Writer):
    """Writes one point at a time, of ids that nobody else writes, each time with a later version."""

    def __init__(self, number: int, ports: Sequence[int], ids: Sequence[int], vectors: Floats) -> None:
        super().__init__(number, ports)
        self._ids, self._vectors = ids, vectors
        self._version = 0
        self.entries: dict[int, Entry] = {}
        self.answers: list[tuple[float, float]] = []
        """When each acknowledged write was sent, and when it was acknowledged."""

    def write(self) -> None:
        self._version += 1
        key = self._ids[self._version % len(self._ids)]
        entry = self.entries.setdefault(key, Entry())
        entry.unknown.add(self._version)
        sent = time.monotonic()
        vector = self._vectors[self._version % len(self._vectors)]
        point = {"id": key, "vector": vector, "payload": {**payload(key), "version": self._version}}
        status = self.send("PUT", UPSERT, orjson.dumps({"points": [point]}, option=orjson.OPT_SERIALIZE_NUMPY))
        if status == 200:
            entry.acknowledged = self._version
            self.answers.append((sent, time.monotonic()))
        if status in (200, 503):
            entry.unknown.discard(self._version)

    def first_after(self, moment: float) -> float | None:
        """When the first write that was sent after a moment was acknowledged."""
        at = bisect_left(self.answers, (moment,))
        return self.answers[at][1] if at < len(self.answers) else None

    def lost(self, points: Points) -> list[int]:
        """The ids whose newest acknowledged write is missing, without a later one in its place."""
        missing = []
        for key, entry in self.entries.items():
            version = points[key]["payload"]["version"] if key in points else 0
            if version != entry.acknowledged and version not in entry.unknown:
                missing.append(key)
        return missing


class RacingWriter(Writer):
    """Overwrites, changes and deletes points that others write too, through any node, some at a time."""

    def __init__(self, number: int, ports: Sequence[int], ids: int, vectors: Floats, seed: int) -> None:
        super().__init__(number, ports)
        self._number, self._ids, self._vectors = number, ids, vectors
        self._random = random.Random(f"{seed} {number}")
        self._written = 0
        self.acknowledged = 0

    def write(self) -> None:
        self._written += 1
        keys = self._random.sample(range(self._ids), 5)
        mark = {"writer": self._number, "version": self._written}
        kind = self._random.random()
        if kind < 0.7:
            rows = self._random.choices(range(len(self._vectors)), k=len(keys))
            points = [
                {"id": key, "vector": self._vectors[row], "payload": mark} for key, row in zip(keys, rows, strict=True)
            ]
            body = orjson.dumps({"points": points}, option=orjson.OPT_SERIALIZE_NUMPY)
            status = self.send("PUT", UPSERT, body)
        elif kind < 0.9:
            body = orjson.dumps({"points": keys, "payload": {f"by{self._number}": self._written}})
            status = self.send("POST", f"/collections/{NAME}/points/payload?wait=true", body)
        else:
            status = self.send("POST", f"/collections/{NAME}/points/delete?wait=true", orjson.dumps({"points": keys}))
        self.acknowledged += status == 200


class PacedWriter(Writer):
    """Upserts a batch of new points every so often; a latency counts from when the batch was due."""

    def __init__(
        self, number: int, ports: Sequence[int], vectors: Floats, first: int, batch: int, every_seconds: float
    ) -> None:
        super().__init__(number, ports)
        self._vectors, self._next, self._batch, self._every_seconds = vectors, first, batch, every_seconds
        self._due = time.monotonic() + number * every_seconds / 8
        self.latencies: list[tuple[float, float]] = []
        """When each batch was due, and how many seconds later it was acknowledged."""

    def write(self) -> None:
        body = self._encoded()
        self.stopping.wait(max(0.0, self._due - time.monotonic()))
        while not self.stopping.is_set() and self.send("PUT", UPSERT, body) != 200:
            pass
        if not self.stopping.is_set():
            self.latencies.append((self._due, time.monotonic() - self._due))
        self._next += self._batch
        self._due += self._every_seconds

    def _encoded(self) -> bytes:
        keys = range(self._next, self._next + self._batch)
        points = [
            {"id": key, "vector": self._vectors[key % len(self._vectors)], "payload": payload(key)} for key in keys
        ]
        return orjson.dumps({"points": points}, option=orjson.OPT_SERIALIZE_NUMPY)


def lap(writers: Sequence[PacedWriter], since: float, until: float) -> Latencies:
    """What the batches took that were due within a time."""
    each = [took for writer in writers for due, took in writer.latencies if since <= due < until]
    return Latencies(np.array(each), until - since)
