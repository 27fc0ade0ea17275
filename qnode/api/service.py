"""Endpoints about the node itself: version, health, metrics, telemetry."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from qnode import QDRANT_VERSION
from qnode.api import answers
from qnode.api.cluster_surface import ClusterSurface
from qnode.api.http import boolean_parameter, integer_parameter, query_pairs
from qnode.api.telemetry import Telemetry
from qnode.metrics import ProcessCollector, RestCollector, RestCounts
from qnode.shards import local_reads

if TYPE_CHECKING:
    from qnode.shards.collections import Collections

_SERVED_AS = "qdrant"
_TITLE = "qdrant - vector search engine"
_COMMIT = "0" * 40
_PLAIN = "text/plain; charset=utf-8"


class CollectionCollector(Collector):
    """Shows how the collections stand; `name_of` says under which names."""

    def __init__(self, collections: Collections, name_of: Callable[[str], str]) -> None:
        self._collections = collections
        self._name_of = name_of

    def collect(self) -> Iterable[Metric]:
        app = GaugeMetricFamily("app_info", "information about qdrant server", labels=["name", "version"])
        app.add_metric([_SERVED_AS, QDRANT_VERSION], 1)
        yield app
        yield GaugeMetricFamily("app_status_recovery_mode", "is the node in recovery mode", 0)
        served = self._collections.open_collections()
        yield GaugeMetricFamily("collections_total", "number of collections", len(served))
        points = GaugeMetricFamily("collection_points", "approximate amount of points per collection", labels=["id"])
        vectors = GaugeMetricFamily(
            "collection_vectors", "amount of vectors grouped by vector name", labels=["collection", "vector"]
        )
        queue = GaugeMetricFamily("collection_update_queue_length", "number of waiting updates", labels=["id"])
        running = GaugeMetricFamily(
            "collection_running_optimizations", "number of running optimizations", labels=["id"]
        )
        left_out = GaugeMetricFamily(
            "collection_indexed_only_excluded_points",
            "amount of points that a search with `indexed_only` does not look at",
            labels=["id", "vector"],
        )
        total = 0
        for collection in served:
            info = collection.local_info()
            shown, shards = self._name_of(collection.name), collection.shards.values()
            points.add_metric([shown], info.points_count)
            queue.add_metric([shown], info.update_queue_length)
            running.add_metric([shown], sum(shard.is_building for shard in shards))
            for name, count in info.vectors_count_by_name.items():
                vectors.add_metric([shown, self._name_of(name)], count)
                total += count
            for name, count in local_reads.left_out(shards, collection.config.index_params().vectors).items():
                if count:
                    left_out.add_metric([shown, self._name_of(name)], count)
        yield GaugeMetricFamily("collections_vector_total", "total number of vectors in all collections", total)
        yield from (points, vectors, queue, running, left_out)


class ClusterCollector(Collector):
    """Shows how consensus stands on this node."""

    def __init__(self, surface: ClusterSurface) -> None:
        self._surface = surface

    def collect(self) -> Iterable[Metric]:
        standing = self._surface.standing()
        yield GaugeMetricFamily("cluster_enabled", "is cluster support enabled", int(standing is not None))
        if standing is None:
            return
        yield GaugeMetricFamily("cluster_peers_total", "total number of cluster peers", len(standing.peers))
        yield GaugeMetricFamily("cluster_term", "current cluster term", standing.term)
        yield GaugeMetricFamily("cluster_commit", "index of last committed operation", standing.commit)
        pending = "total number of pending operations"
        yield GaugeMetricFamily("cluster_pending_operations_total", pending, standing.pending)
        yield GaugeMetricFamily("cluster_voter", "is the peer a voter or a learner", int(standing.is_voter))


def _registry(
    collections: Collections,
    counts: RestCounts,
    surface: ClusterSurface,
    name_of: Callable[[str], str],
    *,
    per_collection: bool,
) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    rest = RestCollector(counts, name_of, per_collection=per_collection)
    for collector in (CollectionCollector(collections, name_of), ClusterCollector(surface), rest, ProcessCollector()):
        registry.register(collector)
    return registry


def routes(collections: Collections, counts: RestCounts, surface: ClusterSurface) -> APIRouter:
    """Build the routes about the node."""
    router = APIRouter()
    telemetry = Telemetry(collections, counts, surface, _SERVED_AS, QDRANT_VERSION)
    registries = {
        (per_collection, anonymous): _registry(
            collections, counts, surface, telemetry.hidden if anonymous else str, per_collection=per_collection
        )
        for per_collection in (False, True)
        for anonymous in (False, True)
    }

    @router.get("/", summary="Name and version")
    async def root() -> Response:
        shown = {"title": _TITLE, "version": QDRANT_VERSION, "commit": _COMMIT}
        return Response(answers.bare(shown), media_type="application/json")

    @router.get("/healthz", summary="Whether the process is up")
    @router.get("/livez", summary="Whether the process is up")
    async def alive() -> Response:
        return Response("healthz check passed", media_type=_PLAIN)

    @router.get("/readyz", summary="Whether all shards are served")
    async def ready() -> Response:
        reason = surface.reason_not_ready()
        if reason is None:
            return Response("all shards are ready", media_type=_PLAIN)
        return Response(f"some shards are not ready: {reason}", 503, media_type=_PLAIN)

    @router.get("/metrics", summary="Prometheus metrics")
    async def metrics(request: Request) -> Response:
        pairs = query_pairs(request.scope["query_string"])
        wanted = boolean_parameter(pairs, "per_collection"), boolean_parameter(pairs, "anonymize")
        return Response(generate_latest(registries[wanted]), media_type=_PLAIN)

    @router.get("/telemetry", summary="What the node knows of itself")
    async def show_telemetry(request: Request) -> Response:
        pairs = query_pairs(request.scope["query_string"])
        level = integer_parameter(pairs, "details_level") or 0
        shown = telemetry.show(level, anonymous=boolean_parameter(pairs, "anonymize"))
        return Response(answers.ok(shown, request.state.started), media_type="application/json")

    return router
