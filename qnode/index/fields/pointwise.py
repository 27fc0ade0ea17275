"""A whole filter evaluated point by point, in pieces between which the deadline is looked at.

It stops at the first condition that decides, and keeps no mask of any: that is the way for few points, and for filters
of so many conditions that a mask for each would cost more than it tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from time import sleep

import lmdb
import numpy as np
import orjson

from qnode import deadline
from qnode.index.fields.points import FieldPoints, Mask, Numbers
from qnode.models.condition import NO_POINT, Check, PointFacts, compile_filter, needs_payload
from qnode.models.filter import Filter, HasId, HasVector, SliceCondition, leaves
from qnode.models.point_id import PointKey

PIECE_CHECKS = 65_536
"""So many conditions may be asked before other threads get a turn …"""

PIECE_POINTS = 2048
"""… of no more points than this."""

_LARGE_CONDITIONS = 1000
"""A filter with more conditions is compiled anew each time: remembered, it would hold memory for long."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A filter's check, and what it asks of a point: its payload; its key or vectors (`facts`); which vectors by name."""

    check: Check
    conditions: int
    payload: bool
    facts: bool
    vectors: tuple[str, ...]


def compiled(chosen: Filter) -> Compiled:
    """Compile a filter, or take it from the last ones that were."""
    listed = len(chosen.must) + len(chosen.should) + len(chosen.must_not)
    return _compiled(chosen) if listed > _LARGE_CONDITIONS else _remembered(chosen)


def _compiled(chosen: Filter) -> Compiled:
    conditions = list(leaves(chosen))
    vectors = tuple({condition.name for condition in conditions if isinstance(condition, HasVector)})
    facts = any(isinstance(condition, HasId | HasVector | SliceCondition) for condition in conditions)
    return Compiled(compile_filter(chosen), len(conditions), needs_payload(chosen), facts, vectors)


_remembered = lru_cache(maxsize=128)(_compiled)


def judge(txn: lmdb.Transaction, population: FieldPoints, chosen: Filter, numbers: Numbers) -> Mask:
    """Evaluate a filter on stored points: (n,) which of them pass; one that is gone counts as without payload."""
    filter_ = compiled(chosen)
    piece = max(1, min(PIECE_POINTS, PIECE_CHECKS // max(1, filter_.conditions)))
    passed: Mask = np.zeros(len(numbers), np.bool_)
    for begin in range(0, len(numbers), piece):
        deadline.check()
        if begin:
            sleep(0)
        end = begin + piece
        passed[begin:end] = _judge_piece(txn, population, filter_, numbers[begin:end])
    return passed


def _judge_piece(txn: lmdb.Transaction, population: FieldPoints, chosen: Compiled, numbers: Numbers) -> Mask:
    if not chosen.facts:
        texts = population.payloads_of(txn, numbers)
        return np.fromiter((chosen.check(orjson.loads(text), NO_POINT) for text in texts), np.bool_, len(numbers))
    having = {name: population.with_vector(name) for name in chosen.vectors}
    held, keys = keys_in_order(txn, population, numbers)
    texts = population.payloads_of(txn, held) if chosen.payload else [b"{}"] * len(held)
    passed: Mask = np.isin(numbers, held)
    passed[passed] = [
        chosen.check(orjson.loads(text), PointFacts(key, _names(having, number)))
        for number, key, text in zip(held.tolist(), keys, texts, strict=True)
    ]
    return passed


def _names(having: dict[str, Mask], number: int) -> Sequence[str]:
    return [name for name, mask in having.items() if number < len(mask) and mask[number]]


def keys_in_order(txn: lmdb.Transaction, population: FieldPoints, numbers: Numbers) -> tuple[Numbers, list[PointKey]]:
    """Give the keys of points with the numbers that they belong to; points that are gone are left out of both."""
    keys = population.keys_of(txn, numbers)
    if len(keys) == len(numbers):
        return numbers, keys
    each = [population.keys_of(txn, numbers[at : at + 1]) for at in range(len(numbers))]
    held = np.array([bool(key) for key in each], np.bool_)
    return numbers[held], [key for found in each for key in found]
