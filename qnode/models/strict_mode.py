"""Strict mode: bounds that a collection's owner sets to what its clients may ask for.

Only what is enabled holds. A PATCH merges field by field, and nulls change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qnode.models import reading
from qnode.models.reading import Bounds, Fault, Reader

Section = dict[str, Any]

_READERS: dict[str, Reader] = {
    "enabled": reading.boolean,
    "max_query_limit": reading.unsigned,
    "max_timeout": reading.unsigned,
    "unindexed_filtering_retrieve": reading.boolean,
    "unindexed_filtering_update": reading.boolean,
    "search_max_hnsw_ef": reading.unsigned,
    "search_allow_exact": reading.boolean,
    "search_max_oversampling": reading.number,
    "upsert_max_batchsize": reading.unsigned,
    "search_max_batchsize": reading.unsigned,
    "max_collection_vector_size_bytes": reading.unsigned,
    "read_rate_limit": reading.unsigned,
    "write_rate_limit": reading.unsigned,
    "max_collection_payload_size_bytes": reading.unsigned,
    "max_points_count": reading.unsigned,
    "filter_max_conditions": reading.unsigned,
    "condition_max_size": reading.unsigned,
    "max_payload_index_count": reading.unsigned,
    "max_resident_memory_percent": reading.unsigned,
}
_BOUNDS: dict[str, Bounds] = {
    "max_query_limit": (1, None),
    "max_timeout": (1, None),
    "read_rate_limit": (1, None),
    "write_rate_limit": (1, None),
    "max_points_count": (1, None),
    "max_resident_memory_percent": (1, 100),
}
PER_VECTOR = {"multivector_config": "max_vectors", "sparse_config": "max_length"}
"""The parts that hold bounds by the names of vectors, and the one bound in each."""


@dataclass(frozen=True, slots=True)
class StrictMode:
    """The bounds that hold; None where there is none. Sizes in bytes, rates in requests a minute and shard."""

    max_query_limit: int | None = None
    max_timeout: int | None = None
    unindexed_filtering_retrieve: bool | None = None
    unindexed_filtering_update: bool | None = None
    search_max_hnsw_ef: int | None = None
    search_allow_exact: bool | None = None
    search_max_oversampling: float | None = None
    upsert_max_batchsize: int | None = None
    search_max_batchsize: int | None = None
    max_collection_vector_size_bytes: int | None = None
    read_rate_limit: int | None = None
    write_rate_limit: int | None = None
    max_collection_payload_size_bytes: int | None = None
    max_points_count: int | None = None
    filter_max_conditions: int | None = None
    condition_max_size: int | None = None
    max_payload_index_count: int | None = None
    max_resident_memory_percent: int | None = None
    max_vectors: Mapping[str, int] = field(default_factory=dict)
    max_length: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, section: Mapping[str, Any] | None) -> StrictMode | None:
        """Give the bounds of a section that `read_strict_mode` made; None unless it is enabled."""
        if not section or not section.get("enabled"):
            return None
        bounds: dict[str, Any] = {
            name: value for name, value in section.items() if name in _READERS and name != "enabled"
        }
        for part, bound in PER_VECTOR.items():
            limited = section.get(part, {})
            bounds[bound] = {name: limits[bound] for name, limits in limited.items() if bound in limits}
        return cls(**bounds)


def read_strict_mode(value: object, faults: list[Fault], path: str = "strict_mode_config") -> Section:
    """Read `strict_mode_config`; faults are added to the list."""
    given = reading.mapping(value, "struct StrictModeConfig")
    section = reading.fields(given, _READERS)
    faults += reading.section_faults(path, section, _BOUNDS)
    for part, bound in PER_VECTOR.items():
        if given.get(part) is not None:
            vectors = reading.mapping(given[part])
            section[part] = {
                name: reading.fields(limits, {bound: reading.unsigned}) for name, limits in vectors.items()
            }
            for name, limits in section[part].items():
                faults += reading.section_faults(f"{path}.{part}.{name}", limits, {bound: (1, None)})
    return section
