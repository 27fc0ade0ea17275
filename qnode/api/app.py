"""The HTTP application of a node: hot endpoints in front, FastAPI behind.

A request for points is found with one look into a dict, and answered without FastAPI. Everything else goes to FastAPI,
with its body read already. Whatever goes wrong becomes Qdrant's error envelope here, in one place; whatever was
answered is counted here. A small search may be answered before it becomes a message at all (`answering_now`, which
`api/direct.py` asks); whatever that leaves comes in through `__call__`. The guard stands in both: in `__call__` before the
two ways part.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from time import perf_counter
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from qnode import __version__
from qnode.api import (
    aliases,
    answers,
    cluster_routes,
    definitions,
    documentation,
    inspection,
    issues,
    optimizations,
    quota_routes,
    service,
    snapshots,
)
from qnode.api.access import Access, Guard, Keys, credential
from qnode.api.cluster_surface import ClusterSurface
from qnode.api.compression import COMPRESSED_FROM_BYTES, accepts_gzip, compressed
from qnode.api.errors import explain
from qnode.api.http import JSON, SMALL_BODY_BYTES, Call, Header, Message, Receive, Scope, Send, read_body, respond
from qnode.api.observed import Observed
from qnode.api.points import DirectEndpoint, Endpoint, Later, Points, Withdraw
from qnode.api.summaries import Summaries
from qnode.errors import QnodeError, Unauthorized, Untrusted, ValidationFailed
from qnode.metrics import EndpointCounts, RestCounts
from qnode.models.collection_sections import collection_address_faults
from qnode.models.query import CountRequest

if TYPE_CHECKING:
    from qnode.cluster import Cluster
    from qnode.models.collection import CollectionDefaults
    from qnode.models.filter import Filter
    from qnode.models.topology import Topology
    from qnode.quotas import Quotas
    from qnode.shards.collections import Collections
    from qnode.shards.recall import RecallProbe
    from qnode.shards.replicas import Replicas
    from qnode.snapshots import Snapshots

_COLLECTIONS = "/collections/"
_REMEMBERED_URLS = 256
AnswerNow = Callable[[bytes, float, Later], bytes | Withdraw | None]
"""Answers a body, as `DirectEndpoint` says; the number is the reading of perf_counter at which the request began."""

WAITED = "qnode.waited_seconds"
"""Under this name a request's scope has what it has waited already, if it has."""

_ALLOW_ORIGIN: Header = (b"access-control-allow-origin", b"*")


@dataclass(frozen=True, slots=True)
class HotRoute:
    """An endpoint of points and where its answers are counted."""

    endpoint: Endpoint
    count: EndpointCounts


