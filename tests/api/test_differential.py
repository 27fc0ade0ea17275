"""The same calls of the client library, to a node and to the library's own local mode: the same answers.

Local mode is a second reading of Qdrant's rules, not ours. Where the two differ for a reason, the calls steer clear of
it, or `same` allows it; each place says why. `QNODE_TEST_SEED` repeats a run, `QNODE_DIFFERENTIAL_STEPS` makes it longer.
"""

import math
import os
import random
import uuid
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from tests.support.node import Node

STEPS = int(os.environ.get("QNODE_DIFFERENTIAL_STEPS", "150"))
SEED = int(os.environ.get("QNODE_TEST_SEED", random.randrange(2**32)))
IDS: list[Any] = [*range(24), 2**53 + 1, 2**64 - 1, *(str(uuid.UUID(int=i * 2**100 + 7)) for i in range(8))]
TOLERANCE = 1e-4
EVERYTHING = {"limit": 1000, "with_payload": True, "with_vectors": True}
D = models.Distance


def params(size: int, distance: models.Distance) -> models.VectorParams:
    return models.VectorParams(size=size, distance=distance)


SHAPES: dict[str, dict[str, models.VectorParams]] = {
    "named": {
        "cosine": params(4, D.COSINE),
        "dot": params(3, D.DOT),
        "euclid": params(4, D.EUCLID),
        "manhattan": params(17, D.MANHATTAN),
    },
    "unnamed cosine": {"": params(5, D.COSINE)},
    "unnamed dot": {"": params(20, D.DOT)},
    "unnamed euclid": {"": params(3, D.EUCLID)},
    "unnamed manhattan": {"": params(2, D.MANHATTAN)},
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QdrantClient]:
    with Node(tmp_path_factory.mktemp("differential")) as running:
        client = QdrantClient(running.address, timeout=60)
        yield client
        client.close()


