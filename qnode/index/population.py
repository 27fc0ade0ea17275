"""The points of a shard as masks over point numbers: the heap's copy of what the store says.

Invariant: the masks describe the state after `applied_op`; they are changed by the writer thread alone, after the
commit. A reader in another thread may see the masks a moment older than the store, never newer; it rechecks winners
whose record is newer than `applied_op`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import cast

import lmdb
import numpy as np
import numpy.typing as npt

from qnode.index.records import HEAD_BYTES, key_in
from qnode.index.store import Numbers, Store, get_many, number_keys, open_payload
from qnode.models.point_id import PointKey

Mask = npt.NDArray[np.bool_]

JOURNAL_POINTS = 200_000
"""How many changed points are remembered for those who keep a mask up to date."""


class Population:
    """Which point numbers are points, which of them have which vector, and which changed lately.

    slots: vector name → slot.
    """

    def __init__(self, store: Store, slots: Mapping[str, int]) -> None:
        self._store = store
        self.slots = dict(slots)
        self.capacity = 0
        self.applied_op = 0
        self._live = np.zeros(0, np.bool_)
        self._having = {slot: np.zeros(0, np.bool_) for slot in self.slots.values()}
        self._journal: deque[tuple[int, Numbers]] = deque()
        self._journal_points = 0
        self._journal_begins = 0

    def load(self, txn: lmdb.Transaction, capacity: int, applied_op: int) -> None:
        """Read everything from the store."""
        self._live = np.zeros(0, np.bool_)
        self._having = {slot: np.zeros(0, np.bool_) for slot in self.slots.values()}
        self._grow(capacity)
        numbers, ops = read_all_ops(txn, self._store, max(self.slots.values(), default=-1) + 1)
        self._live[numbers] = True
        for slot, having in self._having.items():
            having[numbers] = ops[:, slot] != 0
        self.capacity = capacity
        self._journal.clear()
        self._journal_points, self._journal_begins = 0, applied_op
        self.applied_op = applied_op

    def publish(self, changed: Numbers, live: Mask, having: Mapping[int, Mask], capacity: int, applied_op: int) -> None:
        """Take over what a commit changed: for each number of `changed`, whether it is a point and has each vector."""
        self._grow(capacity)
        self.capacity = capacity
        self._live[changed] = live
        for slot, has in having.items():
            self._having[slot][changed] = has
        self._journal.append((applied_op, changed))
        self._journal_points += len(changed)
        while self._journal_points > JOURNAL_POINTS and len(self._journal) > 1:
            self._journal_begins = self._journal[0][0]  # before it goes: see changed_since
            self._journal_points -= len(self._journal.popleft()[1])
        self.applied_op = applied_op

    def _grow(self, capacity: int) -> None:
        if capacity <= len(self._live):
            return
        room = max(capacity, 2 * len(self._live), 1024)

        def widened(mask: Mask) -> Mask:
            wide = np.zeros(room, np.bool_)
            wide[: len(mask)] = mask
            return wide

        self._having = {slot: widened(mask) for slot, mask in self._having.items()}
        self._live = widened(self._live)

    @property
    def live(self) -> Mask:
        """(capacity,) which numbers are points."""
        return self._live[: self.capacity]

    def with_vector(self, name: str) -> Mask:
        """(capacity,) which points have the named vector; none if there is no such vector."""
        slot = self.slots.get(name)
        if slot is None:
            return np.zeros(self.capacity, np.bool_)
        return self._having[slot][: self.capacity]

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


def read_all_ops(txn: lmdb.Transaction, store: Store, slots: int) -> tuple[Numbers, npt.NDArray[np.uint64]]:
    """Read which points there are and which operation set each vector: (n,) numbers, (n, slots) op_nums."""
    width = HEAD_BYTES + 8 * slots
    count = txn.stat(store.records)["entries"]
    numbers = np.empty(count, np.uint32)
    ops = np.zeros((count, slots), np.uint64)
    with txn.cursor(db=store.records) as cursor:
        at = 0
        keys: list[bytes] = []
        values: list[bytes] = []
        for key, value in cast("Iterator[tuple[bytes, bytes]]", cursor.iternext()):
            keys.append(key)
            values.append(value[HEAD_BYTES:width].ljust(8 * slots, b"\0"))
            if len(keys) == 65_536:
                at = _copy_ops(keys, values, numbers, ops, at)
        at = _copy_ops(keys, values, numbers, ops, at)
    assert at == count
    return numbers, ops


def _copy_ops(keys: list[bytes], values: list[bytes], numbers: Numbers, ops: npt.NDArray[np.uint64], at: int) -> int:
    end = at + len(keys)
    numbers[at:end] = np.frombuffer(b"".join(keys), "<u4")
    if ops.shape[1]:
        ops[at:end] = np.frombuffer(b"".join(values), "<u8").reshape(-1, ops.shape[1])
    keys.clear()
    values.clear()
    return end
