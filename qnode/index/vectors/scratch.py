"""What the kernels write to while they search, kept by each thread from one search to the next."""

from __future__ import annotations

import threading

import numpy as np

from qnode.index.vectors import native


class Scratch(threading.local):
    """What the kernels write to: one set a thread, kept, sized for the largest segment that the thread has searched."""

    def __init__(self) -> None:
        self.rows, self.kept, self.mark = 0, 0, 0
        self.fresh = np.empty(1, np.int64)
        self.tables = np.empty(0, np.uint8)
        self.cell = np.zeros(2, np.uint64)
        self.cell_at = native.address_of(self.cell)

    def reserve(self, rows: int, kept: int, width: int) -> None:
        """Make room for segments of `rows` rows, for `kept` results, for nodes of `width` links."""
        if rows + kept > self.rows:
            self.rows = rows + kept
            self.marks = np.zeros(self.rows, np.uint8)
            self.mark = 0
            self.frontier = np.empty(self.rows + 1, np.uint64)
            self.frontier_at = native.address_of(self.frontier)
            self.list = np.empty(self.rows, np.int32)
            self.list_at = native.address_of(self.list)
        if kept > self.kept:
            self.kept = kept
            self.best = np.empty(kept + 1, np.uint64)
            self.scores = np.empty(kept, np.float32)
            self.found = np.empty(kept, np.int32)
        if width > len(self.fresh):
            self.fresh = np.empty(width, np.int64)

    def tables_at(self, size: int) -> int:
        """Return where so many bytes for tables of sketches lie."""
        if size > len(self.tables):
            self.tables = np.empty(size, np.uint8)
            self._tables_at = native.address_of(self.tables)
        return self._tables_at

    def next_marks(self, count: int) -> int:
        """Return the first of so many marks in a row that no segment's row bears."""
        first = self.mark + 1
        if first + count > 256:
            self.marks[:] = 0
            first = 1
        self.mark = first + count - 1
        return first


scratch = Scratch()
