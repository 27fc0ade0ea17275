"""The inside of a shard as Qdrant's telemetry shows it: its segments, and what was built since the node was started.

A segment here holds rows of one vector, and payloads and their indexes are the shard's: they are shown with its first segment, so
that sums are right. Left out: counts of searches by segment. `ram_usage_bytes` is 0, for segments are mapped files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qnode.index.space import Part
from qnode.models.field_schema import FieldSchema
from qnode.models.vector_params import SlotParams, SparseParams, VectorParams

if TYPE_CHECKING:
    from qnode.shards.builds import BuildNote
    from qnode.shards.local_shard import LocalShard

Naming = Callable[[str], str]


def show_optimizations(shard: LocalShard, status: object) -> dict[str, Any]:
    """Show the builds of a shard; `status`: how its optimizers are, as collections show it."""
    builds = shard.builds
    counted: dict[str, Any] = {"count": builds.succeeded, "fail_count": builds.failed}
    if builds.succeeded:
        counted["avg_duration_micros"] = 1e6 * builds.total_seconds / builds.succeeded
        counted["total_duration_micros"] = int(1e6 * builds.total_seconds)
    running = [] if builds.running is None else [builds.running]
    return {
        "status": status,
        "optimizations": counted,
        "log": [_tracker(note) for note in (*running, *builds.finished)],
    }


def show_status(note: BuildNote) -> str | dict[str, str]:
    """Show how far a build is."""
    if note.finished_at is None:
        return "optimizing"
    if note.was_cancelled:
        return {"cancelled": "the shard was closed, or replaced by a copy"}
    return "done" if note.fault is None else {"error": note.fault}


def _tracker(note: BuildNote) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": note.purpose,
        "uuid": note.uuid,
        "segment_ids": [segment.id for segment in note.segments],
        "segment_uuids": [segment.uuid for segment in note.segments],
        "status": show_status(note),
        "start_at": note.started_at.isoformat(),
    }
    if note.finished_at is not None:
        shown["end_at"] = note.finished_at.isoformat()
    return shown


def show_segments(shard: LocalShard, name_of: Naming) -> list[dict[str, Any]]:
    """Show the segments of a shard."""
    index = shard.index
    segments = [
        _segment(shard.builds.uuid_of(part.id), part, space.params, name_of)
        for space in list(index.spaces.values())
        for part in space.parts
    ]
    if segments:
        counts = {field: (schema, index.field_points(field)) for field, schema in index.fields.schemas.items()}
        segments[0]["info"]["payloads_size_bytes"] = index.store.disk_bytes
        segments[0]["info"]["index_schema"] = {
            name_of(field): _schema(schema, points, name_of) for field, (schema, points) in counts.items()
        }
        segments[0]["payload_field_indices"] = [
            {
                "field_name": name_of(field),
                "index_type": schema.type,
                "points_values_count": points,
                "points_count": points,
            }
            for field, (schema, points) in counts.items()
        ]
    return segments


def _schema(schema: FieldSchema, points: int, name_of: Naming) -> dict[str, Any]:
    """Show an index; the stopwords that a user has given are words of the user's."""
    shown = schema.shown(points)
    words = shown.get("params", {}).get("stopwords")
    if isinstance(words, dict) and "custom" in words:
        shown["params"]["stopwords"] = {**words, "custom": [name_of(word) for word in words["custom"]]}
    return shown


def _segment(uuid: str, part: Part, params: SlotParams, name_of: Naming) -> dict[str, Any]:
    living, name = part.living, name_of(params.name)
    indexed = living if part.is_indexed else 0
    info = {
        "uuid": uuid,
        "segment_type": "indexed" if part.is_indexed else "plain",
        "num_vectors": living,
        "num_points": living,
        "num_indexed_vectors": indexed,
        "num_deleted_vectors": part.dead,
        "vectors_size_bytes": part.segment.vector_bytes,
        "payloads_size_bytes": 0,
        "ram_usage_bytes": 0,
        "disk_usage_bytes": part.segment.disk_bytes,
        "is_appendable": not (part.is_sealed or part.is_full),
        "index_schema": {},
        "vector_data": {
            name: {"num_vectors": living, "num_indexed_vectors": indexed, "num_deleted_vectors": part.dead}
        },
    }
    config: dict[str, Any] = {"payload_storage_type": {"type": "mmap"}}
    if isinstance(params, SparseParams):
        config["sparse_vector_data"] = {name: {"index": {"index_type": "Mmap"}, "storage_type": "mmap"}}
    else:
        config["vector_data"] = {name: _vector_config(part, params)}
    return {"info": info, "config": config, "vector_index_searches": [], "payload_field_indices": []}


def _vector_config(part: Part, params: VectorParams) -> dict[str, Any]:
    graph = {
        "m": params.m,
        "ef_construct": params.ef_construct,
        "full_scan_threshold": params.full_scan_threshold_kb,
        "max_indexing_threads": params.max_indexing_threads,
    }
    shown: dict[str, Any] = {
        "size": params.size,
        "distance": params.distance.value,
        "datatype": params.datatype.value,
        "storage_type": "Mmap" if part.is_sealed else "ChunkedMmap",
        "index": {"type": "hnsw", "options": graph} if part.is_indexed else {"type": "plain", "options": {}},
    }
    if params.multivector:
        shown["multivector_config"] = {"comparator": "max_sim"}
    return shown
