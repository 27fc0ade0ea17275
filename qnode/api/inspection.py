"""What Qdrant serves beside its document for whoever looks for a fault: stacks of threads, slow requests, how much is logged.

Slow requests are told without their bodies, which may hold what nobody else should see. A log level that is set here holds until the
node ends. Left out: `/debugger`, `/audit/logs`, and `C/memory`.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from typing import Any

from fastapi import APIRouter, Request, Response

from qnode.api import answers
from qnode.api.definitions import call_of, json_response
from qnode.api.http import integer_parameter, json_of, query_pairs
from qnode.errors import BadRequest
from qnode.metrics import RestCounts
from qnode.models import reading

_LEVELS = {
    "TRACE": logging.DEBUG,
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "ERROR": logging.ERROR,
}
_SHOWN_LEVELS = {logging.DEBUG: "DEBUG", logging.INFO: "INFO", logging.WARNING: "WARN", logging.ERROR: "ERROR"}


def routes(counts: RestCounts) -> APIRouter:
    """Build the routes."""
    router = APIRouter(include_in_schema=False)

    @router.get("/stacktrace")
    async def stacktrace(request: Request) -> Response:
        return json_response(answers.ok({"threads": _threads()}, request.state.started))

    @router.get("/profiler/slow_requests")
    async def slow_requests(request: Request) -> Response:
        pairs = query_pairs(request.scope["query_string"])
        shown = _slowest(counts, pairs.get("method_name_substring", ""))[: integer_parameter(pairs, "limit")]
        return json_response(answers.ok({"requests": shown}, request.state.started))

    @router.get("/logger")
    async def logger(request: Request) -> Response:
        level = logging.getLogger().getEffectiveLevel()
        shown = {"log_level": _SHOWN_LEVELS.get(level, logging.getLevelName(level))}
        return json_response(answers.ok(shown, request.state.started))

    @router.post("/logger")
    async def set_logger(request: Request) -> Response:
        call = await call_of(request)
        given = reading.fields(json_of(call), {"log_level": reading.text}, "struct LoggerConfig")
        if "log_level" in given:
            level = _LEVELS.get(given["log_level"].strip().upper())
            if level is None:
                raise BadRequest(f"unknown log level `{given['log_level']}`, expected one of {', '.join(_LEVELS)}")
            logging.getLogger().setLevel(level)
        return json_response(answers.ok(True, call.started))

    return router


def _threads() -> list[dict[str, Any]]:
    """Tell what each thread is doing, the innermost call first."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return [
        {
            "id": ident,
            "name": names.get(ident, ""),
            "frames": [
                f"{frame.name} {frame.filename}:{frame.lineno}" for frame in reversed(traceback.extract_stack(stack))
            ],
        }
        for ident, stack in sys._current_frames().items()
    ]


def _slowest(counts: RestCounts, name: str) -> list[dict[str, Any]]:
    """List the requests that took longest, of endpoints whose names hold `name`."""
    found = [
        {
            "request_name": endpoint,
            "collection_name": slow.collection,
            "status": slow.status,
            "duration": slow.seconds,
            "datetime": answers.shown_time(slow.at),
        }
        for endpoint, slow in counts.slowest()
        if name in endpoint
    ]
    return sorted(found, key=lambda one: one["duration"], reverse=True)