class Application:
    """The outermost ASGI application."""

    def __init__(
        self,
        hot: dict[tuple[str, str], Endpoint],
        direct: dict[tuple[str, str], DirectEndpoint],
        cold: FastAPI,
        counts: RestCounts,
        *,
        guard: Guard | None,
        body_limit_bytes: int,
        allow_any_origin: bool,
        compress: bool,
    ) -> None:
        """`guard`: who lets requests in; None: everybody may do everything."""
        self._guard = guard
        self._hot = {
            (method, rest): HotRoute(endpoint, counts.of(method, f"/collections/{{collection_name}}/{rest}"))
            for (method, rest), endpoint in hot.items()
        }
        self._direct = {
            (method.encode(), rest.encode()): (endpoint, self._hot[method, rest].count)
            for (method, rest), endpoint in direct.items()
        }
        self._direct_of = lru_cache(_REMEMBERED_URLS)(self._find_direct)
        self._small_body_bytes = min(SMALL_BODY_BYTES, body_limit_bytes)
        self._cold = cold
        self._counts = counts
        self._body_limit_bytes = body_limit_bytes
        self._allow_any_origin = allow_any_origin
        self._compress = compress
        for kind in (QnodeError, Exception):
            cold.add_exception_handler(kind, _explained)
        cold.add_exception_handler(HTTPException, _unrouted)

    def answering_now(self, method: bytes, url: bytes, headers: list[Header]) -> AnswerNow | None:
        """Find what may answer a request, of which this is the head, at once; None if it must go through `__call__`."""
        found = self._direct_of(method, url)
        if found is None:
            return None
        if self._guard is not None and self._guard.known(credential(headers)) is None:
            return None
        length, content_type, has_origin, _ = _glance(headers)
        is_plain = content_type == JSON and not has_origin and 0 < length <= self._small_body_bytes
        return found if is_plain else None

    def _find_direct(self, method: bytes, url: bytes) -> AnswerNow | None:
        if not url.startswith(b"/collections/") or b"%" in url or b"?" in url:
            return None
        name, _, rest = url[len(_COLLECTIONS) :].partition(b"/")
        found = self._direct.get((method, rest))
        return None if found is None else partial(_answer_now, *found, name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._cold(scope, receive, send)
            return
        started = perf_counter()
        path: str = scope["path"]
        if path[-1:] == "/" and path != "/":
            path = scope["path"] = path.rstrip("/") or "/"
        access = None
        if self._guard is not None and not _asks_before(scope):
            try:
                access = await self._guard.admit(credential(scope["headers"]), scope["method"], path)
            except Exception as error:
                await self._turn_away(error, scope, send, started)
                return
            scope.setdefault("state", {})["access"] = access
        if path.startswith(_COLLECTIONS):
            name, _, rest = path[len(_COLLECTIONS) :].partition("/")
            if faults := collection_address_faults(name):
                status, text, more = explain(ValidationFailed(faults, "path parameters"))
                await respond(send, status, answers.failed(text, started), more)
                return
            route = self._hot.get((scope["method"], rest))
            if route is not None:
                await self._answer(route, name, scope, receive, send, started, access)
                return
        await self._pass_on(scope, receive, send, started)

    async def _answer(
        self, route: HotRoute, name: str, scope: Scope, receive: Receive, send: Send, started: float,
        access: Access | None,
    ) -> None:  # fmt: skip
        """Answer a request for points."""
        headers: list[Header] = []
        try:
            length, content_type, has_origin, accepted = _glance(scope["headers"])
            headers = self._allowing(has_origin)
            body = await read_body(receive, length, self._body_limit_bytes)
            call = Call(name, scope["query_string"], content_type, body, started, access=access)
            call.waited_seconds = scope.get(WAITED, 0.0)
            answer = await route.endpoint(call)
            status = 200
            if self._compress and len(answer) >= COMPRESSED_FROM_BYTES and accepts_gzip(accepted):
                answer, more = await compressed(answer)
                headers += more
        except (Exception, CancelledError) as error:
            status, text, more = explain(error)
            answer, headers = answers.failed(text, started), headers + more
        await respond(send, status, answer, headers)
        route.count.add(name, status, perf_counter() - started)

    def _allowing(self, has_origin: bool) -> list[Header]:
        """Give the headers that let the page of any origin see the answer, if a page asks and all are allowed."""
        return [_ALLOW_ORIGIN] if has_origin and self._allow_any_origin else []

    async def _turn_away(self, error: Exception, scope: Scope, send: Send, started: float) -> None:
        """Answer who is not let in: in plain text who has no key, in the envelope who may do other things."""
        headers = self._allowing(_glance(scope["headers"])[2])
        status, text, more = explain(error)
        if isinstance(error, Unauthorized | Untrusted):
            await respond(send, status, text.encode(), headers, b"text/plain; charset=utf-8")
        else:
            await respond(send, status, answers.failed(text, started), headers + more)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, started: float) -> None:
        """Let FastAPI answer; the body is read first, within the limit, unless it is a snapshot."""
        scope.setdefault("state", {})["started"] = started
        length, _, has_origin, _ = _glance(scope["headers"])
        headers = self._allowing(has_origin)
        if headers and scope["method"] == "OPTIONS":
            await respond(send, 200, b"{}", [*headers, *_preflight(scope["headers"])])
            return
        status = 0

        async def counted_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *headers]
            await send(message)

        try:
            if not snapshots.is_upload(scope["method"], scope["path"]):
                receive = _replayed(await read_body(receive, length, self._body_limit_bytes), receive)
            await self._cold(scope, receive, counted_send)
        except (Exception, CancelledError) as error:
            # FastAPI raises an unexpected error again after `_explained` has answered it.
            if not status:
                status, text, more = explain(error)
                await respond(send, status, answers.failed(text, started), headers + more)
        route = scope.get("route")
        if isinstance(route, APIRoute):
            count = self._counts.of(scope["method"], route.path_format)
            count.add(scope["path_params"].get("collection_name", ""), status, perf_counter() - started)


