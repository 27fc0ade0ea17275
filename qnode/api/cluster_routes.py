"""Endpoints of the cluster: its members, where shards are, and the operations that change either.

Left out: resharding, and a request for consensus' own snapshot that does anything: the leader sends one to whoever lacks
what its log no longer has, without being asked.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from qnode.api import answers
from qnode.api.cluster_json import read_new_shard_key, read_operation, read_shard_key_to_drop
from qnode.api.cluster_surface import ClusterSurface
from qnode.api.definitions import call_of, json_response
from qnode.api.http import (
    boolean_parameter,
    definition_parameters,
    integer_parameter,
    json_of,
    query_pairs,
    unsigned_of,
)
from qnode.errors import BadRequest
from qnode.models import reading
from qnode.models.topology_commands import DeleteMetadata, PutMetadata, SetPeerDraining

TIMEOUT_SECONDS = 10
"""How long an operation may take, and a peer to say how it stands, if the client does not say it."""

_COLLECTION = "/collections/{collection_name}"


def routes(surface: ClusterSurface) -> APIRouter:
    """Build the routes of the cluster."""
    router = APIRouter()
    _add_status_routes(router, surface)
    _add_peer_routes(router, surface)
    _add_metadata_routes(router, surface)
    _add_collection_routes(router, surface)
    return router


def _add_status_routes(router: APIRouter, surface: ClusterSurface) -> None:
    @router.get("/cluster", summary="Who is in the cluster, and how consensus stands")
    async def status(request: Request) -> Response:
        return _answer(request, surface.show_status())

    @router.get("/cluster/telemetry", summary="The cluster as all of its nodes tell it")
    async def telemetry(request: Request) -> Response:
        level = integer_parameter(query_pairs(request.scope["query_string"]), "details_level") or 0
        return _answer(request, await surface.show_telemetry(level, _timeout(request)))

    @router.post("/cluster/recover", summary="Ask for the topology anew; the leader sends it to whoever lacks it")
    async def recover(request: Request) -> Response:
        surface.check_is_clustered()
        return _answer(request, True)


def _add_peer_routes(router: APIRouter, surface: ClusterSurface) -> None:
    @router.delete("/cluster/peer/{peer_id}", summary="Remove a peer from the cluster")
    async def remove(peer_id: str, request: Request) -> Response:
        cluster, peer = surface.cluster, _peer(peer_id)
        force = boolean_parameter(query_pairs(request.scope["query_string"]), "force")
        await cluster.remove_peer(peer, force=force, timeout_seconds=_timeout(request))
        return _answer(request, True)

    @router.post("/cluster/peer/{peer_id}/drain", summary="Move everything off a peer")
    async def drain(peer_id: str, request: Request) -> Response:
        await surface.drain(_peer(peer_id), _timeout(request))
        return _answer(request, True)

    @router.delete("/cluster/peer/{peer_id}/drain", summary="Let a peer take replicas again")
    async def stop_draining(peer_id: str, request: Request) -> Response:
        await surface.cluster.propose(SetPeerDraining(_peer(peer_id), False), _timeout(request))
        return _answer(request, True)


def _add_metadata_routes(router: APIRouter, surface: ClusterSurface) -> None:
    @router.get("/cluster/metadata/keys", summary="List the keys of what users keep in the cluster")
    async def keys(request: Request) -> Response:
        return _answer(request, surface.metadata_keys())

    @router.get("/cluster/metadata/keys/{key}", summary="Give what is kept under a key")
    async def value(key: str, request: Request) -> Response:
        return _answer(request, surface.metadata(key))

    # A change is waited for whatever `wait` says: so a client hears of it if it cannot be made.
    @router.put("/cluster/metadata/keys/{key}", summary="Keep a JSON value under a key")
    async def put(key: str, request: Request) -> Response:
        cluster = surface.cluster
        await cluster.propose(PutMetadata(key, await _body(request)), _timeout(request))
        return _answer(request, True)

    @router.delete("/cluster/metadata/keys/{key}", summary="Forget what is kept under a key")
    async def delete(key: str, request: Request) -> Response:
        await surface.cluster.propose(DeleteMetadata(key), _timeout(request))
        return _answer(request, True)


def _add_collection_routes(router: APIRouter, surface: ClusterSurface) -> None:
    @router.get(f"{_COLLECTION}/cluster", summary="Where the shards of a collection are")
    async def info(collection_name: str, request: Request) -> Response:
        return _answer(request, surface.show_collection(collection_name))

    @router.post(f"{_COLLECTION}/cluster", summary="Move, copy and drop replicas; make and drop shard keys")
    async def operate(collection_name: str, request: Request) -> Response:
        surface.check_is_clustered()
        timeout_seconds, body = _timeout(request), await _body(request)
        name = surface.resolved(collection_name)
        await surface.operate(name, read_operation(body, name), timeout_seconds)
        return _answer(request, True)

    @router.get(f"{_COLLECTION}/shards", summary="List shard keys")
    async def shard_keys(collection_name: str, request: Request) -> Response:
        return _answer(request, surface.show_shard_keys(collection_name))

    @router.put(f"{_COLLECTION}/shards", summary="Create shard key")
    async def create_shard_key(collection_name: str, request: Request) -> Response:
        surface.check_is_clustered()
        timeout_seconds, wanted = _timeout(request), read_new_shard_key(await _body(request))
        await surface.operate(surface.resolved(collection_name), wanted, timeout_seconds)
        return _answer(request, True)

    @router.post(f"{_COLLECTION}/shards/delete", summary="Delete shard key")
    async def drop_shard_key(collection_name: str, request: Request) -> Response:
        surface.check_is_clustered()
        timeout_seconds, body = _timeout(request), await _body(request)
        name = surface.resolved(collection_name)
        await surface.operate(name, read_shard_key_to_drop(body, name), timeout_seconds)
        return _answer(request, True)


def _answer(request: Request, result: object) -> Response:
    return json_response(answers.ok(result, request.state.started))


async def _body(request: Request) -> object:
    body: object = json_of(await call_of(request))
    reading.check_depth(body)
    return body


def _timeout(request: Request) -> int:
    return definition_parameters(request.scope["query_string"]).timeout_seconds or TIMEOUT_SECONDS


def _peer(shown: str) -> int:
    peer = unsigned_of(shown)
    if peer is None:
        raise BadRequest(f"`{shown[:100]}` is not the id of a peer")
    return peer
