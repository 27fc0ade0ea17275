"""Points as registers: many clients write and read them at once, and the history of each must be one of a single register.

A value is written once, so that a read tells whose write it has seen. What is not known to have happened, because a request
ended with an error or not at all, may have happened at any time after it began, or never; what was refused has not happened.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Self

import httpx

REQUEST_SECONDS = 4.0
PAUSE_SECONDS = 0.02
PROGRESS_SECONDS = 40.0
INITIAL = 0


@dataclass(frozen=True, slots=True)
class Event:
    """One write or read of a register, from when it began until it was answered; `end` is inf for a write of unknown outcome."""

    is_write: bool
    value: int
    begin: float
    end: float


def fault_of(history: Iterable[Event]) -> str | None:
    """Say why no order of these events, each at some moment between its begin and end, is that of a register; None if one is.

    The register holds INITIAL first, and no value is written twice, so that the test of zones decides (Gibbons and Korach,
    "Testing shared memories", 1997): the events of a value lie together in the order; where all of them cannot fall into one moment, no other value fits between.
    """
    writes, reads = {INITIAL: Event(True, INITIAL, -inf, -inf)}, defaultdict[int, list[Event]](list)
    for event in history:
        if event.is_write:
            assert event.value not in writes, "a value is written once"
            writes[event.value] = event
        else:
            reads[event.value].append(event)
    zones: list[tuple[float, float, int]] = []
    for value, seen in reads.items():
        if value not in writes:
            return f"{seen[0]} has seen what nobody wrote, or what was refused"
        if early := next((read for read in seen if read.end < writes[value].begin), None):
            return f"{early} has seen what was written later: {writes[value]}"
    for value, write in writes.items():
        if reads[value] or write.end < inf:  # what was never seen and has no known end need not have happened
            events = [write, *reads[value]]
            zones.append((min(each.end for each in events), max(each.begin for each in events), value))
    return _overlap([zone for zone in zones if zone[0] < zone[1]], [zone for zone in zones if zone[0] >= zone[1]])


def without_early_reads(history: Sequence[Event]) -> list[Event]:
    """Leave out the reads that had begun before the write that they saw was answered.

    Replicas apply what is committed one shortly after the other, so a plain read may see it before another one through another node
    does not. What is left has to be the history of a register: who reads what was answered, reads nothing older from then on.
    """
    writes = {event.value: event for event in history if event.is_write}

    def is_early(read: Event) -> bool:
        write = writes.get(read.value)
        return write is not None and read.begin <= write.end and write.begin <= read.end

    return [event for event in history if event.is_write or not is_early(event)]


def _overlap(wide: list[tuple[float, float, int]], narrow: list[tuple[float, float, int]]) -> str | None:
    """Find a value that must have been there while another one was. Wide: from first end to last begin; narrow: the reverse."""
    wide.sort()
    for (_, until, first), (since, _, second) in pairwise(wide):
        if since < until:
            return f"{first} was still there at {until:.6f} and {second} already at {since:.6f}"
    for latest, earliest, value in narrow:
        for since, until, other in wide:
            if since < earliest and latest < until:
                return f"{value} came between {earliest:.6f} and {latest:.6f}, and {other} stayed from {since:.6f} to {until:.6f}"
    return None


class Registers:
    """Clients that write and read a few points until they are stopped; a context manager. `reader` gives the address to read from."""

    def __init__(
        self,
        addresses: Sequence[str],
        name: str,
        *,
        seed: int,
        registers: int = 3,
        clients: int = 4,
        reader: Callable[[], str | None] | None = None,
        consistency: str | int | None = None,
    ) -> None:
        self._addresses = list(addresses)
        self._name = name
        self._registers = registers
        self._reader = reader
        self._parameters = {} if consistency is None else {"consistency": consistency}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._next_value = INITIAL + 1
        self._histories: dict[int, list[Event]] = {key: [] for key in range(1, registers + 1)}
        self.outcomes: Counter[str] = Counter()
        self._broken: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(random.Random(seed * 1000 + number),)) for number in range(clients)
        ]

    def __enter__(self) -> Self:
        points = [{"id": key, "vector": [1.0, 0, 0, 0], "payload": {"value": INITIAL}} for key in self._histories]
        with httpx.Client(base_url=self._addresses[0], timeout=30.0, trust_env=False) as client:
            answer = client.put(f"/collections/{self._name}/points", params={"wait": "true"}, json={"points": points})
            assert answer.json()["result"]["status"] == "completed", answer.text
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        print("; ".join(f"{count} × {text}" for text, count in self.outcomes.most_common()))

    def stop(self) -> None:
        """Let the clients finish what they are at."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        if self._broken:
            raise self._broken[0]

    def wait_for_more(self, count: int = 60) -> None:
        """Return when so many more reads and as many more writes have succeeded."""
        wanted = {kind: self.outcomes[kind] + count for kind in ("written", "read")}
        give_up = time.monotonic() + PROGRESS_SECONDS
        while any(self.outcomes[kind] < least for kind, least in wanted.items()):
            assert time.monotonic() < give_up, f"no progress within {PROGRESS_SECONDS} s: {self.outcomes}"
            self._stopping.wait(PAUSE_SECONDS)

    def check(self, *, early_reads: bool = True) -> None:
        """Check every history; without `early_reads`, what plain reads through any node promise."""
        assert not any(thread.is_alive() for thread in self._threads), "stop the clients first"
        for key, history in self._histories.items():
            if fault := fault_of(history if early_reads else without_early_reads(history)):
                lines = "\n".join(map(str, sorted(history, key=lambda event: event.begin)))
                raise AssertionError(f"the history of point {key} is that of no register: {fault}\n{lines}")

    def _run(self, rng: random.Random) -> None:
        try:
            with httpx.Client(timeout=REQUEST_SECONDS, trust_env=False) as client:
                while not self._stopping.is_set():
                    key = rng.randint(1, self._registers)
                    is_served = self._write(client, rng, key) if rng.random() < 0.5 else self._read(client, rng, key)
                    if not is_served:
                        self._stopping.wait(PAUSE_SECONDS)
        except BaseException as error:
            self._broken.append(error)
            raise

    def _write(self, client: httpx.Client, rng: random.Random, key: int) -> bool:
        with self._lock:
            value = self._next_value
            self._next_value += 1
        body = {"points": [{"id": key, "vector": [1.0, 0, 0, 0], "payload": {"value": value}}]}
        begin, end, outcome = time.monotonic(), inf, ""
        try:
            url = f"{rng.choice(self._addresses)}/collections/{self._name}/points"
            answer = client.put(url, params={"wait": "true"}, json=body)
        except httpx.HTTPError as error:
            outcome = f"a write's {type(error).__name__}"
        else:
            if answer.status_code == 200 and answer.json()["result"]["status"] == "completed":
                end, outcome = time.monotonic(), "written"
            else:
                assert answer.status_code >= 500 or answer.status_code in (200, 408), answer.text
                outcome = f"write {answer.status_code} {answer.text[:160]}"
            if answer.status_code == 503:  # then a read that has seen it is wrong
                self.outcomes[outcome] += 1
                return False
        self._note(key, Event(True, value, begin, end), outcome)
        return outcome == "written"

    def _read(self, client: httpx.Client, rng: random.Random, key: int) -> bool:
        address = rng.choice(self._addresses) if self._reader is None else self._reader()
        if address is None:
            return False
        begin, body = time.monotonic(), {"ids": [key], "with_payload": True}
        try:
            url = f"{address}/collections/{self._name}/points"
            answer = client.post(url, params=self._parameters, json=body)
        except httpx.HTTPError as error:
            self.outcomes[f"a read's {type(error).__name__}"] += 1
            return False
        if answer.status_code != 200:
            assert answer.status_code >= 500 or answer.status_code == 408, answer.text
            self.outcomes[f"read {answer.status_code} {answer.text[:160]}"] += 1
            return False
        found = answer.json()["result"]
        if not found and self._parameters:
            self.outcomes["replicas did not agree"] += 1
            return False
        assert found, f"point {key} is not there"
        self._note(key, Event(False, found[0]["payload"]["value"], begin, time.monotonic()), "read")
        return True

    def _note(self, key: int, event: Event, outcome: str) -> None:
        with self._lock:
            self._histories[key].append(event)
            self.outcomes[outcome] += 1
