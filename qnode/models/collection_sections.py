"""The sections of a collection's settings as JSON: which keys there are, how each is read, and its bounds.

A section that was read is a plain dict of JSON values with the keys that were given, nothing else: what was sent is
what is stored and shown. Settings that this version cannot serve are refused here, by name.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from qnode.errors import BadRequest, MalformedBody
from qnode.models import reading
from qnode.models.reading import Bounds, Fault, Reader

Section = dict[str, Any]

DISABLED = "Disabled"
"""What a PATCH sends to take quantization away."""

MEMORY = reading.one_of("cold", "cached", "pinned")
DATATYPE = reading.one_of("float32", "uint8", "float16", "turbo4")
_PINNED = "`pinned` memory is only supported for indexes and quantized vectors"
_FORBIDDEN_IN_NAMES = '<>:"/\\|?*\0\x1f'
_MAX_VECTOR_NAME_BYTES = 200
_MAX_COLLECTION_NAME_LENGTH = 255
MAX_VECTOR_SIZE = 65_536

_HNSW: dict[str, Reader] = {
    "m": reading.unsigned,
    "ef_construct": reading.unsigned,
    "full_scan_threshold": reading.unsigned,
    "max_indexing_threads": reading.unsigned,
    "on_disk": reading.boolean,
    "memory": MEMORY,
    "payload_m": reading.unsigned,
    "inline_storage": reading.boolean,
}
_HNSW_BOUNDS: dict[str, Bounds] = {"ef_construct": (4, None), "full_scan_threshold": (10, None)}


def _threads(value: object) -> int | None:
    if value == "auto":
        return None
    return reading.unsigned(value)


_OPTIMIZERS: dict[str, Reader] = {
    "deleted_threshold": reading.number,
    "vacuum_min_vector_number": reading.unsigned,
    "default_segment_number": reading.unsigned,
    "max_segment_size": reading.unsigned,
    "memmap_threshold": reading.unsigned,
    "indexing_threshold": reading.unsigned,
    "flush_interval_sec": reading.unsigned,
    "max_optimization_threads": _threads,
    "prevent_unoptimized": reading.boolean,
}
_OPTIMIZER_BOUNDS: dict[str, Bounds] = {
    "deleted_threshold": (0.0, 1.0),
    "vacuum_min_vector_number": (100, None),
    "max_segment_size": (1, None),
}
_WAL: dict[str, Reader] = {
    "wal_capacity_mb": reading.unsigned,
    "wal_segments_ahead": reading.unsigned,
    "wal_retain_closed": reading.unsigned,
}
_WAL_BOUNDS: dict[str, Bounds] = {"wal_capacity_mb": (1, None), "wal_retain_closed": (1, None)}
_STORAGE: dict[str, Reader] = {"always_ram": reading.boolean, "memory": MEMORY}
_QUANTIZATIONS: dict[str, dict[str, Reader]] = {
    "scalar": {"type": reading.one_of("int8"), "quantile": reading.number, **_STORAGE},
    "product": {"compression": reading.one_of("x4", "x8", "x16", "x32", "x64"), **_STORAGE},
    "binary": {
        **_STORAGE,
        "encoding": reading.one_of("one_bit", "two_bits", "one_and_half_bits"),
        "query_encoding": reading.one_of("default", "binary", "scalar4bits", "scalar8bits"),
    },
    "turbo": {**_STORAGE, "bits": reading.one_of("bits1", "bits1_5", "bits2", "bits4")},
}
_REQUIRED_OF_QUANTIZATION = {"scalar": "type", "product": "compression"}


def read_hnsw(value: object, path: str, faults: list[Fault]) -> Section:
    """Read `hnsw_config`; faults are added to the list."""
    section = reading.fields(_without_kb_suffix(value, "full_scan_threshold"), _HNSW)
    faults += reading.section_faults(path, section, _HNSW_BOUNDS)
    return section


def read_optimizers(value: object, path: str, faults: list[Fault]) -> Section:
    """Read `optimizers_config`; faults are added to the list."""
    section = reading.fields(
        _without_kb_suffix(value, "max_segment_size", "memmap_threshold", "indexing_threshold"), _OPTIMIZERS
    )
    faults += reading.section_faults(path, section, _OPTIMIZER_BOUNDS)
    return section


def read_wal(value: object, path: str, faults: list[Fault]) -> Section:
    """Read `wal_config`; faults are added to the list."""
    section = reading.fields(value, _WAL)
    faults += reading.section_faults(path, section, _WAL_BOUNDS)
    return section


def read_payload_storage(value: object, path: str, faults: list[Fault]) -> Section:
    """Read `payload`, which says where payloads are kept; faults are added to the list."""
    section = reading.fields(value, {"memory": MEMORY})
    if section.get("memory") == "pinned":
        faults.append((f"{path}.memory", _PINNED))
    return section


def read_quantization(value: object, path: str, faults: list[Fault]) -> Section:
    """Read `quantization_config`: an object with one kind; faults are added to the list."""
    given = reading.mapping(value, "a quantization config")
    for kind, readers in _QUANTIZATIONS.items():
        if given.get(kind) is None:
            continue
        section = reading.fields(given[kind], readers)
        required = _REQUIRED_OF_QUANTIZATION.get(kind)
        if required is not None and required not in section:
            raise reading.missing(required)
        if kind == "scalar":
            faults += reading.section_faults(f"{path}.scalar", section, {"quantile": (0.5, 1.0)})
        return {kind: section}
    raise MalformedBody("data did not match any variant of untagged enum QuantizationConfig")


def _vector_readers(path: str, faults: list[Fault]) -> dict[str, Reader]:
    """Make the readers of what a vector's settings and a change of them have in common."""
    return {
        "hnsw_config": lambda value: read_hnsw(value, f"{path}.hnsw_config", faults),
        "quantization_config": lambda value: read_quantization(value, f"{path}.quantization_config", faults),
        "on_disk": reading.boolean,
        "memory": MEMORY,
    }


