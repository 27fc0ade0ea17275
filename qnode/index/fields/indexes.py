"""The payload indexes of a shard: durable postings, and who keeps them right.

    postings  (field, value) → point numbers, see `keys`
    fields    "catalog" → see `catalog`; "count" + field id → how many points have a value of the index's type

A new index is empty and is filled by `step`, a bounded number of points at a time, in the order of the point numbers.
A write keeps the postings of the points that `step` has passed. Dropping takes the index out of the catalogue at once;
`step` removes its postings. Progress is written in the transaction of what was done, so a crash between steps loses
nothing.

Invariant: the heap is changed by `publish` alone, after the commit, and by reading committed state. An aborted
transaction leaves no trace.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from typing import cast

import lmdb
import numpy as np
import orjson

from qnode import deadline
from qnode.index.fields.catalog import Catalog, Field, decode_catalog, encode_catalog
from qnode.index.fields.columns import Columns, FieldChange, FieldColumns
from qnode.index.fields.extract import Extractor, Payload, extractor_of
from qnode.index.fields.keys import COLUMN_TAGS, COUNTED_TAGS, FIELD_ID_BYTES, TAG_AT, field_prefix
from qnode.index.fields.points import FieldPoints, FieldStore, Numbers, PayloadChange
from qnode.models.field_schema import FieldSchema
from qnode.models.payload_path import parse_path

POSTINGS_FLAGS: dict[str, bool] = {"dupsort": True, "dupfixed": True, "integerdup": True}
FIELDS_FLAGS: dict[str, bool] = {}

_CATALOG = b"catalog"
_COUNT = b"count"

END_OF_NUMBERS = 1 << 32

PIECE_POSTINGS = 8192
"""How many postings are read between two looks at the deadline."""

MOST_POSTINGS_BUILT = 1 << 18
"""A piece of building ends early when it has so many: long texts have thousands of tokens each."""

_MANY_KEYS = 16

Posting = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True, eq=False)
class Staged:
    """What a commit will change in the heap: by the index's generation."""

    changes: dict[int, FieldChange]


