"""Endpoints about the node itself: version, health, metrics, telemetry."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from qnode import QDRANT_VERSION
from qnode.api import answers
from qnode.api.collectors import (
    AppCollector,
    ClusterCollector,
    CollectionCollector,
    Prefixed,
    QuotaCollector,
    RecallCollector,
    ReplicaCollector,
    SnapshotCollector,
)
from qnode.api.http import boolean_parameter, integer_parameter, query_pairs
from qnode.api.observed import Observed
from qnode.api.telemetry import Telemetry
from qnode.metrics import ProcessCollector, RestCollector

_SERVED_AS = "qdrant"
_TITLE = "qdrant - vector search engine"
_COMMIT = "0" * 40
_PLAIN = "text/plain; charset=utf-8"


def _registry(
    observed: Observed, name_of: Callable[[str], str], prefix: str, *, per_collection: bool
) -> CollectorRegistry:
    collections, surface = observed.collections, observed.surface
    collectors: list[Collector] = [
        AppCollector(_SERVED_AS, QDRANT_VERSION),
        CollectionCollector(collections, name_of),
        ReplicaCollector(collections, surface, name_of),
        ClusterCollector(surface),
        RestCollector(observed.counts, name_of, per_collection=per_collection),
        QuotaCollector(observed.quotas),
        ProcessCollector(),
    ]
    if observed.snapshots is not None:
        collectors.append(SnapshotCollector(collections, observed.snapshots, name_of))
    if observed.recall is not None:
        collectors.append(RecallCollector(collections, observed.recall, name_of))
    registry = CollectorRegistry(auto_describe=False)
    for collector in collectors:
        registry.register(Prefixed(collector, prefix) if prefix else collector)
    return registry


def routes(observed: Observed, metrics_prefix: str = "") -> APIRouter:
    """Build the routes about the node; the names in /metrics begin with the prefix."""
    router = APIRouter()
    surface = observed.surface
    telemetry = Telemetry(observed, _SERVED_AS, QDRANT_VERSION)
    registries = {
        (per_collection, anonymous): _registry(
            observed, telemetry.hidden if anonymous else str, metrics_prefix, per_collection=per_collection
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
        shown = telemetry.show(
            level,
            anonymous=boolean_parameter(pairs, "anonymize"),
            per_collection=boolean_parameter(pairs, "per_collection"),
        )
        return Response(answers.ok(shown, request.state.started), media_type="application/json")

    return router