def _read_multivector(value: object) -> Section:
    section = reading.fields(value, {"comparator": reading.one_of("max_sim")}, "struct MultiVectorConfig")
    if "comparator" not in section:
        raise reading.missing("comparator")
    return section


def read_vector(value: object, path: str, faults: list[Fault]) -> Section:
    """Read the settings of one dense vector; faults are added to the list."""
    readers: dict[str, Reader] = {
        "size": reading.nonzero,
        "distance": reading.one_of("Cosine", "Euclid", "Dot", "Manhattan"),
        **_vector_readers(path, faults),
        "datatype": DATATYPE,
        "multivector_config": _read_multivector,
    }
    section = reading.fields(value, readers, "struct VectorParams")
    for name in ("size", "distance"):
        if name not in section:
            raise reading.missing(name)
    if not section.get("hnsw_config", True):
        del section["hnsw_config"]
    faults += reading.out_of_bounds(f"{path}.size", section["size"], (1, MAX_VECTOR_SIZE))
    if section.get("memory") == "pinned":
        faults.append((f"{path}.memory", _PINNED))
    return section


def read_vectors(value: object, faults: list[Fault]) -> Section:
    """Read `vectors` of a creation: one vector's settings, or a map from name to settings; echoed in the same form."""
    given = reading.mapping(value, "vector params or a map of them")
    if any(name in given and not isinstance(given[name], dict) for name in ("size", "distance")):
        return read_vector(given, "vectors", faults)
    vectors = {}
    for number, (name, settings) in enumerate(given.items()):
        check_vector_name(name)
        place = "?" if len(given) == 1 else f"?[{number}]"
        vectors[name] = read_vector(settings, f"vectors.{place}", faults)
    return vectors


def is_single(vectors: Section) -> bool:
    """Tell whether `vectors` is in the form of one unnamed vector."""
    return isinstance(vectors.get("size"), int)


def read_vectors_change(value: object, faults: list[Fault]) -> Section:
    """Read `vectors` of a PATCH: a map from name to what changes."""
    changes = {}
    for name, settings in reading.mapping(value).items():
        path = "vectors.?"
        readers = _vector_readers(path, faults)
        readers["quantization_config"] = partial(
            read_quantization_change, path=f"{path}.quantization_config", faults=faults
        )
        changes[name] = reading.fields(settings, readers, "struct VectorParamsDiff")
        if changes[name].get("memory") == "pinned":
            faults.append((f"{path}.memory", _PINNED))
    return changes


def read_quantization_change(value: object, path: str, faults: list[Fault]) -> Section | str:
    """Read `quantization_config` of a PATCH: another one, or DISABLED."""
    return DISABLED if value == DISABLED else read_quantization(value, path, faults)


def check_vector_name(name: str) -> None:
    """Raise BadRequest for what no vector may be called."""
    if len(name.encode("utf-8", "replace")) > _MAX_VECTOR_NAME_BYTES:
        raise BadRequest(f"Vector name is too long, it must be at most {_MAX_VECTOR_NAME_BYTES} bytes")
    for character in _FORBIDDEN_IN_NAMES:
        if character in name:
            raise BadRequest(f'vector name cannot contain "{character}" char')


def collection_name_faults(name: str) -> list[Fault]:
    """Check the name of a collection to be created."""
    if faults := collection_address_faults(name):
        return faults
    if name in (".", ".."):
        return [("name", "collection name cannot be `.` or `..`: clients take them out of a path")]
    for character in _FORBIDDEN_IN_NAMES:
        if character in name:
            return [("name", f'collection name cannot contain "{character}" char')]
    return []


def collection_address_faults(name: str) -> list[Fault]:
    """Check a name under which a collection is asked for: older ones may hold what is forbidden today."""
    if not 1 <= len(name) <= _MAX_COLLECTION_NAME_LENGTH:
        return [("name", f"value {name} invalid, must be from 1 to {_MAX_COLLECTION_NAME_LENGTH} characters")]
    if "\0" in name:
        return [("name", 'collection name cannot contain "\0" char')]
    return []


def _without_kb_suffix(value: object, *names: str) -> object:
    """Accept the spelling `<name>_kb` for sizes in KB."""
    if not isinstance(value, dict) or not any(f"{name}_kb" in value for name in names):
        return value
    spelled = {f"{name}_kb": name for name in names}
    return {spelled.get(name, name): setting for name, setting in value.items()}
