"""A ledger of writes: what was acknowledged, what was refused, and what nobody knows, compared with every node at the end.

Each writer has ids of its own and writes one point at a time, so that what it was told of a point is the truth about it:

- acknowledged: this version, or a later one, is there;
- refused (503, 507): this version is certainly not there;
- anything else, an error or no answer: it may be there, now or later.

A read through a node is answered from that node's own replica where it has one, so on nodes that all hold everything the
comparison is one of replicas.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import httpx

IDS_OF_A_WRITER = 1_000_000
REQUEST_SECONDS = 10.0
PAUSE_SECONDS = 0.05
"""A writer that was not served waits so long before it goes to the next node."""
PROGRESS_SECONDS = 30.0
DIM = 4


@dataclass(slots=True)
class Entry:
    """What a writer was told of a point, by version."""

    acknowledged: int = 0
    refused: set[int] = field(default_factory=set)
    unknown: set[int] = field(default_factory=set)


class Ledger:
    """Writers that go on until they are stopped; a context manager."""

    def __init__(
        self, addresses: Sequence[str], name: str, *, writers: int = 3, rewritten: int = 5, wait: bool = True
    ) -> None:
        """Every `rewritten`th write is a new version of an earlier point."""
        self._addresses = list(addresses)
        self._name = name
        self._rewritten = rewritten
        self._wait = wait
        self._stopping = threading.Event()
        self._acknowledged = threading.Condition()
        self._count = 0
        self.longest_gap_seconds = 0.0
        self.faults: dict[str, int] = defaultdict(int)
        self.entries: dict[int, Entry] = {}
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(writers)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        told = ", ".join(f"{count} × {text}" for text, count in self.faults.items())
        print(f"{self._count} writes acknowledged, longest gap {self.longest_gap_seconds:.2f} s; {told or 'no faults'}")

    def stop(self) -> None:
        """Let the writers finish what they are at."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    @property
    def count(self) -> int:
        """How many writes were acknowledged."""
        return self._count

    def wait_for_more(self, writes: int = 20) -> None:
        """Return when so many more writes were acknowledged than when this was called."""
        wanted = self._count + writes
        with self._acknowledged:
            came = self._acknowledged.wait_for(lambda: self._count >= wanted, PROGRESS_SECONDS)
        assert came, f"no {writes} writes were acknowledged within {PROGRESS_SECONDS} s: {dict(self.faults)}"

    def _write(self, writer: int) -> None:
        first = writer * IDS_OF_A_WRITER
        at = writer
        last = time.monotonic()
        with httpx.Client(timeout=REQUEST_SECONDS, trust_env=False) as client:
            for number in range(1, IDS_OF_A_WRITER):
                if self._stopping.is_set():
                    return
                is_rewrite = number % self._rewritten == 0
                key = first + (number // 2 if is_rewrite else number)
                entry = self.entries.setdefault(key, Entry())
                if self._try(client, self._addresses[at % len(self._addresses)], key, number, entry):
                    now = time.monotonic()
                    self.longest_gap_seconds = max(self.longest_gap_seconds, now - last)
                    last = now
                else:
                    at += 1
                    self._stopping.wait(PAUSE_SECONDS)

    def _try(self, client: httpx.Client, address: str, key: int, version: int, entry: Entry) -> bool:
        """Write a version of a point, and note what comes of it."""
        body = {"points": [{"id": key, "vector": vector_of(key, version), "payload": {"version": version}}]}
        entry.unknown.add(version)
        try:
            answer = client.put(
                f"{address}/collections/{self._name}/points", params={"wait": str(self._wait).lower()}, json=body
            )
        except httpx.HTTPError as error:
            self.faults[type(error).__name__] += 1
            return False
        if answer.status_code == 200 and answer.json()["result"]["status"] != "wait_timeout":
            entry.unknown.discard(version)
            entry.acknowledged = version
            with self._acknowledged:
                self._count += 1
                self._acknowledged.notify_all()
            return True
        if answer.status_code in (503, 507):
            entry.unknown.discard(version)
            entry.refused.add(version)
        assert answer.status_code >= 500 or answer.status_code in (200, 408), f"{answer.status_code} {answer.text}"
        self.faults[f"{answer.status_code} {answer.text[:200]}"] += 1
        return False

    def check(self, addresses: Iterable[str]) -> None:
        """Compare what every node has with what was told, and with what the others have."""
        assert not any(thread.is_alive() for thread in self._threads), "stop the writers first"
        found = {address: everything(address, self._name) for address in addresses}
        for address, points in found.items():
            for key, entry in self.entries.items():
                version = points[key]["payload"]["version"] if key in points else 0
                allowed = entry.unknown | {entry.acknowledged}
                assert version in allowed, (
                    f"point {key} through {address}: version {version} (0: none), acknowledged {entry.acknowledged}, "
                    f"unknown {sorted(entry.unknown)}, refused {sorted(entry.refused)}"
                )
                assert not version or points[key]["vector"] == vector_of(key, version), f"point {key} is mixed up"
            assert points.keys() <= self.entries.keys(), "there are points that nobody wrote"
        first, *others = found.items()
        for address, points in others:
            differing = [key for key in first[1].keys() | points.keys() if first[1].get(key) != points.get(key)]
            assert not differing, (
                f"{first[0]} and {address} differ in {len(differing)} points, among them {differing[:5]}"
            )


def vector_of(key: int, version: int) -> list[float]:
    """A vector that tells the versions of a point apart, exact in float32."""
    return [float(key % 1024), float(version % 1024), 1.0, 0.5]


def everything(address: str, name: str) -> dict[int, dict[str, Any]]:
    """All points that a node gives, with vectors and payloads."""
    points: dict[int, dict[str, Any]] = {}
    body: dict[str, Any] = {"limit": 5000, "with_payload": True, "with_vector": True}
    with httpx.Client(base_url=address, timeout=60.0, trust_env=False) as client:
        while True:
            answer = client.post(f"/collections/{name}/points/scroll", json=body)
            assert answer.status_code == 200, f"{address}: {answer.status_code} {answer.text}"
            page = answer.json()["result"]
            points.update((point["id"], point) for point in page["points"])
            if page["next_page_offset"] is None:
                return points
            body["offset"] = page["next_page_offset"]
