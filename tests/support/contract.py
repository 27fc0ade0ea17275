"""What Qdrant's interface promises of every answer, by operation and status: `contract/responses.json`.

The file holds the names, types and required fields of version 1.19 as JSON Schema, and nothing else of its document. Answers of
endpoints that are not in it (the older searches, what is qnode's own) are checked for their envelope alone.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

_CONTRACT = orjson.loads((Path(__file__).parents[1] / "contract" / "responses.json").read_bytes())
OPERATIONS: tuple[tuple[str, str], ...] = tuple(tuple(name.split(" ")) for name in _CONTRACT["operations"])
"""Every operation: its method, and the template of its path."""

_ERROR = "ErrorResponse"
_PLAIN_STATUSES = (401,)
"""Answered in plain text wherever access is controlled."""


def check(method: str, path: str, status: int, content_type: str, body: bytes) -> None:
    """Fail if an answer is not what the contract says."""
    operation = operation_of(method, path)
    if (
        operation is None
        or status in _PLAIN_STATUSES
        or (status == 403 and not content_type.startswith("application/json"))
    ):
        return
    promised = _CONTRACT["operations"][operation].get(str(status))
    if isinstance(promised, str):  # no JSON at all
        assert content_type.startswith(promised), f"{operation} answers with {content_type}"
        return
    assert content_type == "application/json", f"{operation} answers with {content_type}: {body[:200]!r}"
    if status >= 400:
        _complain(_validator(operation, ""), operation, status, body)
    else:
        assert promised is not None, f"{operation} answers with the status {status}"
        _complain(_validator(operation, str(status)), operation, status, body)


@lru_cache(1000)
def operation_of(method: str, path: str) -> str | None:
    """Find the operation that a request is; a literal part of a path goes before a parameter."""
    parts = path.partition("?")[0].rstrip("/").split("/")
    best: tuple[int, str] | None = None
    for known, template in OPERATIONS:
        wanted = template.rstrip("/").split("/")
        if known != method or len(wanted) != len(parts):
            continue
        if all(want == part or (want.startswith("{") and part) for want, part in zip(wanted, parts, strict=True)):
            found = sum(want.startswith("{") for want in wanted), f"{known} {template}"
            best = found if best is None else min(best, found)
    return None if best is None else best[1]


@lru_cache
def _validator(operation: str, status: str) -> Draft202012Validator:
    schema: dict[str, Any] = _CONTRACT["$defs"][_ERROR] if not status else _CONTRACT["operations"][operation][status]
    return Draft202012Validator({**schema, "$defs": _CONTRACT["$defs"]})


def _complain(validator: Draft202012Validator, operation: str, status: int, body: bytes) -> None:
    fault = best_match(validator.iter_errors(orjson.loads(body)))
    assert fault is None, f"{operation} → {status}: {fault.json_path}: {fault.message[:500]}\n{body[:2000]!r}"
