"""What the node knows of itself, in the shape of Qdrant's telemetry; more with a higher level of detail.

Left out until there is something honest to say: the system, hardware counters, search pool, snapshots, and what is inside a
shard.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from qnode.api.cluster_surface import ClusterSurface
from qnode.metrics import EndpointCount, RestCounts, resident_bytes

if TYPE_CHECKING:
    from qnode.shards.collection import Collection
    from qnode.shards.collections import Collections

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

    def show(self, level: int) -> dict[str, Any]:
        """Build the answer; `level` as `details_level`."""
        served = self._collections.open_collections()
        collections: dict[str, Any] = {"number_of_collections": len(served)}
        if level >= 1:
            collections["collections"] = [_show_collection(collection, level) for collection in served]
        shown: dict[str, Any] = {
            "id": self._id,
            "app": self._show_app(level),
            "collections": collections,
            "cluster": self._surface.show_for_node_telemetry(level),
            "requests": {"rest": {"responses": self._show_responses()}, "grpc": {"responses": {}}},
        }
        resident = resident_bytes()
        if level >= 1 and resident is not None:
            shown["memory"] = dict.fromkeys(
                ("active_bytes", "allocated_bytes", "metadata_bytes", "resident_bytes", "retained_bytes"), 0
            ) | {"resident_bytes": resident}
        return shown

    def _show_app(self, level: int) -> dict[str, Any]:
        if level < 1:
            return self._app
        return {
            **self._app,
            "features": dict.fromkeys(_FEATURES, False),
        }

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


def _show_collection(collection: Collection, level: int) -> dict[str, Any]:
    info, config = collection.local_info(), collection.config
    if level < 2:
        return {
            "vectors": sum(info.vectors_count_by_name.values()),
            "optimizers_status": info.optimizer_status,
            "params": config.shown_params(),
        }
    return {"id": collection.name, "config": config.shown()}


def _shown_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
