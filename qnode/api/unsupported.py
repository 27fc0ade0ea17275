"""What Qdrant serves and this version does not yet: refused by name, so that no program mistakes it for done."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from qnode.errors import BadRequest

_PARTIAL = "/collections/{collection_name}/shards/{shard_id}/snapshot/partial"

NOT_YET = (
    ("GET", "/quotas"),
    ("PUT", "/quotas"),
    # A partial snapshot brings the segments that differ; here two replicas' segments are never the same ones.
    ("POST", f"{_PARTIAL}/create"),
    ("GET", f"{_PARTIAL}/manifest"),
    ("POST", f"{_PARTIAL}/recover"),
    ("POST", f"{_PARTIAL}/recover_from"),
)


def routes() -> APIRouter:
    """Build the routes that refuse."""
    router = APIRouter(include_in_schema=False)

    async def not_yet(request: Request) -> Response:
        raise BadRequest(f"{request.method} {request.scope['route'].path} is not supported yet")

    for method, path in NOT_YET:
        router.add_api_route(path, not_yet, methods=[method])
    return router
