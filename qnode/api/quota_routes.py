"""`/quotas`: how much of memory and disk the node may use, and uses."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, Request, Response

from qnode.api import answers
from qnode.api.definitions import call_of, json_response
from qnode.api.http import boolean_parameter, json_of, query_pairs
from qnode.quotas import QuotaConfig, Quotas


def routes(quotas: Quotas) -> APIRouter:
    """Build the routes."""
    router = APIRouter()

    @router.get("/quotas", summary="The node's quotas and what is in use")
    async def show(request: Request) -> Response:
        shown = {"config": quotas.config.to_json(), "usage": asdict(quotas.usage())}
        return json_response(answers.ok(shown, request.state.started))

    @router.put("/quotas", summary="Replace the node's quotas")
    async def replace(request: Request) -> Response:
        call = await call_of(request)
        boolean_parameter(query_pairs(call.query_string), "wait")  # the change is durable when it is answered
        await quotas.replace(QuotaConfig.from_json(json_of(call)))
        return json_response(answers.ok(True, call.started))

    return router
