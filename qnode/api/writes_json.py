"""Bodies of write requests, as orjson or `number_scan` parsed them, to the values of `models.write`.

A vector is a list of numbers, or already an array where the scan has read it.

Everything is checked that can be without the collection; nothing of a body is written unless all of it was read.
Only when vectors of one name differ in length are the collection's sizes asked for, to name the one that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import orjson

from qnode.api.shard_choice_json import choice_of
from qnode.api.vectors_json import matrix_of
from qnode.errors import BadInput, BadRequest, MalformedBody, ValidationFailed
from qnode.models import reading
from qnode.models.filter import Filter
from qnode.models.filter_json import parse_filter
from qnode.models.operation import VectorColumn
from qnode.models.payload_path import parse_path
from qnode.models.point_id import PointKey, key_of
from qnode.models.query import UNNAMED
from qnode.models.shard_choice import ShardChoice
from qnode.models.write import (
    ClearPayloadRequest,
    DeletePayloadRequest,
    DeleteRequest,
    DeleteVectorsRequest,
    OverwritePayloadRequest,
    Selector,
    SetPayloadRequest,
    UpdateMode,
    UpdateVectorsRequest,
    UpsertRequest,
    WriteRequest,
)

Sizes = Callable[[], Mapping[str, int]]
"""Gives the size of each named vector of the collection."""

_MODES = reading.one_of(*(mode.value for mode in UpdateMode))
_EMPTY_PAYLOAD = b"{}"
_NO_POINTS = "Empty update request"


def parse_upsert(body: object, sizes: Sizes) -> UpsertRequest:
    """Read an upsert in the form of a list of points, or of columns (`batch`)."""
    given = reading.mapping(body, "points or a batch")
    points, batch = given.get("points"), given.get("batch")
    if (points is None) == (batch is None):
        raise MalformedBody("expected either `points` or `batch`")
    update_filter = _optional_filter(given.get("update_filter"))
    mode = UpdateMode(_MODES(given["update_mode"])) if given.get("update_mode") is not None else UpdateMode.UPSERT
    if batch is not None:
        keys, payloads, vectors = _read_batch(reading.mapping(batch), sizes)
    else:
        keys, payloads, vectors = _read_points(reading.sequence(points), sizes)
    if not keys:
        raise BadRequest(_NO_POINTS)
    return UpsertRequest(keys, payloads, vectors, update_filter, mode, choice_of(given))


def _read_points(points: list[Any], sizes: Sizes) -> tuple[list[PointKey], list[bytes], dict[str, VectorColumn]]:
    keys, payloads = [], []
    for point in points:
        if type(point) is not dict:
            raise reading.mistyped(point, "struct PointStruct")
        if "id" not in point:
            raise reading.missing("id")
        keys.append(key_of(point["id"]))
        payloads.append(_payload_bytes(point.get("payload")))
    return keys, payloads, _columns_of_points(points, sizes)


def _columns_of_points(points: list[dict[str, Any]], sizes: Sizes) -> dict[str, VectorColumn]:
    """Gather the vectors of points that carry their own, a list or a map from name to list."""
    gathered: dict[str, tuple[list[int], list[Any]]] = {}
    for position, point in enumerate(points):
        vectors = point["vector"] if "vector" in point else point.get("vectors")
        if type(vectors) is list or type(vectors) is np.ndarray:
            named: Mapping[str, object] = {UNNAMED: vectors}
        elif type(vectors) is dict:
            _refuse_inference(vectors)
            named = vectors
        else:
            raise reading.missing("vector") if vectors is None else reading.mistyped(vectors, "a vector")
        for name, vector in named.items():
            if type(vector) is not np.ndarray and (type(vector) is not list or not vector or type(vector[0]) is list):
                _refuse_vector(vector, f"points[{position}].vector")
            column = gathered.get(name)
            if column is None:
                column = gathered[name] = ([], [])
            column[0].append(position)
            column[1].append(vector)
    return {name: _column(name, np.array(at, np.int32), rows, sizes) for name, (at, rows) in gathered.items()}


def _read_batch(batch: dict[str, Any], sizes: Sizes) -> tuple[list[PointKey], list[bytes], dict[str, VectorColumn]]:
    for name in ("ids", "vectors"):
        if batch.get(name) is None:
            raise reading.missing(name)
    keys = [key_of(point_id) for point_id in reading.sequence(batch["ids"])]
    given = batch["vectors"]
    if isinstance(given, dict):
        _refuse_inference(given)
    columns = given if isinstance(given, dict) else {UNNAMED: given}
    for rows in columns.values():
        _check_count(keys, reading.sequence(rows), "vectors")
        for row in rows:
            if type(row) is not np.ndarray and (type(row) is not list or not row or type(row[0]) is list):
                _refuse_vector(row, "batch.vectors")
    payloads = [_EMPTY_PAYLOAD] * len(keys)
    if batch.get("payloads") is not None:
        _check_count(keys, reading.sequence(batch["payloads"]), "payloads")
        payloads = [_payload_bytes(payload) for payload in batch["payloads"]]
    everywhere = np.arange(len(keys), dtype=np.int32)
    vectors = {name: _column(name, everywhere, rows, sizes) for name, rows in columns.items() if rows}
    return keys, payloads, vectors


def _check_count(keys: list[PointKey], column: list[Any], what: str) -> None:
    if len(keys) != len(column):
        text = f"number of ids and {what} must be equal ({len(keys)} != {len(column)})"
        raise ValidationFailed([("batch", text)])


def _column(name: str, at: np.ndarray[Any, np.dtype[np.int32]], rows: list[list[object]], sizes: Sizes) -> VectorColumn:
    lengths = set(map(len, rows))
    if len(lengths) > 1:
        expected = sizes().get(name, len(rows[0]))
        wrong = next(len(row) for row in rows if len(row) != expected)
        where = f" for vector '{name}'" if name else ""
        raise BadInput(f"Vector dimension error: expected dim: {expected}, got {wrong}{where}")
    return VectorColumn(at, matrix_of(rows, lengths.pop()))


def _refuse_vector(vector: object, path: str) -> None:
    """Say why this is not a dense vector."""
    if vector == []:
        raise ValidationFailed([(path, "dense vector must not be empty")])
    if isinstance(vector, list):
        raise BadRequest("multivectors are not supported yet")
    if isinstance(vector, dict):
        _refuse_inference(vector)
        if "indices" in vector and "values" in vector:
            raise BadRequest("sparse vectors are not supported yet")
    raise reading.mistyped(vector, "a vector")


def _refuse_inference(vector: Mapping[str, object]) -> None:
    if isinstance(vector.get("model"), str) and any(kind in vector for kind in ("text", "image", "object")):
        raise BadRequest("inference is not supported yet")


def _payload_bytes(payload: object) -> bytes:
    if payload is None:
        return _EMPTY_PAYLOAD
    if type(payload) is not dict:
        raise reading.mistyped(payload, "a payload object")
    try:
        return orjson.dumps(payload)
    except orjson.JSONEncodeError as error:
        raise MalformedBody(f"payload cannot be stored: {error}") from None


def _optional_filter(value: object) -> Filter | None:
    return None if value is None else parse_filter(value)


def _optional_selector(given: Mapping[str, Any]) -> Selector | None:
    """Read `points` or `filter`; the points win when both are given. A filter may select nothing, a list of ids not."""
    if given.get("points") is not None:
        keys = tuple(key_of(point_id) for point_id in reading.sequence(given["points"]))
        if not keys:
            raise BadRequest(_NO_POINTS)
        return Selector(keys=keys)
    if given.get("filter") is not None:
        return Selector(filter=parse_filter(given["filter"]))
    return None


def _selector(given: Mapping[str, Any]) -> Selector:
    selector = _optional_selector(given)
    if selector is None:
        raise MalformedBody("Either list of point ids or filter must be provided")
    return selector


def parse_delete(body: object, sizes: Sizes) -> DeleteRequest:
    """Read which points to delete."""
    given = reading.mapping(body)
    return DeleteRequest(_selector(given), choice_of(given))


def parse_update_vectors(body: object, sizes: Sizes) -> UpdateVectorsRequest:
    """Read vectors to put in the place of those that existing points have."""
    given = reading.mapping(body)
    if given.get("points") is None:
        raise reading.missing("points")
    points = reading.sequence(given["points"])
    if not points:
        raise ValidationFailed([("points", "must specify points to update")])
    keys, _, vectors = _read_points(points, sizes)
    named_by_point = [point.get("vector", point.get("vectors")) for point in points]
    bare = [number for number, named in enumerate(named_by_point) if type(named) is dict and not named]
    reading.raise_faults([(f"points[{number}].vector", "must specify vectors to update for point") for number in bare])
    return UpdateVectorsRequest(keys, vectors, _optional_filter(given.get("update_filter")), choice_of(given))


def parse_delete_vectors(body: object, sizes: Sizes) -> DeleteVectorsRequest:
    """Read which named vectors to take from which points."""
    given = reading.mapping(body)
    spelled = reading.first_of(given, "vector", "vectors")
    if spelled is None:
        raise reading.missing("vector")
    names = reading.texts(spelled)
    if not names:
        raise ValidationFailed([("vector", "must specify vector names to delete")])
    selector = _optional_selector(given)
    if selector is None:
        raise BadRequest("No filter or points provided")
    return DeleteVectorsRequest(selector, tuple(dict.fromkeys(names)), choice_of(given))


def _payload_change(body: object) -> tuple[Selector, bytes, str | None, ShardChoice | None]:
    given = reading.mapping(body)
    if given.get("payload") is None:
        raise reading.missing("payload")
    payload = _payload_bytes(given["payload"])
    key = given.get("key")
    if key is not None:
        # What stands at the path must not lie deeper than can be stored.
        nested = given["payload"]
        for _ in parse_path(reading.text(key)).steps:
            nested = {"": nested}
        _payload_bytes(nested)
    return _selector(given), payload, key, choice_of(given)


def parse_set_payload(body: object, sizes: Sizes) -> SetPayloadRequest:
    """Read what to merge into which payloads."""
    return SetPayloadRequest(*_payload_change(body))


def parse_overwrite_payload(body: object, sizes: Sizes) -> OverwritePayloadRequest:
    """Read what to put in the place of which payloads; a `key` is read and means nothing here, as in Qdrant."""
    selector, payload, _, shards = _payload_change(body)
    return OverwritePayloadRequest(selector, payload, shards)


def parse_delete_payload(body: object, sizes: Sizes) -> DeletePayloadRequest:
    """Read which paths to take from which payloads."""
    given = reading.mapping(body)
    if given.get("keys") is None:
        raise reading.missing("keys")
    paths = reading.texts(given["keys"])
    for path in paths:
        parse_path(path)
    return DeletePayloadRequest(_selector(given), tuple(paths), choice_of(given))


def parse_clear_payload(body: object, sizes: Sizes) -> ClearPayloadRequest:
    """Read which payloads to empty."""
    given = reading.mapping(body)
    return ClearPayloadRequest(_selector(given), choice_of(given))


_OPERATIONS: dict[str, Callable[[object, Sizes], WriteRequest]] = {
    "upsert": parse_upsert,
    "delete": parse_delete,
    "set_payload": parse_set_payload,
    "overwrite_payload": parse_overwrite_payload,
    "delete_payload": parse_delete_payload,
    "clear_payload": parse_clear_payload,
    "update_vectors": parse_update_vectors,
    "delete_vectors": parse_delete_vectors,
}


def parse_operations(body: object, sizes: Sizes) -> list[WriteRequest]:
    """Read a batch of operations, to be run in this order."""
    given = reading.mapping(body)
    if given.get("operations") is None:
        raise reading.missing("operations")
    requests = []
    for operation in reading.sequence(given["operations"]):
        kinds = [kind for kind in _OPERATIONS if kind in reading.mapping(operation)]
        if len(kinds) != 1:
            raise MalformedBody("data did not match any variant of untagged enum UpdateOperation")
        requests.append(_OPERATIONS[kinds[0]](operation[kinds[0]], sizes))
    return requests
