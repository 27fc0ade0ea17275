"""How many points have each value of an index: read from the postings, without a payload."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from itertools import islice
from typing import cast

import lmdb
import numpy as np
import orjson

from qnode import deadline
from qnode.errors import BadInput
from qnode.index.fields.catalog import Field
from qnode.index.fields.indexes import FieldIndexes
from qnode.index.fields.keys import FIELD_ID_BYTES, HEAD_BYTES, TAG_AT, Tag, encoder_of, field_prefix
from qnode.index.fields.points import FieldPoints, FieldStore, Mask, Numbers
from qnode.models.payload_path import elements_at, parse_path
from qnode.models.reads import FacetCounts, FacetValue

_TAGS: dict[str, frozenset[int]] = {
    "keyword": frozenset({Tag.KEYWORD, Tag.LONG_KEYWORD}),
    "integer": frozenset({Tag.INTEGER}),
    "bool": frozenset({Tag.BOOL}),
    "uuid": frozenset({Tag.UUID, Tag.UUID_TEXT}),
}
"""The values that are counted, by field type."""

_PIECE = 4096
"""So many values are counted at once, between two looks at the deadline."""

_FEW = 16
"""Fewer points of a value are read one by one from where the values are read; more take as long as to look the value up."""


def facet_field(fields: FieldIndexes, txn: lmdb.Transaction, name: str) -> Field:
    """Find the index to count with; raise BadInput if there is none that can."""
    field = fields.catalog(txn).fields.get(name)
    if field is None or not field.ready or field.schema.type not in _TAGS or not field.schema.lookup:
        raise BadInput(
            f"No appropriate index for faceting: `{name}`. Please create one to facet on this field. "
            "Check https://qdrant.tech/documentation/concepts/indexing/#payload-index "
            "to see which payload schemas support Match conditions"
        )
    return field


def count_values(
    fields: FieldIndexes, store: FieldStore, txn: lmdb.Transaction, population: FieldPoints, field: Field,
    within: Mask | None,
) -> FacetCounts:  # fmt: skip
    """Count the points of each value, of those `within` if that is given."""
    counts: dict[FacetValue, int] = {}
    spellings: dict[str, list[bytes]] = {}
    within = None if within is None else np.append(within, False)
    for key, first, count in _counted(fields, store, txn, field, within):
        if key[TAG_AT] == Tag.UUID_TEXT:
            spellings.setdefault(str(uuid.UUID(key[HEAD_BYTES:].decode())), []).append(key)
        elif count:
            counts[_value_of(key, first, txn, population, field)] = count
    encode = encoder_of(field.schema.type, field.id)
    for value, keys in spellings.items():
        canonical = encode(value)
        assert canonical is not None
        numbers = np.unique(np.concatenate([fields.numbers_with(txn, key) for key in (canonical, *keys)]))
        if count := len(numbers) if within is None else int(np.count_nonzero(_passing(numbers, within))):
            counts[value] = count
    return FacetCounts(list(counts), np.fromiter(counts.values(), np.int64, len(counts)))


def _counted(
    fields: FieldIndexes, store: FieldStore, txn: lmdb.Transaction, field: Field, within: Mask | None
) -> Iterator[tuple[bytes, bytes, int]]:
    """Give each counted key, its first point number as bytes, and how many points it has, of those `within`."""
    postings = _postings(store, txn, field, few=0 if within is None else _FEW)
    while piece := list(islice(postings, _PIECE)):
        deadline.check()
        if within is None:
            yield from ((key, first, length) for key, first, length, _ in piece)
            continue
        passed = _passing(np.frombuffer(b"".join([numbers for _, _, _, numbers in piece]), "<u4"), within)
        sums = [0, *np.cumsum(passed).tolist()]
        end = 0
        for key, first, length, numbers in piece:
            if numbers:
                begin, end = end, end + length
                yield key, first, sums[end] - sums[begin]
            else:
                yield key, first, int(np.count_nonzero(_passing(fields.numbers_with(txn, key), within)))


def _postings(
    store: FieldStore, txn: lmdb.Transaction, field: Field, few: int
) -> Iterator[tuple[bytes, bytes, int, bytes]]:
    """Give each counted key, its first point number as bytes, how many it has, and all of them if they are fewer than `few`."""
    prefix, tags = field_prefix(field.id), _TAGS[field.schema.type]
    with txn.cursor(db=store.postings) as cursor:
        if not cursor.set_range(prefix):
            return
        for key, first in cast("Iterator[tuple[bytes, bytes]]", cursor.iternext_nodup(keys=True, values=True)):
            if key[:FIELD_ID_BYTES] != prefix:
                return
            if key[TAG_AT] in tags:
                length = cursor.count()
                # One step more than `length`, and the cursor would not know its place any more.
                yield key, first, length, b"".join(islice(cursor.iternext_dup(), length)) if length < few else b""


def _passing(numbers: Numbers, within: Mask) -> Mask:
    """Which of the points are within, and not behind what the mask, whose last place is no point's, reaches."""
    passing: Mask = within[np.minimum(numbers, len(within) - 1, dtype=np.intp)]
    return passing


def _value_of(key: bytes, first: bytes, txn: lmdb.Transaction, population: FieldPoints, field: Field) -> FacetValue:
    match key[TAG_AT]:
        case Tag.KEYWORD:
            return key[HEAD_BYTES:].decode("utf-8", "surrogatepass")
        case Tag.LONG_KEYWORD:
            return _long_keyword(key, first, txn, population, field)
        case Tag.INTEGER:
            return int.from_bytes(key[HEAD_BYTES:], "big") - (1 << 63)
        case Tag.BOOL:
            return key[HEAD_BYTES:] == b"\1"
    assert key[TAG_AT] == Tag.UUID
    return str(uuid.UUID(bytes=key[HEAD_BYTES:]))


def _long_keyword(key: bytes, first: bytes, txn: lmdb.Transaction, population: FieldPoints, field: Field) -> str:
    """Take a text of which the index keeps the beginning alone from the payload of a point that has it."""
    encode, path = encoder_of(field.schema.type, field.id), parse_path(field.name)
    (payload,) = population.payloads_of(txn, np.frombuffer(first, np.uint32))
    found = next((value for value in elements_at(orjson.loads(payload), path) if encode(value) == key), None)
    assert isinstance(found, str), "postings and payloads of one transaction agree"
    return found
