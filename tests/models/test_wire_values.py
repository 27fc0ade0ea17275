"""The bytes of values between peers: everything comes back as it was, and nothing else comes out of any bytes."""

import contextlib
import random
import secrets
from dataclasses import fields, is_dataclass
from typing import Any

import msgpack
import numpy as np
import pytest

from qnode.models import filter as f
from qnode.models import query as q
from qnode.models import write as w
from qnode.models.collection import CollectionInfo, CollectionStatus
from qnode.models.field_schema import FieldSchema
from qnode.models.filter_json import MAX_FILTER_DEPTH, parse_filter
from qnode.models.operation import MultiColumn, SparseColumn, VectorColumn
from qnode.models.payload_path import parse_path
from qnode.models.point_id import key_of
from qnode.models.shard_calls import ReadCall, Table, VectorRequest, WriteCall, points_of, table_of
from qnode.models.shard_choice import ShardChoice
from qnode.models.wire import BadWire, decode, encode

FILTER = parse_filter(
    {
        "must": [
            {"key": "a.b[]", "match": {"value": True}},
            {"key": "c", "match": {"any": ["x", "y"]}},
            {"key": "d", "range": {"gte": 1.5, "lt": 2**40}},
            {"key": "t", "range": {"gt": "2024-01-01T00:00:00Z"}},
            {"key": "g", "geo_radius": {"center": {"lon": 1.0, "lat": 2.0}, "radius": 5.0}},
            {"has_id": [1, 2**64 - 1, "6f0d2d6c-5b4e-4c0e-9a38-1f4ed9a5cf5e"]},
            {"nested": {"key": "n", "filter": {"must_not": [{"is_empty": {"key": "z"}}, {"is_null": {"key": "z"}}]}}},
        ],
        "min_should": {"conditions": [{"has_vector": "v"}, {"key": "k", "values_count": {"gt": 2}}], "min_count": 1},
    }
)
COLUMN = VectorColumn(np.arange(3, dtype=np.int32), np.arange(12, dtype=np.float32).reshape(3, 4))
KEYS = [key_of(1), key_of(2), key_of("6f0d2d6c-5b4e-4c0e-9a38-1f4ed9a5cf5e")]
QUERY = q.QueryRequest(
    q.Nearest(np.array([0.5, -1.0], np.float32), key_of(7)), "named", FILTER, q.SearchParams(hnsw_ef=64), 0.25, 3, 1,
    q.PayloadSelector(True, include=(parse_path("a"), parse_path("b[0].c"))), q.VectorSelector(True, ("named",)),
)  # fmt: skip
VALUES: list[Any] = [
    None, True, 0, -1, 2**64 - 1, 1.5, float("inf"), "ü", b"\x00", [1, [2]], (1, (2, "x")), {"a": 1, 5: (2,)},
    frozenset({b"a", b"b"}), (), np.float32(0.1), np.zeros((0, 4), np.float32), COLUMN, FILTER, QUERY,
    w.UpsertRequest(KEYS, [b"{}", b'{"a":1}', b"{}"], {"": COLUMN}, FILTER, w.UpdateMode.UPDATE_ONLY),
    w.DeleteRequest(w.Selector(filter=FILTER), ShardChoice((5, "5"), "other")),
    w.SetPayloadRequest(w.Selector(keys=tuple(KEYS)), b"{}", "a.b"),
    w.UpdateResult(7, w.UpdateStatus.WAIT_TIMEOUT),
    q.ScrollRequest(KEYS[0], 5, FILTER), q.RetrieveRequest(tuple(KEYS)), q.CountRequest(FILTER, False),
    q.Point(KEYS[0], 3, np.float32(0.5), b"{}", {"": np.ones(2, np.float32)}, "key"),
    q.Hits([1, "6f0d2d6c-5b4e-4c0e-9a38-1f4ed9a5cf5e"], [4, 5], np.array([0.5, 0.25], np.float32)),
    ReadCall("0000", (0, 3), QUERY, 1.5), WriteCall("0000", 3, w.DeleteRequest(w.Selector(tuple(KEYS))), True, None),
    CollectionInfo(CollectionStatus.GREY, None, 1, 2, 3, {"a": (FieldSchema("integer", {"range": True}), 4)}),
    MultiColumn(np.array([2], np.int32), np.array([0, 2], np.int64), np.ones((2, 3), np.float32)),
    SparseColumn(np.array([2], np.int32), np.array([0, 1], np.int64), np.array([2**32 - 1], np.uint32), np.ones(1, np.float32)),
    q.Nearest(q.SparseVector(np.array([1, 5], np.uint32), np.array([0.5, -1.0], np.float32))),
    f.MatchValue(1), f.MatchValue(True), VectorRequest(KEYS[0], ""),
]  # fmt: skip


def plain(value: Any) -> Any:
    """A value as something that can be compared, with its classes."""
    if isinstance(value, np.ndarray | np.generic):
        return type(value).__name__, value.dtype.str, value.shape, value.tobytes()
    if is_dataclass(value):
        return type(value), [plain(getattr(value, field.name)) for field in fields(value)]
    if isinstance(value, q.Hits):
        return q.Hits, plain(value.ids), plain(value.versions), plain(value.scores)
    if isinstance(value, dict):
        return dict, [(key, plain(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [plain(item) for item in value]
    return type(value), value


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    assert plain(decode(encode(value))) == plain(value)


def test_the_deepest_filter_that_a_client_can_send_comes_back() -> None:
    body: dict[str, Any] = {"must": [{"has_id": [1]}]}
    for _ in range(MAX_FILTER_DEPTH - 1):
        body = {"must": [{"nested": {"key": "a", "filter": body}}]}
    deepest = parse_filter(body)
    assert decode(encode(deepest)) == deepest


def test_points_come_back_out_of_their_columns() -> None:
    vectors: list[dict[str, q.Vector]] = [{"a": np.ones(2, np.float32)}, {}, {"b": np.zeros(3, np.float32)}]
    points = [q.Point(KEYS[at], at, np.float32(at), b"{%d}" % at, vectors[at], at) for at in range(3)]
    for some in (points, [], [q.Point(KEYS[0], 1)]):
        table = decode(encode(table_of(some)))
        assert isinstance(table, Table)
        assert plain(list(points_of(table))) == plain(some)


def test_changed_bytes_are_another_value_or_badwire() -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(20_000):
        content = bytearray(encode(chance.choice(VALUES)))
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(content) + 1)
            match chance.randrange(4):
                case 0 if at < len(content):
                    content[at] = chance.randrange(256)
                case 1:
                    content[at:at] = chance.randbytes(chance.randint(1, 4))
                case 2:
                    del content[at : at + chance.randint(1, 8)]
                case _:
                    content[at:] = encode(chance.choice(VALUES))[at:]
        with contextlib.suppress(BadWire):
            decode(bytes(content))


@pytest.mark.parametrize(
    "content",
    [b"", b"\xc1", encode(1) + b"\x00", b"\xc7\x02\x07\x91\x01", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"],
)
def test_what_is_no_value_is_badwire(content: bytes) -> None:
    with pytest.raises(BadWire):
        decode(content)


def test_bytes_that_nest_without_an_end_are_badwire() -> None:
    content = msgpack.packb([])
    for _ in range(600):
        content = msgpack.packb([msgpack.ExtType(1, content)])
    with pytest.raises(BadWire):
        decode(content)