class FieldIndexes:
    """The indexes of one shard. Writing methods are for the single writer's thread, the others for any."""

    def __init__(self, store: FieldStore) -> None:
        self._store = store
        self._seen: tuple[bytes, Catalog] = (b"", Catalog())
        self._columns = Columns(store, self.catalog)

    def load(self, txn: lmdb.Transaction) -> None:
        """Check that the catalogue can be read; raise Corruption or InternalError if not."""
        self.catalog(txn)

    def catalog(self, txn: lmdb.Transaction) -> Catalog:
        """Read which indexes there are in this transaction's state."""
        record = txn.get(_CATALOG, db=self._store.fields)
        if record is None:
            return Catalog()
        seen_record, seen = self._seen
        if record == seen_record:
            return seen
        catalog = decode_catalog(bytes(record), self._store.path / "data.mdb")
        self._seen = (bytes(record), catalog)
        return catalog

    @contextmanager
    def newest(self, txn: lmdb.Transaction) -> Iterator[lmdb.Transaction]:
        """Give a transaction that sees every commit up to now: `txn` itself if it does, else one of its own."""
        if txn.id() >= self._store.env.info()["last_txnid"]:
            yield txn
        else:
            with self._store.reading() as newest:
                yield newest

    @property
    def schemas(self) -> dict[str, FieldSchema]:
        """The indexes of the last commit."""
        with self._store.reading() as txn:
            return {name: field.schema for name, field in self.catalog(txn).fields.items()}

    def ready(self, name: str) -> bool:
        """Whether the index is complete, as of the last commit."""
        with self._store.reading() as txn:
            field = self.catalog(txn).fields.get(name)
        return field is not None and field.ready

    def points_count(self, txn: lmdb.Transaction, name: str) -> int:
        """How many points have a value of the index's type; 0 for no such index."""
        field = self.catalog(txn).fields.get(name)
        return 0 if field is None else self._count(txn, field)

    def columns(self, population: FieldPoints, field: Field) -> FieldColumns | None:
        """Give the heap columns of an index by tag; None if it was dropped meanwhile."""
        return self._columns.of(population, field)

    def numbers_with(self, txn: lmdb.Transaction, key: bytes) -> Numbers:
        """The points that have a posting under this key."""
        layout = np.dtype([("key", f"V{len(key)}"), ("number", "<u4")])
        with txn.cursor(db=self._store.postings) as cursor:
            found = cursor.getmulti([key], dupdata=True, dupfixed_bytes=4, keyfixed=True)
        return np.frombuffer(found, layout)["number"]

    def numbers_below(self, txn: lmdb.Transaction, prefix: bytes) -> Iterator[Numbers]:
        """The points of all keys that begin like this, in pieces between which the deadline is looked at."""
        with txn.cursor(db=self._store.postings) as cursor:
            if not cursor.set_range(prefix):
                return
            postings = cast("Iterator[tuple[bytes, bytes]]", cursor.iternext())
            while chunk := list(islice(postings, PIECE_POSTINGS)):
                deadline.check()
                begins = [number for key, number in chunk if key.startswith(prefix)]
                yield np.frombuffer(b"".join(begins), "<u4")
                if len(begins) < len(chunk):
                    return

    def create(self, txn: lmdb.Transaction, name: str, schema: FieldSchema) -> None:
        """Add an index, or replace the one of this name; `name` is a payload path, MalformedBody if not."""
        parse_path(name)
        catalog = self.catalog(txn)
        if name in catalog.fields:
            catalog = self._without(txn, catalog, name)
        self._write_catalog(txn, catalog.with_field(name, schema))

    def drop(self, txn: lmdb.Transaction, name: str) -> None:
        """Take an index away, if there is one of this name."""
        catalog = self.catalog(txn)
        if name in catalog.fields:
            self._write_catalog(txn, self._without(txn, catalog, name))

    def step(self, txn: lmdb.Transaction, population: FieldPoints, max_points: int) -> bool:
        """Do one piece of the building and dropping that is left; True when nothing is.

        The transaction must hold nothing that the population does not show yet: call it in one of its own.
        """
        catalog = self.catalog(txn)
        self._columns.forget_all_but(catalog)
        if catalog.dropping:
            catalog = self._remove(txn, catalog, catalog.dropping[0], max_points)
        else:
            unfinished = next((field for field in catalog.fields.values() if not field.ready), None)
            if unfinished is None:
                return True
            catalog = self._build(txn, population, catalog, unfinished, max_points)
        self._write_catalog(txn, catalog)
        return not catalog.dropping and all(field.ready for field in catalog.fields.values())

    def stage(self, txn: lmdb.Transaction, changes: Sequence[PayloadChange]) -> Staged:
        """Write what these changes mean for the postings."""
        catalog = self.catalog(txn)
        changes = _coalesced(changes)
        adding: list[Posting] = []
        removing: list[Posting] = []
        staged: dict[int, FieldChange] = {}
        for field in catalog.fields.values():
            changed, added, removed, counted = _difference(field, extractor_of(field), changes)
            if changed:
                adding += added
                removing += removed
                self._add_to_count(txn, field, counted)
                if field.schema.type in COLUMN_TAGS:
                    staged[field.generation] = _field_change(changed, added)
        removing.sort()
        for key, number in removing:
            txn.delete(key, number, db=self._store.postings)
        self._put(txn, adding)
        return Staged(staged)

    def publish(self, staged: Staged) -> None:
        """Show a committed change to searches. Call it before the population shows the same operation."""
        self._columns.publish(staged.changes)

    def _without(self, txn: lmdb.Transaction, catalog: Catalog, name: str) -> Catalog:
        field = catalog.fields[name]
        txn.delete(_COUNT + field_prefix(field.id), db=self._store.fields)
        return catalog.without_field(name)

    def _remove(self, txn: lmdb.Transaction, catalog: Catalog, field_id: int, max_keys: int) -> Catalog:
        prefix = field_prefix(field_id)
        with txn.cursor(db=self._store.postings) as cursor:
            found = cursor.set_range(prefix)
            for _ in range(max_keys):
                if not found or bytes(cursor.key()[:FIELD_ID_BYTES]) != prefix:
                    return catalog.without_dropped(field_id)
                cursor.delete(dupdata=True)
                found = bool(cursor.key())
        return catalog

    def _build(
        self, txn: lmdb.Transaction, population: FieldPoints, catalog: Catalog, field: Field, max_points: int
    ) -> Catalog:
        assert field.built_to is not None
        remaining = np.flatnonzero(population.live[field.built_to :])
        numbers = (remaining[:max_points] + field.built_to).astype(np.uint32)
        keys_in = extractor_of(field)
        counted_tags = COUNTED_TAGS.get(field.schema.type)
        adding: list[Posting] = []
        counted = 0
        built = len(numbers)
        for at, (number, payload) in enumerate(
            zip(numbers.tolist(), population.payloads_of(txn, numbers), strict=True), start=1
        ):
            keys = keys_in(orjson.loads(payload))
            value = number.to_bytes(4, "little")
            adding.extend((key, value) for key in keys)
            counted += _is_counted(keys, counted_tags)
            if len(adding) >= MOST_POSTINGS_BUILT:
                built = at
                break
        self._put(txn, adding)
        self._add_to_count(txn, field, counted)
        done = len(remaining) <= built
        return catalog.with_progress(field.name, None if done else int(numbers[built - 1]) + 1)

    def _put(self, txn: lmdb.Transaction, postings: list[Posting]) -> None:
        if postings:
            postings.sort(key=itemgetter(0))
            with txn.cursor(db=self._store.postings) as cursor:
                cursor.putmulti(postings)

    def _count(self, txn: lmdb.Transaction, field: Field) -> int:
        stored = txn.get(_COUNT + field_prefix(field.id), db=self._store.fields)
        return 0 if stored is None else int.from_bytes(stored, "little")

    def _add_to_count(self, txn: lmdb.Transaction, field: Field, points: int) -> None:
        if points:
            count = self._count(txn, field) + points
            txn.put(_COUNT + field_prefix(field.id), count.to_bytes(8, "little"), db=self._store.fields)

    def _write_catalog(self, txn: lmdb.Transaction, catalog: Catalog) -> None:
        txn.put(_CATALOG, encode_catalog(catalog), db=self._store.fields)


