"""Comparing postings with the payloads that they come from: both must say the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import lmdb

from qnode.index.fields.catalog import Catalog
from qnode.index.fields.extract import extractor_of
from qnode.index.fields.indexes import END_OF_NUMBERS
from qnode.index.fields.keys import FIELD_ID_BYTES
from qnode.index.fields.points import FieldStore


def posting_faults(
    txn: lmdb.Transaction, store: FieldStore, catalog: Catalog, payloads: Iterable[tuple[int, dict[str, Any]]]
) -> Iterator[str]:
    """List the fields whose postings are not those of the payloads, given with their point numbers; reads all of these."""
    expected = dict.fromkeys(catalog.fields, 0)
    missing = dict.fromkeys(catalog.fields, 0)
    sources = [
        (field, extractor_of(field), END_OF_NUMBERS if field.built_to is None else field.built_to)
        for field in catalog.fields.values()
    ]
    with txn.cursor(db=store.postings) as cursor:
        for number, payload in payloads:
            value = number.to_bytes(4, "little")
            for field, keys_in, end in sources:
                if number < end:
                    keys = keys_in(payload)
                    expected[field.name] += len(keys)
                    missing[field.name] += sum(not cursor.set_key_dup(key, value) for key in keys)
    found = _postings_by_field(txn, store)
    for field in catalog.fields.values():
        too_many = found.pop(field.id, 0) - (expected[field.name] - missing[field.name])
        if missing[field.name] or too_many:
            yield f'the index of "{field.name}" lacks {missing[field.name]} postings and has {too_many} too many'
    for field_id in found.keys() - set(catalog.dropping):
        yield f"there are postings of field {field_id}, which does not exist"


def _postings_by_field(txn: lmdb.Transaction, store: FieldStore) -> dict[int, int]:
    counted: dict[int, int] = {}
    with txn.cursor(db=store.postings) as cursor:
        for key in cursor.iternext(keys=True, values=False):
            field_id = int.from_bytes(key[:FIELD_ID_BYTES], "big")
            counted[field_id] = counted.get(field_id, 0) + 1
    return counted
