"""The settings of single vectors: sparse ones, ones that are added later, changes, and what their names must be.

As in `collection_sections`, what was sent is what is stored and shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qnode.errors import BadInput, BadRequest, MalformedBody
from qnode.models import reading
from qnode.models.collection_sections import (
    DATATYPE,
    DISABLED,
    MAX_VECTOR_SIZE,
    MEMORY,
    Section,
    check_vector_name,
    read_vector,
)
from qnode.models.reading import Fault, Reader
from qnode.models.vector_params import Datatype, Quantization, QuantizationKind, SparseParams

_MODIFIER = reading.one_of("none", "idf")

_IN_PLACE_OF_PRODUCT = {
    "x4": Quantization(QuantizationKind.SCALAR),
    "x8": Quantization(QuantizationKind.SCALAR),
    "x16": Quantization(QuantizationKind.SCALAR),
    "x32": Quantization(QuantizationKind.BINARY, two_bits=True),
    "x64": Quantization(QuantizationKind.BINARY),
}
"""The smallest codes of a component that find as much as centroids of several components do at a compression."""

_TWO_BITS = ("two_bits", "one_and_half_bits")
"""Encodings that are made with two bits for each component: neither may find less than it promises."""

_NO_TURBO = "sparse vectors do not support the `turbo4` datatype"
_INDEX: dict[str, Reader] = {
    "full_scan_threshold": reading.unsigned,
    "on_disk": reading.boolean,
    "memory": MEMORY,
    "datatype": DATATYPE,
}


def read_sparse_vectors(value: object, faults: list[Fault]) -> Section:
    """Read `sparse_vectors` of a creation or a PATCH: a map from name to settings."""
    given = reading.mapping(value, "a map of sparse vector params")
    vectors = {}
    for number, (name, settings) in enumerate(given.items()):
        check_vector_name(name)
        place = "?" if len(given) == 1 else f"?[{number}]"
        vectors[name] = _read_sparse(settings, f"sparse_vectors.{place}", faults)
    return vectors


def _read_sparse(value: object, path: str, faults: list[Fault]) -> Section:
    readers: dict[str, Reader] = {
        "index": lambda index: reading.fields(index, _INDEX, "struct SparseIndexParams"),
        "modifier": _MODIFIER,
    }
    section = reading.fields({} if value is None else value, readers, "struct SparseVectorParams")
    if section.get("index", {}).get("datatype") == "turbo4":
        faults.append((f"{path}.index.datatype", _NO_TURBO))
    return section


def read_added(value: object, name: str) -> tuple[Section | None, Section | None]:
    """Read the settings of a vector to be added: those of a dense one, or those of a sparse one; the other is None."""
    check_vector_name(name)
    given = reading.mapping(value, "a vector name config")
    kinds = [kind for kind in ("dense", "sparse") if given.get(kind) is not None]
    if not kinds:
        raise MalformedBody("data did not match any variant of untagged enum VectorNameConfig")
    faults: list[Fault] = []
    dense, sparse = None, None
    if kinds[0] == "dense":
        settings = reading.mapping(given["dense"], "struct DenseVectorConfig")
        if settings.get("size") == 0:
            faults += reading.out_of_bounds("dense.size", 0, (1, MAX_VECTOR_SIZE))
            reading.raise_faults(faults)
        kept = {key: settings[key] for key in ("size", "distance", "multivector_config", "datatype") if key in settings}
        dense = read_vector(kept, "dense", faults)
    else:
        if not name:
            raise BadRequest("Sparse vector name cannot be empty")
        settings = reading.mapping(given["sparse"], "struct SparseVectorConfig")
        index = {"index": {"datatype": settings["datatype"]}} if settings.get("datatype") is not None else {}
        sparse = _read_sparse({"modifier": settings.get("modifier"), **index}, "sparse", faults)
    reading.raise_faults(faults)
    return dense, sparse


def check_same(
    name: str, had_dense: Section | None, had_sparse: Section | None, dense: Section | None, sparse: Section | None
) -> None:
    """Raise BadInput if a vector that is there is not the one that shall be added."""
    if (dense is None) != (had_dense is None):
        raise BadInput(f"Vector `{name}` already exists as a {'sparse' if had_dense is None else 'dense'} vector")
    if _identity(dense) != _identity(had_dense) or _identity(sparse) != _identity(had_sparse):
        raise BadInput(f"Vector `{name}` already exists with a different configuration")


def _identity(section: Section | None) -> object:
    """Give what of a vector's settings cannot be changed."""
    if section is None:
        return None
    datatype = section.get("datatype") or section.get("index", {}).get("datatype") or "float32"
    is_multi = "multivector_config" in section
    return section.get("size"), section.get("distance"), is_multi, section.get("modifier") or "none", datatype


def stored_datatype(name: str | None) -> Datatype:
    """Choose how components are stored; `turbo4` promises less than full precision, which it is kept in."""
    return Datatype.FLOAT32 if name in (None, "turbo4") else Datatype(name)


def check_names(dense: Iterable[str], sparse: Section) -> None:
    """Raise BadRequest for the name of a sparse vector that cannot be one, beside these dense ones."""
    if "" in sparse:
        raise BadRequest("Sparse vector name cannot be empty")
    for name in dense:
        if name in sparse:
            raise BadRequest(f"Dense and sparse vector names must be unique - duplicate found with '{name}'")


def patched_sparse(section: Section, change: Section) -> Section:
    """Merge a change of a sparse vector's settings, field by field."""
    patched: dict[str, Any] = {**section, **change}
    if index := {**section.get("index", {}), **change.get("index", {})}:
        patched["index"] = index
    return patched


def sparse_params(name: str, slot: int, section: Section) -> SparseParams:
    """Derive what the index must know of a sparse vector."""
    datatype = stored_datatype(section.get("index", {}).get("datatype"))
    return SparseParams(name, slot, section.get("modifier") == "idf", datatype)


def patched_vector(vector: Section, change: Section) -> Section:
    """Merge a change of a dense vector's settings, field by field."""
    patched = {**vector, **change}
    if hnsw := {**vector.get("hnsw_config", {}), **change.get("hnsw_config", {})}:
        patched["hnsw_config"] = hnsw
    else:
        patched.pop("hnsw_config", None)
    if patched.get("quantization_config") == DISABLED:
        del patched["quantization_config"]
    return patched


def quantization_of(section: Section | None) -> Quantization | None:
    """Derive what the index must know of a quantization."""
    if section is None:
        return None
    kind = next(iter(section))
    if kind == "product":
        return _IN_PLACE_OF_PRODUCT[section[kind]["compression"]]
    return Quantization(
        QuantizationKind(kind), section[kind].get("quantile"), section[kind].get("encoding") in _TWO_BITS
    )
