"""What the node knows of itself, in the shape of Qdrant's telemetry; more with a higher level of detail.

Left out until there is something honest to say: hardware counters and searches by segment. Beside what Qdrant shows stands the
estimated recall, by collection and vector (`estimated_recall`).

Anonymous, it says nothing in words of the user's: names and metadata are left out or replaced by numbers that are the same as
long as the node runs, and of the cluster there are no addresses.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping
from time import time
from typing import TYPE_CHECKING, Any

from qnode import machine
from qnode.api.answers import shown_time
from qnode.api.observed import Observed
from qnode.api.segments_json import show_optimizations, show_segments
from qnode.metrics import EndpointCount, memory_bytes
from qnode.models.collection_sections import is_single
from qnode.models.strict_mode import PER_VECTOR
from qnode.shards import local_reads
from qnode.shards.recall import PROBED_K, RecallReading

if TYPE_CHECKING:
    from qnode.shards.collection import Collection

_STANDING_LEVEL = 1
"""The last level at which the cluster is told of without addresses."""

_SHARDS_LEVEL = 3
_INSIDE_LEVEL = 4
"""From these levels on telemetry tells of a collection's shards, and of what is inside them."""

_NO_PARTIAL_SNAPSHOT = {"ongoing_create_snapshot_requests": 0, "is_recovering": False, "recovery_timestamp": 0}
"""There are none, so none is under way."""

SEARCH_THREADS = min(32, (os.cpu_count() or 1) + 4)
"""The threads of asyncio's own pool, in which searches run that may take long."""

Naming = Callable[[str], str]
_FEATURES = ("debug", "service_debug_feature", "recovery_mode", "gpu", "rocksdb", "staging")


class Telemetry:
    """Tells what the node knows of itself; `id` is new at every start."""

    def __init__(self, observed: Observed, name: str, version: str) -> None:
        self._collections = observed.collections
        self._surface = observed.surface
        self._counts = observed.counts
        self._quotas = observed.quotas
        self._snapshots = observed.snapshots
        self._recall = observed.recall
        self._id = str(uuid.uuid4())
        self._cpu = machine.CpuMeter()
        self._app = {"name": name, "version": version, "startup": shown_time(time())}

    def show(self, level: int, *, anonymous: bool = False, per_collection: bool = False) -> dict[str, Any]:
        """Build the answer; `level` as `details_level`, per_collection: count answers by collection too."""
        served = self._collections.open_collections()
        name_of = self.hidden if anonymous else str
        collections: dict[str, Any] = {"number_of_collections": len(served)}
        if level >= 1:
            collections["collections"] = [self._show_collection(each, level, anonymous) for each in served]
            collections["snapshots"] = self._show_snapshots(served, name_of)
        shown: dict[str, Any] = {
            "id": self.hidden(self._id) if anonymous else self._id,
            "app": self._show_app(level),
            "collections": collections,
            "cluster": self._surface.show_for_node_telemetry(min(level, _STANDING_LEVEL) if anonymous else level),
            "requests": {"rest": self._show_responses(name_of if per_collection else None), "grpc": {"responses": {}}},
        }
        shown["quota"] = {"config": self._quotas.config.to_json(), "exceeded": self._quotas.exceeded()}
        if level >= 1:
            shown["search_pool"] = {"mode": "high_cpu", "high_cpu_threads": SEARCH_THREADS, "high_io_threads": 0}
            shown["estimated_recall"] = self._show_recall(served, name_of)
        memory = memory_bytes()
        if level >= 1 and "allocated_bytes" in memory:
            shown["memory"] = memory
        return shown

    def hidden(self, word: str) -> str:
        """Give what stands for a word of the user's; "" stays, as the name of the one vector that has none."""
        return str(uuid.uuid5(uuid.UUID(self._id), word)) if word else word

    def _show_app(self, level: int) -> dict[str, Any]:
        if level < 1:
            return self._app
        return {
            **self._app,
            "features": dict.fromkeys(_FEATURES, False),
            "system": {**machine.describe(), "cpu_cores_used": round(self._cpu.read(), 3)},
        }

    def _show_collection(self, collection: Collection, level: int, anonymous: bool) -> dict[str, Any]:
        info, config = collection.local_info(), collection.config
        name_of = self.hidden if anonymous else str
        params = config.shown_params()
        if not is_single(config.vectors):
            params["vectors"] = _renamed(config.vectors, name_of)
        if config.sparse:
            params["sparse_vectors"] = _renamed(config.sparse, name_of)
        if level < 2:
            return {
                "vectors": sum(info.vectors_count_by_name.values()),
                "optimizers_status": info.optimizer_status,
                "params": params,
            }
        settings = config.shown() | {"params": params}
        if (strict := config.strict_mode) is not None:
            by_vector = {part: _renamed(strict[part], name_of) for part in PER_VECTOR if part in strict}
            settings["strict_mode_config"] = strict | by_vector
        if anonymous:
            settings.pop("metadata", None)
        shown: dict[str, Any] = {
            "id": name_of(collection.name),
            "init_time_ms": int(1000 * sum(shard.opening_seconds for shard in collection.shards.values())),
            "config": settings,
        }
        if level >= _SHARDS_LEVEL:
            shown["shards"] = [
                self._show_shard(collection, number, level, name_of) for number in sorted(collection.entry.shards)
            ]
            shown["transfers"] = self._surface.show_transfers(collection.entry)
            shown["resharding"] = []
        return shown

    def _show_shard(self, collection: Collection, number: int, level: int, name_of: Naming) -> dict[str, Any]:
        entry = collection.entry.shards[number]
        shown: dict[str, Any] = {
            "id": number,
            "remote": [
                {"shard_id": number, "peer_id": peer} for peer in sorted(entry.replicas) if peer != self._surface.me
            ],
            "replicate_states": {str(peer): state for peer, state in sorted(entry.replicas.items())},
            "partial_snapshot": dict(_NO_PARTIAL_SNAPSHOT),
        }
        if entry.key is not None:
            shown["key"] = name_of(entry.key) if isinstance(entry.key, str) else entry.key
        if number in collection.shards:
            shown["local"] = _show_inside(collection, number, level, name_of)
        return shown

    def _show_responses(self, name_of: Naming | None) -> dict[str, Any]:
        """Show how requests were answered; `name_of`: of each collection too, by this name."""
        shown: dict[str, Any] = {
            "responses": {f"{count.method} {count.endpoint}": _show_endpoint(count) for count in self._counts}
        }
        if name_of is not None:
            by_collection: dict[str, Any] = {}
            for count in self._counts.by_collection():
                if count.collection:
                    endpoints = by_collection.setdefault(name_of(count.collection), {})
                    endpoints[f"{count.method} {count.endpoint}"] = _show_endpoint(count)
            shown["per_collection_responses"] = by_collection
        return shown

    def _show_snapshots(self, served: list[Collection], name_of: Naming) -> list[dict[str, Any]]:
        if self._snapshots is None:
            return []
        counts = ((collection.name, self._snapshots.counts.of(collection.name)) for collection in served)
        return [
            {
                "id": name_of(name),
                "running_snapshots": count.creating,
                "running_snapshot_recovery": count.recovering,
                "total_snapshot_creations": count.created,
            }
            for name, count in counts
        ]

    def _show_recall(self, served: list[Collection], name_of: Naming) -> dict[str, Any]:
        """Show the recall by collection and vector, of those that have graphs and were probed."""
        shown: dict[str, Any] = {}
        if self._recall is None:
            return shown
        for collection in served:
            readings = self._recall.readings(collection.name)
            if readings:
                shown[name_of(collection.name)] = {
                    name_of(name): _show_reading(each) for name, each in readings.items()
                }
        return shown


