"""What Qdrant serves and this version does not yet: refused by name, so that no program mistakes it for done."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from qnode.errors import BadRequest

_COLLECTION = "/collections/{collection_name}"

NOT_YET = (
    ("GET", f"{_COLLECTION}/optimizations"),
    ("PUT", f"{_COLLECTION}/vectors/{{vector_name}}"),
    ("DELETE", f"{_COLLECTION}/vectors/{{vector_name}}"),
    ("GET", "/quotas"),
    ("PUT", "/quotas"),
)


def routes() -> APIRouter:
    """Build the routes that refuse."""
    router = APIRouter(include_in_schema=False)

    async def not_yet(request: Request) -> Response:
        raise BadRequest(f"{request.method} {request.scope['route'].path} is not supported yet")

    for method, path in NOT_YET:
        router.add_api_route(path, not_yet, methods=[method])
    return router
