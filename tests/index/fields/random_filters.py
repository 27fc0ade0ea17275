"""Random payloads, schemas and filters, made so that values of the wrong type and close misses are common."""

import uuid

from qnode.models.field_schema import FieldSchema
from qnode.models.filter import (
    DatetimeRange,
    FieldCondition,
    Filter,
    GeoBoundingBox,
    GeoPoint,
    GeoPolygon,
    GeoRadius,
    HasId,
    HasVector,
    IsEmpty,
    IsNull,
    MatchAny,
    MatchExcept,
    MatchPhrase,
    MatchPrefix,
    MatchText,
    MatchTextAny,
    MatchValue,
    MinShould,
    Nested,
    Range,
    SliceCondition,
    ValuesCount,
)
from qnode.models.payload_path import parse_path
from qnode.models.point_id import key_of

FIELDS = ("a", "b", "c.d", "e[].f", "g[]")
KINDS = ("keyword", "integer", "float", "bool", "datetime", "uuid", "geo", "text")
UUIDS = [str(uuid.UUID(int=number)) for number in (1, 2)] + [str(uuid.UUID(int=2**120 + 11)).upper()]
LONG = ["long" * 60 + end for end in ("", "x", "y")]
TEXTS = [
    "",
    "red",
    "green",
    "1",
    "true",
    "2024-01-01",
    "2024-01-01T00:00:00Z",
    'quo"te',
    "back\\slash",
    "ü\x00",
    "red green red",
    "green Red, green",
    "x red-green 1 " + "long" * 60,
    "the red",
    *UUIDS,
    *LONG,
]
INTEGERS = [0, 1, -1, 5, 2**53, 2**53 + 1, -(2**63), 2**63 - 1, 2**63, 2**64 - 1]
FLOATS = [0.0, -0.0, 1.0, 0.5, -1.5, 1e300, 2.0**53, 2.0**63, 2.0**64]
PLACES = [{"lon": 13.4, "lat": 52.5}, {"lon": 179, "lat": 0}, {"lon": -179.5, "lat": 0.5}, {"lon": 0.0, "lat": 90}]
NO_PLACES = [{"lon": 1}, {"lon": 181, "lat": 0}, {"lon": True, "lat": 0}, {}]


def scalar(rng):
    return rng.choice(
        [
            lambda: rng.choice(TEXTS),
            lambda: rng.choice(INTEGERS),
            lambda: rng.choice(FLOATS),
            lambda: rng.choice(PLACES + NO_PLACES),
            lambda: rng.choice([True, False, None]),
        ]
    )()


def value(rng):
    shape = rng.random()
    if shape < 0.7:
        return scalar(rng)
    if shape < 0.95:
        return [scalar(rng) for _ in range(rng.randrange(4))]
    return [[scalar(rng)], scalar(rng)]


def payload(rng):
    made = {}
    for name in ("a", "b", "g"):
        if rng.random() < 0.8:
            made[name] = value(rng)
    if rng.random() < 0.6:
        made["c"] = {"d": value(rng)} if rng.random() < 0.8 else value(rng)
    if rng.random() < 0.6:
        made["e"] = [{"f": value(rng), "h": scalar(rng)} for _ in range(rng.randrange(3))]
    return made


def bounds(rng, values):
    names = rng.sample(("lt", "gt", "gte", "lte"), rng.randrange(1, 3))
    return {name: rng.choice(values) for name in names}


def match(rng):
    kind = rng.randrange(5)
    if kind == 0:
        return MatchValue(rng.choice([*TEXTS, *INTEGERS, True, False, 2**70]))
    values = tuple(rng.sample(TEXTS if rng.random() < 0.5 else INTEGERS, rng.randrange(4)))
    if kind == 1:
        return MatchAny(values)
    if kind == 2:
        return MatchExcept(values)
    return MatchPrefix(rng.choice(["lo", "", "r", LONG[0][:80], LONG[1]])) if kind == 3 else text_match(rng)


