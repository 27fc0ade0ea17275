"""Applying operations: a group of them is one LMDB transaction, preceded by the rows that it refers to.

Order, and why a crash at any point loses nothing and shows nothing half: (1) everything is written into the open
transaction, (2) the new rows are appended to the growing segments and fsynced, (3) the transaction commits, with
`applied_op` in it, (4) the heap follows. Before 3 the rows are not counted and will be overwritten; after 3 the heap
is rebuilt from the store at the next open.

The new rows become visible to searches just before the commit: a search that finds one sees in the store that it is
not current yet and takes the old one. So no point is missing at any moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import lmdb
import numpy as np
import numpy.typing as npt
import orjson

from qnode.index.fields import FieldIndexes, PayloadChange
from qnode.index.records import Records, new_records, op_in, read_records, record_type, to_values
from qnode.index.store import (
    Numbers,
    Store,
    get_many,
    get_meta_u64,
    number_keys,
    open_payload,
    put_many,
    put_meta_u64,
    seal_payload,
)
from qnode.models.columns import chosen, joined
from qnode.models.operation import (
    ClearPayload,
    Column,
    Delete,
    DeletePayload,
    DeleteVectors,
    Operation,
    OverwritePayload,
    SetPayload,
    UpdateVectors,
    Upsert,
)
from qnode.models.payload_edit import delete_paths, set_payload
from qnode.models.payload_path import parse_path
from qnode.models.point_id import PointKey

EMPTY_PAYLOAD = b"{}"


@dataclass(slots=True, eq=False)
class NewRows:
    """Vectors for one slot, collected over the group; one that a later operation supersedes has op_num 0.

    numbers, ops: of each vector of the column at the same place.
    """

    numbers: list[Numbers] = field(default_factory=list)
    ops: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    columns: list[Column] = field(default_factory=list)

    def kept(self) -> tuple[Numbers, npt.NDArray[np.uint64], Column] | None:
        """Give the vectors that are current at the end, put together; None if there are none."""
        if not self.ops:
            return None
        numbers, ops, column = np.concatenate(self.numbers), np.concatenate(self.ops), joined(self.columns)
        places = np.flatnonzero(ops)
        if len(places) < len(ops):
            numbers, ops = numbers[places], ops[places]
            column = chosen(column, np.arange(len(places), dtype=np.int32), places)
        return (numbers, ops, column) if len(places) else None


@dataclass(slots=True, eq=False)
class Killed:
    """Points whose committed vector of a slot is no longer current: numbers, and the op_nums that had set it."""

    numbers: list[Numbers] = field(default_factory=list)
    ops: list[npt.NDArray[np.uint64]] = field(default_factory=list)


class Group:
    """The changes of several operations inside one write transaction.

    slots: vector name → slot; `committed_op`: what had been applied before the group.
    """

    def __init__(
        self, store: Store, txn: lmdb.Transaction, fields: FieldIndexes, slots: dict[str, int], committed_op: int
    ) -> None:
        self.store = store
        self.txn = txn
        self.fields = fields
        self.slots = slots
        self.width = max(slots.values(), default=-1) + 1
        self.committed_op = committed_op
        self.next_number = get_meta_u64(txn, store, b"next_number")
        self.rows = {slot: NewRows() for slot in slots.values()}
        self.killed = {slot: Killed() for slot in slots.values()}
        self.changed: list[Numbers] = []
        self.staged: list[Any] = []

    def apply(self, op_num: int, operation: Operation) -> None:
        """Put one operation into the transaction."""
        match operation:
            case Upsert():
                self._upsert(op_num, operation)
            case Delete():
                self._delete(operation.keys)
            case UpdateVectors():
                self._update_vectors(op_num, operation.keys, operation.vectors)
            case DeleteVectors():
                self._delete_vectors(op_num, operation)
            case OverwritePayload():
                self._edit_payloads(op_num, operation.keys, lambda _: operation.payload)
            case ClearPayload():
                self._edit_payloads(op_num, operation.keys, lambda _: EMPTY_PAYLOAD)
            case SetPayload():
                addition = orjson.loads(operation.payload)
                path = None if operation.path is None else parse_path(operation.path)
                self._edit_payloads(
                    op_num, operation.keys, lambda old: orjson.dumps(set_payload(orjson.loads(old), addition, path))
                )
            case DeletePayload():
                paths = [parse_path(path) for path in operation.paths]
                self._edit_payloads(
                    op_num, operation.keys, lambda old: orjson.dumps(delete_paths(orjson.loads(old), paths))
                )

    def _upsert(self, op_num: int, operation: Upsert) -> None:
        txn, store = self.txn, self.store
        found = get_many(txn, store.ids, operation.keys)
        if found:
            known = np.array([key in found for key in operation.keys], np.bool_)
            old_numbers = np.frombuffer(b"".join([found[key] for key in operation.keys if key in found]), "<u4")
        else:
            known = np.zeros(len(operation.keys), np.bool_)
            old_numbers = np.empty(0, np.uint32)
        fresh_keys = [key for key in operation.keys if key not in found]
        numbers = np.empty(len(operation.keys), np.uint32)
        numbers[known] = old_numbers
        numbers[~known] = self._allocate(len(fresh_keys))
        self._kill(old_numbers, range(self.width))

        records = new_records(operation.keys, op_num, self.width)
        for name, column in operation.vectors.items():
            self._add_rows(self.slots[name], op_num, numbers, records, column)
        number_bytes = number_keys(numbers)
        self._stage_changes(numbers, number_bytes, known, operation.payloads)
        put_many(txn, store.ids, [
            (key, number) for key, number, old in zip(operation.keys, number_bytes, known.tolist(), strict=True)
            if not old
        ])  # fmt: skip
        put_many(txn, store.records, list(zip(number_bytes, to_values(records), strict=True)))
        put_many(txn, store.payloads, list(zip(number_bytes, map(seal_payload, operation.payloads), strict=True)))
        self.changed.append(numbers)

    def _delete(self, keys: Sequence[PointKey]) -> None:
        txn, store = self.txn, self.store
        found = get_many(txn, store.ids, keys)
        if not found:
            return
        number_bytes = list(found.values())
        numbers = np.frombuffer(b"".join(number_bytes), "<u4")
        self._kill(numbers, range(self.width))
        self._stage_changes(numbers, number_bytes, np.ones(len(numbers), np.bool_), None)
        for key, number in found.items():
            txn.delete(key, db=store.ids)
            txn.delete(number, db=store.records)
            txn.delete(number, db=store.payloads)
        put_many(txn, store.free, [(number, b"") for number in number_bytes])
        self.changed.append(numbers)

    def _update_vectors(self, op_num: int, keys: Sequence[PointKey], vectors: dict[str, Column]) -> None:
        numbers, present, records = self._existing(keys)
        if not len(numbers):
            return
        records["version"] = op_num
        position = np.full(len(keys), -1, np.int32)
        position[present] = np.arange(len(numbers), dtype=np.int32)
        for name, column in vectors.items():
            slot = self.slots[name]
            at = position[column.at]
            kept = np.flatnonzero(at >= 0)
            at = at[kept]
            self._kill(numbers[at], [slot])
            self._add_rows(slot, op_num, numbers, records, chosen(column, at, kept))
        self._put_records(numbers, records)

    def _delete_vectors(self, op_num: int, operation: DeleteVectors) -> None:
        numbers, _, records = self._existing(operation.keys)
        if not len(numbers):
            return
        slots = [self.slots[name] for name in operation.names]
        self._kill(numbers, slots)
        records["version"] = op_num
        for slot in slots:
            records["ops"][:, slot] = 0
        self._put_records(numbers, records)

    def _edit_payloads(self, op_num: int, keys: Sequence[PointKey], edit: Any) -> None:
        numbers, _, records = self._existing(keys)
        if not len(numbers):
            return
        records["version"] = op_num
        number_bytes = number_keys(numbers)
        old = self._payloads(number_bytes)
        new = [edit(payload) for payload in old]
        if self.fields.schemas:
            self._stage([
                PayloadChange(number, orjson.loads(before), orjson.loads(after))
                for number, before, after in zip(numbers.tolist(), old, new, strict=True)
            ])  # fmt: skip
        put_many(self.txn, self.store.payloads, list(zip(number_bytes, map(seal_payload, new), strict=True)))
        self._put_records(numbers, records)

    def _existing(self, keys: Sequence[PointKey]) -> tuple[Numbers, npt.NDArray[np.bool_], Records]:
        """The numbers and records of those keys that are points, and which keys these are."""
        found = get_many(self.txn, self.store.ids, keys)
        present = np.array([key in found for key in keys], np.bool_)
        number_bytes = [found[key] for key in keys if key in found]
        numbers = np.frombuffer(b"".join(number_bytes), "<u4")
        values = get_many(self.txn, self.store.records, number_bytes)
        return numbers, present, read_records([values[number] for number in number_bytes], self.width)

    def _put_records(self, numbers: Numbers, records: Records) -> None:
        put_many(self.txn, self.store.records, list(zip(number_keys(numbers), to_values(records), strict=True)))
        self.changed.append(numbers)

    def _payloads(self, number_bytes: Sequence[bytes]) -> list[bytes]:
        found = get_many(self.txn, self.store.payloads, number_bytes)
        return [open_payload(found[key], self.store, int.from_bytes(key, "little")) for key in number_bytes]

    def _allocate(self, count: int) -> Numbers:
        """Take point numbers: those of deleted points first, then new ones."""
        taken: list[bytes] = []
        with self.txn.cursor(db=self.store.free) as cursor:
            while len(taken) < count and cursor.first():
                taken.append(bytes(cursor.key()))
                cursor.delete()
        fresh = count - len(taken)
        numbers = np.empty(count, np.uint32)
        numbers[: len(taken)] = np.frombuffer(b"".join(taken), "<u4")
        numbers[len(taken) :] = np.arange(self.next_number, self.next_number + fresh, dtype=np.uint32)
        self.next_number += fresh
        return numbers

    def _add_rows(self, slot: int, op_num: int, numbers: Numbers, records: Records, column: Column) -> None:
        records["ops"][column.at, slot] = op_num
        rows = self.rows[slot]
        rows.numbers.append(numbers[column.at])
        rows.ops.append(np.full(len(column.at), op_num, np.uint64))
        rows.columns.append(column)

    def _kill(self, numbers: Numbers, slots: Sequence[int]) -> None:
        """Note that the vectors of these existing points end, in these slots."""
        if not len(numbers) or not slots:
            return
        number_bytes = number_keys(numbers)
        found = get_many(self.txn, self.store.records, number_bytes)
        for slot in slots:
            ops = np.array([op_in(found[number], slot) for number in number_bytes], np.uint64)
            pending = ops > self.committed_op
            if pending.any():
                self._drop_pending(slot, numbers[pending])
            committed = (ops > 0) & ~pending
            if committed.any():
                self.killed[slot].numbers.append(numbers[committed])
                self.killed[slot].ops.append(ops[committed])

    def _drop_pending(self, slot: int, numbers: Numbers) -> None:
        rows = self.rows[slot]
        for at, ops in enumerate(rows.ops):
            ops[np.isin(rows.numbers[at], numbers)] = 0

    def _stage_changes(
        self, numbers: Numbers, number_bytes: Sequence[bytes], known: npt.NDArray[np.bool_], new: list[bytes] | None
    ) -> None:
        """Tell the payload indexes what becomes of these points' payloads; `new` None: the points go."""
        if not self.fields.schemas:
            return
        old: list[bytes | None] = [None] * len(numbers)
        at = np.flatnonzero(known).tolist()
        for place, payload in zip(at, self._payloads([number_bytes[i] for i in at]), strict=True):
            old[place] = payload
        after: Sequence[bytes | None] = new if new is not None else [None] * len(numbers)
        self._stage([
            PayloadChange(number, None if before is None else orjson.loads(before),
                          None if following is None else orjson.loads(following))
            for number, before, following in zip(numbers.tolist(), old, after, strict=True)
        ])  # fmt: skip

    def _stage(self, changes: list[PayloadChange]) -> None:
        self.staged.append(self.fields.stage(self.txn, changes))

    def finish(self, applied_op: int) -> None:
        """Put the counters into the transaction."""
        put_meta_u64(self.txn, self.store, b"next_number", self.next_number)
        put_meta_u64(self.txn, self.store, b"applied_op", applied_op)

    def current(self) -> tuple[Numbers, npt.NDArray[np.bool_], Records]:
        """The changed points, each once: their numbers, whether they are points now, and their records (or 0)."""
        numbers = np.unique(np.concatenate(self.changed)) if self.changed else np.empty(0, np.uint32)
        wanted = number_keys(numbers)
        found = get_many(self.txn, self.store.records, wanted)
        live = np.array([key in found for key in wanted], np.bool_)
        records = np.zeros(len(numbers), record_type(self.width))
        records[live] = read_records([found[key] for key in wanted if key in found], self.width)
        return numbers, live, records
