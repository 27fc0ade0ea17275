"""A node and a model side by side: random requests to both, kills and restarts among them, and the answers compared.

`Run(...).steps(n)` raises `Mismatch` with the seed and with the history of the points in question. The requests follow
from the seed alone, up to the first kill: whether the write in flight came through is decided by the clock.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from tests.model.filters import FIELDS, Filter, random_filter
from tests.model.settings import after, random_change, random_settings
from tests.model.store import Id, Point, Points, Store
from tests.model.writes import Write, Writes, random_id, random_vector
from tests.support.node import Node

COLLECTIONS = 3
PAGE = 97
LONGEST_WAIT_BEFORE_KILL_SECONDS = 0.03
SHOWN_IDS = 5
RECALL_FLOOR = 0.97


class Mismatch(AssertionError):
    """The node shows something else than the model."""


class Run:
    """One seeded run."""

    def __init__(self, folder: Path, seed: int, *, kill_every: int = 300) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.node = Node(folder, environment={"QNODE__STORAGE__WAL__WAL_CAPACITY_MB": "1"})
        self.stores: dict[str, Store] = {}
        self.history: list[tuple[int, str, str, frozenset[Id]]] = []
        self.step_number = 0
        self.kills = 0
        self._kill_every = kill_every
        self._found, self._wanted = 0, 0
        self._names = 0

    def steps(self, count: int) -> None:
        """Do so many random steps, then compare everything."""
        for _ in range(count):
            self.step()
        for store in self.stores.values():
            self.compare_all(store, [store.points])
        if self._wanted > 1000 and self._found < RECALL_FLOOR * self._wanted:
            raise Mismatch(f"seed {self.seed}: recall {self._found / self._wanted:.3f}")

    def step(self) -> None:
        self.step_number += 1
        try:
            self._step()
        except (AssertionError, httpx.HTTPError) as error:
            if isinstance(error, Mismatch):
                raise
            raise Mismatch(f"seed {self.seed}, step {self.step_number}: {error!r}\n{self._last_steps()}") from error

    def _step(self) -> None:
        rng = self.rng
        if len(self.stores) < COLLECTIONS or rng.random() < 0.002:
            self.create()
        store = rng.choice(list(self.stores.values()))
        if rng.random() < 1 / self._kill_every:
            self.kill_during(store)
        elif rng.random() < 1 / (3 * self._kill_every):
            assert self.node.stop() == 0
            self.node.start()
            self.compare_everything()
        elif len(self.stores) > COLLECTIONS or rng.random() < 0.002:
            self._note(store, "delete collection", store.points)
            assert self.node.ask("DELETE", f"/collections/{store.name}") is True
            del self.stores[store.name]
        elif rng.random() < 0.02:
            self.change_index(store)
        elif rng.random() < 0.01:
            self.reconfigure(store)
        elif rng.random() < 0.5:
            self.write(store)
        else:
            self.read(store)

    # Definitions

    def create(self) -> None:
        """Make a collection of random settings."""
        body, store = self._new()
        self.node.ask("PUT", f"/collections/{store.name}", body)
        self.stores[store.name] = store
        self._note(store, f"create {store.vectors}", {})

    def _new(self) -> tuple[dict[str, Any], Store]:
        rng = self.rng
        self._names += 1
        names = rng.choice([[""], [""], ["text", "image"]])
        vectors = {n: (rng.choice([4, 8, 24]), rng.choice(["Cosine", "Dot", "Euclid", "Manhattan"])) for n in names}
        shown: Any = {name: {"size": size, "distance": distance} for name, (size, distance) in vectors.items()}
        shards = rng.choice([1, 1, 1, 2])
        body = {"vectors": shown.get("", shown), "shard_number": shards, **random_settings(rng)}
        return body, Store(f"c{self._names}", vectors, shards)

    def reconfigure(self, store: Store) -> None:
        """Change settings, for which segments may be built anew."""
        change, before = random_change(self.rng), self.node.info(store.name)["config"]
        assert self.node.ask("PATCH", f"/collections/{store.name}", change) is True
        assert self.node.info(store.name)["config"] == after(before, change)
        self._note(store, f"patch {change}", {})

    def change_index(self, store: Store) -> None:
        """Make or drop a payload index."""
        field = self.rng.choice(list(FIELDS))
        wait = self.rng.choice(["true", "false"])
        path = f"/collections/{store.name}/index"
        if field in store.fields:
            self.node.ask("DELETE", f"{path}/{field}", wait=wait)
            del store.fields[field]
        else:
            self.node.ask("PUT", path, {"field_name": field, "field_schema": FIELDS[field]}, wait=wait)
            store.fields[field] = FIELDS[field]
        assert set(self.node.info(store.name)["payload_schema"]) == set(store.fields)
        self._note(store, f"index {field} {sorted(store.fields)}", {})

    # Writes

    def write(self, store: Store) -> None:
        """Send a random write, and do it to the model."""
        write = Writes(self.rng, store).random()
        answer = self._send(self.node.client, store, write)
        assert answer.status_code == write.expected, f"{write.what}: {answer.status_code} {answer.text[:500]}"
        before = store.points
        store.points = states(before, write)[-1]
        self._note(store, write.what, touched(before, store.points))

    def _send(self, client: httpx.Client, store: Store, write: Write) -> httpx.Response:
        wait = self.rng.choice(["true", "false"])
        return client.request(
            write.method, f"/collections/{store.name}{write.path}", json=write.body, params={"wait": wait}
        )

    def kill_during(self, store: Store) -> None:
        """Kill the node while a write, a creation or a deletion is in flight; it must have happened wholly or not at all."""
        action = self.rng.choice(
            [self._kill_write, self._kill_write, self._kill_write, self._kill_create, self._kill_delete]
        )
        action(store)
        self.kills += 1
        self.compare_everything()

    def _kill_write(self, store: Store) -> None:
        write = Writes(self.rng, store).random()
        possible = states(store.points, write)
        answer = self._killed(lambda client: self._send(client, store, write))
        if answer is not None:
            assert answer.status_code == write.expected, answer.text
            possible = possible[-1:]
        before = store.points
        store.points = self.compare_all(store, possible, f"killed during {write.what}")
        self._note(
            store, f"{write.what}, killed, {'answered' if answer else 'in flight'}", touched(before, store.points)
        )

    def _kill_create(self, _: Store) -> None:
        body, made = self._new()
        answer = self._killed(lambda client: client.put(f"/collections/{made.name}", json=body))
        if self._exists(made.name):
            self.stores[made.name] = made
        else:
            assert answer is None, "an acknowledged collection is lost"
        self._note(made, "create, killed", {})

    def _kill_delete(self, store: Store) -> None:
        answer = self._killed(lambda client: client.delete(f"/collections/{store.name}"))
        if not self._exists(store.name):
            del self.stores[store.name]
        else:
            assert answer is None, "a deleted collection is back"
        self._note(store, "delete collection, killed", {})

    def _killed(self, send: Callable[[httpx.Client], httpx.Response]) -> httpx.Response | None:
        """Send a request, kill the node, start it again; give the answer if there was one."""
        answers: list[httpx.Response] = []

        def run() -> None:
            try:
                with httpx.Client(base_url=self.node.address, timeout=60.0, trust_env=False) as client:
                    answers.append(send(client))
            except httpx.HTTPError:
                pass

        thread = threading.Thread(target=run)
        thread.start()
        time.sleep(self.rng.uniform(0, LONGEST_WAIT_BEFORE_KILL_SECONDS))
        self.node.kill()
        thread.join()
        self.node.start()
        return answers[0] if answers else None

    def _exists(self, name: str) -> bool:
        return bool(self.node.ask("GET", f"/collections/{name}/exists")["exists"])

    # Reads

    def read(self, store: Store) -> None:
        """Send a random read and compare the answer."""
        read = self.rng.choice(
            [self.retrieve, self.scroll, self.count, self.query, self.query, self.query, self.query_by_id]
        )
        read(store)

    def _maybe_filter(self, store: Store) -> Filter | None:
        if self.rng.random() < 0.4:
            return None
        return random_filter(self.rng, store.ids(), list(store.vectors))

    def retrieve(self, store: Store) -> None:
        ids = list(dict.fromkeys(random_id(self.rng) for _ in range(self.rng.randrange(1, 20))))
        shown = self.node.retrieve(store.name, ids)
        self._compare(store, {i: store.points[i] for i in ids if i in store.points}, shown, "retrieve")

    def scroll(self, store: Store) -> None:
        chosen = self._maybe_filter(store)
        wanted = store.ids(chosen and chosen[1])
        limit = self.rng.choice([1 + len(wanted) // 3, 10, 1000]) + 1
        shown = list(self._scrolled(store, limit, chosen and chosen[0]))
        self._same_ids(store, wanted, shown, f"scroll {chosen and chosen[0]}")

    def count(self, store: Store) -> None:
        chosen = self._maybe_filter(store)
        body = {"filter": chosen[0]} if chosen else {}
        shown = self.node.ask("POST", f"/collections/{store.name}/points/count", body)["count"]
        wanted = len(store.ids(chosen and chosen[1]))
        if shown != wanted:
            raise self._mismatch(store, set(), f"count {body}: {shown}, not {wanted}")

    def query(self, store: Store, example: Id | None = None, using: str | None = None) -> None:
        rng = self.rng
        name = rng.choice(list(store.vectors)) if using is None else using
        chosen, exact = self._maybe_filter(store), rng.random() < 0.6
        query = (
            store.points[example].vectors[name] if example is not None else random_vector(rng, store.vectors[name][0])
        )
        ids, scores = store.ranked(name, query, chosen and chosen[1])
        if example in ids:
            place = ids.index(example)
            ids, scores = [*ids[:place], *ids[place + 1 :]], np.delete(scores, place)
        limit, offset = rng.choice([1, 10, 50]), rng.choice([0, 0, 3])
        asked = example if example is not None else [float(x) for x in query]
        body: dict[str, Any] = {
            "query": asked,
            "using": name,
            "limit": limit,
            "offset": offset,
            "params": {"exact": exact},
        }
        if chosen:
            body["filter"] = chosen[0]
        if len(scores) > 5 and rng.random() < 0.3:
            place = rng.randrange(1, len(scores))
            body["score_threshold"] = float(scores[place - 1] + scores[place]) / 2
            if abs(scores[place] - scores[place - 1]) < 1e-4:
                return
            ids, scores = ids[:place], scores[:place]
        shown = self.node.ask("POST", f"/collections/{store.name}/points/query", body)["points"]
        self._compare_hits(store, dict(zip(ids, scores.tolist(), strict=True)), scores, shown, body)

    def query_by_id(self, store: Store) -> None:
        name = self.rng.choice(list(store.vectors))
        having = [i for i, point in store.points.items() if name in point.vectors]
        if having:
            self.query(store, self.rng.choice(having), name)

    # Comparing

    def _compare_hits(
        self, store: Store, known: dict[Id, float], scores: Any, shown: list[dict[str, Any]], body: dict[str, Any]
    ) -> None:
        what = f"query { ({**body, 'query': '…'}) }"
        ids = [hit["id"] for hit in shown]
        if len(set(ids)) != len(ids) or (strangers := set(ids) - set(known)):
            raise self._mismatch(store, set(ids) - set(known), f"{what}: twice, not chosen or gone: {ids}")
        for hit in shown:
            if not np.isclose(hit["score"], known[hit["id"]], rtol=1e-5, atol=1e-5):
                raise self._mismatch(store, {hit["id"]}, f"{what}: {hit}, not {known[hit['id']]}")
        wanted = scores[body["offset"] : body["offset"] + body["limit"]]
        given = np.array([hit["score"] for hit in shown], np.float32)
        if body["params"]["exact"]:
            if len(given) != len(wanted) or not np.allclose(given, wanted, rtol=1e-5, atol=1e-5):
                best = list(known)[body["offset"] : body["offset"] + body["limit"]]
                raise self._mismatch(store, set(best) ^ set(ids), f"{what}: {given}, not {wanted}")
        else:
            self._wanted += len(wanted)
            self._found += int(np.isclose(given[: len(wanted)], wanted[: len(given)], atol=1e-5).sum())
        assert not strangers

    def compare_everything(self) -> None:
        """Compare all collections and all their points."""
        names = {entry["name"] for entry in self.node.ask("GET", "/collections")["collections"]}
        assert names == set(self.stores), f"{names} instead of {set(self.stores)}"
        for store in self.stores.values():
            self.compare_all(store, [store.points])

    def compare_all(self, store: Store, possible: list[Points], what: str = "all points") -> Points:
        """Read all points, which must be one of the possible states; give that one."""
        ids = list(self._scrolled(store, PAGE, None))
        shown: dict[Id, Any] = {}
        for start in range(0, len(ids), 500):
            shown.update(self.node.retrieve(store.name, ids[start : start + 500]))
        differing = [self._differing(state, shown) for state in possible]
        if set() in differing:
            return possible[differing.index(set())]
        if store.shards > 1 and len(possible) > 1 and not set.intersection(*differing):
            # Each shard is whole by itself, and may have had its part or not.
            every = set().union(*possible)
            chosen = {i: next(at for at, bad in enumerate(differing) if i not in bad) for i in every}
            return {i: possible[at][i] for i, at in chosen.items() if i in possible[at]}
        nearest = min(differing, key=len)
        raise self._mismatch(
            store, nearest, f"{what}: {len(nearest)} points differ from each of {len(possible)} states", shown
        )

    def _compare(self, store: Store, wanted: Points, shown: dict[Id, Any], what: str) -> None:
        if differing := self._differing(wanted, shown):
            raise self._mismatch(store, differing, what, shown)

    def _same_ids(self, store: Store, wanted: list[Id], shown: list[Id], what: str) -> None:
        if wanted != shown:
            raise self._mismatch(store, set(wanted) ^ set(shown), f"{what}: {len(shown)} ids, not {len(wanted)}")

    def _differing(self, wanted: Points, shown: dict[Id, Any]) -> set[Id]:
        return {
            i
            for i in wanted.keys() | shown.keys()
            if i not in wanted or i not in shown or not same(wanted[i], shown[i])
        }

    def _scrolled(self, store: Store, limit: int, chosen: Any) -> Any:
        body: dict[str, Any] = {"limit": limit, "filter": chosen, "with_payload": False}
        while True:
            page = self.node.ask("POST", f"/collections/{store.name}/points/scroll", body)
            yield from (point["id"] for point in page["points"])
            if page["next_page_offset"] is None:
                return
            body["offset"] = page["next_page_offset"]

    # Telling

    def _note(self, store: Store, what: str, ids: Any) -> None:
        self.history.append((self.step_number, store.name, what, frozenset(ids)))

    def _last_steps(self) -> str:
        return "\n".join(f"  {number} {name} {what}" for number, name, what, _ in self.history[-10:])

    def _mismatch(self, store: Store, ids: set[Id], what: str, shown: dict[Id, Any] | None = None) -> Mismatch:
        """Tell what differs, and all that was done to the first few points in question."""
        lines = [f"seed {self.seed}, step {self.step_number}, collection {store.name}: {what}"]
        for i in list(ids)[:SHOWN_IDS]:
            lines.append(f"point {i}: the model has {store.points.get(i)}")
            if shown is not None:
                lines.append(f"  the node has {shown.get(i)}")
            for number, name, step, touched_ids in self.history:
                if name == store.name and (i in touched_ids or not touched_ids):
                    lines.append(f"  step {number}: {step}")
        lines.append("last steps:")
        return Mismatch("\n".join([*lines, self._last_steps()]))


def states(before: Points, write: Write) -> list[Points]:
    """The states that a write goes through: before it, and after each of its operations."""
    passed = [before]
    for change in write.changes:
        after = dict(passed[-1])
        change(after)
        passed.append(after)
    return passed


def touched(before: Points, after: Points) -> set[Id]:
    """The points that a write made, changed or removed."""
    return {i for i in before.keys() | after.keys() if before.get(i) is not after.get(i)}


def same(wanted: Point, shown: dict[str, Any]) -> bool:
    """Whether a record is the point."""
    vectors = {"": shown["vector"]} if isinstance(shown["vector"], list) else shown["vector"]
    return (
        shown["payload"] == wanted.payload
        and vectors.keys() == wanted.vectors.keys()
        and all(np.allclose(vectors[name], vector, atol=1e-6) for name, vector in wanted.vectors.items())
    )