def _answer_now(
    endpoint: DirectEndpoint, count: EndpointCounts, name: bytes, body: bytes, started: float, later: Later
) -> bytes | Withdraw | None:
    def counted(answer: bytes | None) -> None:
        if answer is not None:
            count.add(collection, 200, perf_counter() - started)
        later(answer)

    try:
        collection = name.decode()
        answer = endpoint(Call(collection, b"", JSON, body, started), counted)
    except Exception:  # it will be met again on the ordinary way, and told there
        return None
    if isinstance(answer, bytes):
        count.add(collection, 200, perf_counter() - started)
    return answer


async def _explained(request: Request, error: Exception) -> Response:
    status, text, headers = explain(error)
    shown = {name.decode(): value.decode() for name, value in headers}
    return Response(answers.failed(text, request.state.started), status, shown, media_type="application/json")


async def _unrouted(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = f"Not found: there is nothing at {request.url.path}"
    if error.status_code == 405:
        text = f"{request.method} is not allowed at {request.url.path}"
    body = answers.failed(text, request.state.started)
    return Response(body, error.status_code, media_type="application/json")


def build_application(
    collections: Collections,
    parsers: Executor,
    defaults: CollectionDefaults,
    *,
    topology: Callable[[], Topology],
    quotas: Quotas,
    cluster: Cluster | None = None,
    replicas: Replicas | None = None,
    taken: Snapshots | None = None,
    recall: RecallProbe | None = None,
    metrics_prefix: str = "",
    body_limit_bytes: int,
    read_timeout_seconds: int | None = None,
    allow_any_origin: bool = True,
    compress: bool = True,
    keys: Keys | None = None,
) -> Application:
    """Build the HTTP application over the node's collections; `parsers` runs the parsing of large bodies.

    keys: what clients must show; None nothing. A node that runs alone has no `cluster` and no `replicas`; its `topology` is there all the same. Without `taken` there are
    no endpoints of snapshots.
    """
    counts = RestCounts()
    points = Points(collections, parsers, read_timeout_seconds, quotas)
    cold = FastAPI(title="qnode", version=__version__, redirect_slashes=False)
    surface = ClusterSurface(collections, topology, cluster, replicas)
    cold.include_router(service.routes(Observed(collections, counts, surface, quotas, taken, recall), metrics_prefix))
    cold.include_router(cluster_routes.routes(surface))
    cold.include_router(aliases.routes(collections))
    cold.include_router(optimizations.routes(collections))
    cold.include_router(definitions.routes(collections, points, lambda: _spread(defaults, topology())))
    if taken is not None:
        cold.include_router(snapshots.routes(taken))
    cold.include_router(inspection.routes(counts))
    cold.include_router(issues.routes(points.issues))
    cold.include_router(quota_routes.routes(quotas))
    hot = points.routes() | Summaries(points).routes()
    documentation.complete(cold, hot)
    return Application(
        hot,
        points.direct_routes(),
        cold,
        counts,
        guard=None if keys is None else Guard(keys, partial(_has_point, collections)),
        body_limit_bytes=body_limit_bytes,
        allow_any_origin=allow_any_origin,
        compress=compress,
    )


async def _has_point(collections: Collections, name: str, chosen: Filter) -> bool:
    return await collections.get(name).count(CountRequest(chosen)) > 0


def _spread(defaults: CollectionDefaults, topology: Topology) -> CollectionDefaults:
    """Give a collection in a cluster a shard for each member, unless it says otherwise."""
    return replace(defaults, shard_number=max(1, len(topology.peers)))


def _glance(headers: list[Header]) -> tuple[int, bytes, bool, bytes]:
    """Take from the headers the declared length, the content type, whether there is an origin, and the accepted encodings."""
    length, content_type, has_origin, accepted = 0, b"", False, b""
    for name, value in headers:
        if name == b"content-length":
            length = int(value) if value.isdigit() else 0
        elif name == b"content-type":
            content_type = value
        elif name == b"origin":
            has_origin = True
        elif name == b"accept-encoding":
            accepted = value
    return length, content_type, has_origin, accepted


def _asks_before(scope: Scope) -> bool:
    """Whether a browser asks what it may ask for, to which it never adds a key."""
    return scope["method"] == "OPTIONS" and any(
        name == b"access-control-request-method" for name, _ in scope["headers"]
    )


def _preflight(headers: list[Header]) -> list[Header]:
    wanted = dict(headers)
    return [
        (b"access-control-allow-methods", wanted.get(b"access-control-request-method", b"*")),
        (b"access-control-allow-headers", wanted.get(b"access-control-request-headers", b"*")),
        (b"access-control-max-age", b"3600"),
    ]


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Make a `receive` that gives the body that was read already."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
