"""The points of a shard by point number: the heap's copy of the records in the store.

Invariant: it describes the state after `applied_op`; it is changed by the writer thread alone, after the commit. A
reader in another thread may see it a moment older than the store, never newer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import cast

import lmdb
import numpy as np
import numpy.typing as npt

from qnode.index.records import HEAD_BYTES, Records, key_in, read_records, record_type
from qnode.index.store import Numbers, Store, get_many, number_keys, open_payload
from qnode.index.vectors.native import address_of
from qnode.index.vectors.winners import copy_heads
from qnode.models.point_id import PointKey

Mask = npt.NDArray[np.bool_]

JOURNAL_POINTS = 200_000
"""How many changed points are remembered for those who keep a mask up to date."""

LOAD_RECORDS = 65_536
"""How many records are read in one piece."""


class Population:
    """Which point numbers are points, their records, and which of them changed lately.

    slots: vector name → slot. _memory: the records and their address, which readers must take together.
    """

    def __init__(self, store: Store, slots: Mapping[str, int]) -> None:
        self._store = store
        self.slots = dict(slots)
        self.width = max(self.slots.values(), default=-1) + 1
        self.capacity = 0
        self.applied_op = 0
        self._live = np.zeros(0, np.bool_)
        self._memory = np.zeros(0, record_type(self.width)), 0
        self._changes = 0  # odd while records change
        self._journal: deque[tuple[int, Numbers]] = deque()
        self._journal_points = 0
        self._journal_begins = 0

    def load(self, txn: lmdb.Transaction, capacity: int, applied_op: int) -> None:
        """Read everything from the store."""
        self._changes += 1
        self._live = np.zeros(0, np.bool_)
        self._memory = np.zeros(0, record_type(self.width)), 0
        self._grow(capacity)
        for numbers, records in read_all_records(txn, self._store, self.width):
            self._live[numbers] = True
            self._records[numbers] = records
        self.capacity = capacity
        self._journal.clear()
        self._journal_points, self._journal_begins = 0, applied_op
        self.applied_op = applied_op
        self._changes += 1

    def publish(self, changed: Numbers, live: Mask, records: Records, capacity: int, applied_op: int) -> None:
        """Take over what a commit changed: of each number of `changed` whether it is a point, and its record or 0."""
        self._changes += 1
        self._grow(capacity)
        self.capacity = capacity
        self._live[changed] = live
        self._records[changed] = records
        self._journal.append((applied_op, changed))
        self._journal_points += len(changed)
        while self._journal_points > JOURNAL_POINTS and len(self._journal) > 1:
            self._journal_begins = self._journal[0][0]  # before it goes: see changed_since
            self._journal_points -= len(self._journal.popleft()[1])
        self.applied_op = applied_op
        self._changes += 1

    def _grow(self, capacity: int) -> None:
        known = len(self._live)
        if capacity > known:
            room = max(capacity, 2 * known, 1024)
            live, records = np.zeros(room, np.bool_), np.zeros(room, self._records.dtype)
            live[:known], records[:known] = self._live, self._records
            self._live, self._memory = live, (records, address_of(records))

    @property
    def _records(self) -> Records:
        return self._memory[0]

    @property
    def live(self) -> Mask:
        """(capacity,) which numbers are points."""
        return self._live[: self.capacity]

    def with_vector(self, name: str) -> Mask:
        """(capacity,) which points have the named vector; none if there is no such vector."""
        slot = self.slots.get(name)
        if slot is None:
            return np.zeros(self.capacity, np.bool_)
        having: Mask = self._records["ops"][: self.capacity, slot] != 0
        return having

    def heads_of(self, numbers: Numbers, ops: npt.NDArray[np.uint64], slot: int) -> bytes | None:
        """The heads (HEAD_BYTES each) of the records of points whose vectors were set by `ops`, of one state.

        None if one of them was set by another operation since, or the writer was just changing the records.
        """
        before, (records, address) = self._changes, self._memory
        heads = np.empty(len(numbers) * HEAD_BYTES, np.uint8)
        width = records.dtype.itemsize
        are_current = copy_heads(numbers, ops, address, width, len(records), HEAD_BYTES + 8 * slot, HEAD_BYTES, heads)
        return heads.tobytes() if are_current and before % 2 == 0 and self._changes == before else None

    def sort_keys_of(self, numbers: Numbers) -> npt.NDArray[np.bytes_]:
        """The keys of points, filled up to one length, which sort as the keys do; perhaps of a moment later."""
        return np.ascontiguousarray(self._records["key"][numbers]).view("S17")[:, 0]

    def numbers_of(self, txn: lmdb.Transaction, keys: Iterable[PointKey]) -> Numbers:
        """The numbers of those keys that are points, ascending."""
        found = get_many(txn, self._store.ids, list(keys))
        numbers = np.frombuffer(b"".join(found.values()), "<u4")
        return np.sort(numbers)

    def keys_of(self, txn: lmdb.Transaction, numbers: Numbers) -> list[PointKey]:
        """The keys of these points; those that are gone are left out."""
        wanted = number_keys(numbers)
        found = get_many(txn, self._store.records, wanted)
        return [key_in(found[number]) for number in wanted if number in found]

    def payloads_of(self, txn: lmdb.Transaction, numbers: Numbers) -> list[bytes]:
        """The payloads of these points as JSON; `{}` for those that are gone."""
        wanted = number_keys(numbers)
        found = get_many(txn, self._store.payloads, wanted)
        return [
            open_payload(found[key], self._store, number) if key in found else b"{}"
            for key, number in zip(wanted, numbers.tolist(), strict=True)
        ]

    def changed_since(self, op_num: int) -> Numbers | None:
        """The points that changed after op_num, each once; None if that is too long ago to be known."""
        changed = [numbers for op, numbers in list(self._journal) if op > op_num]
        if op_num < self._journal_begins:  # asked after the copy: the writer may have shortened the journal before it
            return None
        if not changed:
            return np.empty(0, np.uint32)
        return np.unique(np.concatenate(changed))


def read_all_records(txn: lmdb.Transaction, store: Store, width: int) -> Iterator[tuple[Numbers, Records]]:
    """Read all points in pieces: their numbers and records."""
    with txn.cursor(db=store.records) as cursor:
        stored = cast("Iterator[tuple[bytes, bytes]]", cursor.iternext())
        while piece := list(islice(stored, LOAD_RECORDS)):
            numbers = np.frombuffer(b"".join([number for number, _ in piece]), "<u4")
            yield numbers, read_records([value for _, value in piece], width)
