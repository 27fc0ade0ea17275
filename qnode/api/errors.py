"""Which HTTP status an error becomes: the one table."""

from __future__ import annotations

import logging
import math
from asyncio import CancelledError

from qnode.errors import (
    AlreadyExists,
    BadInput,
    BadRequest,
    Forbidden,
    HugeBody,
    InternalError,
    MalformedBody,
    MalformedParameters,
    NeedsCluster,
    NotFound,
    OutOfSpace,
    QnodeError,
    RateLimited,
    RefusedBody,
    TimedOut,
    Unauthorized,
    Unavailable,
    UnknownOutcome,
    Untrusted,
    ValidationFailed,
)

STATUS_OF: dict[type[QnodeError], int] = {
    BadInput: 400,
    AlreadyExists: 409,
    BadRequest: 400,
    RefusedBody: 400,
    MalformedBody: 400,
    MalformedParameters: 400,
    ValidationFailed: 422,
    Unauthorized: 401,
    Untrusted: 403,
    NotFound: 404,
    Forbidden: 403,
    NeedsCluster: 405,
    TimedOut: 408,
    RateLimited: 429,
    OutOfSpace: 507,
    Unavailable: 503,
    InternalError: 500,
}

Header = tuple[bytes, bytes]

_log = logging.getLogger(__name__)


def explain(error: Exception | CancelledError) -> tuple[int, str, list[Header]]:
    """Turn an error into status, text and headers; log what is not the client's doing.

    A request is cancelled only when the node stops and has waited long enough.
    """
    if isinstance(error, CancelledError):
        error = Unavailable("the node stops, and nobody knows what becomes of this request")
    if not isinstance(error, QnodeError):
        _log.error("A request failed unexpectedly", exc_info=error)
        return 500, "Service internal error: an unexpected error, see the log of this node", []
    status = next(STATUS_OF[kind] for kind in type(error).__mro__ if kind in STATUS_OF)
    if isinstance(error, UnknownOutcome):  # a link broke, or the primary changed: no fault of this program
        _log.warning("A write ended without an answer: %s", error)
    elif status == 500:
        _log.error("A request failed: %s", error, exc_info=error)
    headers: list[Header] = []
    if isinstance(error, RateLimited) and error.retry_after_seconds is not None:
        headers.append((b"retry-after", str(math.ceil(error.retry_after_seconds)).encode()))
    if isinstance(error, HugeBody):
        headers.append((b"connection", b"close"))
    return status, str(error), headers
