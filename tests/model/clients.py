"""Several clients at once, each with points of his own in the same collection, and a model of these.

Since nobody else touches a client's points, he knows at every moment what they must be, and after a kill that they are as
before his request in flight, as after it, or as after one of its operations; whatever the others did meanwhile.
"""

from __future__ import annotations

import random
import threading
from typing import Any

import httpx

from tests.model.run import same, states
from tests.model.store import Id, Points, Store
from tests.model.writes import IDS, Writes
from tests.support.node import Node

READ_EVERY = 4
RETRIEVED = 40


class Client:
    """One client; his requests follow from his seed. `fault` is what went wrong, if anything did."""

    def __init__(self, node: Node, store: Store, seed: str, share: int) -> None:
        self._node, self._store = node, store
        self._rng = random.Random(seed)
        self._writes = Writes(self._rng, store, share * 10 * IDS)
        self._possible: list[Points] = [store.points]
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self.touched: set[Id] = set()
        self.steps = 0
        self.fault: str | None = None

    def start(self) -> None:
        """Go on with the state that `settle` has found."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """Finish the request in flight and end."""
        self._stop.set()
        assert self._thread is not None
        self._thread.join()

    def _run(self) -> None:
        with httpx.Client(base_url=self._node.address, timeout=60.0, trust_env=False) as http:
            try:
                while not self._stop.is_set() and self.fault is None:
                    self._write(http)
                    if self.steps % READ_EVERY == 0:
                        self._read(http)
            except httpx.HTTPError:  # the node was killed
                return

    def _write(self, http: httpx.Client) -> None:
        write = self._writes.random()
        self._possible = states(self._store.points, write)
        self.touched.update(*self._possible)
        path, wait = f"/collections/{self._store.name}{write.path}", self._rng.choice(["true", "false"])
        answer = http.request(write.method, path, json=write.body, params={"wait": wait})
        if answer.status_code != write.expected:
            self.fault = f"{write.what}: {answer.status_code} {answer.text[:500]}"
            return
        self._store.points = self._possible[-1]
        self._possible = [self._store.points]
        self.steps += 1

    def _read(self, http: httpx.Client) -> None:
        """Look at some of his points; nobody else may have changed them."""
        asked = self._rng.sample(sorted(self.touched, key=str), min(len(self.touched), RETRIEVED))
        body = {"ids": asked, "with_payload": True, "with_vector": True}
        answer = http.post(f"/collections/{self._store.name}/points", json=body)
        shown = {point["id"]: point for point in answer.json()["result"]}
        wanted = {i: self._store.points[i] for i in asked if i in self._store.points}
        if differing := _differing(wanted, shown):
            self.fault = f"after {self.steps} writes the points {sorted(map(str, differing))} differ"

    def settle(self, shown: dict[Id, Any]) -> None:
        """Take over which state the node shows; raise AssertionError if it is none of the possible ones."""
        assert self.fault is None, self.fault
        own = {i: point for i, point in shown.items() if i in self.touched}
        differing = [_differing(points, own) for points in self._possible]
        assert set() in differing, f"after {self.steps} writes: {min(differing, key=len)} differ"
        self._store.points = self._possible[differing.index(set())]
        self._possible = [self._store.points]


def all_points(node: Node, name: str) -> dict[Id, Any]:
    """Everything that the collection holds, by id."""
    found: dict[Id, Any] = {}
    body: dict[str, Any] = {"limit": 500, "with_payload": True, "with_vector": True}
    while True:
        page = node.ask("POST", f"/collections/{name}/points/scroll", body)
        found.update({point["id"]: point for point in page["points"]})
        if page["next_page_offset"] is None:
            return found
        body["offset"] = page["next_page_offset"]


def _differing(wanted: Points, shown: dict[Id, Any]) -> set[Id]:
    return {
        i for i in wanted.keys() | shown.keys() if i not in wanted or i not in shown or not same(wanted[i], shown[i])
    }