class Calls:
    """Makes random calls that fit a collection."""

    def __init__(self, rng: random.Random, vectors: dict[str, models.VectorParams]) -> None:
        self.rng = rng
        self.vectors = vectors
        self.is_named = "" not in vectors
        self.known: list[Any] = []

    # Values

    def vector(self, name: str) -> list[float]:
        # Random enough that no two scores tie: local mode orders ties by the time of insertion.
        return [self.rng.uniform(-2, 2) for _ in range(self.vectors[name].size)]

    def vector_struct(self, *, whole: bool = False) -> Any:
        if not self.is_named:
            return self.vector("")
        names = list(self.vectors)
        chosen = names if whole else self.rng.sample(names, self.rng.randint(1, len(names)))
        return {name: self.vector(name) for name in chosen}

    def ids(self) -> list[Any]:
        return self.rng.sample(IDS, self.rng.choice((1, 1, 2, 5)))

    def known_ids(self) -> list[Any]:
        """Ids of points that are there: with others, local mode changes some points and then fails, a node none."""
        return self.rng.sample(self.known, min(len(self.known), self.rng.choice((1, 1, 2, 5))))

    def name(self) -> str:
        return self.rng.choice(list(self.vectors))

    def scalar(self) -> Any:
        return self.rng.choice(
            [
                self.rng.randrange(6), self.rng.randrange(6), self.rng.randrange(12) / 2, True, False, "red", "green",
                "blue", "", "2024-01-05", "2024-01-03T00:00:00+02:00", 2**53 + 1, -3,
            ]
        )  # fmt: skip

    def place(self) -> dict[str, float]:
        return {"lon": self.rng.uniform(-180, 180), "lat": self.rng.uniform(-80, 80)}

    def payload(self) -> dict[str, Any]:
        rng = self.rng
        made: dict[str, Any] = {}
        if rng.random() < 0.8:
            made["n"] = rng.randrange(8)
        if rng.random() < 0.6:
            made["k"] = rng.choice([self.scalar(), [self.scalar() for _ in range(rng.randrange(4))]])
        if rng.random() < 0.5:
            made["t"] = f"2024-01-{rng.randrange(1, 9):02}T{rng.randrange(24):02}:00:00Z"
        if rng.random() < 0.4:
            made["o"] = {"x": self.scalar(), "y": {"z": rng.randrange(4)}}
        if rng.random() < 0.4:
            made["parts"] = [{"q": rng.randrange(4), "c": rng.choice("ab")} for _ in range(rng.randrange(4))]
        if rng.random() < 0.4:
            made["place"] = rng.choice([self.place(), [self.place(), self.place()]])
        if rng.random() < 0.2:
            # No null in an array: whether `is_null` finds it there depends on the version of Qdrant.
            made["z"] = rng.choice([None, [], 1])
        return made

    # Conditions

    def key(self) -> str:
        return self.rng.choice(["n", "k", "k", "o.x", "o.y.z", "parts[].q", "z", "missing"])

    def condition(self, depth: int) -> Any:
        rng = self.rng
        kind = rng.randrange(17)
        key = self.key()
        match kind:
            case 0 | 1:
                value = self.scalar()
                value = 3 if isinstance(value, float) else value
                return models.FieldCondition(key=key, match=models.MatchValue(value=value))
            case 2:
                listed: Any = rng.choice([["red", "blue"], [1, 2, 3], ["a"], [0]])
                return models.FieldCondition(key=key, match=models.MatchAny(any=listed))
            case 3:
                listed = rng.choice([["red", "blue"], [1, 2, 3]])
                return models.FieldCondition(key=key, match=models.MatchExcept(**{"except": listed}))
            case 4 | 5:
                bounds = {
                    name: rng.randrange(12) / 2 for name in rng.sample(("gt", "gte", "lt", "lte"), rng.randint(1, 2))
                }
                return models.FieldCondition(key=key, range=models.Range(**bounds))
            case 6:
                day = f"2024-01-{rng.randrange(1, 9):02}T00:00:00Z"
                bound = rng.choice(("gt", "gte", "lt", "lte"))
                return models.FieldCondition(key=rng.choice(("t", "k")), range=models.DatetimeRange(**{bound: day}))
            case 7:
                radius = models.GeoRadius(center=models.GeoPoint(**self.place()), radius=rng.uniform(1e5, 1e7))
                return models.FieldCondition(key="place", geo_radius=radius)
            case 8:
                a, b = self.place(), self.place()
                box = models.GeoBoundingBox(
                    top_left=models.GeoPoint(lon=a["lon"], lat=max(a["lat"], b["lat"])),
                    bottom_right=models.GeoPoint(lon=b["lon"], lat=min(a["lat"], b["lat"])),
                )
                return models.FieldCondition(key="place", geo_bounding_box=box)
            case 9:
                west, south = rng.uniform(-170, 0), rng.uniform(-80, 0)
                ring = [(west, south), (west + 150, south), (west + 90, south + 75), (west, south)]
                points = [models.GeoPoint(lon=lon, lat=lat) for lon, lat in ring]
                polygon = models.GeoPolygon(exterior=models.GeoLineString(points=points))
                return models.FieldCondition(key="place", geo_polygon=polygon)
            case 10:
                count = models.ValuesCount(**{rng.choice(("gt", "gte", "lt", "lte")): rng.randrange(4)})
                return models.FieldCondition(key=rng.choice(("k", "parts", "z", "missing", "n")), values_count=count)
            case 11:
                return models.IsEmptyCondition(is_empty=models.PayloadField(key=key))
            case 12:
                return models.IsNullCondition(is_null=models.PayloadField(key=key))
            case 13:
                return models.HasIdCondition(has_id=self.ids())
            case 14:
                return models.HasVectorCondition(has_vector=self.name())
            case 15:
                inner = models.Filter(
                    must=[
                        models.FieldCondition(key="q", range=models.Range(gte=rng.randrange(4))),
                        models.FieldCondition(key="c", match=models.MatchValue(value=rng.choice("ab"))),
                    ]
                )
                return models.NestedCondition(nested=models.Nested(key=rng.choice(("parts", "parts[]")), filter=inner))
            case _:
                return self.filter(depth + 1) if depth < 2 else models.HasIdCondition(has_id=IDS[:12])

    def filter(self, depth: int = 0) -> models.Filter:
        rng = self.rng
        clauses: dict[str, Any] = {}
        for clause in rng.sample(("must", "should", "must_not", "min_should"), rng.choice((1, 1, 2))):
            conditions = [self.condition(depth) for _ in range(rng.choice((1, 1, 2, 3)))]
            if clause == "min_should":
                clauses[clause] = models.MinShould(conditions=conditions, min_count=rng.randint(1, 2))
            else:
                clauses[clause] = conditions
        return models.Filter(**clauses)

    def optional_filter(self) -> models.Filter | None:
        return self.filter() if self.rng.random() < 0.6 else None

    def selector(self) -> Any:
        if self.rng.random() < 0.6:
            return models.PointIdsList(points=self.known_ids())
        return models.FilterSelector(filter=self.filter())

    # Calls: the name of a method of the client, and its arguments

    def write(self) -> tuple[str, dict[str, Any]]:
        rng = self.rng
        keys = ["n", "k", "o.x", "o.y", "parts[].q", "z", "t"]
        match rng.randrange(12):
            case 0 | 1 | 2 | 3:
                points = [self.point(each) for each in self.ids()]
                return "upsert", {"points": points}
            case 4:
                ids = self.ids()
                names = rng.sample(list(self.vectors), 2 if self.is_named else 1)
                columns = {name: [self.vector(name) for _ in ids] for name in names}
                vectors: Any = columns if self.is_named else columns[""]
                batch = models.Batch(ids=ids, vectors=vectors, payloads=[self.payload() for _ in ids])
                return "upsert", {"points": batch}
            case 5:
                return "delete", {"points_selector": self.selector()}
            case 6:
                points = [models.PointVectors(id=each, vector=self.vector_struct()) for each in self.known_ids()]
                return "update_vectors", {"points": points}
            case 7:
                # By filter: local mode refuses unknown ids, Qdrant passes over them.
                return "delete_vectors", {
                    "points": models.FilterSelector(filter=self.filter()),
                    "vectors": [self.name()],
                }
            case 8:
                # Without nulls: local mode stores them, Qdrant takes the key away.
                payload = {name: value for name, value in self.payload().items() if value is not None}
                key = rng.choice([None, None, "o", "o.y", "fresh", "parts[]"])
                return "set_payload", {"payload": payload, "points": self.selector(), "key": key}
            case 9:
                return "overwrite_payload", {"payload": self.payload(), "points": self.selector()}
            case 10:
                return "delete_payload", {"keys": rng.sample(keys, 2), "points": self.selector()}
            case _:
                return "clear_payload", {"points_selector": self.selector()}

    def point(self, point_id: Any) -> models.PointStruct:
        return models.PointStruct(id=point_id, vector=self.vector_struct(), payload=self.payload())

    def operations(self) -> list[Any]:
        made: list[Any] = []
        for _ in range(self.rng.randint(1, 4)):
            points, some = models.PointsList(points=[self.point(each) for each in self.ids()]), self.ids()
            made.append(
                self.rng.choice(
                    [
                        models.UpsertOperation(upsert=points),
                        models.DeleteOperation(delete=models.PointIdsList(points=some)),
                        models.SetPayloadOperation(
                            set_payload=models.SetPayload(payload={"n": self.rng.randrange(9)}, filter=self.filter())
                        ),
                        models.DeletePayloadOperation(
                            delete_payload=models.DeletePayload(keys=["n", "o.x"], filter=self.filter())
                        ),
                        models.ClearPayloadOperation(clear_payload=models.FilterSelector(filter=self.filter())),
                    ]
                )
            )
        return made

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

    def query(self) -> dict[str, Any]:
        rng, name = self.rng, self.name()
        asked: dict[str, Any] = {
            "limit": rng.choice((1, 3, 10, 100)),
            "with_payload": self.with_payload(),
            "with_vector": self.with_vectors(),
            "filter": self.optional_filter(),
        }
        if rng.random() < 0.3:
            asked["offset"] = rng.randrange(6)
        if rng.random() < 0.9:
            asked["query"] = rng.choice(IDS) if rng.random() < 0.3 else self.vector(name)
            asked["using"] = name or None
            if rng.random() < 0.05:
                # Never a wrong dimension: local mode stretches a vector of one component to any.
                asked["using"] = "unknown"
            if rng.random() < 0.3:
                asked["score_threshold"] = rng.uniform(-1, 6)
        return asked

    def read(self) -> tuple[str, dict[str, Any]]:
        match self.rng.randrange(8):
            case 0 | 1 | 2:
                asked = self.query()
                asked["with_vectors"] = asked.pop("with_vector")
                asked["query_filter"] = asked.pop("filter")
                return "query_points", asked
            case 3:
                return "query_batch_points", {"requests": [models.QueryRequest(**self.query()) for _ in range(3)]}
            case 4 | 5:
                asked = {"scroll_filter": self.optional_filter(), "limit": self.rng.choice((1, 4, 100))}
                if self.rng.random() < 0.5:
                    asked["offset"] = self.rng.choice(IDS)
                return "scroll", {**asked, "with_payload": self.with_payload(), "with_vectors": self.with_vectors()}
            case 6:
                return "count", {"count_filter": self.optional_filter(), "exact": True}
            case _:
                # Each id once: local mode gives a point as often as it is asked for, Qdrant once.
                asked = {"ids": self.ids()}
                return "retrieve", {**asked, "with_payload": self.with_payload(), "with_vectors": self.with_vectors()}


