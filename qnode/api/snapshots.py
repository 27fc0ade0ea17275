"""Endpoints of snapshots: of a collection, of one of its shards, of the whole storage.

Changes are waited for unless `wait=false`, which is answered at once with 202; they go on either way. An upload is not read
before its path and parameters are, and never into memory. Beside Qdrant's there is `cluster=true` for the making of a
collection's snapshot: of all its shards, wherever they are.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from starlette.requests import ClientDisconnect

from qnode.api import answers
from qnode.api.definitions import call_of, json_response
from qnode.api.errors import explain
from qnode.api.http import Receive, Scope, Send, boolean_parameter, json_of, query_pairs, unsigned_of
from qnode.api.multipart import FileReader, boundary_of
from qnode.errors import BadRequest, MalformedParameters, NotFound, RefusedBody, ValidationFailed
from qnode.models import reading
from qnode.snapshots import Arriving, Location, Priority, Shelf, Snapshots, next_of, sha256_of

_COLLECTION: Final = "/collections/{collection_name}"
_SHARD: Final = f"{_COLLECTION}/shards/{{shard_id}}"
_BINARY: Final = "application/octet-stream"
_PIECE_BYTES: Final = 1 << 20
_UPLOAD: Final = re.compile(
    r"/collections/[^/]+/(?:(?:shards/[^/]+/)?snapshots/upload|shards/[^/]+/snapshot/partial/recover)"
)
_PRIORITIES: Final = tuple(priority.value for priority in Priority)
_FILE_FIELD: Final = "snapshot"
_PARTIAL: Final = (("POST", "create"), ("GET", "manifest"), ("POST", "recover"), ("POST", "recover_from"))
"""Partial snapshots bring the segments that differ; here no two replicas build the same ones, so nobody shall take one for done."""
_SHA256: Final = re.compile("[0-9a-fA-F]{64}")

Work = Coroutine[Any, Any, Any]


def is_upload(method: str, path: str) -> bool:
    """Tell whether the body of a request is a snapshot: then its endpoint reads it, or leaves it."""
    return method == "POST" and _UPLOAD.fullmatch(path) is not None


def routes(snapshots: Snapshots) -> APIRouter:
    """Build the routes of snapshots."""
    router = APIRouter()
    _add_collection_routes(router, snapshots)
    _add_shard_routes(router, snapshots)
    _add_storage_routes(router, snapshots)
    for method, path in _PARTIAL:
        router.add_api_route(f"{_SHARD}/snapshot/partial/{path}", _refused, methods=[method], include_in_schema=False)
    return router


async def _refused(request: Request) -> Response:
    raise BadRequest(f"{request.method} {request.scope['route'].path} is not supported yet")


def _add_collection_routes(router: APIRouter, snapshots: Snapshots) -> None:
    @router.get(f"{_COLLECTION}/snapshots", summary="List collection snapshots")
    async def listed(collection_name: str, request: Request) -> Response:
        return await _list(request, snapshots.of_collection(collection_name))

    @router.post(f"{_COLLECTION}/snapshots", summary="Create collection snapshot; cluster=true: of all its shards")
    async def create(collection_name: str, request: Request) -> Response:
        of_cluster = boolean_parameter(query_pairs(request.scope["query_string"]), "cluster")
        snapshots.of_collection(collection_name)
        work = lambda: _made(snapshots.create(collection_name, of_cluster=of_cluster))  # noqa: E731
        return await _finish(request, snapshots, work)

    @router.put(f"{_COLLECTION}/snapshots/recover", summary="Recover a collection from a snapshot")
    async def recover(collection_name: str, request: Request) -> Response:
        location, priority, checksum = await _recovery(request, None)
        work = partial(snapshots.recover, collection_name, location, priority, checksum)
        return await _finish(request, snapshots, lambda: _done(work()))

    @router.post(f"{_COLLECTION}/snapshots/upload", summary="Recover a collection from an uploaded snapshot")
    async def upload(collection_name: str, request: Request) -> Response:
        return await _upload(request, snapshots, collection_name, None)

    @router.get(f"{_COLLECTION}/snapshots/{{snapshot_name}}", summary="Download collection snapshot")
    async def download(collection_name: str, snapshot_name: str) -> Response:
        return await _download(snapshots.of_collection(collection_name), snapshot_name)

    @router.delete(f"{_COLLECTION}/snapshots/{{snapshot_name}}", summary="Delete collection snapshot")
    async def delete(collection_name: str, snapshot_name: str, request: Request) -> Response:
        return await _delete(request, snapshots, snapshots.of_collection(collection_name), snapshot_name)


def _add_shard_routes(router: APIRouter, snapshots: Snapshots) -> None:
    @router.get(f"{_SHARD}/snapshots", summary="List shard snapshots")
    async def listed(collection_name: str, shard_id: str, request: Request) -> Response:
        return await _list(request, snapshots.of_shard(collection_name, _number(shard_id)))

    @router.post(f"{_SHARD}/snapshots", summary="Create shard snapshot")
    async def create(collection_name: str, shard_id: str, request: Request) -> Response:
        number = _number(shard_id)
        snapshots.of_shard(collection_name, number)
        return await _finish(request, snapshots, lambda: _made(snapshots.create_of_shard(collection_name, number)))

    @router.put(f"{_SHARD}/snapshots/recover", summary="Recover a shard from a snapshot")
    async def recover(collection_name: str, shard_id: str, request: Request) -> Response:
        number = _number(shard_id)
        base = snapshots.of_shard(collection_name, number).folder
        location, priority, checksum = await _recovery(request, base)
        work = partial(snapshots.recover, collection_name, location, priority, checksum, number)
        return await _finish(request, snapshots, lambda: _done(work()))

    @router.post(f"{_SHARD}/snapshots/upload", summary="Recover a shard from an uploaded snapshot")
    async def upload(collection_name: str, shard_id: str, request: Request) -> Response:
        number = _number(shard_id)
        snapshots.of_shard(collection_name, number)
        return await _upload(request, snapshots, collection_name, number)

    @router.get(f"{_SHARD}/snapshots/{{snapshot_name}}", summary="Download shard snapshot")
    async def download(collection_name: str, shard_id: str, snapshot_name: str) -> Response:
        return await _download(snapshots.of_shard(collection_name, _number(shard_id)), snapshot_name)

    @router.delete(f"{_SHARD}/snapshots/{{snapshot_name}}", summary="Delete shard snapshot")
    async def delete(collection_name: str, shard_id: str, snapshot_name: str, request: Request) -> Response:
        shelf = snapshots.of_shard(collection_name, _number(shard_id))
        return await _delete(request, snapshots, shelf, snapshot_name)

    @router.get(f"{_SHARD}/snapshot", summary="Download a snapshot of a shard as it is now")
    async def stream(collection_name: str, shard_id: str) -> Response:
        opened = AsyncExitStack()
        stream = snapshots.stream_of_shard(collection_name, _number(shard_id))
        size_bytes, content = await opened.enter_async_context(stream)
        return _Streamed(opened, size_bytes, content)


def _add_storage_routes(router: APIRouter, snapshots: Snapshots) -> None:
    @router.get("/snapshots", summary="List snapshots of the whole storage")
    async def listed(request: Request) -> Response:
        return await _list(request, snapshots.of_storage())

    @router.post("/snapshots", summary="Create a snapshot of the whole storage")
    async def create(request: Request) -> Response:
        return await _finish(request, snapshots, lambda: _made(snapshots.create_of_storage()))

    @router.get("/snapshots/{snapshot_name}", summary="Download a snapshot of the whole storage")
    async def download(snapshot_name: str) -> Response:
        return await _download(snapshots.of_storage(), snapshot_name)

    @router.delete("/snapshots/{snapshot_name}", summary="Delete a snapshot of the whole storage")
    async def delete(snapshot_name: str, request: Request) -> Response:
        return await _delete(request, snapshots, snapshots.of_storage(), snapshot_name)


# What the endpoints have in common


class _Download(FileResponse):
    """A file in larger pieces than it would be read in otherwise: each is a change of thread."""

    chunk_size = _PIECE_BYTES


class _Streamed(StreamingResponse):
    """What is read in a thread, piece by piece; what it needs goes with it, also if the client goes before the first piece."""

    def __init__(self, opened: AsyncExitStack, size_bytes: int, content: Iterator[bytes]) -> None:
        super().__init__(_pieces(content), headers={"content-length": str(size_bytes)}, media_type=_BINARY)
        self._opened = opened

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._opened:
            await super().__call__(scope, receive, send)


async def _list(request: Request, shelf: Shelf) -> Response:
    found = await asyncio.to_thread(shelf.listed)
    return json_response(answers.ok([each.shown() for each in found], request.state.started))


async def _download(shelf: Shelf, name: str) -> Response:
    return _Download(await asyncio.to_thread(shelf.find, name), media_type=_BINARY, filename=name)


async def _delete(request: Request, snapshots: Snapshots, shelf: Shelf, name: str) -> Response:
    await asyncio.to_thread(shelf.find, name)
    return await _finish(request, snapshots, lambda: _done(asyncio.to_thread(shelf.delete, name)))


async def _made(work: Work) -> object:
    return (await work).shown()


async def _done(work: Work) -> bool:
    await work
    return True


async def _finish(request: Request, snapshots: Snapshots, work: Callable[[], Work]) -> Response:
    """Answer when something is done, or at once if the client does not wait; it goes on either way."""
    waits = boolean_parameter(query_pairs(request.scope["query_string"]), "wait", default=True)
    task = snapshots.begin(work())
    if waits:
        return json_response(answers.ok(await asyncio.shield(task), request.state.started))
    task.add_done_callback(_told_to_nobody)
    accepted = {"status": "accepted", "time": perf_counter() - request.state.started}
    return Response(orjson.dumps(accepted), 202, media_type="application/json")


def _told_to_nobody(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and isinstance(error := task.exception(), Exception):
        explain(error)  # what is not the client's doing is logged


async def _recovery(request: Request, base: Path | None) -> tuple[Location, Priority, str | None]:
    """Read what is to be recovered. `base`: where a plain name of a file is looked up."""
    given = reading.mapping(json_of(await call_of(request)), "struct SnapshotRecover")
    uri = reading.required(given, "location")
    checksum, api_key = (_optional_text(given.get(name)) for name in ("checksum", "api_key"))
    _check_checksum(checksum, "JSON body")
    priority = given.get("priority")
    if priority is not None:
        reading.one_of(*_PRIORITIES)(priority)
    location = Location(reading.text(uri), api_key, base)
    return location, Priority(priority or Priority.SNAPSHOT), checksum


def _optional_text(value: object) -> str | None:
    return None if value is None else reading.text(value)


def _check_checksum(checksum: str | None, where: str) -> None:
    if checksum is not None and not _SHA256.fullmatch(checksum):
        raise ValidationFailed([("checksum", "Validation error: invalid_sha256_hash [{}]")], where)


async def _upload(request: Request, snapshots: Snapshots, name: str, shard: int | None) -> Response:
    """Take a snapshot from the body of a request, and restore it. What can be refused is refused before the body is read."""
    pairs = query_pairs(request.scope["query_string"])
    boolean_parameter(pairs, "wait", default=True)
    priority, checksum = pairs.get("priority", "snapshot"), pairs.get("checksum")
    _check_checksum(checksum, "query parameters")
    if priority not in _PRIORITIES:
        shown = ", ".join(f"`{each}`" for each in _PRIORITIES)
        raise MalformedParameters(f"unknown variant `{priority[:100]}`, expected one of {shown}")
    boundary = boundary_of(request.headers.get("content-type", ""))
    async with AsyncExitStack() as opened:
        file = await opened.enter_async_context(snapshots.arriving())
        await _receive(request, boundary, file)
        work = partial(_restore, opened.pop_all(), snapshots, name, file, Priority(priority), checksum, shard)
        return await _finish(request, snapshots, lambda: _done(work()))


async def _receive(request: Request, boundary: bytes, file: Path) -> None:
    """Write the file of an upload as it arrives."""
    arriving = await asyncio.to_thread(Arriving, file)
    try:
        reader = FileReader(boundary, _FILE_FIELD, arriving.write)
        waiting = bytearray()
        async for piece in request.stream():
            waiting += piece
            if len(waiting) >= _PIECE_BYTES:
                await asyncio.to_thread(reader.feed, bytes(waiting))
                waiting.clear()
        await asyncio.to_thread(reader.feed, bytes(waiting))
        reader.finish()
    except ClientDisconnect:
        raise RefusedBody("The client went away before the body was complete.") from None
    finally:
        await asyncio.to_thread(arriving.close)


async def _restore(
    opened: AsyncExitStack,
    snapshots: Snapshots,
    name: str,
    file: Path,
    priority: Priority,
    checksum: str | None,
    shard: int | None,
) -> None:
    async with opened:
        if checksum is not None and (actual := await asyncio.to_thread(sha256_of, file)) != checksum.lower():
            raise RefusedBody(f"Checksum mismatch: expected {checksum}, actual {actual}")
        await snapshots.restore(name, file, priority, shard)


async def _pieces(content: Iterator[bytes]) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(next_of, content):
        yield piece


def _number(shown: str) -> int:
    number = unsigned_of(shown)
    if number is None:
        raise NotFound(f"Shard {shown[:100]} not found")
    return number
