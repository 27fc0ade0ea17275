"""Endpoints that define things: collections and payload indexes.

Bodies are read by `models.collection`, so that faults are told in Qdrant's words; FastAPI routes and documents.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import APIRouter, Request, Response

from qnode.api import answers
from qnode.api.access import Access
from qnode.api.errors import explain
from qnode.api.http import Call, Parameters, definition_parameters, json_of
from qnode.api.points import Points
from qnode.api.strict_writes import check_definition
from qnode.errors import TimedOut
from qnode.models import reading
from qnode.models.collection import (
    CollectionConfig,
    CollectionDefaults,
    CollectionDiff,
    CollectionInfo,
    parse_field_schema,
)
from qnode.models.collection_sections import collection_name_faults
from qnode.models.collection_vectors import read_added
from qnode.models.payload_path import parse_path

if TYPE_CHECKING:
    from qnode.shards.collections import Collections

Result = TypeVar("Result")


async def call_of(request: Request, name: str = "") -> Call:
    """Take what an endpoint needs from a request."""
    content_type = request.headers.get("content-type", "").encode("latin-1")
    query_string: bytes = request.scope["query_string"]
    body = await request.body()
    return Call(name, query_string, content_type, body, request.state.started, access=access_of(request))


def access_of(request: Request) -> Access | None:
    """Give what the client may do; None everything."""
    access: Access | None = getattr(request.state, "access", None)
    return access


def _definition(call: Call) -> Any:
    """Parse the body of a definition, parts of which are stored and shown as they are."""
    body = json_of(call)
    reading.check_depth(body)
    return body


def json_response(body: bytes) -> Response:
    """Answer with JSON that is ready."""
    return Response(body, media_type="application/json")


def routes(collections: Collections, points: Points, defaults: Callable[[], CollectionDefaults]) -> APIRouter:
    """Build the routes of collections, their payload indexes, and the single point."""
    router = APIRouter()
    _add_collection_routes(router, collections, defaults)
    _add_vector_routes(router, collections)
    _add_index_routes(router, collections)

    @router.get("/collections/{collection_name}/points/{id}", summary="Get point")
    async def point(collection_name: str, id: str, request: Request) -> Response:  # noqa: A002 - Qdrant's template
        return json_response(await points.point(await call_of(request, collection_name), id))

    return router


def _add_collection_routes(
    router: APIRouter, collections: Collections, defaults: Callable[[], CollectionDefaults]
) -> None:
    @router.get("/collections", summary="List collections")
    async def names(request: Request) -> Response:
        access = access_of(request)
        shown = [{"name": name} for name in await collections.names() if access is None or access.may_see(name)]
        return json_response(answers.ok({"collections": shown}, request.state.started))

    @router.get("/collections/{collection_name}", summary="Collection details")
    async def info(collection_name: str, request: Request) -> Response:
        collection = collections.get(collection_name)
        shown = show_info(collection.config, await collection.info())
        return json_response(answers.ok(shown, request.state.started))

    @router.get("/collections/{collection_name}/exists", summary="Check the existence of a collection")
    async def exist(collection_name: str, request: Request) -> Response:
        exists = collections.exists(collection_name)
        return json_response(answers.ok({"exists": exists}, request.state.started))

    @router.put("/collections/{collection_name}", summary="Create collection")
    async def create(collection_name: str, request: Request) -> Response:
        call = await call_of(request, collection_name)
        parameters = definition_parameters(call.query_string)
        reading.raise_faults(collection_name_faults(collection_name), "path parameters")
        config = CollectionConfig.from_request(_definition(call), defaults())
        await in_time(parameters, collections.create(collection_name, config))
        return json_response(answers.ok(True, call.started))

    @router.patch("/collections/{collection_name}", summary="Update collection parameters")
    async def update(collection_name: str, request: Request) -> Response:
        call = await call_of(request, collection_name)
        parameters = definition_parameters(call.query_string)
        diff = CollectionDiff.from_request(_definition(call))
        await in_time(parameters, collections.update(collection_name, diff))
        return json_response(answers.ok(True, call.started))

    @router.delete("/collections/{collection_name}", summary="Delete collection")
    async def delete(collection_name: str, request: Request) -> Response:
        parameters = definition_parameters(request.scope["query_string"])
        deleted = await in_time(parameters, collections.delete(collection_name))
        return json_response(answers.ok(deleted, request.state.started))


def _add_vector_routes(router: APIRouter, collections: Collections) -> None:
    @router.put("/collections/{collection_name}/vectors/{vector_name}", summary="Create named vector")
    async def create_vector(collection_name: str, vector_name: str, request: Request) -> Response:
        call = await call_of(request, collection_name)
        parameters = definition_parameters(call.query_string)
        dense, sparse = read_added(_definition(call), vector_name)
        check_definition(collections.get(collection_name), parameters.timeout_seconds)
        adding = collections.change_vectors(
            collection_name, lambda config: config.with_vector(vector_name, dense, sparse)
        )
        result = await in_time(parameters, adding)
        return json_response(answers.ok(answers.update(result), call.started))

    @router.delete("/collections/{collection_name}/vectors/{vector_name}", summary="Delete named vector")
    async def delete_vector(collection_name: str, vector_name: str, request: Request) -> Response:
        parameters = definition_parameters(request.scope["query_string"])
        check_definition(collections.get(collection_name), parameters.timeout_seconds)
        removing = collections.change_vectors(collection_name, lambda config: config.without_vector(vector_name))
        result = await in_time(parameters, removing)
        return json_response(answers.ok(answers.update(result), request.state.started))


def _add_index_routes(router: APIRouter, collections: Collections) -> None:
    @router.put("/collections/{collection_name}/index", summary="Create payload index")
    async def create_index(collection_name: str, request: Request) -> Response:
        call = await call_of(request, collection_name)
        parameters = definition_parameters(call.query_string)
        given = reading.mapping(_definition(call), "struct CreateFieldIndex")
        field = reading.text(reading.required(given, "field_name"))
        parse_path(field)
        schema = parse_field_schema(reading.first_of(given, "field_schema", "field_type"))
        check_definition(collections.get(collection_name), parameters.timeout_seconds, field)
        change = collections.create_field_index(collection_name, field, schema, parameters.wait)
        result = await in_time(parameters, change)
        return json_response(answers.ok(answers.update(result), call.started))

    @router.delete("/collections/{collection_name}/index/{field_name:path}", summary="Delete payload index")
    async def drop_index(collection_name: str, field_name: str, request: Request) -> Response:
        parameters = definition_parameters(request.scope["query_string"])
        check_definition(collections.get(collection_name), parameters.timeout_seconds)
        change = collections.drop_field_index(collection_name, field_name, parameters.wait)
        result = await in_time(parameters, change)
        return json_response(answers.ok(answers.update(result), request.state.started))


def show_info(config: CollectionConfig, info: CollectionInfo) -> dict[str, Any]:
    """Build a collection's info."""
    shown: dict[str, Any] = {
        "status": info.status.value,
        "optimizer_status": info.optimizer_status,
        "indexed_vectors_count": info.indexed_vectors_count,
        "points_count": info.points_count,
        "segments_count": info.segments_count,
        "config": config.shown(),
        "payload_schema": {field: schema.shown(count) for field, (schema, count) in info.payload_schema.items()},
        "update_queue": {"length": info.update_queue_length},
    }
    if info.deferred_points_count:
        shown["update_queue"]["deferred_points"] = info.deferred_points_count
    if warnings := config.warnings():
        shown["warnings"] = [{"message": warning} for warning in warnings]
    return shown


async def in_time(parameters: Parameters, change: Awaitable[Result]) -> Result:
    """Wait for a change, no longer than the client wants to; the change itself goes on."""
    if parameters.timeout_seconds is None:
        return await change
    going_on = asyncio.ensure_future(change)
    done, _ = await asyncio.wait({going_on}, timeout=parameters.timeout_seconds)
    if not done:
        going_on.add_done_callback(_forget)
        raise TimedOut(f"The change was not complete after {parameters.timeout_seconds} seconds; it goes on")
    return going_on.result()


def _forget(finished: asyncio.Future[Any]) -> None:
    """Take notice of a late fault, which nobody waits for any more; what is unexpected is logged."""
    if not finished.cancelled() and isinstance(error := finished.exception(), Exception):
        explain(error)
