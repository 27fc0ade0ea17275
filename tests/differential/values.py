"""Random values that fit a collection: ids, vectors of every kind, payloads, filters.

What they steer clear of, because local mode differs from Qdrant's server or leaves the order open, is said where they are made.
"""

from __future__ import annotations

import random
import uuid
from typing import Any

from qdrant_client import models

IDS: list[Any] = [*range(24), 2**53 + 1, 2**64 - 1, *(str(uuid.UUID(int=i * 2**100 + 7)) for i in range(8))]
OTHER_IDS: list[Any] = list(range(12))
"""The ids of the points of the other collection, which have all of its vectors."""
MISSING: list[Any] = [1000, 1001, str(uuid.UUID(int=5))]
CITIES = ("Berlin", "Oslo", "Rome", "Rome West", "ü")
UUIDS = [str(uuid.UUID(int=i * 2**90 + 3)) for i in range(4)]
SAYINGS = ("Dark blue sea", "the SEA, the dark sea!", "blue-green", "Ünder the sea 42", "", "dark")
WORDS = models.TextIndexParams(type="text", tokenizer=models.TokenizerType.WORD, lowercase=True, phrase_matching=True)
INDEXES: dict[str, Any] = {
    "own": "float", "n": "integer", "city": "keyword", "when": "datetime", "marks": "float", "flag": "bool", "uid": "uuid", "say": WORDS,
}  # fmt: skip
"""Payload fields that every collection has an index on from the start, with values of one type: what orders and counts needs one, and
only with one does version 1.19 read texts as local mode does.
"""

_Dense = models.VectorParams
_DISTANCES = list(models.Distance)


