"""A collection's settings: what the user sent plus defaults, how a PATCH changes them, what the index is told.

`CollectionConfig` is stored in the topology as JSON (`to_json`, `from_json`) and shown in a collection's info
(`shown`). Its sections are dicts of JSON values and are never changed in place. Every named vector has a **slot**: its
number for life, given in the order of creation and never given again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from qnode.errors import BadInput
from qnode.models import collection_sections as sections
from qnode.models import reading
from qnode.models.collection_sections import Section
from qnode.models.collection_vectors import (
    check_names,
    check_same,
    patched_sparse,
    patched_vector,
    quantization_of,
    read_sparse_vectors,
    sparse_params,
    stored_datatype,
)
from qnode.models.field_schema import FieldSchema, parse_field_schema
from qnode.models.reading import Fault
from qnode.models.strict_mode import read_strict_mode
from qnode.models.vector_params import (
    Distance,
    IndexParams,
    VectorParams,
)

__all__ = [
    "CollectionConfig",
    "CollectionDefaults",
    "CollectionDiff",
    "CollectionInfo",
    "CollectionStatus",
    "FieldSchema",
    "parse_field_schema",
]

FORMAT_VERSION = 1

MAX_SHARDS = 128
"""Each shard of a node has a thread and a store of its own, made while the client waits."""

_HNSW_DEFAULTS: Section = {
    "m": 16,
    "ef_construct": 100,
    "full_scan_threshold": 10_000,
    "max_indexing_threads": 0,
    "on_disk": False,
}
_OPTIMIZER_DEFAULTS: Section = {
    "deleted_threshold": 0.2,
    "vacuum_min_vector_number": 1000,
    "default_segment_number": 0,
    "max_segment_size": None,
    "memmap_threshold": None,
    "indexing_threshold": 10_000,
    "flush_interval_sec": 5,
    "max_optimization_threads": None,
}
_WAL_DEFAULTS: Section = {"wal_capacity_mb": 32, "wal_segments_ahead": 0, "wal_retain_closed": 1}


@dataclass(frozen=True, slots=True)
class CollectionDefaults:
    """What the node's configuration says about collections that do not say it themselves."""

    hnsw: Mapping[str, Any] = field(default_factory=dict)
    optimizers: Mapping[str, Any] = field(default_factory=dict)
    wal: Mapping[str, Any] = field(default_factory=dict)
    on_disk_payload: bool = True
    shard_number: int = 1
    replication_factor: int = 1
    write_consistency_factor: int = 1


@dataclass(frozen=True, slots=True)
class CollectionDiff:
    """A PATCH that was read and checked; sections hold only what changes."""

    params: Section = field(default_factory=dict)
    hnsw: Section = field(default_factory=dict)
    optimizers: Section = field(default_factory=dict)
    vectors: Section = field(default_factory=dict)
    sparse: Section = field(default_factory=dict)
    quantization: Section | str | None = None
    strict_mode: Section = field(default_factory=dict)
    metadata: Section = field(default_factory=dict)

    @classmethod
    def from_request(cls, body: object) -> CollectionDiff:
        """Read the body of a PATCH; raise MalformedBody, ValidationFailed, or BadRequest for what is not supported."""
        given = reading.mapping(body, "struct UpdateCollection")
        faults: list[Fault] = []
        params = {
            "replication_factor": reading.nonzero_32,
            "write_consistency_factor": reading.nonzero_32,
            "read_fan_out_factor": reading.unsigned_32,
            "read_fan_out_delay_ms": reading.unsigned,
            "on_disk_payload": reading.boolean,
            "payload": lambda value: sections.read_payload_storage(value, "params.payload", faults),
        }
        quantization = given.get("quantization_config")
        if quantization is not None:
            quantization = sections.read_quantization_change(quantization, "quantization_config", faults)
        diff = cls(
            reading.fields(given.get("params") or {}, params),
            sections.read_hnsw(given.get("hnsw_config") or {}, "hnsw_config", faults),
            sections.read_optimizers(
                reading.first_of(given, "optimizers_config", "optimizer_config") or {}, "optimizers_config", faults
            ),
            sections.read_vectors_change(given.get("vectors") or {}, faults),
            read_sparse_vectors(given.get("sparse_vectors") or {}, faults),
            quantization,
            read_strict_mode(given.get("strict_mode_config") or {}, faults),
            reading.mapping(given.get("metadata") or {}),
        )
        reading.raise_faults(faults)
        return diff


