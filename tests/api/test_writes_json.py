from typing import Any

import numpy as np
import orjson
import pytest

from qnode.api import number_scan, writes_json
from qnode.api.writes_json import parse_operations, parse_update_vectors, parse_upsert
from qnode.errors import BadInput, BadRequest, MalformedBody, NoInference, QnodeError, ValidationFailed
from qnode.models.filter import Filter
from qnode.models.operation import MultiColumn, SparseColumn
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
        (point([[]]), ValidationFailed, "[points[0].vector.data: all vectors must be non-empty]"),
        (point({"m": [[1.0], []]}), ValidationFailed, "[points[0].vector.?.data: all vectors must be non-empty]"),
        (
            point({"m": [[1.0], [1.0, 2.0, 3.0]]}),
            ValidationFailed,
            "points[0].vector.?.data: all vectors must have the same dimension, found vector with dimension 3",
        ),
        (point([[1.0], 2.0]), MalformedBody, "invalid type: floating point `2.0`, expected a vector"),
        (point([[0.5] * 2**10] * 2**10), ValidationFailed, "must be less than 1048576"),
        (
            point({"s": {"indices": [1, 2], "values": [1.0]}}),
            ValidationFailed,
            "[points[0].vector.?.values: Validation error: must be the same length as indices [{}]]",
        ),
        (
            point({"s": {"indices": [7, 1, 7], "values": [1.0, 2.0, 3.0]}}),
            ValidationFailed,
            "[points[0].vector.?.indices: Validation error: must be unique [{}]]",
        ),
        (point({"s": {"indices": [2**32], "values": [1.0]}}), MalformedBody, "expected u32"),
        (point({"s": {"indices": [-1], "values": [1.0]}}), MalformedBody, "expected u32"),
        (
            {"points": [{"id": 1, "vector": {"s": [1.0]}}, {"id": 2, "vector": {"s": {"indices": [], "values": []}}}]},
            BadInput,
            "Conversion between sparse and regular vectors failed",
        ),
        (point({"text": "x", "model": "m"}), NoInference, "InferenceService is not initialized."),
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


def test_sparse_vectors_are_sorted_by_index_in_points_and_in_a_batch() -> None:
    given = [{"indices": [9, 2**32 - 1, 0], "values": [1, 2.5, 3]}, {"indices": [], "values": []}]
    listed = parse_upsert(
        {"points": [{"id": 1, "vector": {"s": given[0]}}, {"id": 2, "vector": {"s": given[1]}}]}, sizes
    )
    batch = parse_upsert({"batch": {"ids": [1, 2], "vectors": {"s": given}}}, sizes)
    for request in (listed, batch):
        column = request.vectors["s"]
        assert isinstance(column, SparseColumn)
        assert column.offsets.tolist() == [0, 3, 3]
        assert column.indices.tolist() == [0, 9, 2**32 - 1]
        assert column.values.tolist() == [3.0, 1.0, 2.5]


def test_multivectors_are_one_column_in_which_a_dense_vector_counts_as_one_row() -> None:
    given = [[[1.0, 2.0], [3.0, 4.0]], [5.0, 6.0], [[7, 8]]]
    listed = parse_upsert({"points": [{"id": at, "vector": vector} for at, vector in enumerate(given)]}, sizes)
    batch = parse_upsert({"batch": {"ids": [0, 1, 2], "vectors": given}}, sizes)
    for request in (listed, batch):
        column = request.vectors[""]
        assert isinstance(column, MultiColumn)
        assert (column.at.tolist(), column.offsets.tolist()) == ([0, 1, 2], [0, 2, 3, 4])
        assert column.values.tolist() == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]


def test_a_large_body_with_vectors_of_all_kinds_is_read_as_a_small_one_is() -> None:
    seed = 5
    random = np.random.default_rng(seed)
    rows = random.standard_normal((3, 20)).astype(np.float32).tolist()
    sparse = {"indices": [int(index) for index in 2**32 - 1 - np.arange(20)], "values": rows[0]}
    for body in (
        {"points": [{"id": 1, "vector": rows}, {"id": 2, "vector": {"": rows[:1]}}]},
        {"batch": {"ids": [1, 2], "vectors": [rows, rows[1:]]}},
        {"points": [{"id": 1, "vector": {"s": sparse, "d": rows[0]}}]},
        {"batch": {"ids": [1], "vectors": {"s": [sparse]}}},
    ):
        text = orjson.dumps(body)
        scanned, plain = parse_upsert(number_scan.parse(text), sizes), parse_upsert(orjson.loads(text), sizes)
        for name, column in plain.vectors.items():
            for field in type(column).__slots__:
                assert np.array_equal(getattr(column, field), getattr(scanned.vectors[name], field))


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
            writes_json.parse_delete_vectors,
            {"points": [1], "filter": {}, "vector": ["a"]},
            DeleteVectorsRequest(Selector((key_of(1),), Filter()), ("a",)),
        ),
        (writes_json.parse_delete, {"points": [1], "filter": 5}, DeleteRequest(Selector(keys=(key_of(1),)))),
        (
            writes_json.parse_delete_payload,
            {"points": [1], "filter": {}, "keys": ["a"]},
            DeletePayloadRequest(Selector(keys=(key_of(1),)), ("a",)),
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
        (writes_json.parse_set_payload, {"points": [1], "payload": {}, "filter": {"nor": []}}, "unknown field `nor`"),
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
