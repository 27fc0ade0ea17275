"""From a request to the operation that is logged: filters become keys, repeats are gone, vectors are normalised.

`check` looks only at the request and the collection's settings, so a wrong request is refused before anything is
logged; `resolve` reads the shard as all earlier operations left it. A logged operation depends on neither clock nor
filter: replaying it gives the same points.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from qnode.errors import BadInput, NotFound
from qnode.index import Index, reading
from qnode.index.vectors.query import normalised
from qnode.index.vectors.scoring import normalises
from qnode.models.columns import as_multi, chosen
from qnode.models.operation import (
    ClearPayload,
    Column,
    Delete,
    DeletePayload,
    DeleteVectors,
    MultiColumn,
    Operation,
    OverwritePayload,
    SetPayload,
    SparseColumn,
    UpdateVectors,
    Upsert,
    VectorColumn,
)
from qnode.models.point_id import PointKey, id_of
from qnode.models.query import AnyVector, RetrieveRequest, SparseVector
from qnode.models.vector_params import SlotParams, SparseParams, VectorParams
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
from qnode.shards.routing import taken_of


def check(request: WriteRequest, vectors: Mapping[str, SlotParams]) -> None:
    """Raise BadInput if a vector's name, kind or dimension is not the collection's."""
    match request:
        case UpsertRequest() | UpdateVectorsRequest():
            for name, column in request.vectors.items():
                _check_column(column, named(vectors, name), f" for vector '{name}'" if name else "")
        case DeleteVectorsRequest():
            for name in request.names:
                named(vectors, name)
        case _:
            pass


def named(vectors: Mapping[str, SlotParams], name: str) -> SlotParams:
    """Give what the collection says of a vector's name; raise BadInput if it has none of it."""
    params = vectors.get(name)
    if params is None:
        raise BadInput(f"Not existing vector name error: {name}")
    return params


def _check_column(column: Column, params: SlotParams, suffix: str) -> None:
    if not len(column.at):
        return
    _check_kind(isinstance(column, SparseColumn), isinstance(column, MultiColumn), params)
    if isinstance(params, VectorParams) and column.values.shape[1] != params.size:
        raise BadInput(f"Vector dimension error: expected dim: {params.size}, got {column.values.shape[1]}{suffix}")


def check_query(vector: AnyVector, params: SlotParams) -> None:
    """Raise BadInput if a vector cannot be compared with those of the collection."""
    if isinstance(vector, SparseVector):
        _check_kind(True, False, params)
        return
    _check_kind(False, vector.ndim == 2, params)
    if isinstance(params, VectorParams) and vector.shape[-1] != params.size:
        raise BadInput(f"Vector dimension error: expected dim: {params.size}, got {vector.shape[-1]}")


def _check_kind(is_sparse: bool, is_multi: bool, params: SlotParams) -> None:
    if is_sparse != isinstance(params, SparseParams):
        raise BadInput("Conversion between sparse and regular vectors failed")
    if is_multi and isinstance(params, VectorParams) and not params.multivector:
        raise BadInput("Conversion between multi and regular vectors failed")


def needs_state(request: WriteRequest) -> bool:
    """Whether resolving the request reads points: then all earlier operations must have been applied."""
    if isinstance(request, UpsertRequest):
        is_plain = request.update_filter is None and request.not_after is None
        return not (is_plain and request.update_mode is UpdateMode.UPSERT)
    return not (isinstance(request, DeleteRequest) and request.selector.keys is not None)


def demanded(request: WriteRequest) -> Sequence[PointKey]:
    """List the points without which a request is refused."""
    match request:
        case UpdateVectorsRequest():
            return request.keys
        case SetPayloadRequest() | OverwritePayloadRequest() | DeletePayloadRequest() | ClearPayloadRequest():
            return request.selector.keys or ()
        case _:
            return ()


def absent(keys: Sequence[PointKey], index: Index) -> list[PointKey]:
    """List those of the keys that are no points."""
    present = reading.existing(index, keys)
    return [key for key in keys if key not in present]


def resolve(request: WriteRequest, index: Index, vectors: Mapping[str, SlotParams]) -> Operation:
    """Make the operation; raise NotFound for points that must exist and do not."""
    match request:
        case UpsertRequest():
            return _upsert(request, index, vectors)
        case DeleteRequest():
            return Delete(_selected(request.selector, index, must_exist=False))
        case UpdateVectorsRequest():
            return _update_vectors(request, index, vectors)
        case DeleteVectorsRequest():
            keys, names = _selected(request.selector, index, must_exist=False), list(request.names)
            return DeleteVectors(keys, names, _slots(names, vectors))
        case SetPayloadRequest():
            return SetPayload(_selected(request.selector, index), request.payload, request.path)
        case OverwritePayloadRequest():
            return OverwritePayload(_selected(request.selector, index), request.payload)
        case DeletePayloadRequest():
            return DeletePayload(_selected(request.selector, index), list(request.paths))
        case ClearPayloadRequest():
            return ClearPayload(_selected(request.selector, index))


