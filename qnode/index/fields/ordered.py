"""The values of an index by which points can be ordered: integers, floats, datetimes in microseconds since 1970.

An integer index orders by its 64-bit integers alone, as Qdrant's does; a float index by all numbers.
"""

from __future__ import annotations

from typing import Any

import lmdb
import numpy as np
import numpy.typing as npt
import orjson

from qnode.errors import BadInput
from qnode.index.fields.catalog import Field
from qnode.index.fields.extract import extractor_of
from qnode.index.fields.indexes import FieldIndexes
from qnode.index.fields.keys import TAG_AT, Components, Tag, decode
from qnode.index.fields.points import FieldPoints, Mask, Numbers

Values = npt.NDArray[np.int64] | npt.NDArray[np.float64]
"""(n,) values, all of one type."""

_TAGS: dict[str, tuple[Tag, ...]] = {
    "integer": (Tag.INTEGER,),
    "float": (Tag.INTEGER, Tag.LARGE_INTEGER, Tag.FLOAT),
    "datetime": (Tag.DATETIME,),
}

_TWO_63 = float(1 << 63)


def ordering_field(fields: FieldIndexes, txn: lmdb.Transaction, name: str) -> Field:
    """Find the index to order by; raise BadInput if there is none that can."""
    field = fields.catalog(txn).fields.get(name)
    if field is None or not field.ready or field.schema.type not in _TAGS or not field.schema.range:
        raise BadInput(
            f"No range index for `order_by` key: `{name}`. Please create one to use `order_by`. "
            "Check https://qdrant.tech/documentation/concepts/indexing/#payload-index "
            "to see which payload schemas support Range conditions"
        )
    return field


def ordered_entries(
    fields: FieldIndexes, population: FieldPoints, field: Field, within: Mask
) -> tuple[Numbers, Values] | None:
    """List the values of points, (n,) numbers and values, none twice for a point; None if the index was dropped meanwhile."""
    columns = fields.columns(population, field)
    if columns is None:
        return None
    kind = field.schema.type
    found = [(tag, *columns[tag].entries(within)) for tag in _TAGS[kind]]
    numbers = np.concatenate([owners for _, owners, _ in found])
    values: Values = np.concatenate([_comparable(kind, tag, parts) for tag, _, parts in found])
    if sum(len(owners) > 0 for _, owners, _ in found) > 1:
        return _distinct(numbers, values)
    return numbers, values


def ordered_values(field: Field, payload: bytes) -> set[int | float]:
    """Give the values that a payload is ordered by."""
    values: set[int | float] = set()
    for key in extractor_of(field)(orjson.loads(payload)):
        if key[TAG_AT] in _TAGS[field.schema.type]:
            tag = Tag(key[TAG_AT])
            values.update(_comparable(field.schema.type, tag, decode(tag, key + bytes(4))[1]).tolist())
    return values


def _comparable(kind: str, tag: Tag, parts: Components) -> npt.NDArray[Any]:
    if kind != "float":
        return parts[0]
    values = parts[0].astype(np.float64)
    return values + _TWO_63 if tag is Tag.LARGE_INTEGER else values


def _distinct(numbers: Numbers, values: Values) -> tuple[Numbers, Values]:
    """Leave out repeats: 1 and 1.0 are one value."""
    order = np.lexsort((numbers, values))
    numbers, values = numbers[order], values[order]
    kept = np.ones(len(order), np.bool_)
    kept[1:] = (values[1:] != values[:-1]) | (numbers[1:] != numbers[:-1])
    return numbers[kept], values[kept]