def _renamed(section: Mapping[str, Any], name_of: Naming) -> dict[str, Any]:
    return {name_of(name): settings for name, settings in section.items()}


def _show_endpoint(endpoint: EndpointCount) -> dict[str, Any]:
    return {
        str(status): {
            "count": count.count,
            "avg_duration_micros": 1e6 * count.total_seconds / count.count,
            "min_duration_micros": 1e6 * count.min_seconds,
            "max_duration_micros": 1e6 * count.max_seconds,
            "total_duration_micros": int(1e6 * count.total_seconds),
            "last_responded": shown_time(count.last_responded),
        }
        for status, count in endpoint.by_status.items()
    }


def _show_reading(reading: RecallReading) -> dict[str, Any]:
    return {
        "recall": reading.recall,
        "k": PROBED_K,
        "found": reading.neighbours,
        "scanned": reading.scanned,
        "at": shown_time(reading.at),
    }


def _show_inside(collection: Collection, number: int, level: int, name_of: Naming) -> dict[str, Any]:
    """Show a shard that is on this node."""
    shard, info = collection.shards[number], collection.info_here((number,))
    queue = {"length": info.update_queue_length, "deferred_points": info.deferred_points_count}
    if shard.last_op:
        queue["op_num"] = shard.last_op - 1  # operations are numbered from 1 here, from 0 there
    shown: dict[str, Any] = {
        "variant_name": "local",
        "status": info.status,
        "total_optimized_points": shard.builds.points,
        "vectors_size_bytes": info.vectors_size_bytes,
        "payloads_size_bytes": info.payloads_size_bytes,
        "num_points": info.points_count,
        "num_vectors": sum(info.vectors_count_by_name.values()),
        "num_vectors_by_name": {name_of(name): count for name, count in info.vectors_count_by_name.items()},
        "optimizations": show_optimizations(shard, info.optimizer_status),
        "async_scorer": False,
        "update_queue": queue,
    }
    if level >= _INSIDE_LEVEL:
        shown["segments"] = show_segments(shard, name_of)
        left_out = local_reads.left_out([shard], collection.settings.vectors.values())
        shown["indexed_only_excluded_vectors"] = {name_of(name): count for name, count in left_out.items() if count}
    return shown