def _selected(selector: Selector, index: Index, *, must_exist: bool = True) -> list[PointKey]:
    keys = list(dict.fromkeys(selector.keys or ()))
    if must_exist:
        _check_existing(keys, index)
    if selector.filter is None:
        return keys
    return list(dict.fromkeys((*keys, *reading.keys_of_filter(index, selector.filter))))


def _check_existing(keys: Sequence[PointKey], index: Index) -> None:
    if missing := absent(keys, index):
        raise no_such_point(missing[0])


def no_such_point(key: PointKey) -> NotFound:
    """Make the refusal of a change of a point that is not there."""
    return NotFound(f"No point with id {id_of(key)} found")


def _upsert(request: UpsertRequest, index: Index, vectors: Mapping[str, SlotParams]) -> Upsert:
    keys, payloads = request.keys, request.payloads
    columns = request.vectors
    last = {key: at for at, key in enumerate(keys)}
    taken = list(last.values())
    if needs_state(request):
        present = reading.existing(index, list(last))
        updatable = present
        if request.update_filter is not None:
            updatable = set(reading.matching(index, sorted(present), request.update_filter))
        if request.not_after is not None:
            there = reading.retrieve(index, RetrieveRequest(tuple(updatable)))
            updatable = {point.key for point in there if point.version <= request.not_after}
        match request.update_mode:
            case UpdateMode.INSERT_ONLY:
                taken = [at for key, at in last.items() if key not in present]
            case UpdateMode.UPDATE_ONLY:
                taken = [at for key, at in last.items() if key in updatable]
            case UpdateMode.UPSERT:
                taken = [at for key, at in last.items() if key not in present or key in updatable]
    if len(taken) < len(keys):
        taken.sort()
        columns = _taken(columns, taken, len(keys))
        keys, payloads = [keys[at] for at in taken], [payloads[at] for at in taken]
    prepared = _prepared(columns, vectors)
    return Upsert(keys, payloads, prepared, _slots(prepared, vectors))


def _update_vectors(request: UpdateVectorsRequest, index: Index, vectors: Mapping[str, SlotParams]) -> UpdateVectors:
    _check_existing(request.keys, index)
    keys = list(dict.fromkeys(request.keys))
    if request.update_filter is not None:
        keys = reading.matching(index, keys, request.update_filter)
    place = {key: at for at, key in enumerate(keys)}
    columns: dict[str, Column] = {}
    for name, column in request.vectors.items():
        rows: dict[int, int] = {}
        for row, at in enumerate(column.at.tolist()):
            if (target := place.get(request.keys[at])) is not None:
                rows[target] = row
        at_sorted = sorted(rows)
        places = np.array([rows[at] for at in at_sorted], np.intp)
        columns[name] = chosen(column, np.array(at_sorted, np.int32), places)
    prepared = _prepared(columns, vectors)
    return UpdateVectors(keys, prepared, _slots(prepared, vectors))


def _taken(columns: Mapping[str, Column], taken: list[int], total: int) -> dict[str, Column]:
    places = np.array(taken, np.intp)
    return {name: taken_of(column, places, total) for name, column in columns.items()}


def _prepared(columns: Mapping[str, Column], vectors: Mapping[str, SlotParams]) -> dict[str, Column]:
    return {name: _as_stored(column, named(vectors, name)) for name, column in columns.items() if len(column.at)}


def _slots(names: Iterable[str], vectors: Mapping[str, SlotParams]) -> dict[str, int]:
    """Give the slots of vectors: a name may stand for another vector by the time that a replica applies the operation."""
    return {name: named(vectors, name).slot for name in names}


def _as_stored(column: Column, params: SlotParams) -> Column:
    """Give a column the kind of its slot, with rows of unit length where the metric wants that."""
    if isinstance(column, SparseColumn):
        return column
    assert isinstance(params, VectorParams)
    if params.multivector:
        column = as_multi(column)
    if not normalises(params):
        return column
    values = normalised(column.values)
    if isinstance(column, MultiColumn):
        return MultiColumn(column.at, column.offsets, values)
    return VectorColumn(column.at, values)
