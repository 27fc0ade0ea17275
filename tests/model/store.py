"""What a node should hold: plain dicts, changed by plain functions, searched by looking at everything.

Points are never changed in place, so the state before a step and the one after it can both be kept: after a kill the
node must show one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]
Id = int | str


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    payload: Mapping[str, Any]
    vectors: Mapping[str, Vector]


Points = dict[Id, Point]
Predicate = Callable[[Id, Point], bool]
Change = Callable[[Points], None]


@dataclass(slots=True)
class Store:
    """One collection. vectors: name → (size, distance)."""

    name: str
    vectors: Mapping[str, tuple[int, str]]
    shards: int
    points: Points = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)

    def stored(self, name: str, vector: Vector) -> Vector:
        """The vector as it comes back."""
        if self.vectors[name][1] != "Cosine":
            return vector
        length = np.sqrt(np.dot(vector, vector))
        return vector if length == 0 else vector / length

    def ranked(self, name: str, query: Vector, chosen: Predicate | None) -> tuple[list[Id], npt.NDArray[np.float32]]:
        """All points that have the vector and are chosen, best first, with their scores."""
        distance = self.vectors[name][1]
        ids = [i for i, p in self.points.items() if name in p.vectors and (chosen is None or chosen(i, p))]
        if not ids:
            return [], np.empty(0, np.float32)
        values = np.array([self.points[i].vectors[name] for i in ids])
        if distance in ("Cosine", "Dot"):
            scores = values @ self.stored(name, query)
        elif distance == "Euclid":
            scores = np.sqrt(np.sum((values - query) ** 2, axis=1))
        else:
            scores = np.sum(np.abs(values - query), axis=1)
        order = np.argsort(-scores if distance in ("Cosine", "Dot") else scores, kind="stable")
        return [ids[place] for place in order], scores[order]

    def ids(self, chosen: Predicate | None = None) -> list[Id]:
        """The ids in the order of a scroll: numbers, then UUIDs."""
        passing = [i for i, point in self.points.items() if chosen is None or chosen(i, point)]
        return sorted(passing, key=lambda i: (isinstance(i, str), i))


# Changes of points, as the requests describe them


def put(new: Mapping[Id, Point], may_touch: Callable[[Id, Point | None], bool] | None = None) -> Change:
    def change(points: Points) -> None:
        for i, point in new.items():
            if may_touch is None or may_touch(i, points.get(i)):
                points[i] = point

    return change


def remove(chosen: Predicate) -> Change:
    def change(points: Points) -> None:
        for i in [i for i, point in points.items() if chosen(i, point)]:
            del points[i]

    return change


def put_vectors(new: Mapping[Id, Mapping[str, Vector]]) -> Change:
    def change(points: Points) -> None:
        for i, vectors in new.items():
            points[i] = Point(points[i].payload, {**points[i].vectors, **vectors})

    return change


def remove_vectors(chosen: Predicate, names: Iterable[str]) -> Change:
    gone = set(names)

    def change(points: Points) -> None:
        for i, point in list(points.items()):
            if chosen(i, point):
                points[i] = Point(point.payload, {n: v for n, v in point.vectors.items() if n not in gone})

    return change


def edit_payloads(chosen: Predicate, edit: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Change:
    def change(points: Points) -> None:
        for i, point in list(points.items()):
            if chosen(i, point):
                points[i] = Point(edit(point.payload), point.vectors)

    return change


def merged(payload: Mapping[str, Any], addition: Mapping[str, Any]) -> dict[str, Any]:
    """Merge at the top: a null removes its key."""
    return {key: value for key, value in {**payload, **addition}.items() if key not in addition or value is not None}


def merged_at(payload: Mapping[str, Any], key: str, addition: Mapping[str, Any]) -> dict[str, Any]:
    """Merge into the object under a key."""
    inner = payload.get(key)
    return {**payload, key: merged(inner if isinstance(inner, dict) else {}, addition)}


def without(payload: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Remove keys; `a.b` reaches into an object."""
    left = dict(payload)
    for key in keys:
        outer, _, inner = key.partition(".")
        if not inner:
            left.pop(outer, None)
        elif isinstance(left.get(outer), dict):
            left[outer] = {name: value for name, value in left[outer].items() if name != inner}
    return left
