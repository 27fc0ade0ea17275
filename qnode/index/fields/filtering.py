"""Filters as masks over point numbers, remembered from one search to the next.

Invariants:

- A remembered mask shows at least the operation that it is remembered for, and the points that changed since are
  evaluated again before it is used. So it may be ahead of the population that it is asked for, never behind. To this
  end masks are made from a transaction that begins after the operation was noted, whatever the caller's sees: whoever
  looks at the points of a mask in a transaction rechecks those that have changed since.
- What `select` gives is what `matches` gives for every live point, with any indexes: they change the cost alone. Text
  conditions are the exception: a text index, from its creation on, decides what they mean. What is remembered of one is
  remembered with the index's settings.

Left out: two threads that ask for the same new filter at the same moment both evaluate it.
"""

from __future__ import annotations

import lmdb
import numpy as np

from qnode.index.fields.evaluation import Evaluation, fitted
from qnode.index.fields.indexes import FieldIndexes
from qnode.index.fields.mask_cache import CachedMask, MaskCache, filter_bytes
from qnode.index.fields.points import FieldPoints, Mask, Numbers, Selection
from qnode.index.fields.pointwise import judge
from qnode.models.filter import Condition, Filter
from qnode.models.filter_merge import merged
from qnode.models.text_match import tokenized

DEFAULT_CACHE_BYTES = 64 << 20

MAX_REFRESHED_BESIDE_INDEXES = 64
"""With more changed points than this, a filter that the indexes answer alone is asked of them again."""


class Filtering:
    """Evaluates filters for one shard; any thread may use it."""

    def __init__(self, fields: FieldIndexes, cache_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        self._fields = fields
        self._cache = MaskCache(cache_bytes)

    def select(self, txn: lmdb.Transaction, population: FieldPoints, chosen: Filter) -> Selection:
        """Give the live points that pass."""
        chosen = self._merged(txn, chosen)
        known = self._remembered(txn, population, chosen)
        if known is not None:
            return Selection(known.mask, known.count)
        applied_op = population.applied_op
        with self._fields.newest(txn) as newest:
            evaluation = self._evaluation(newest, population, chosen)
            from_indexes = evaluation.from_indexes
            mask, by_condition = evaluation.complete()
        for condition, found in by_condition.items():
            self._remember(_alone(condition), found, applied_op, from_indexes=False)
        entry = self._remember(chosen, mask, applied_op, from_indexes=from_indexes)
        return Selection(entry.mask, entry.count)

    def remembered(self, txn: lmdb.Transaction, population: FieldPoints, chosen: Filter) -> Mask | None:
        """Give the points that pass, if that is known without an evaluation."""
        known = self._remembered(txn, population, self._merged(txn, chosen))
        return None if known is None else known.mask

    def matches(self, txn: lmdb.Transaction, population: FieldPoints, chosen: Filter, numbers: Numbers) -> Mask:
        """Evaluate a filter on stored points: (n,) which of them pass; one that is gone counts as without payload."""
        return judge(txn, population, self._merged(txn, chosen), numbers)

    def estimate(self, txn: lmdb.Transaction, population: FieldPoints, chosen: Filter) -> tuple[int, int, int]:
        """Bound how many points pass, (at least, expected, at most), without looking at payloads."""
        chosen = self._merged(txn, chosen)
        entry = self._cache.get(chosen)
        if entry is not None and entry.applied_op == population.applied_op:
            return entry.count, entry.count, entry.count
        sure, possible = self._evaluation(txn, population, chosen).bounds()
        least, most = int(np.count_nonzero(sure)), int(np.count_nonzero(possible))
        return least, (least + most) // 2, most

    def _merged(self, txn: lmdb.Transaction, chosen: Filter) -> Filter:
        """Write a filter with fewer conditions, and its text conditions as the text indexes of this state read them."""
        return tokenized(merged(chosen), self._fields.catalog(txn).texts)

    def _evaluation(self, txn: lmdb.Transaction, population: FieldPoints, chosen: Filter) -> Evaluation:
        def remembered(condition: Condition) -> Mask | None:
            alone = _alone(condition)
            known = None if alone == chosen else self._remembered(txn, population, alone)
            return None if known is None else known.mask

        return Evaluation(self._fields, txn, population, chosen, remembered)

    def _remember(self, chosen: Filter, mask: Mask, applied_op: int, *, from_indexes: bool) -> CachedMask:
        entry = CachedMask(mask, int(np.count_nonzero(mask)), applied_op, from_indexes, filter_bytes(chosen))
        self._cache.put(chosen, entry)
        return entry

    def _remembered(self, txn: lmdb.Transaction, population: FieldPoints, chosen: Filter) -> CachedMask | None:
        """Give a remembered mask, brought up to the population; None if there is none, or a new one is cheaper."""
        entry = self._cache.get(chosen)
        if entry is None:
            return None
        applied_op, live = population.applied_op, population.live
        if entry.applied_op < applied_op:
            changed = population.changed_since(entry.applied_op)
            if changed is None or (entry.from_indexes and len(changed) > MAX_REFRESHED_BESIDE_INDEXES):
                return None
            mask = fitted(entry.mask, len(live)).copy()
            changed = changed[changed < len(live)]
            mask[changed] = False
            changed = changed[live[changed]]
            with self._fields.newest(txn) as newest:
                mask[changed] = judge(newest, population, chosen, changed)
            return self._remember(chosen, mask, applied_op, from_indexes=entry.from_indexes)
        if len(entry.mask) == len(live):
            return entry
        mask = fitted(entry.mask, len(live))
        return CachedMask(mask, int(np.count_nonzero(mask)), applied_op, entry.from_indexes, entry.filter_bytes)


def _alone(condition: Condition) -> Filter:
    return Filter(must=(condition,))