def outcome(call: Callable[[], Any]) -> Any:
    """What a call gives, or that it is refused."""
    try:
        return plain(call())
    except UnexpectedResponse as error:
        if (error.status_code or 500) >= 500:
            raise
        return Refused(str(error))
    except (ValueError, KeyError) as error:
        return Refused(str(error))


class Refused:
    """An error; the texts of local mode are its own."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"Refused({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Refused)

    __hash__ = None  # type: ignore[assignment]


def plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if not hasattr(value, "model_dump"):
        return value
    shown = value.model_dump()
    if "operation_id" in shown:
        return "written"
    return without(shown, ("version", "shard_key", "order_value", "usage"))


def without(value: Any, names: tuple[str, ...]) -> Any:
    """Leave out what local mode does not keep."""
    if isinstance(value, dict):
        return {name: without(inner, names) for name, inner in value.items() if name not in names}
    return [without(each, names) for each in value] if isinstance(value, list) else value


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, float) and isinstance(theirs, int | float):
        return math.isclose(ours, theirs, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(ours[name], theirs[name]) for name in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return type(ours) is type(theirs) and bool(ours == theirs)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_node_answers_as_local_mode_does(node: QdrantClient, shape: str) -> None:
    print(f"QNODE_TEST_SEED={SEED}")
    rng = random.Random(f"{SEED} {shape}")
    vectors = SHAPES[shape]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # local mode warns of what it does not do, payload indexes among it
        local = QdrantClient(":memory:")
        for client in (node, local):
            client.create_collection(shape, vectors_config=vectors.get("", vectors))
        calls = Calls(rng, vectors)
        for step in range(STEPS):
            calls.known = [point.id for point in local.scroll(shape, limit=1000)[0]]
            name, arguments = calls.write() if rng.random() < 0.4 else calls.read()
            if rng.random() < 0.05:
                name, arguments = "batch_update_points", {"update_operations": calls.operations()}
            compare(node, local, shape, name, arguments, step)
            if rng.random() < 0.04:
                schema = rng.choice(["keyword", "integer", "float", "bool", "datetime", "geo", "uuid"])
                node.create_payload_index(shape, calls.key(), field_schema=schema, wait=True)


def compare(
    node: QdrantClient, local: QdrantClient, shape: str, name: str, arguments: dict[str, Any], step: int
) -> None:
    """Make a call on both; a difference is shown at the call that made it."""
    ours = outcome(lambda: getattr(node, name)(shape, **arguments))
    theirs = outcome(lambda: getattr(local, name)(shape, **arguments))
    said = f"step {step}: {name}({arguments})"
    assert same(ours, theirs), f"{said}\n  the node: {ours}\nlocal mode: {theirs}"
    if ours == "written" or isinstance(ours, Refused):
        ours, theirs = (
            {str(point["id"]): point for point in outcome(lambda: one.scroll(shape, **EVERYTHING))[0]}  # noqa: B023
            for one in (node, local)
        )
        for point in {*ours, *theirs}:
            one, other = ours.get(point), theirs.get(point)
            assert same(one, other), f"{said} left\n  the node: {one}\nlocal mode: {other}"
