"""The columns that are in the heap at the moment, by index.

A column is read from the postings when it is first asked for. From then on the owner's writer keeps it up to date
(`publish`, after each commit); a process that has the store open read-only asks the population what has changed.

Invariant (owner): a loaded column has every published change. A change that is published while the column is being
read is kept and applied to it afterwards; the reading transaction begins after that is arranged for, so it sees all
that was committed before. Applying a change twice does no harm: it replaces a point's values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from threading import Lock
from time import sleep
from typing import cast

import lmdb
import numpy as np
import orjson

from qnode.index.fields.catalog import Catalog, Field
from qnode.index.fields.column import Column
from qnode.index.fields.extract import extractor_of
from qnode.index.fields.keys import COLUMN_TAGS, TAG_AT, Tag, decode, tag_prefix
from qnode.index.fields.points import FieldPoints, FieldStore, Numbers

CHUNK_POSTINGS = 8192
"""How many postings are read before other threads get a turn."""

_DTYPES: dict[Tag, tuple[type[np.generic], ...]] = {
    Tag.INTEGER: (np.int64,),
    Tag.LARGE_INTEGER: (np.int64,),
    Tag.FLOAT: (np.float64,),
    Tag.DATETIME: (np.int64,),
    Tag.GEO: (np.float64, np.float64),
}

FieldColumns = Mapping[Tag, Column]


@dataclass(frozen=True, slots=True, eq=False)
class FieldChange:
    """New values of an index: the points whose values are replaced, and their postings as `decode` reads them."""

    changed: Numbers
    records: dict[int, bytes]


@dataclass(slots=True, eq=False)
class _Loaded:
    columns: FieldColumns
    applied_op: int


class Columns:
    """The columns of a shard's indexes. Any thread may ask; `publish` is for the writer's thread."""

    def __init__(self, store: FieldStore, catalog_of: Callable[[lmdb.Transaction], Catalog]) -> None:
        self._store = store
        self._catalog_of = catalog_of
        self._loading = Lock()
        self._lock = Lock()
        self._loaded: dict[int, _Loaded] = {}
        self._missed: dict[int, list[FieldChange]] = {}

    def of(self, population: FieldPoints, field: Field) -> FieldColumns | None:
        """Give the columns of an index by tag, empty for a type that has none; None if it was dropped meanwhile."""
        if field.schema.type not in COLUMN_TAGS:
            return {}
        loaded = self._loaded.get(field.generation)
        if loaded is None or (self._store.read_only and loaded.applied_op < population.applied_op):
            with self._loading:
                loaded = self._loaded.get(field.generation)
                if loaded is not None and self._store.read_only:
                    loaded = self._followed(population, field, loaded)
                if loaded is None:
                    loaded = self._load(population.applied_op, field)
        return None if loaded is None else loaded.columns

    def publish(self, changes: Mapping[int, FieldChange]) -> None:
        """Apply committed changes, by the index's generation."""
        with self._lock:
            for generation, change in changes.items():
                loaded = self._loaded.get(generation)
                if loaded is not None:
                    _apply(loaded.columns, change)
                elif generation in self._missed:
                    self._missed[generation].append(change)

    def forget_all_but(self, catalog: Catalog) -> None:
        """Free the columns of indexes that are no more."""
        kept = {field.generation for field in catalog.fields.values()}
        with self._lock:
            for generation in self._loaded.keys() - kept:
                del self._loaded[generation]

    def _load(self, applied_op: int, field: Field) -> _Loaded | None:
        with self._lock:
            self._missed[field.generation] = []
        try:
            columns = {tag: Column(*_DTYPES[tag]) for tag in COLUMN_TAGS[field.schema.type]}
            with self._store.reading() as txn:
                current = self._catalog_of(txn).fields.get(field.name)
                if current is None or current.generation != field.generation or not current.ready:
                    return None
                for tag, column in columns.items():
                    numbers, values = decode(tag, b"".join(self._records(txn, field.id, tag)))
                    column.replace(np.empty(0, np.uint32), numbers, values)
            with self._lock:
                for change in self._missed[field.generation]:
                    _apply(columns, change)
                self._loaded[field.generation] = loaded = _Loaded(columns, applied_op)
            return loaded
        finally:
            with self._lock:
                del self._missed[field.generation]

    def _records(self, txn: lmdb.Transaction, field_id: int, tag: Tag) -> Iterator[bytes]:
        prefix = tag_prefix(field_id, tag)
        with txn.cursor(db=self._store.postings) as cursor:
            if not cursor.set_range(prefix):
                return
            postings = cast("Iterator[tuple[bytes, bytes]]", cursor.iternext())
            while chunk := list(islice(postings, CHUNK_POSTINGS)):
                whole = chunk[-1][0].startswith(prefix)
                if not whole:
                    chunk = [posting for posting in chunk if posting[0].startswith(prefix)]
                yield b"".join(chain.from_iterable(chunk))
                if not whole:
                    return
                sleep(0)

    def _followed(self, population: FieldPoints, field: Field, loaded: _Loaded) -> _Loaded | None:
        """Bring a column of a read-only process up to the population; None if it must be read anew."""
        applied_op = population.applied_op
        changed = population.changed_since(loaded.applied_op)
        if changed is None:
            return None
        keys_in = extractor_of(field)
        records: dict[int, list[bytes]] = {}
        with self._store.reading() as txn:
            payloads = population.payloads_of(txn, changed)
        for number, payload in zip(changed.tolist(), payloads, strict=True):
            for key in keys_in(orjson.loads(payload)):
                records.setdefault(key[TAG_AT], []).append(key + number.to_bytes(4, "little"))
        _apply(loaded.columns, FieldChange(changed, {tag: b"".join(parts) for tag, parts in records.items()}))
        loaded.applied_op = max(loaded.applied_op, applied_op)
        return loaded


def _apply(columns: FieldColumns, change: FieldChange) -> None:
    for tag, column in columns.items():
        numbers, values = decode(tag, change.records.get(tag, b""))
        column.replace(change.changed, numbers, values)
