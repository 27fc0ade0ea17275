from typing import Any

import numpy as np
import orjson
import pytest

from qnode.api import writes_json
from qnode.api.writes_json import parse_operations, parse_update_vectors, parse_upsert
from qnode.errors import BadInput, BadRequest, MalformedBody, QnodeError, ValidationFailed
from qnode.models.filter import Filter
from qnode.models.point_id import key_of
from qnode.models.write import (
    ClearPayloadRequest,
    DeletePayloadRequest,
    DeleteRequest,
    DeleteVectorsRequest,
    OverwritePayloadRequest,
    Selector,
    SetPayloadRequest,
    UpdateMode,
)

UUID = "6f0d2d6c-5b4e-4c0e-9a38-1f4ed9a5cf5e"


def sizes() -> dict[str, int]:
    return {"": 2, "a": 3}


def columns(vectors: Any) -> dict[str, tuple[list[int], list[list[float]]]]:
    return {name: (column.at.tolist(), column.values.tolist()) for name, column in vectors.items()}


def test_a_list_of_points_becomes_keys_payloads_and_columns() -> None:
    body = {
        "points": [
            {"id": 1, "vector": [0.5, 1], "payload": {"a": [None, 2**63]}},
            {"id": UUID, "vector": {"b": [1.0]}, "payload": None},
            {"id": 1, "vector": {"": [2.0, 3.0], "b": [4.0]}},
            {"id": 3, "vector": {}},
        ]
    }
    request = parse_upsert(body, sizes)
    assert request.keys == [key_of(1), key_of(UUID), key_of(1), key_of(3)]
    assert request.payloads == [b'{"a":[null,9223372036854775808]}', b"{}", b"{}", b"{}"]
    assert columns(request.vectors) == {"": ([0, 2], [[0.5, 1.0], [2.0, 3.0]]), "b": ([1, 2], [[1.0], [4.0]])}
    assert (request.update_filter, request.update_mode) == (None, UpdateMode.UPSERT)


def test_columns_of_a_batch_say_the_same_as_points() -> None:
    seed = 3
    vectors = np.random.default_rng(seed).standard_normal((5, 4)).astype(np.float32).tolist()
    points = [{"id": i, "vector": {"a": v, "b": v[:2]}, "payload": {"i": i}} for i, v in enumerate(vectors)]
    batch = {
        "ids": list(range(5)),
        "vectors": {"a": vectors, "b": [v[:2] for v in vectors]},
        "payloads": [{"i": i} for i in range(5)],
    }
    listed, columnar = parse_upsert({"points": points}, sizes), parse_upsert({"batch": batch}, sizes)
    assert (listed.keys, listed.payloads) == (columnar.keys, columnar.payloads)
    assert columns(listed.vectors) == columns(columnar.vectors)


def test_a_batch_without_payloads_stores_empty_ones() -> None:
    request = parse_upsert({"batch": {"ids": [7], "vectors": [[1.0]]}, "update_mode": "insert_only"}, sizes)
    assert (request.payloads, request.update_mode) == ([b"{}"], UpdateMode.INSERT_ONLY)


def point(vector: Any, **more: Any) -> dict[str, Any]:
    return {"points": [{"id": 1, "vector": vector, **more}]}


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        ([], MalformedBody, "invalid type: sequence"),
        ({}, MalformedBody, "expected either `points` or `batch`"),
        ({"points": [], "batch": {}}, MalformedBody, "expected either `points` or `batch`"),
        ({"points": {}}, MalformedBody, "invalid type: map, expected a sequence"),
        ({"points": []}, BadRequest, "Empty update request"),
        ({"points": [7]}, MalformedBody, "expected struct PointStruct"),
        ({"points": [{"vector": [1.0]}]}, MalformedBody, "missing field `id`"),
        ({"points": [{"id": 1}]}, MalformedBody, "missing field `vector`"),
        ({"points": [{"id": -1, "vector": [1.0]}]}, MalformedBody, "value -1 is not a valid point ID"),
        ({"points": [{"id": True, "vector": [1.0]}]}, MalformedBody, "is not a valid point ID"),
        ({"points": [{"id": 1.0, "vector": [1.0]}]}, MalformedBody, "is not a valid point ID"),
        ({"points": [{"id": "x", "vector": [1.0]}]}, MalformedBody, 'value "x" is not a valid point ID'),
        (point([1.0, None]), MalformedBody, "invalid type: null, expected f32"),
        (point([True, 1.0]), MalformedBody, "invalid type: boolean `true`, expected f32"),
        (point(["1.0"]), MalformedBody, 'invalid type: string "1.0", expected f32'),
        (point([1e39]), MalformedBody, "expected f32"),
        (point("abc"), MalformedBody, 'invalid type: string "abc", expected a vector'),
        (point({"a": None}), MalformedBody, "invalid type: null"),
        (point([]), ValidationFailed, "[points[0].vector: dense vector must not be empty]"),
        (point([1.0], payload=[1]), MalformedBody, "invalid type: sequence, expected a payload object"),
        (point([[1.0]]), BadRequest, "multivectors are not supported yet"),
        (point({"s": {"indices": [1], "values": [1.0]}}), BadRequest, "sparse vectors are not supported yet"),
        (point({"text": "x", "model": "m"}), BadRequest, "inference is not supported yet"),
        ({**point([1.0]), "update_mode": "other"}, MalformedBody, "unknown variant `other`"),
        ({"batch": {"ids": [1]}}, MalformedBody, "missing field `vectors`"),
        (
            {"batch": {"ids": [1, 2], "vectors": [[1.0]] * 3}},
            ValidationFailed,
            "number of ids and vectors must be equal (2 != 3)",
        ),
        (
            {"batch": {"ids": [1], "vectors": [[1.0]], "payloads": []}},
            ValidationFailed,
            "number of ids and payloads must be equal (1 != 0)",
        ),
    ],
)
def test_a_wrong_upsert_is_refused_in_qdrants_words(body: Any, kind: type[QnodeError], text: str) -> None:
    with pytest.raises(kind) as raised:
        parse_upsert(body, sizes)
    assert text in str(raised.value)