def text_match(rng):
    words = ["re", "red", "green", "Red", "1", "x", "the", "-", LONG[0], "true", "2024"]
    asked = " ".join(rng.choices(words, k=rng.choice([0, 1, 1, 2, 2, 3])))
    return rng.choice([MatchText, MatchTextAny, MatchPhrase])(asked)


def schema(rng):
    kind = rng.choice(KINDS)
    if kind != "text" or rng.random() < 0.2:
        return FieldSchema(kind)
    params = {
        "tokenizer": rng.choice(["word", "whitespace", "prefix", "multilingual"]),
        "phrase_matching": rng.random() < 0.6,
    }
    if rng.random() < 0.5:
        params |= {"lowercase": rng.random() < 0.5, "stopwords": "english", "min_token_len": 2, "max_token_len": 4}
    return FieldSchema(kind, params)


def geo(rng):
    kind = rng.randrange(3)
    if kind == 0:
        return {"geo_radius": GeoRadius(GeoPoint(13.0, 52.0), rng.choice([1e3, 1e5, 1e7]))}
    if kind == 1:
        west, east = rng.choice([(-10.0, 20.0), (170.0, -170.0)])
        return {"geo_bounding_box": GeoBoundingBox(GeoPoint(west, 80.0), GeoPoint(east, -10.0))}
    ring = tuple(GeoPoint(lon, lat) for lon, lat in ((0.0, 0.0), (30.0, 0.0), (30.0, 60.0), (0.0, 60.0), (0.0, 0.0)))
    return {"geo_polygon": GeoPolygon(ring)}


def field_condition(rng, fields):
    path = parse_path(rng.choice(fields))
    kind = rng.randrange(9)
    if kind <= 2:
        return FieldCondition(path, match=match(rng))
    if kind <= 4:
        return FieldCondition(
            path, range=Range(**bounds(rng, [0.5, 2.0**53, 2.0**63, -1e19, 1e19, -(2.0**63), 0.0, 1.0]))
        )
    if kind == 5:
        return FieldCondition(path, range=DatetimeRange(**bounds(rng, [0, 1_704_067_200_000_000, 2**62])))
    if kind == 6:
        return FieldCondition(path, **geo(rng))
    if kind == 7:
        return FieldCondition(path, match=match(rng), range=Range(gt=0.25), **geo(rng))
    return rng.choice(
        [
            IsEmpty(path),
            IsNull(path),
            FieldCondition(path, values_count=ValuesCount(**bounds(rng, [0, 1, 2]))),
            FieldCondition(path, match=match(rng), is_empty=rng.random() < 0.5),
            FieldCondition(path, is_null=rng.random() < 0.5),
        ]
    )


def condition(rng, depth):
    kind = rng.random()
    if kind < 0.7:
        return field_condition(rng, FIELDS)
    if kind < 0.76:
        return HasId(frozenset(key_of(rng.randrange(1000, 1060)) for _ in range(rng.randrange(20))))
    if kind < 0.82:
        return HasVector(rng.choice(["", "image", "unknown"]))
    if kind < 0.86:
        return SliceCondition(3, rng.randrange(3))
    if kind < 0.92:
        inner = tuple(field_condition(rng, ("f", "h")) for _ in range(rng.randrange(1, 3)))
        return Nested(parse_path(rng.choice(["e", "e[]"])), Filter(must=inner))
    return filter_of(rng, depth - 1) if depth else field_condition(rng, FIELDS)


def filter_of(rng, depth=2):
    def some():
        return tuple(condition(rng, depth) for _ in range(rng.choice([0, 0, 1, 1, 2])))

    enough = (
        MinShould(tuple(condition(rng, depth) for _ in range(3)), rng.randrange(1, 4)) if rng.random() < 0.2 else None
    )
    return Filter(some(), some(), some(), enough)
