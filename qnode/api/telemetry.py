"""What the node knows of itself, in the shape of Qdrant's telemetry; more with a higher level of detail.

Left out until there is something honest to say: the system, hardware counters, search pool, quotas, snapshots, and the
segments of a shard. `total_optimized_points` counts the points that have an index now, not what was ever done.

Anonymous, it says nothing in words of the user's: names and metadata are left out or replaced by numbers that are the same as
long as the node runs, and of the cluster there are no addresses.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from qnode.api.cluster_surface import ClusterSurface
from qnode.metrics import EndpointCount, RestCounts, memory_bytes
from qnode.models.collection_sections import is_single
from qnode.shards import local_reads

if TYPE_CHECKING:
    from qnode.shards.collection import Collection
    from qnode.shards.collections import Collections

_STANDING_LEVEL = 1
"""The last level at which the cluster is told of without addresses."""

_SHARDS_LEVEL = 3
_INSIDE_LEVEL = 4
"""From these levels on telemetry tells of a collection's shards, and of what is inside them."""

Naming = Callable[[str], str]
_FEATURES = ("debug", "service_debug_feature", "recovery_mode", "gpu", "rocksdb", "staging")


class Telemetry:
    """Tells what the node knows of itself; `id` is new at every start."""

    def __init__(
        self, collections: Collections, counts: RestCounts, surface: ClusterSurface, name: str, version: str
    ) -> None:
        self._collections = collections
        self._surface = surface
        self._counts = counts
        self._id = str(uuid.uuid4())
        self._app = {"name": name, "version": version, "startup": _shown_time(datetime.now(UTC).timestamp())}

    def show(self, level: int, *, anonymous: bool = False) -> dict[str, Any]:
        """Build the answer; `level` as `details_level`."""
        served = self._collections.open_collections()
        collections: dict[str, Any] = {"number_of_collections": len(served)}
        if level >= 1:
            collections["collections"] = [self._show_collection(each, level, anonymous) for each in served]
        shown: dict[str, Any] = {
            "id": self.hidden(self._id) if anonymous else self._id,
            "app": self._show_app(level),
            "collections": collections,
            "cluster": self._surface.show_for_node_telemetry(min(level, _STANDING_LEVEL) if anonymous else level),
            "requests": {"rest": {"responses": self._show_responses()}, "grpc": {"responses": {}}},
        }
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
        }

    def _show_collection(self, collection: Collection, level: int, anonymous: bool) -> dict[str, Any]:
        info, config = collection.local_info(), collection.config
        params = config.shown_params()
        if anonymous and not is_single(config.vectors):
            params["vectors"] = {self.hidden(name): settings for name, settings in config.vectors.items()}
        if level < 2:
            return {
                "vectors": sum(info.vectors_count_by_name.values()),
                "optimizers_status": info.optimizer_status,
                "params": params,
            }
        settings = config.shown() | {"params": params}
        if anonymous:
            settings.pop("metadata", None)
        shown: dict[str, Any] = {
            "id": self.hidden(collection.name) if anonymous else collection.name,
            "config": settings,
        }
        if level >= _SHARDS_LEVEL:
            name_of = self.hidden if anonymous else str
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
        }
        if entry.key is not None:
            shown["key"] = name_of(entry.key) if isinstance(entry.key, str) else entry.key
        if number in collection.shards:
            shown["local"] = _show_inside(collection, number, level, name_of)
        return shown

    def _show_responses(self) -> dict[str, dict[str, Any]]:
        return {f"{count.method} {count.endpoint}": _show_endpoint(count) for count in self._counts}


def _show_endpoint(endpoint: EndpointCount) -> dict[str, Any]:
    return {
        str(status): {
            "count": count.count,
            "avg_duration_micros": 1e6 * count.total_seconds / count.count,
            "min_duration_micros": 1e6 * count.min_seconds,
            "max_duration_micros": 1e6 * count.max_seconds,
            "total_duration_micros": int(1e6 * count.total_seconds),
            "last_responded": _shown_time(count.last_responded),
        }
        for status, count in endpoint.by_status.items()
    }


def _show_inside(collection: Collection, number: int, level: int, name_of: Naming) -> dict[str, Any]:
    """Show a shard that is on this node."""
    shard, info = collection.shards[number], collection.info_here((number,))
    shown: dict[str, Any] = {
        "status": info.status,
        "total_optimized_points": info.indexed_vectors_count,
        "vectors_size_bytes": info.vectors_size_bytes,
        "payloads_size_bytes": info.payloads_size_bytes,
        "num_points": info.points_count,
        "num_vectors": sum(info.vectors_count_by_name.values()),
        "num_vectors_by_name": {name_of(name): count for name, count in info.vectors_count_by_name.items()},
        "async_scorer": False,
        "update_queue": {"length": info.update_queue_length, "op_num": shard.last_op},
    }
    if level >= _INSIDE_LEVEL:
        left_out = local_reads.left_out([shard], collection.config.index_params().vectors)
        shown["indexed_only_excluded_vectors"] = {name_of(name): count for name, count in left_out.items() if count}
    return shown


def _shown_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