def test_ragged_vectors_name_the_one_that_does_not_fit_the_collection() -> None:
    points = [{"id": 1, "vector": [1.0, 2.0, 3.0]}, {"id": 2, "vector": [1.0, 2.0]}]
    with pytest.raises(BadInput, match=r"^Wrong input: Vector dimension error: expected dim: 2, got 3$"):
        parse_upsert({"points": points}, sizes)
    named = [{"id": 1, "vector": {"a": [1.0]}}, {"id": 2, "vector": {"a": [1.0, 2.0, 3.0]}}]
    with pytest.raises(BadInput, match=r"expected dim: 3, got 1 for vector 'a'$"):
        parse_upsert({"points": named}, sizes)


def test_a_payload_that_is_nested_too_deeply_is_refused() -> None:
    deep = orjson.loads(b'{"a":' * 300 + b"1" + b"}" * 300)
    with pytest.raises(MalformedBody, match="cannot be stored"):
        parse_upsert(point([1.0], payload=deep), sizes)


@pytest.mark.parametrize(
    ("parse", "body", "expected"),
    [
        (writes_json.parse_delete, {"points": [1]}, DeleteRequest(Selector(keys=(key_of(1),)))),
        (writes_json.parse_delete, {"filter": {}}, DeleteRequest(Selector(filter=Filter()))),
        (
            writes_json.parse_delete_vectors,
            {"points": [1], "vector": ["a", "a", ""]},
            DeleteVectorsRequest(Selector(keys=(key_of(1),)), ("a", "")),
        ),
        (
            writes_json.parse_set_payload,
            {"points": [1], "payload": {"x": None}, "key": "a[].b"},
            SetPayloadRequest(Selector(keys=(key_of(1),)), b'{"x":null}', "a[].b"),
        ),
        (
            writes_json.parse_overwrite_payload,
            {"filter": {}, "payload": {}},
            OverwritePayloadRequest(Selector(filter=Filter()), b"{}"),
        ),
        (
            writes_json.parse_delete_payload,
            {"points": [1], "keys": ["a.b"]},
            DeletePayloadRequest(Selector(keys=(key_of(1),)), ("a.b",)),
        ),
        (writes_json.parse_clear_payload, {"points": [UUID]}, ClearPayloadRequest(Selector(keys=(key_of(UUID),)))),
    ],
)
def test_other_writes_are_read(parse: Any, body: Any, expected: object) -> None:
    assert parse(body, sizes) == expected


NEITHER = "Format error in JSON body: Either list of point ids or filter must be provided"


@pytest.mark.parametrize(
    ("parse", "body", "text"),
    [
        (writes_json.parse_delete, {}, NEITHER),
        (writes_json.parse_delete, {"points": []}, "Bad request: Empty update request"),
        (writes_json.parse_clear_payload, {"points": [], "filter": {}}, "Bad request: Empty update request"),
        (writes_json.parse_clear_payload, {}, NEITHER),
        (writes_json.parse_set_payload, {"payload": {}}, NEITHER),
        (writes_json.parse_delete_payload, {"keys": ["a"]}, NEITHER),
        (writes_json.parse_set_payload, {"points": [1]}, "missing field `payload`"),
        (writes_json.parse_set_payload, {"points": [1], "payload": {}, "key": "a..b"}, "Format error in JSON body: "),
        (writes_json.parse_delete_payload, {"points": [1]}, "missing field `keys`"),
        (writes_json.parse_delete_vectors, {"vector": ["a"]}, "Bad request: No filter or points provided"),
        (
            writes_json.parse_delete_vectors,
            {"points": [1], "vector": []},
            "Validation error in JSON body: [vector: must specify vector names to delete]",
        ),
        (parse_update_vectors, {"points": []}, "[points: must specify points to update]"),
        (
            parse_update_vectors,
            {"points": [{"id": 1, "vector": {}}]},
            "Validation error in JSON body: [points[0].vector: must specify vectors to update for point]",
        ),
        (parse_operations, {"operations": [{}]}, "untagged enum UpdateOperation"),
        (parse_operations, {"operations": [{"upsert": {}, "delete": {}}]}, "untagged enum UpdateOperation"),
        (parse_operations, {}, "missing field `operations`"),
    ],
)
def test_other_wrong_writes_are_refused(parse: Any, body: Any, text: str) -> None:
    with pytest.raises(QnodeError) as raised:
        parse(body, sizes)
    assert text in str(raised.value)


def test_operations_keep_their_order() -> None:
    operations = [
        {"delete": {"points": [1]}},
        {"upsert": point([1.0])},
        {"clear_payload": {"points": [1]}},
        {"update_vectors": point([1.0])},
    ]
    kinds = [type(request).__name__ for request in parse_operations({"operations": operations}, sizes)]
    assert kinds == ["DeleteRequest", "UpsertRequest", "ClearPayloadRequest", "UpdateVectorsRequest"]
