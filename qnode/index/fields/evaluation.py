"""One filter against one state of the points, with masks.

Every condition is first asked of what is at hand (ids, vectors, indexes, remembered masks). Those that cannot be told
so are open: with all of them false in favour of the filter, then against it, the masks of the clauses give the points
that may pass and those that surely do. Where an index tells that a condition fails for most points, it is open for the others
alone. Only the points between the two are looked at, payload by payload: condition by
condition, so that what was found can be remembered, or, where too many are open, with the whole filter.
"""

from __future__ import annotations

from collections.abc import Callable

import lmdb
import numpy as np

from qnode import deadline
from qnode.index.fields import lookup
from qnode.index.fields.indexes import FieldIndexes
from qnode.index.fields.payload_scan import scan
from qnode.index.fields.points import FieldPoints, Mask, Numbers
from qnode.index.fields.pointwise import judge, keys_in_order
from qnode.index.fields.text_lookup import Answer
from qnode.models.condition import needs_payload
from qnode.models.filter import Condition, FieldCondition, Filter, HasId, HasVector, MinShould, SliceCondition, leaves
from qnode.models.siphash import slices_of

Remembered = Callable[[Condition], Mask | None]

MOST_SCANNED = 32
"""More open conditions than this are not told apart."""

MASKS_BYTES = 256 << 20
"""When the masks of a filter's conditions take more than this, the others are not asked for: they stay open."""


class Evaluation:
    """The masks of a filter's conditions, as far as they are known."""

    def __init__(
        self,
        fields: FieldIndexes,
        txn: lmdb.Transaction,
        population: FieldPoints,
        chosen: Filter,
        remembered: Remembered,
    ) -> None:
        self._txn = txn
        self._population = population
        self._filter = chosen
        self._live = population.live
        self._known: dict[Condition, Mask] = {}
        self._open: list[Condition] = []
        self._partly: dict[Condition, Answer] = {}
        most = MASKS_BYTES // (len(self._live) + 1)
        for condition in dict.fromkeys(leaves(chosen)):
            deadline.check()
            mask = self._found(fields, condition, remembered) if len(self._known) < most else None
            if mask is None:
                self._open.append(condition)
            else:
                self._known[condition] = fitted(mask, len(self._live))

    def _found(self, fields: FieldIndexes, condition: Condition, remembered: Remembered) -> Mask | None:
        """Give the mask of a condition if it can be told without payloads; note what is known if it is not all."""
        answer = self._at_hand(fields, condition)
        if answer is not None and answer.exact:
            return answer.sure
        mask = remembered(condition)
        if mask is None and answer is not None:
            self._partly[condition] = answer
        return mask

    @property
    def from_indexes(self) -> bool:
        """Whether nothing is open."""
        return not self._open

    def bounds(self) -> tuple[Mask, Mask]:
        """Give the points that surely pass, and those that may pass, as far as is known now."""
        possible = self._selected(self._filter, sure=False)
        return (self._selected(self._filter, sure=True) if self._open else possible), possible

    def complete(self) -> tuple[Mask, dict[Condition, Mask]]:
        """Give the points that pass, and the masks of conditions that were found on the way for all points."""
        sure, possible = self.bounds()
        if not self._open:
            return sure, {}
        undecided = possible & ~sure
        if len(self._open) > MOST_SCANNED:
            numbers = np.flatnonzero(undecided).astype(np.uint32)
            sure[numbers] = judge(self._txn, self._population, self._filter, numbers)
            return sure, {}
        everywhere = 2 * np.count_nonzero(undecided) > np.count_nonzero(self._live)
        found = self._look_at(self._live if everywhere else undecided)
        self._known |= found
        self._open = []
        passed = sure | (self._selected(self._filter, sure=True) & undecided)
        return passed, found if everywhere else {}

    def _at_hand(self, fields: FieldIndexes, condition: Condition) -> Answer | None:
        capacity = len(self._live)
        if isinstance(condition, FieldCondition):
            return lookup.select(fields, self._txn, self._population, condition, capacity)
        if isinstance(condition, HasId):
            numbers = self._population.numbers_of(self._txn, condition.keys)
            mask = _mask_of(numbers[numbers < capacity], capacity)
        elif isinstance(condition, HasVector):
            mask = self._population.with_vector(condition.name)
        else:
            return None
        return Answer(mask, mask)

    def _look_at(self, where: Mask) -> dict[Condition, Mask]:
        """Evaluate the open conditions on these points; elsewhere the masks are False."""
        numbers = np.flatnonzero(where).astype(np.uint32)
        on_payload = [condition for condition in self._open if needs_payload(condition)]
        found: dict[Condition, Mask] = {}
        if on_payload:
            for condition, passed in zip(
                on_payload, scan(self._txn, self._population, on_payload, numbers), strict=True
            ):
                found[condition] = _mask_of(numbers[passed], len(where))
        slices = [condition for condition in self._open if isinstance(condition, SliceCondition)]
        if slices:
            held, keys = keys_in_order(self._txn, self._population, numbers)
            for condition in slices:
                chosen = slices_of(keys, condition.total) == condition.index
                found[condition] = _mask_of(held[chosen], len(where))
        return found

    def _selected(self, chosen: Filter, *, sure: bool) -> Mask:
        """Combine the clauses; an open condition counts as False if `sure`, else as True."""
        mask = self._live.copy()
        for condition in chosen.must:
            mask &= self._holding(condition, sure=sure)
        for condition in chosen.must_not:
            mask &= ~self._holding(condition, sure=not sure)
        if chosen.should:
            alternatives: Mask = np.zeros(len(mask), np.bool_)
            for condition in chosen.should:
                alternatives |= self._holding(condition, sure=sure)
            mask &= alternatives
        if chosen.min_should is not None:
            mask &= self._enough(chosen.min_should, sure=sure)
        return mask

    def _enough(self, clause: MinShould, *, sure: bool) -> Mask:
        count = np.zeros(len(self._live), np.uint32)
        for condition in clause.conditions:
            count += self._holding(condition, sure=sure)
        enough: Mask = count >= clause.min_count
        return enough

    def _holding(self, condition: Condition, *, sure: bool) -> Mask:
        if isinstance(condition, Filter):
            return self._selected(condition, sure=sure)
        known = self._known.get(condition)
        if known is not None:
            return known
        partly = self._partly.get(condition)
        if partly is not None:
            return partly.sure if sure else partly.possible
        return np.full(len(self._live), not sure)


def fitted(mask: Mask, capacity: int) -> Mask:
    """Cut a mask, or lengthen it with False."""
    if len(mask) >= capacity:
        return mask[:capacity]
    wide: Mask = np.zeros(capacity, np.bool_)
    wide[: len(mask)] = mask
    return wide


def _mask_of(numbers: Numbers, capacity: int) -> Mask:
    mask: Mask = np.zeros(capacity, np.bool_)
    mask[numbers] = True
    return mask
