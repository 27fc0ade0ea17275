"""Bodies of write requests, as orjson or `number_scan` parsed them, to the values of `models.write`.

A dense vector is a list of numbers, or already an array where the scan has read it. A column is of the kind of its vectors.

Everything is checked that can be without the collection; nothing of a body is written unless all of it was read.
Only when vectors of one name differ in length are the collection's sizes asked for, to name the one that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import orjson

from qnode.api.inference import is_source, stored_vector
from qnode.api.shard_choice_json import choice_of
from qnode.api.vectors_json import (
    Matrix,
    is_multi,
    is_sparse,
    matrix_of,
    multi_of,
    sparse_of,
    vector_of,
)
from qnode.errors import BadInput, BadRequest, MalformedBody, ValidationFailed
from qnode.models import reading
from qnode.models.columns import column_of
from qnode.models.filter import Filter
from qnode.models.filter_json import parse_filter
from qnode.models.operation import Column, VectorColumn
from qnode.models.payload_path import parse_path
from qnode.models.point_id import PointKey, key_of
from qnode.models.query import UNNAMED, SparseVector, Vector
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
_ROWS = (list, np.ndarray)
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


def _read_points(points: list[Any], sizes: Sizes) -> tuple[list[PointKey], list[bytes], dict[str, Column]]:
    keys, payloads = [], []
    for point in points:
        if type(point) is not dict:
            raise reading.mistyped(point, "struct PointStruct")
        if "id" not in point:
            raise reading.missing("id")
        keys.append(key_of(point["id"]))
        payloads.append(_payload_bytes(point.get("payload")))
    return keys, payloads, _columns_of_points(points, sizes)


def _columns_of_points(points: list[dict[str, Any]], sizes: Sizes) -> dict[str, Column]:
    """Gather the vectors of points that carry their own, one or a map from name to vector."""
    gathered: dict[str, tuple[list[int], list[Any]]] = {}
    for position, point in enumerate(points):
        vectors = point["vector"] if "vector" in point else point.get("vectors")
        if type(vectors) is list or type(vectors) is np.ndarray:
            named: Mapping[str, object] = {UNNAMED: vectors}
        elif type(vectors) is dict:
            named = {UNNAMED: vectors} if is_source(vectors) else vectors
        else:
            raise reading.missing("vector") if vectors is None else reading.mistyped(vectors, "a vector")
        for name, vector in named.items():
            if not _is_dense(vector):
                vector = _of_other_kind(vector, f"points[{position}].vector{'' if named is not vectors else '.?'}")
            column = gathered.get(name)
            if column is None:
                column = gathered[name] = ([], [])
            column[0].append(position)
            column[1].append(vector)
    return {name: _column(name, np.array(at, np.int32), rows, sizes) for name, (at, rows) in gathered.items()}


def _read_batch(batch: dict[str, Any], sizes: Sizes) -> tuple[list[PointKey], list[bytes], dict[str, Column]]:
    for name in ("ids", "vectors"):
        reading.required(batch, name)
    keys = [key_of(point_id) for point_id in reading.sequence(batch["ids"])]
    given = batch["vectors"]
    path = "batch.vectors.?" if isinstance(given, dict) else "batch.vectors"
    columns = {}
    for name, rows in (given if isinstance(given, dict) else {UNNAMED: given}).items():
        _check_count(keys, reading.sequence(rows), "vectors")
        columns[name] = [row if _is_dense(row) else _of_other_kind(row, path) for row in rows]
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


def _is_dense(vector: object) -> bool:
    return type(vector) is np.ndarray or (type(vector) is list and bool(vector) and type(vector[0]) not in _ROWS)


def _of_other_kind(vector: object, path: str) -> Matrix | SparseVector:
    """Read a vector that is not dense."""
    if vector == []:
        raise ValidationFailed([(path, "dense vector must not be empty")])
    if is_multi(vector):
        return multi_of(cast("list[Any]", vector), path)
    if is_source(vector):
        return stored_vector(vector, path)
    if is_sparse(vector):
        return sparse_of(cast("Mapping[str, object]", vector), path)
    raise reading.mistyped(vector, "a vector")


def _column(name: str, at: np.ndarray[Any, np.dtype[np.int32]], rows: list[Any], sizes: Sizes) -> Column:
    if any(isinstance(row, SparseVector) for row in rows):
        if not all(isinstance(row, SparseVector) for row in rows):
            raise BadInput("Conversion between sparse and regular vectors failed")
        return column_of(at, rows)
    if any(isinstance(row, np.ndarray) and row.ndim == 2 for row in rows):
        return _multi_column(name, at, rows, sizes)
    lengths = set(map(len, rows))
    if len(lengths) > 1:
        expected = sizes().get(name, len(rows[0]))
        raise _wrong_size(name, expected, next(len(row) for row in rows if len(row) != expected))
    return VectorColumn(at, matrix_of(rows, lengths.pop()))


def _multi_column(name: str, at: np.ndarray[Any, np.dtype[np.int32]], rows: list[Any], sizes: Sizes) -> Column:
    """Make a column of multivectors; a dense vector among them counts as one row."""
    matrices = [row if isinstance(row, np.ndarray) and row.ndim == 2 else np.atleast_2d(_dense(row)) for row in rows]
    widths = {matrix.shape[1] for matrix in matrices}
    if len(widths) > 1:
        expected = sizes().get(name, matrices[0].shape[1])
        raise _wrong_size(name, expected, next(width for width in widths if width != expected))
    return column_of(at, matrices)


def _dense(row: Any) -> Vector:
    return row if isinstance(row, np.ndarray) else vector_of(row)


def _wrong_size(name: str, expected: int, found: int) -> BadInput:
    where = f" for vector '{name}'" if name else ""
    return BadInput(f"Vector dimension error: expected dim: {expected}, got {found}{where}")


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


def _points_and_filter(given: Mapping[str, Any]) -> Selector | None:
    """Read `points` and `filter`, as far as they are there. A filter may select nothing, a list of ids not."""
    keys = None
    if given.get("points") is not None:
        keys = tuple(key_of(point_id) for point_id in reading.sequence(given["points"]))
        if not keys:
            raise BadRequest(_NO_POINTS)
    chosen = _optional_filter(given.get("filter"))
    return None if keys is None and chosen is None else Selector(keys, chosen)


def _points_or_filter(given: Mapping[str, Any]) -> Selector:
    """Read which points a change of payloads is about: those of `points` alone when both are given."""
    selector = _points_and_filter(given)
    if selector is None:
        raise MalformedBody("Either list of point ids or filter must be provided")
    return selector if selector.keys is None else Selector(selector.keys)


def _selector(given: Mapping[str, Any]) -> Selector:
    """Read a body that is `points` or else `filter`: beside points, nobody looks at a filter."""
    return _points_or_filter(given if given.get("points") is None else {"points": given["points"]})


def parse_delete(body: object, sizes: Sizes) -> DeleteRequest:
    """Read which points to delete."""
    given = reading.mapping(body)
    return DeleteRequest(_selector(given), choice_of(given))


def parse_update_vectors(body: object, sizes: Sizes) -> UpdateVectorsRequest:
    """Read vectors to put in the place of those that existing points have."""
    given = reading.mapping(body)
    points = reading.sequence(reading.required(given, "points"))
    if not points:
        raise ValidationFailed([("points", "must specify points to update")])
    keys, _, vectors = _read_points(points, sizes)
    named_by_point = [point.get("vector", point.get("vectors")) for point in points]
    bare = [number for number, named in enumerate(named_by_point) if type(named) is dict and not named]
    reading.raise_faults([(f"points[{number}].vector", "must specify vectors to update for point") for number in bare])
    return UpdateVectorsRequest(keys, vectors, _optional_filter(given.get("update_filter")), choice_of(given))


def parse_delete_vectors(body: object, sizes: Sizes) -> DeleteVectorsRequest:
    """Read which named vectors to take from which points: those of `points` and those that pass `filter`, as in Qdrant."""
    given = reading.mapping(body)
    spelled = reading.first_of(given, "vector", "vectors")
    if spelled is None:
        raise reading.missing("vector")
    names = reading.texts(spelled)
    if not names:
        raise ValidationFailed([("vector", "must specify vector names to delete")])
    selector = _points_and_filter(given)
    if selector is None:
        raise BadRequest("No filter or points provided")
    return DeleteVectorsRequest(selector, tuple(dict.fromkeys(names)), choice_of(given))


def _payload_change(body: object) -> tuple[Selector, bytes, str | None, ShardChoice | None]:
    given = reading.mapping(body)
    payload = _payload_bytes(reading.required(given, "payload"))
    key = given.get("key")
    if key is not None:
        # What stands at the path must not lie deeper than can be stored.
        nested = given["payload"]
        for _ in parse_path(reading.text(key)).steps:
            nested = {"": nested}
        _payload_bytes(nested)
    return _points_or_filter(given), payload, key, choice_of(given)


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
    paths = reading.texts(reading.required(given, "keys"))
    for path in paths:
        parse_path(path)
    return DeletePayloadRequest(_points_or_filter(given), tuple(paths), choice_of(given))


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
    requests = []
    for operation in reading.sequence(reading.required(reading.mapping(body), "operations")):
        kinds = [kind for kind in _OPERATIONS if kind in reading.mapping(operation)]
        if len(kinds) != 1:
            raise MalformedBody("data did not match any variant of untagged enum UpdateOperation")
        requests.append(_OPERATIONS[kinds[0]](operation[kinds[0]], sizes))
    return requests
