"""Random filters: each as the JSON that is sent and as a plain predicate that says what it means."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from tests.model.store import Id, Point, Predicate

Filter = tuple[dict[str, Any], Predicate]

FIELDS = {"n": "integer", "tag": "keyword", "tags": "keyword", "flag": "bool", "x": "float", "a.b": "integer"}
TAGS = ["red", "green", "blue", "grey", "white"]


def random_payload(rng: random.Random) -> dict[str, Any]:
    makers: dict[str, Callable[[], Any]] = {
        "n": lambda: rng.randrange(30),
        "tag": lambda: rng.choice([*TAGS, None]),
        "tags": lambda: rng.sample(TAGS, rng.randrange(4)),
        "flag": lambda: rng.random() < 0.5,
        "x": lambda: round(rng.uniform(-5, 5), 2),
        "a": lambda: rng.choice([{"b": rng.randrange(10)}, {"c": 1}, 7, {}]),
        "text": lambda: "long " * rng.randrange(60),
    }
    return {key: make() for key, make in makers.items() if rng.random() < 0.6}


def values_at(point: Point, key: str) -> list[Any]:
    """The values that a path reaches, elements of an array each for itself."""
    outer, _, inner = key.partition(".")
    value = point.payload.get(outer)
    if inner:
        value = value.get(inner) if isinstance(value, dict) else None
    return value if isinstance(value, list) else [] if value is None else [value]


def random_filter(rng: random.Random, ids: list[Id], names: list[str], depth: int = 0) -> Filter:
    clauses: dict[str, Any] = {}
    tests: list[Predicate] = []
    for clause in rng.sample(["must", "should", "must_not", "min_should"], rng.choice([1, 1, 1, 2])):
        parts = [random_condition(rng, ids, names, depth) for _ in range(rng.choice([1, 1, 2, 3]))]
        shown, inner = [part[0] for part in parts], [part[1] for part in parts]
        if clause == "min_should":
            least = rng.randrange(1, len(parts) + 1)
            clauses[clause] = {"conditions": shown, "min_count": least}
        else:
            least = {"must": len(parts), "should": 1, "must_not": 0}[clause]
            clauses[clause] = shown
        tests.append(_counting(inner, least, none=clause == "must_not"))
    return clauses, lambda i, point: all(test(i, point) for test in tests)


def _counting(tests: list[Predicate], least: int, *, none: bool) -> Predicate:
    def passes(i: Id, point: Point) -> bool:
        count = sum(test(i, point) for test in tests)
        return count == 0 if none else count >= least

    return passes


def random_condition(rng: random.Random, ids: list[Id], names: list[str], depth: int) -> Filter:
    kind = rng.choice(
        ["match", "match", "any", "except", "range", "range", "empty", "null", "count", "id", "vector", "filter"]
    )
    if kind == "filter" and depth < 2:
        return random_filter(rng, ids, names, depth + 1)
    if kind == "id":
        chosen = rng.sample(ids, min(len(ids), rng.randrange(1, 20))) if ids else [1]
        among = set(chosen)
        return {"has_id": chosen}, lambda i, _: i in among
    if kind == "vector" and names != [""]:
        name = rng.choice(names)
        return {"has_vector": name}, lambda _, point: name in point.vectors
    if kind == "range":
        return _range(rng)
    if kind == "empty":
        key = rng.choice(["tag", "tags", "n", "a.b"])
        return {"is_empty": {"key": key}}, lambda _, point: not values_at(point, key)
    if kind == "null":
        return {"is_null": {"key": "tag"}}, lambda _, p: "tag" in p.payload and p.payload["tag"] is None
    if kind == "count":
        least = rng.randrange(1, 4)
        shown = {"key": "tags", "values_count": {"gte": least}}
        return shown, lambda _, point: len(values_at(point, "tags")) >= least
    return _match(rng, kind)


def _range(rng: random.Random) -> Filter:
    key = rng.choice(["n", "x", "a.b"])
    low = rng.uniform(-5, 20) if key != "n" else rng.randrange(30)
    high = low + rng.choice([1, 3, 10])
    shown = {"key": key, "range": {"gte": low, "lt": high}}
    return shown, lambda _, point: any(low <= value < high for value in values_at(point, key))


def _match(rng: random.Random, kind: str) -> Filter:
    key, value, others = rng.choice(
        [
            ("n", rng.randrange(30), [rng.randrange(30) for _ in range(4)]),
            ("tag", rng.choice(TAGS), rng.sample(TAGS, 2)),
            ("tags", rng.choice(TAGS), rng.sample(TAGS, 2)),
            ("a.b", rng.randrange(10), [1, 2, 3]),
        ]
    )
    if kind == "any":
        return {"key": key, "match": {"any": others}}, lambda _, p: any(v in others for v in values_at(p, key))
    if kind == "except":
        return {"key": key, "match": {"except": others}}, lambda _, p: any(v not in others for v in values_at(p, key))
    if rng.random() < 0.2:
        flag = rng.random() < 0.5
        return {"key": "flag", "match": {"value": flag}}, lambda _, p: p.payload.get("flag") is flag
    return {"key": key, "match": {"value": value}}, lambda _, p: value in values_at(p, key)
