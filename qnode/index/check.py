"""Checking all of an index that nobody writes to: everything is read, and what is said twice is compared.

Opening with `verify` has checked what carries a checksum: the manifest, the catalogue of payload indexes, the segments.
LMDB keeps none of its pages; damage there shows as what cannot be read, or as two places that contradict each other:

- ids and records name each other, each point has a payload that fits its checksum, free numbers are no points;
- each vector of a record has one row (of a multivector, rows one behind the other), and a row is alive if and only if it is a record's current one;
- the postings of a payload index are those that the payloads give, no more and no less.

Left out: what is wrong in the same way wherever it stands. A page that LMDB trusts may lead it out of the file, which ends
the process: check in one of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lmdb
import numpy as np
import numpy.typing as npt
import orjson

from qnode.errors import Corruption
from qnode.index.fields import posting_faults
from qnode.index.index import Index
from qnode.index.records import key_in, op_in, version_in
from qnode.index.store import get_meta_u64, open_payload
from qnode.index.vectors.multi import begins

Ops = npt.NDArray[np.uint64]


def faults(index: Index) -> Iterator[str]:
    """List what contradicts itself or cannot be read; the index was opened with `verify`, read-only is enough."""
    try:
        with index.store.reading() as txn:
            yield from _unreadable(index, txn)
            ops = np.zeros((index.population.capacity, index.population.width), np.uint64)
            yield from _point_faults(index, txn, ops)
            yield from _row_faults(index, ops)
            yield from posting_faults(txn, index.store, index.fields.catalog(txn), _payloads(index, txn))
    except lmdb.Error as error:
        yield f"the store cannot be read: {error}"
    except Corruption as error:
        yield error.fault


def _unreadable(index: Index, txn: lmdb.Transaction) -> Iterator[str]:
    """Read every page of the store."""
    store = index.store
    databases = {
        "ids": store.ids, "records": store.records, "payloads": store.payloads, "free": store.free, "dead": store.dead,
        "checks": store.checks, "postings": store.postings, "fields": store.fields, "meta": store.meta,
    }  # fmt: skip
    for name, database in databases.items():
        with txn.cursor(db=database) as cursor:
            found = sum(1 for _ in cursor.iternext())
        expected = txn.stat(database)["entries"]
        if found != expected:
            yield f"{name} has {found} entries instead of {expected}"
    points, numbers = txn.stat(store.records)["entries"], get_meta_u64(txn, store, b"next_number")
    for name, other in (("ids", store.ids), ("payloads", store.payloads)):
        if txn.stat(other)["entries"] != points:
            yield f"there are {txn.stat(other)['entries']} {name} and {points} records"
    if points + txn.stat(store.free)["entries"] != numbers:
        yield f"{points} points and {txn.stat(store.free)['entries']} free numbers are not {numbers} numbers"


def _point_faults(index: Index, txn: lmdb.Transaction, ops: Ops) -> Iterator[str]:
    """Check each point's record against everything that is kept beside it; `ops` is filled with what set its vectors."""
    store, applied_op = index.store, get_meta_u64(txn, index.store, b"applied_op")
    with txn.cursor(db=store.records) as cursor:
        for key, record in cursor.iternext():
            number, point_key = int.from_bytes(key, "little"), key_in(bytes(record))
            if number >= len(ops):
                yield f"point number {number} was never given"
                continue
            if txn.get(point_key, db=store.ids) != key:
                yield f"the id of point number {number} leads elsewhere"
            if txn.get(key, db=store.free) is not None:
                yield f"point number {number} counts as free"
            ops[number] = [op_in(bytes(record), slot) for slot in range(ops.shape[1])]
            if not ops[number].max(initial=0) <= version_in(bytes(record)) <= applied_op:
                yield f"the version of point number {number} is from nowhere"


def _payloads(index: Index, txn: lmdb.Transaction) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read all payloads; raise Corruption for one that does not fit its checksum."""
    with txn.cursor(db=index.store.payloads) as cursor:
        for key, value in cursor.iternext():
            number = int.from_bytes(key, "little")
            yield number, orjson.loads(open_payload(bytes(value), index.store, number))


def _row_faults(index: Index, ops: Ops) -> Iterator[str]:
    for name, slot in index.slots.items():
        current = ops[:, slot]
        rows = 0
        for part in index.spaces[slot].parts:
            points, made_by = part.segment.points, part.segment.op_nums
            known = points < len(current)
            is_current = np.zeros(part.rows, np.bool_)
            is_current[known] = current[points[known]] == made_by[known]
            rows += int(np.count_nonzero(is_current & begins(points, made_by)))
            if wrong := np.count_nonzero(is_current != part.alive):
                yield f"{wrong} rows of segment {part.id} are dead and current, or alive and not"
        if rows != np.count_nonzero(current):
            yield f'{np.count_nonzero(current)} points have a vector "{name}", and there are {rows} rows of them'
