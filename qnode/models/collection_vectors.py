"""The settings of a collection's sparse vectors, and what the names of all its vectors must be.

As in `collection_sections`, what was sent is what is stored and shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qnode.errors import BadRequest
from qnode.models import reading
from qnode.models.collection_sections import MEMORY, Section, check_vector_name
from qnode.models.reading import Fault, Reader
from qnode.models.vector_params import Datatype, SparseParams

DATATYPES = ("float32", "uint8", "float16", "turbo4")
MODIFIERS = ("none", "idf")

_NO_TURBO = "sparse vectors do not support the `turbo4` datatype"
_INDEX: dict[str, Reader] = {
    "full_scan_threshold": reading.unsigned,
    "on_disk": reading.boolean,
    "memory": MEMORY,
    "datatype": reading.one_of(*DATATYPES),
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
        "modifier": reading.one_of(*MODIFIERS),
    }
    section = reading.fields({} if value is None else value, readers, "struct SparseVectorParams")
    if section.get("index", {}).get("datatype") == "turbo4":
        faults.append((f"{path}.index.datatype", _NO_TURBO))
    return section


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
    datatype = Datatype(section.get("index", {}).get("datatype", "float32"))
    return SparseParams(name, slot, section.get("modifier") == "idf", datatype)
