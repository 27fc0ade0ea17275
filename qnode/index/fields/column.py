"""Values of one field in the heap, so that a range or an area is answered by a pass over arrays.

A point's first value stands in a dense array at its number; further ones (of arrays in the payload) stand behind each
other in a list with tombstones: an entry counts only from its point's `first valid position` on, which moves to the
end of the list whenever the point's values are replaced. The list is compacted when it has doubled.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from qnode.index.fields.keys import Components
from qnode.index.fields.points import Mask, Numbers

Test = Callable[[Components], Mask]
"""Which of n values pass."""

_SMALLEST_LIST = 1024

_Scalar = TypeVar("_Scalar", bound=np.generic)


class Column:
    """The values that points have under one tag: components of the given types (one, or two for places)."""

    def __init__(self, *dtypes: npt.DTypeLike) -> None:
        self._dtypes = dtypes
        self._lock = Lock()
        self._present: Mask = np.zeros(0, np.bool_)
        self._dense: Components = tuple(np.zeros(0, dtype) for dtype in dtypes)
        self._used = False
        self._valid_from: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._list_numbers: Numbers = np.zeros(0, np.uint32)
        self._list: Components = tuple(np.zeros(0, dtype) for dtype in dtypes)
        self._listed = 0
        self._compacted = 0

    def select(self, test: Test, into: Mask) -> None:
        """Set `into` (capacity,) for every point that has a value which passes."""
        if not self._used:
            return
        with self._lock:
            known = min(len(self._present), len(into))
            passed = test(tuple(part[:known] for part in self._dense))
            passed &= self._present[:known]
            into[:known] |= passed
            if self._listed:
                at = np.flatnonzero(test(tuple(part[: self._listed] for part in self._list)))
                numbers = self._list_numbers[at]
                numbers = numbers[at >= self._valid_from[numbers]]
                into[numbers[numbers < len(into)]] = True

    def entries(self, within: Mask) -> tuple[Numbers, Components]:
        """List the values of those points: (n,) whose they are, numbers may repeat, and the values."""
        with self._lock:
            known = min(len(self._present), len(within))
            numbers = np.flatnonzero(self._present[:known] & within[:known]).astype(np.uint32)
            values = tuple(part[numbers] for part in self._dense)
            if self._listed:
                listed = self._list_numbers[: self._listed]
                is_wanted = np.arange(self._listed) >= self._valid_from[listed]
                is_wanted &= (listed < known) & within[np.minimum(listed, known - 1)] if known else False
                numbers = np.concatenate((numbers, listed[is_wanted]))
                further = tuple(part[: self._listed][is_wanted] for part in self._list)
                values = tuple(np.concatenate(both) for both in zip(values, further, strict=True))
            return numbers, values

    def replace(self, changed: Numbers, numbers: Numbers, values: Components) -> None:
        """Forget the values of `changed`, then add `values[i]` to the point numbers[i] (numbers may repeat)."""
        if not self._used and not len(numbers):
            return
        with self._lock:
            self._used = True
            self._grow(1 + max(int(part.max(initial=0)) for part in (changed, numbers)))
            self._present[changed] = False
            self._valid_from[changed] = self._listed
            firsts, at = np.unique(numbers, return_index=True)
            self._present[firsts] = True
            for dense, value in zip(self._dense, values, strict=True):
                dense[firsts] = value[at]
            if len(firsts) < len(numbers):
                further = np.ones(len(numbers), np.bool_)
                further[at] = False
                self._append(numbers[further], tuple(value[further] for value in values))

    def _append(self, numbers: Numbers, values: Components) -> None:
        end = self._listed + len(numbers)
        if end > len(self._list_numbers):
            room = max(end + end // 2, _SMALLEST_LIST)
            self._list_numbers = _widened(self._list_numbers, room)
            self._list = tuple(_widened(part, room) for part in self._list)
        self._list_numbers[self._listed : end] = numbers
        for part, value in zip(self._list, values, strict=True):
            part[self._listed : end] = value
        self._listed = end
        if end > 2 * self._compacted + _SMALLEST_LIST:
            self._compact()

    def _compact(self) -> None:
        numbers = self._list_numbers[: self._listed]
        kept = np.flatnonzero(np.arange(self._listed) >= self._valid_from[numbers])
        self._list_numbers = numbers[kept]
        self._list = tuple(part[kept] for part in self._list)
        self._valid_from[:] = 0
        self._listed = self._compacted = len(kept)

    def _grow(self, capacity: int) -> None:
        if capacity > len(self._present):
            room = max(capacity, len(self._present) + len(self._present) // 2)
            self._present = _widened(self._present, room)
            self._valid_from = _widened(self._valid_from, room)
            self._dense = tuple(_widened(part, room) for part in self._dense)


def _widened(array: npt.NDArray[_Scalar], length: int) -> npt.NDArray[_Scalar]:
    wide = np.zeros(length, array.dtype)
    wide[: len(array)] = array
    return wide
