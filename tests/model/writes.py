"""Random writes: the request that is sent, and what it should do to the points."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.model import store as model
from tests.model.filters import FIELDS, random_filter, random_payload
from tests.model.store import Change, Id, Point, Predicate, Store, Vector

IDS = 400
"""So many ids take part in a collection, so that points are written again and again."""


@dataclass(frozen=True, slots=True)
class Write:
    """A request on `/collections/{name}{path}`. changes: what it does to the points, step by step."""

    what: str
    method: str
    path: str
    body: Any
    changes: tuple[Change, ...]
    expected: int = 200


def random_id(rng: random.Random, first: int = 0) -> Id:
    number = first + rng.randrange(IDS)
    return number if number % 5 else str(uuid.UUID(int=number * 2**90 + number))


def random_vector(rng: random.Random, size: int) -> Vector:
    return np.array([rng.uniform(-1, 1) for _ in range(size)], np.float32)


class Writes:
    """Makes writes for one collection as it stands.

    share: the first id, for one of several who write to the collection, each to IDS points of his own.
    """

    def __init__(self, rng: random.Random, store: Store, share: int | None = None) -> None:
        self.rng, self.store, self.share = rng, store, share

    def random(self) -> Write:
        makers: list[tuple[int, Callable[[], Write]]] = [
            (10, self.upsert), (3, self.upsert_batch), (2, self.conditional_upsert), (3, self.update_vectors),
            (2, self.delete_vectors), (4, self.set_payload), (2, self.overwrite_payload), (2, self.delete_payload),
            (1, self.clear_payload), (3, self.delete), (3, self.batch), (1, self.unknown_point),
        ]  # fmt: skip
        return self.rng.choices([make for _, make in makers], [weight for weight, _ in makers])[0]()

    # Parts

    def _id(self) -> Id:
        return random_id(self.rng, self.share or 0)

    def _point(self) -> tuple[dict[str, Any], Point]:
        """A point as it is sent (without its id) and as it should be kept."""
        names = list(self.store.vectors)
        kept = names if names == [""] else [name for name in names if self.rng.random() < 0.7]
        vectors = {name: random_vector(self.rng, self.store.vectors[name][0]) for name in kept}
        payload = random_payload(self.rng)
        sent = {"payload": payload, "vector": self._sent(vectors)}
        return sent, Point(payload, {name: self.store.stored(name, v) for name, v in vectors.items()})

    def _sent(self, vectors: dict[str, Vector]) -> Any:
        shown = {name: [float(x) for x in vector] for name, vector in vectors.items()}
        return shown.get("", shown)

    def _some_ids(self, most: int = 12) -> list[Id]:
        ids = self.store.ids()
        return self.rng.sample(ids, min(len(ids), self.rng.randrange(1, most)))

    def _selected(self) -> tuple[dict[str, Any], Predicate]:
        """Existing points, by id or by filter."""
        ids = self._some_ids()
        if not ids or self.rng.random() < 0.4:
            shown, chosen = random_filter(self.rng, self.store.ids(), list(self.store.vectors))
            if self.share is not None:
                shown = {"must": [{"has_id": ids or [self.share]}, shown]}
                return {"filter": shown}, lambda i, point: i in ids and chosen(i, point)
            return {"filter": shown}, chosen
        among = set(ids)
        return {"points": ids}, lambda i, _: i in among

    # Writes

    def upsert(self) -> Write:
        count = self.rng.choice([1, 1, 3, 10, 40, 120])
        made = {self._id(): self._point() for _ in range(count)}
        points = [{"id": i, **sent} for i, (sent, _) in made.items()]
        return Write("upsert", "PUT", "/points", {"points": points}, (model.put({i: p for i, (_, p) in made.items()}),))

    def upsert_batch(self) -> Write:
        ids = list(dict.fromkeys(self._id() for _ in range(self.rng.choice([1, 5, 30]))))
        columns = {n: [random_vector(self.rng, size) for _ in ids] for n, (size, _) in self.store.vectors.items()}
        payloads = [random_payload(self.rng) for _ in ids]
        sent: Any = {name: [[float(x) for x in row] for row in rows] for name, rows in columns.items()}
        kept = {
            i: Point(payload, {n: self.store.stored(n, rows[at]) for n, rows in columns.items()})
            for at, (i, payload) in enumerate(zip(ids, payloads, strict=True))
        }
        body = {"batch": {"ids": ids, "payloads": payloads, "vectors": sent.get("", sent)}}
        return Write("upsert batch", "PUT", "/points", body, (model.put(kept),))

    def conditional_upsert(self) -> Write:
        write = self.upsert()
        points = {p["id"]: self._kept(p) for p in write.body["points"]}
        mode = self.rng.choice(["insert_only", "update_only", "filter"])
        if mode == "filter":
            shown, chosen = random_filter(self.rng, self.store.ids(), list(self.store.vectors))
            body = {**write.body, "update_filter": shown}
            change = model.put(points, lambda i, old: old is None or chosen(i, old))
        else:
            body = {**write.body, "update_mode": mode}
            change = model.put(points, lambda _, old: (old is None) == (mode == "insert_only"))
        return Write(f"upsert {mode}", "PUT", "/points", body, (change,))

    def _kept(self, sent: dict[str, Any]) -> Point:
        vectors = {"": sent["vector"]} if isinstance(sent["vector"], list) else sent["vector"]
        kept = {name: self.store.stored(name, np.array(vector, np.float32)) for name, vector in vectors.items()}
        return Point(sent["payload"], kept)

    def update_vectors(self) -> Write:
        ids = self._some_ids()
        if not ids:
            return self.upsert()
        names = self.rng.sample(list(self.store.vectors), self.rng.randrange(1, len(self.store.vectors) + 1))
        new = {i: {name: random_vector(self.rng, self.store.vectors[name][0]) for name in names} for i in ids}
        points = [{"id": i, "vector": self._sent(vectors)} for i, vectors in new.items()]
        kept = {i: {name: self.store.stored(name, v) for name, v in vectors.items()} for i, vectors in new.items()}
        return Write("update vectors", "PUT", "/points/vectors", {"points": points}, (model.put_vectors(kept),))

    def delete_vectors(self) -> Write:
        selected, chosen = self._selected()
        also_selected, also_chosen = self._selected()
        names = self.rng.sample(list(self.store.vectors), 1)
        if also_selected.keys() == selected.keys():
            body, changed = {**selected, "vector": names}, chosen
        else:
            body = {**selected, **also_selected, "vector": names}
            changed = lambda i, point: chosen(i, point) or also_chosen(i, point)  # noqa: E731
        return Write("delete vectors", "POST", "/points/vectors/delete", body, (model.remove_vectors(changed, names),))

    def set_payload(self) -> Write:
        selected, chosen = self._selected()
        addition = {**random_payload(self.rng), **({"n": None} if self.rng.random() < 0.2 else {})}
        body = {**selected, "payload": addition}
        if self.rng.random() < 0.25:
            change = model.edit_payloads(chosen, lambda old: model.merged_at(old, "a", addition))
            return Write("set payload at a", "POST", "/points/payload", {**body, "key": "a"}, (change,))
        change = model.edit_payloads(chosen, lambda old: model.merged(old, addition))
        return Write("set payload", "POST", "/points/payload", body, (change,))

    def overwrite_payload(self) -> Write:
        selected, chosen = self._selected()
        payload = random_payload(self.rng)
        change = model.edit_payloads(chosen, lambda _: payload)
        return Write("overwrite payload", "PUT", "/points/payload", {**selected, "payload": payload}, (change,))

    def delete_payload(self) -> Write:
        selected, chosen = self._selected()
        keys = self.rng.sample(list(FIELDS), 2)
        change = model.edit_payloads(chosen, lambda old: model.without(old, keys))
        return Write("delete payload", "POST", "/points/payload/delete", {**selected, "keys": keys}, (change,))

    def clear_payload(self) -> Write:
        selected, chosen = self._selected()
        change = model.edit_payloads(chosen, lambda _: {})
        return Write("clear payload", "POST", "/points/payload/clear", selected, (change,))

    def delete(self) -> Write:
        selected, chosen = self._selected()
        return Write("delete", "POST", "/points/delete", selected, (model.remove(chosen),))

    def batch(self) -> Write:
        """Several writes in one request; a deletion comes last, for what is gone cannot be changed."""
        makers = {"upsert": self.upsert, "set_payload": self.set_payload, "overwrite_payload": self.overwrite_payload,
                  "delete_payload": self.delete_payload, "clear_payload": self.clear_payload,
                  "update_vectors": self.update_vectors, "delete_vectors": self.delete_vectors}  # fmt: skip
        operations: list[dict[str, Any]] = []
        changes: list[Change] = []
        for kind in [
            *self.rng.choices(list(makers), k=self.rng.randrange(1, 5)),
            self.rng.choice(["upsert", "delete"]),
        ]:
            write = self.delete() if kind == "delete" else makers[kind]()
            # Where there is no point to update, an upsert was made.
            operations.append({"upsert" if write.what == "upsert" else kind: write.body})
            changes += write.changes
        return Write("batch", "POST", "/points/batch", {"operations": operations}, tuple(changes))

    def unknown_point(self) -> Write:
        body = {"points": [(self.share or 0) + IDS + self.rng.randrange(100)], "payload": {"n": 1}}
        return Write("set payload of no point", "POST", "/points/payload", body, (), expected=404)