def _coalesced(changes: Sequence[PayloadChange]) -> Sequence[PayloadChange]:
    """Make one change of several to the same point: from the first `old` to the last `new`."""
    merged: dict[int, PayloadChange] = {change.number: change for change in changes}
    if len(merged) == len(changes):
        return changes
    firsts: dict[int, Payload | None] = {}
    for change in changes:
        firsts.setdefault(change.number, change.old)
    return [PayloadChange(number, firsts[number], change.new) for number, change in merged.items()]


def _difference(
    field: Field, keys_in: Extractor, changes: Sequence[PayloadChange]
) -> tuple[list[int], list[Posting], list[Posting], int]:
    """Give the points whose values change, all their new postings, those to remove, and the change in the count."""
    end = END_OF_NUMBERS if field.built_to is None else field.built_to
    counted_tags = COUNTED_TAGS.get(field.schema.type)
    changed: list[int] = []
    added: list[Posting] = []
    removed: list[Posting] = []
    counted = 0
    for change in changes:
        number, old, new = change.number, change.old, change.new
        before = keys_in(old) if old else ()
        after = keys_in(new) if new else ()
        if before == after or number >= end:
            continue
        value = number.to_bytes(4, "little")
        changed.append(number)
        for key in after:
            added.append((key, value))  # noqa: PERF401 - mostly one key, for which a comprehension takes twice as long
        if before:
            kept = after if len(after) < _MANY_KEYS else frozenset(after)
            removed += [(key, value) for key in before if key not in kept]
        if counted_tags is None:
            counted += bool(after) - bool(before)
        elif len(after) == 1 and not before:
            counted += after[0][TAG_AT] in counted_tags
        else:
            counted += _is_counted(after, counted_tags) - _is_counted(before, counted_tags)
    return changed, added, removed, counted


def _is_counted(keys: tuple[bytes, ...], counted_tags: frozenset[int] | None) -> bool:
    if counted_tags is None:
        return bool(keys)
    return any(key[TAG_AT] in counted_tags for key in keys)


def _field_change(changed: list[int], added: list[Posting]) -> FieldChange:
    records: dict[int, list[bytes]] = {}
    for posting in added:
        records.setdefault(posting[0][TAG_AT], []).append(b"".join(posting))
    numbers = np.array(changed, np.uint32)
    return FieldChange(numbers, {tag: b"".join(parts) for tag, parts in records.items()})