@dataclass(frozen=True, slots=True)
class CollectionConfig:
    """All settings of a collection. `vectors` and `sparse` in the form in which they were sent.

    slots: vector name to slot, of both kinds. next_slot: at least the one after all that were ever given.
    """

    vectors: Section
    params: Section
    hnsw: Section
    optimizers: Section
    wal: Section
    quantization: Section | None
    strict_mode: Section | None
    metadata: Section | None
    slots: Mapping[str, int]
    sparse: Section = field(default_factory=dict)
    next_slot: int = 0

    @classmethod
    def from_request(cls, body: object, defaults: CollectionDefaults | None = None) -> CollectionConfig:
        """Read the body of a creation; raise MalformedBody, ValidationFailed, or BadRequest for what is not supported."""
        given = reading.mapping(body, "struct CreateCollection")
        defaults = defaults or CollectionDefaults()
        faults: list[Fault] = []
        vectors = sections.read_vectors(given.get("vectors") or {}, faults)
        hnsw = sections.read_hnsw(given.get("hnsw_config") or {}, "hnsw_config", faults)
        optimizers = sections.read_optimizers(
            reading.first_of(given, "optimizers_config", "optimizer_config") or {}, "optimizers_config", faults
        )
        wal = sections.read_wal(given.get("wal_config") or {}, "wal_config", faults)
        quantization = given.get("quantization_config")
        if quantization is not None:
            quantization = sections.read_quantization(quantization, "quantization_config", faults)
        strict_mode, metadata = given.get("strict_mode_config"), given.get("metadata")
        if strict_mode is not None:
            strict_mode = read_strict_mode(strict_mode, faults)
        params = _params_of_creation(given, defaults, faults)
        names = [""] if sections.is_single(vectors) else list(vectors)
        sparse = read_sparse_vectors(given.get("sparse_vectors") or {}, faults)
        check_names(names, sparse)
        reading.raise_faults(faults)
        return cls(
            vectors,
            params,
            {**_HNSW_DEFAULTS, **defaults.hnsw, **hnsw},
            {**_OPTIMIZER_DEFAULTS, **defaults.optimizers, **optimizers},
            {**_WAL_DEFAULTS, **defaults.wal, **wal},
            quantization,
            strict_mode,
            None if metadata is None else reading.mapping(metadata),
            {name: slot for slot, name in enumerate([*names, *sparse])},
            sparse,
        )

    def patched(self, diff: CollectionDiff) -> CollectionConfig:
        """Merge a PATCH; raise BadInput for a vector that is not there."""
        vectors = self.vectors
        for name, change in diff.vectors.items():
            if name not in self.slots or name in self.sparse:
                raise BadInput(f"Not existing vector name error: {name}")
            if sections.is_single(vectors):
                vectors = patched_vector(vectors, change)
            else:
                vectors = {**vectors, name: patched_vector(vectors[name], change)}
        sparse = self.sparse
        for name, change in diff.sparse.items():
            if name not in sparse:
                raise BadInput(f"Not existing vector name error: {name}")
            sparse = {**sparse, name: patched_sparse(sparse[name], change)}
        quantization = self.quantization if diff.quantization is None else diff.quantization
        metadata = {**(self.metadata or {}), **diff.metadata}
        return replace(
            self,
            vectors=vectors,
            sparse=sparse,
            params={**self.params, **diff.params},
            hnsw={**self.hnsw, **diff.hnsw},
            optimizers={**self.optimizers, **diff.optimizers},
            quantization=quantization if isinstance(quantization, dict) else None,
            strict_mode={**(self.strict_mode or {}), **diff.strict_mode} or self.strict_mode,
            metadata={key: value for key, value in metadata.items() if value is not None}
            if diff.metadata
            else self.metadata,
        )

    def with_vector(self, name: str, dense: Section | None, sparse: Section | None) -> CollectionConfig:
        """Add a vector, of one kind; the same again changes nothing. Raise BadInput if there is another of this name."""
        if name in self.slots:
            check_same(name, self._named.get(name), self.sparse.get(name), dense, sparse)
            return self
        slot = self.index_params().slots_given
        return replace(
            self,
            vectors=self.vectors if dense is None else {**self._named, name: dense},
            sparse=self.sparse if sparse is None else {**self.sparse, name: sparse},
            slots={**self.slots, name: slot},
            next_slot=slot + 1,
        )

    def without_vector(self, name: str) -> CollectionConfig:
        """Take a vector away, if there is one of this name; its slot is never given again."""
        if name not in self.slots:
            return self
        return replace(
            self,
            vectors={other: section for other, section in self._named.items() if other != name},
            sparse={other: section for other, section in self.sparse.items() if other != name},
            slots={other: slot for other, slot in self.slots.items() if other != name},
            next_slot=self.index_params().slots_given,
        )

    @property
    def shard_number(self) -> int:
        return int(self.params["shard_number"])

    def index_params(self) -> IndexParams:
        """Derive what a shard's index is configured by."""
        named = self._named
        return IndexParams(
            tuple(self._vector_params(name, slot, named[name]) for name, slot in self.slots.items() if name in named),
            indexing_threshold_kb=self.optimizers["indexing_threshold"],
            deleted_threshold=self.optimizers["deleted_threshold"],
            vacuum_min_vector_number=self.optimizers["vacuum_min_vector_number"],
            max_segment_size_kb=self.optimizers["max_segment_size"],
            default_segment_number=self.optimizers["default_segment_number"],
            next_slot=self.next_slot,
            prevent_unoptimized=bool(self.optimizers.get("prevent_unoptimized")),
            sparse=tuple(
                sparse_params(name, slot, self.sparse[name]) for name, slot in self.slots.items() if name in self.sparse
            ),
        )

    def payload_m(self, name: str) -> int:
        """Give how many links the points of a tenant have among each other, for a dense vector."""
        hnsw = {**self.hnsw, **self._named[name].get("hnsw_config", {})}
        own = hnsw.get("payload_m")
        return int(hnsw["m"] if own is None else own)

    @property
    def _named(self) -> Section:
        """The settings of dense vectors by name."""
        return {"": self.vectors} if sections.is_single(self.vectors) else self.vectors

    def _vector_params(self, name: str, slot: int, vector: Section) -> VectorParams:
        hnsw = {**self.hnsw, **vector.get("hnsw_config", {})}
        return VectorParams(
            name,
            slot,
            vector["size"],
            Distance(vector["distance"]),
            stored_datatype(vector.get("datatype")),
            m=hnsw["m"],
            ef_construct=hnsw["ef_construct"],
            full_scan_threshold_kb=hnsw["full_scan_threshold"],
            max_indexing_threads=hnsw["max_indexing_threads"],
            quantization=quantization_of(vector.get("quantization_config", self.quantization)),
            on_disk=vector.get("on_disk", vector.get("memory") == "cold"),
            multivector="multivector_config" in vector,
        )

    def shown(self) -> dict[str, Any]:
        """Build `config` of a collection's info."""
        shown: dict[str, Any] = {
            "params": self.shown_params(),
            "hnsw_config": self.hnsw,
            "optimizer_config": self.optimizers,
            "wal_config": self.wal,
            "quantization_config": self.quantization,
        }
        if self.strict_mode is not None:
            shown["strict_mode_config"] = self.strict_mode
        if self.metadata is not None:
            shown["metadata"] = self.metadata
        return shown

    def shown_params(self) -> dict[str, Any]:
        """Build `config.params`, which telemetry shows alone."""
        shown = {"vectors": self.vectors, **self.params}
        return {**shown, "sparse_vectors": self.sparse} if self.sparse else shown

    def warnings(self) -> list[str]:
        """List what the user should know about these settings."""
        return [
            f"Vector '{name}' has `inline_storage` enabled without quantization, which has no effect"
            for name, vector in self._named.items()
            if {**self.hnsw, **vector.get("hnsw_config", {})}.get("inline_storage")
            and vector.get("quantization_config", self.quantization) is None
        ]

    def to_json(self) -> dict[str, Any]:
        """Write what `from_json` reads."""
        names = ("vectors", "params", "hnsw", "optimizers", "wal", "quantization", "strict_mode", "metadata", "slots")
        later: dict[str, Any] = {"sparse": self.sparse, "next_slot": self.next_slot}
        return {
            "v": FORMAT_VERSION,
            **{name: getattr(self, name) for name in names},
            **{name: value for name, value in later.items() if value},
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> CollectionConfig:
        """Read what `to_json` wrote."""
        assert stored["v"] <= FORMAT_VERSION, "settings of a later version"
        return cls(**{name: value for name, value in stored.items() if name != "v"})


class CollectionStatus(StrEnum):
    """green: idle; yellow: optimising; grey: optimisation pending; red: an operation failed."""

    GREEN = "green"
    YELLOW = "yellow"
    GREY = "grey"
    RED = "red"


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """How a collection stands. `payload_schema`: field to its schema and the number of indexed points."""

    status: CollectionStatus
    optimizer_error: str | None
    points_count: int
    indexed_vectors_count: int
    segments_count: int
    payload_schema: Mapping[str, tuple[FieldSchema, int]]
    update_queue_length: int = 0
    vectors_count_by_name: Mapping[str, int] = field(default_factory=dict)
    vectors_size_bytes: int = 0
    payloads_size_bytes: int = 0
    deferred_points_count: int = 0

    @property
    def optimizer_status(self) -> object:
        """Show whether the optimisers run: ok, or what went wrong."""
        return "ok" if self.optimizer_error is None else {"error": self.optimizer_error}


def _params_of_creation(given: Mapping[str, Any], defaults: CollectionDefaults, faults: list[Fault]) -> Section:
    counts = {
        "shard_number": reading.unsigned_32,
        "replication_factor": reading.unsigned_32,
        "write_consistency_factor": reading.unsigned_32,
    }
    sent = reading.fields(given, counts)
    for name, value in sent.items():
        faults += reading.out_of_bounds(name, value, (1, MAX_SHARDS if name == "shard_number" else None))
    method = given.get("sharding_method")
    if method is not None:
        reading.one_of("auto", "custom")(method)
    on_disk_payload, payload = given.get("on_disk_payload"), given.get("payload")
    params: Section = {
        "shard_number": defaults.shard_number,
        "replication_factor": defaults.replication_factor,
        "write_consistency_factor": defaults.write_consistency_factor,
        "on_disk_payload": defaults.on_disk_payload if on_disk_payload is None else reading.boolean(on_disk_payload),
        **sent,
    }
    if method is not None:
        params["sharding_method"] = method
    if payload is not None:
        params["payload"] = sections.read_payload_storage(payload, "payload", faults)
    return params
