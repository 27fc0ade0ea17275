"""Search bodies that recur with another vector: what is equal in them is read once.

Clients send the same search again and again, with another vector in it. So the vector is taken out of the body by a
compiled scan, and what is left, some dozen bytes, is looked up among those that were read before.

Invariant: the request is the one that the general way (`orjson.loads`, then a parser of `reads_json`) gives. A body of
which that is not certain is left to it, and so is one that is wrong in any way: only the general way names faults.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import orjson

from qnode.api import number_scan
from qnode.errors import QnodeError
from qnode.models.query import Nearest, QueryRequest
from qnode.models.universal import UniversalRequest

Parse = Callable[[object], QueryRequest | UniversalRequest]

_REMEMBERED_BODIES = 512
_LONGEST_REST_BYTES = 2048
_STAND_IN = np.zeros(1, np.float32)


def read(body: bytes, parse: Parse) -> QueryRequest | None:
    """Read a search; None if the general way must."""
    parted = number_scan.part(body)
    if parted is None or len(parted[1]) > _LONGEST_REST_BYTES:
        return None
    vector, rest = parted
    read_before = _read_rest(rest, parse)
    return None if read_before is None else read_before.nearest_to(vector)


def read_small(body: bytes, parse: Parse) -> QueryRequest | UniversalRequest | None:
    """Read a search without a vector: by the ids of points, as a rule. None for one that is long, or wrong in any way."""
    if len(body) > _LONGEST_REST_BYTES:
        return None
    try:
        return parse(orjson.loads(body))
    except (orjson.JSONDecodeError, QnodeError):
        return None


@lru_cache(_REMEMBERED_BODIES)
def _read_rest(rest: bytes, parse: Parse) -> QueryRequest | None:
    """Read a body whose vector was taken out; None if what was taken out is not its vector, or there is a fault."""
    try:
        content = orjson.loads(rest)
        if not _put_stand_in(content):
            return None
        request = parse(content)
    except (orjson.JSONDecodeError, QnodeError):
        return None
    if not isinstance(request, QueryRequest) or not isinstance(request.query, Nearest):
        return None
    return request if request.query.vector is _STAND_IN else None


def _put_stand_in(content: Any) -> bool:
    """Put an array in the place of the mark, if it stands where searches have their vector."""
    for outer, inner in (("query", "nearest"), ("vector", "vector")):
        if type(content) is not dict:
            return False
        value = content.get(outer)
        if type(value) is dict and value.get(inner) == number_scan.MARK:
            value[inner] = _STAND_IN
            return True
        if value == number_scan.MARK:
            content[outer] = _STAND_IN
            return True
    return False
