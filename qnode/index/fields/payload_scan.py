"""Conditions on stored payloads, evaluated on many points at once.

Reading JSON is what costs. So a payload is read once for all conditions, and not at all where its bytes cannot hold
what a condition looks for: a text or a number stands in JSON as itself, unless a backslash makes it something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import sleep
from typing import Any

import lmdb
import numpy as np
import orjson

from qnode import deadline
from qnode.index.fields.points import FieldPoints, Mask, Numbers
from qnode.models.condition import NO_POINT, compile_condition
from qnode.models.filter import Condition, FieldCondition, MatchAny, MatchValue

CHUNK_POINTS = 2048
"""How many payloads are evaluated before other threads get a turn."""

_MAX_LITERALS = 8


def scan(
    txn: lmdb.Transaction, population: FieldPoints, conditions: Sequence[Condition], numbers: Numbers
) -> list[Mask]:
    """Evaluate conditions that ask for nothing but the payload: for each, which of the n points pass, (n,)."""
    tests = [(compile_condition(condition), _literals_of(condition)) for condition in conditions]
    results: list[Mask] = [np.zeros(len(numbers), np.bool_) for _ in tests]
    for begin in range(0, len(numbers), CHUNK_POINTS):
        deadline.check()
        texts = population.payloads_of(txn, numbers[begin : begin + CHUNK_POINTS])
        read: dict[int, dict[str, Any]] = {}
        for (test, literals), result in zip(tests, results, strict=True):
            passed = []
            for at in _possible(texts, literals):
                payload = read.get(at)
                if payload is None:
                    payload = read[at] = orjson.loads(texts[at])
                if test(payload, NO_POINT):
                    passed.append(begin + at)
            result[passed] = True
        sleep(0)
    return results


def _possible(texts: list[bytes], literals: tuple[bytes, ...]) -> Sequence[int]:
    if not literals:
        return range(len(texts))
    if len(literals) == 1:
        (literal,) = literals
        return [at for at, text in enumerate(texts) if literal in text or b"\\" in text]
    return [at for at, text in enumerate(texts) if b"\\" in text or any(literal in text for literal in literals)]


def _literals_of(condition: Condition) -> tuple[bytes, ...]:
    """Give bytes of which at least one stands in every payload that passes and has no backslash; none if unknown."""
    if not isinstance(condition, FieldCondition) or _asks_for_more_than_values(condition):
        return ()
    match = condition.match
    if isinstance(match, MatchValue):
        wanted: tuple[object, ...] = (match.value,)
    elif isinstance(match, MatchAny) and 0 < len(match.values) <= _MAX_LITERALS:
        wanted = match.values
    else:
        names = [step for step in condition.path.steps if type(step) is str]
        wanted = (names[-1],)
    try:
        literals = tuple(orjson.dumps(value).strip(b'"') for value in wanted)
    except orjson.JSONEncodeError:
        return ()
    return () if any(b"\\" in literal for literal in literals) else literals


def _asks_for_more_than_values(condition: FieldCondition) -> bool:
    if condition.values_count is not None or condition.is_empty is not None or condition.is_null is not None:
        return True
    others = (condition.range, condition.geo_bounding_box, condition.geo_radius, condition.geo_polygon)
    return any(check is not None for check in others) and condition.match is not None