class Values:
    """Makes values at random for a collection whose vectors it knows."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.dense: dict[str, models.VectorParams] = self._shape()
        self.sparse = {"words": self.sparse_params()} if rng.random() < 0.3 else {}
        self.known: list[Any] = []
        """The ids of the points that are there."""

    def _shape(self) -> dict[str, models.VectorParams]:
        if self.rng.random() < 0.3:
            return {"": self.dense_params()}
        names = ("one", "two", "three")[: self.rng.randint(1, 3)]
        made = {name: self.dense_params() for name in names}
        if self.rng.random() < 0.3:
            # Of one size, so that one may be searched with another's.
            made = {name: params.model_copy(update={"size": made["one"].size}) for name, params in made.items()}
        return made

    def dense_params(self) -> models.VectorParams:
        several = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
        return _Dense(
            size=self.rng.choice((2, 3, 4, 5, 17, 20)),
            distance=self.rng.choice(_DISTANCES),
            multivector_config=several if self.rng.random() < 0.25 else None,
        )

    def sparse_params(self) -> models.SparseVectorParams:
        return models.SparseVectorParams(modifier=self.rng.choice([None, models.Modifier.IDF]))

    @property
    def names(self) -> list[str]:
        return [*self.dense, *self.sparse]

    @property
    def is_named(self) -> bool:
        return self.names != [""]

    def name(self) -> str:
        return self.rng.choice(self.names)

    # Vectors: random enough that no two scores tie but where nothing is alike at all.

    def vector(self, name: str) -> Any:
        if name in self.sparse:
            # With one index in common: else there are many points alike. `test_sparse_differential.py` does without.
            indices = [*self.rng.sample(range(1, 12), self.rng.randint(1, 6)), 0]
            return models.SparseVector(indices=indices, values=[self.rng.uniform(-2, 2) for _ in indices])
        if self.is_multi(name):
            return [self.row(name) for _ in range(self.rng.randint(1, 3))]
        return self.row(name)

    def alike(self, name: str) -> list[str]:
        """The other vectors that a vector of this name could be searched with."""
        if name not in self.dense:
            return [other for other in self.sparse if other != name]
        return [
            other
            for other, params in self.dense.items()
            if other != name and params.size == self.dense[name].size and self.is_multi(other) == self.is_multi(name)
        ]

    def row(self, name: str) -> list[float]:
        return [self.rng.uniform(-2, 2) for _ in range(self.dense[name].size)]

    def is_multi(self, name: str) -> bool:
        return name in self.dense and self.dense[name].multivector_config is not None

    def vector_struct(self, *, whole: bool = False) -> Any:
        if not self.is_named:
            return self.vector("")
        chosen = (
            self.names
            if whole or self.rng.random() < 0.6
            else self.rng.sample(self.names, self.rng.randint(1, len(self.names)))
        )
        return {name: self.vector(name) for name in chosen}

    # Points

    def ids(self) -> list[Any]:
        return self.rng.sample(IDS, self.rng.choice((1, 1, 2, 5, 12)))

    def known_ids(self) -> list[Any]:
        """Ids of points that are there: with others, local mode changes some points and then fails, a node none."""
        return self.rng.sample(self.known, min(len(self.known), self.rng.choice((1, 1, 2, 5))))

    def point(self, point_id: Any, *, whole: bool = False) -> models.PointStruct:
        return models.PointStruct(id=point_id, vector=self.vector_struct(whole=whole), payload=self.payload())

    def scalar(self) -> Any:
        return self.rng.choice(
            [
                self.rng.randrange(6), self.rng.randrange(6), self.rng.randrange(12) / 2, True, False, "red", "green",
                "dark blue", "", "2024-01-05", "2024-01-03T00:00:00+02:00", 2**53 + 1, -3,
            ]
        )  # fmt: skip

    def place(self) -> dict[str, float]:
        return {"lon": self.rng.uniform(-180, 180), "lat": self.rng.uniform(-80, 80)}

    def payload(self) -> dict[str, Any]:
        """A point's payload: with the fields by which points are ordered, so that no two are alike in them."""
        rng = self.rng
        made: dict[str, Any] = {"own": rng.random()}
        if rng.random() < 0.7:
            made["when"] = f"2024-01-{rng.randrange(1, 9):02}T00:00:{rng.randrange(10, 60)}.{rng.randrange(10**6):06}Z"
        if rng.random() < 0.4:
            made["marks"] = [rng.uniform(-5, 5) for _ in range(rng.randrange(4))]
        return made | self.shared_payload()

    def shared_payload(self) -> dict[str, Any]:
        """A payload that several points may have: without `own`, by which they are ordered."""
        rng = self.rng
        made: dict[str, Any] = {}
        if rng.random() < 0.8:
            made["n"] = rng.randrange(8)
        if rng.random() < 0.7:
            made["city"] = rng.choice([rng.choice(CITIES), rng.sample(CITIES, rng.randrange(3))])
        if rng.random() < 0.6:
            made["k"] = rng.choice([self.scalar(), [self.scalar() for _ in range(rng.randrange(4))]])
        if rng.random() < 0.5:
            made["t"] = f"2024-01-{rng.randrange(1, 9):02}T{rng.randrange(24):02}:00:00Z"
        if rng.random() < 0.6:
            made["price"] = rng.choice([rng.uniform(0, 10), rng.randrange(10)])
        if rng.random() < 0.4:
            made["o"] = {"x": self.scalar(), "y": {"z": rng.randrange(4)}}
        if rng.random() < 0.4:
            made["parts"] = [{"q": rng.randrange(4), "c": rng.choice("ab")} for _ in range(rng.randrange(4))]
        if rng.random() < 0.4:
            made["place"] = rng.choice([self.place(), [self.place(), self.place()]])
        if rng.random() < 0.4:
            made["home"] = self.place()
        if rng.random() < 0.2:
            # No null in an array: whether `is_null` finds it there depends on the version of Qdrant.
            made["z"] = rng.choice([None, [], 1])
        if rng.random() < 0.3:
            made["gaps"] = rng.choice([[None], [None, 1], [1, 2], []])
        if rng.random() < 0.5:
            made["say"] = rng.choice(SAYINGS)
        if rng.random() < 0.4:
            made["flag"] = rng.choice([True, False, [True, False], []])
        if rng.random() < 0.4:
            made["uid"] = rng.choice([rng.choice(UUIDS), rng.sample(UUIDS, 2)])
        if rng.random() < 0.3:
            made["crates"] = [
                {
                    "fruits": [{"q": rng.randrange(3), "c": rng.choice("ab")} for _ in range(rng.randrange(3))],
                    "c": rng.choice("ab"),
                }
                for _ in range(rng.randrange(3))
            ]
        return made

    # Filters

    def key(self) -> str:
        return self.rng.choice(["n", "k", "k", "city", "o.x", "o.y.z", "parts[].q", "z", "flag", "uid", "missing"])

    def optional_filter(self) -> models.Filter | None:
        return self.filter() if self.rng.random() < 0.45 else None

    def filter(self, depth: int = 0) -> models.Filter:
        rng = self.rng
        clauses: dict[str, Any] = {}
        for clause in rng.sample(("must", "should", "must_not", "min_should"), rng.choice((1, 1, 1, 2))):
            # Few that all must hold: nothing passes many of them.
            count = rng.choice((1, 1, 1, 2) if clause == "must" else (1, 1, 2, 3))
            conditions = [self.condition(depth) for _ in range(count)]
            if clause == "min_should":
                clauses[clause] = models.MinShould(conditions=conditions, min_count=rng.randint(1, 2))
            else:
                clauses[clause] = conditions[0] if len(conditions) == 1 and rng.random() < 0.3 else conditions
        return models.Filter(**clauses)

    def condition(self, depth: int = 0) -> Any:
        rng = self.rng
        match rng.randrange(7):
            case 0 | 1:
                return models.FieldCondition(key=self.key(), match=self.match())
            case 6:
                return models.FieldCondition(key="say", match=self.words())
            case 2:
                return self.bounds()
            case 3:
                return models.FieldCondition(key=rng.choice(("place", "home")), **self.area())
            case 4:
                return self.presence()
        return self.filter(depth + 1) if depth < 2 else models.HasIdCondition(has_id=IDS[:12])

    def words(self) -> Any:
        """A match of a field with a text index."""
        said = self.rng.choice(
            ("dark", "sea", "SEA the", "blue sea", "sea dark", "the sea", "blue-green", "ünder", "42", "none", "")
        )
        match self.rng.randrange(3):
            case 0:
                return models.MatchText(text=said)
            case 1:
                return models.MatchTextAny(text_any=said)
        return models.MatchPhrase(phrase=said)

    def match(self) -> Any:
        rng = self.rng
        # Texts: whole words as they are written, and several of them in the order of the value. On fields without a text index, version
        # 1.19 looks for parts of the value; the local mode of later clients compares words in lower case.
        match rng.randrange(8):
            case 0 | 1:
                value = rng.choice([self.scalar(), rng.choice(CITIES), rng.choice(UUIDS)])
                return models.MatchValue(value=3 if isinstance(value, float) else value)
            case 2:
                listed: Any = rng.choice([["red", "Oslo"], [1, 2, 3], ["a"], [0], ["Rome"], [], UUIDS[:2]])
                return models.MatchAny(any=listed)
            case 3:
                listed = rng.choice([["red", "Oslo"], [1, 2, 3], [], UUIDS[:2]])
                return models.MatchExcept(**{"except": listed})
            case 4:
                return models.MatchText(text=rng.choice(["red", "Rome", "dark blue", "West"]))
            case 5:
                return models.MatchPhrase(phrase=rng.choice(["Rome", "dark blue", "Oslo"]))
            case 6:
                return models.MatchPrefix(prefix=rng.choice(["", "R", "2024-", "dark"]))
        return models.MatchTextAny(text_any=rng.choice(["red", "Rome blue", "West  Oslo"]))

    def bounds(self) -> Any:
        rng = self.rng
        match rng.randrange(3):
            case 0:
                names = rng.sample(("gt", "gte", "lt", "lte"), rng.randint(1, 2))
                return models.FieldCondition(
                    key=self.key(), range=models.Range(**{name: rng.randrange(12) / 2 for name in names})
                )
            case 1:
                day = f"2024-01-{rng.randrange(1, 9):02}T00:00:00Z"
                names = rng.sample(("gt", "gte", "lt", "lte"), rng.randint(1, 2))
                days = models.DatetimeRange(**dict.fromkeys(names, day) | {names[0]: "2024-01-04T12:00:00+02:00"})
                return models.FieldCondition(key=rng.choice(("t", "k", "when")), range=days)
        names = rng.sample(("gt", "gte", "lt", "lte"), rng.randint(1, 2))
        count = models.ValuesCount(**{name: rng.randrange(4) for name in names})
        keys = ("k", "parts", "z", "missing", "n", "gaps", "o", "place", "marks", "crates[].fruits")
        return models.FieldCondition(key=rng.choice(keys), values_count=count)

    def area(self) -> dict[str, Any]:
        rng = self.rng
        match rng.randrange(3):
            case 0:
                radius = models.GeoRadius(center=models.GeoPoint(**self.place()), radius=rng.uniform(1e5, 1e7))
                return {"geo_radius": radius}
            case 1:
                a, b = self.place(), self.place()
                box = models.GeoBoundingBox(
                    top_left=models.GeoPoint(lon=a["lon"], lat=max(a["lat"], b["lat"])),
                    bottom_right=models.GeoPoint(lon=b["lon"], lat=min(a["lat"], b["lat"])),
                )
                return {"geo_bounding_box": box}
        west, south = rng.uniform(-170, 0), rng.uniform(-80, 0)
        ring = [(west, south), (west + 150, south), (west + 90, south + 75), (west, south)]
        hole = [(west + 60, south + 10), (west + 100, south + 10), (west + 85, south + 45), (west + 60, south + 10)]
        outer, inner = (
            models.GeoLineString(points=[models.GeoPoint(lon=lon, lat=lat) for lon, lat in line])
            for line in (ring, hole)
        )
        return {"geo_polygon": models.GeoPolygon(exterior=outer, interiors=rng.choice([None, [], [inner]]))}

    def presence(self) -> Any:
        rng = self.rng
        match rng.randrange(8):
            case 0:
                return models.IsEmptyCondition(
                    is_empty=models.PayloadField(key=rng.choice((self.key(), "gaps", "crates[].fruits")))
                )
            case 5:
                keys = (self.key(), "gaps", "marks", "place", "say")
                return models.FieldCondition(
                    key=rng.choice(keys), **{rng.choice(("is_empty", "is_null")): rng.random() < 0.5}
                )
            case 1:
                return models.IsNullCondition(is_null=models.PayloadField(key=self.key()))
            case 2:
                return models.HasIdCondition(has_id=self.ids())
            case 3:
                return models.HasVectorCondition(has_vector=self.name())
            case 4:
                total = rng.randint(1, 4)
                return models.SliceCondition(slice=models.Slice(total=total, index=rng.randrange(total)))
        return models.NestedCondition(nested=self.nested())

    def nested(self) -> models.Nested:
        """A filter of single objects of an array, perhaps with one of objects within these."""
        rng = self.rng
        names = models.FieldCondition(key="c", match=models.MatchValue(value=rng.choice("ab")))
        counts = models.FieldCondition(key="q", range=models.Range(gte=rng.randrange(4)))
        inner = models.Filter(**{rng.choice(("must", "must", "must_not", "should")): [counts, names]})
        match rng.randrange(4):
            case 0:
                fruits = models.NestedCondition(nested=models.Nested(key="fruits", filter=inner))
                return models.Nested(key="crates", filter=models.Filter(must=[names], must_not=[fruits]))
            case 1:
                fruits = models.NestedCondition(nested=models.Nested(key="fruits[]", filter=inner))
                return models.Nested(key="crates", filter=models.Filter(must=[fruits]))
            case 2:
                return models.Nested(key="crates[].fruits", filter=inner)
        return models.Nested(key=rng.choice(("parts", "parts[]")), filter=inner)

    # What is shown

    def with_payload(self) -> Any:
        return self.rng.choice(
            [
                True,
                False,
                ["n", "o.y"],
                models.PayloadSelectorInclude(include=["parts[].q", "k", "o"]),
                models.PayloadSelectorExclude(exclude=["o.x", "parts[].c", "k"]),
            ]
        )

    def with_vectors(self) -> Any:
        return self.rng.choice([True, False, *([[self.name()]] if self.is_named else [])])
