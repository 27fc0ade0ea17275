"""Masks of recent filters, bounded in bytes; the least recently used go first."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

from qnode.index.fields.points import Mask
from qnode.models.filter import FieldCondition, Filter, HasId, MatchAny, MatchExcept, leaves

ENTRY_BYTES = 768
"""What an entry costs beside its mask and its filter, roughly …"""

CONDITION_BYTES, LISTED_BYTES = 256, 64
"""… and what a condition of the filter costs, and an id or a value that it lists."""


@dataclass(frozen=True, slots=True, eq=False)
class CachedMask:
    """The points that passed a filter after `applied_op`. `from_indexes`: no payload had to be read for it."""

    mask: Mask
    count: int
    applied_op: int
    from_indexes: bool
    filter_bytes: int

    @property
    def bytes(self) -> int:
        return self.mask.nbytes + self.filter_bytes + ENTRY_BYTES


def filter_bytes(chosen: Filter) -> int:
    """Estimate what it costs to keep a filter as a key."""
    conditions = list(leaves(chosen))
    listed = sum(len(condition.keys) for condition in conditions if isinstance(condition, HasId))
    matches = [condition.match for condition in conditions if isinstance(condition, FieldCondition)]
    listed += sum(len(match.values) for match in matches if isinstance(match, MatchAny | MatchExcept))
    return len(conditions) * CONDITION_BYTES + listed * LISTED_BYTES


class MaskCache:
    """Filter → mask; any thread may use it. Masks are never written to, only replaced."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[Filter, CachedMask] = OrderedDict()
        self._lock = Lock()

    def get(self, wanted: Filter) -> CachedMask | None:
        with self._lock:
            entry = self._entries.get(wanted)
            if entry is not None:
                self._entries.move_to_end(wanted)
            return entry

    def put(self, wanted: Filter, entry: CachedMask) -> None:
        """Keep a mask unless a later one of the same filter is there."""
        with self._lock:
            known = self._entries.get(wanted)
            if known is not None:
                if known.applied_op > entry.applied_op:
                    return
                self._bytes -= known.bytes
            self._entries[wanted] = entry
            self._entries.move_to_end(wanted)
            self._bytes += entry.bytes
            while self._bytes > self._max_bytes:
                _, dropped = self._entries.popitem(last=False)
                self._bytes -= dropped.bytes
