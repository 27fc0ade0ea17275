"""What the postings of texts tell of conditions on them: tokens of a text index, and how the texts of a keyword index begin.

One posting is sure. Of several tokens that are all there, it is known only of points with one text that they are in the
same; of a phrase of three and more tokens, that its pairs are there, not that they follow each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import lmdb
import numpy as np

from qnode.index.fields.catalog import Field
from qnode.index.fields.indexes import FieldIndexes
from qnode.index.fields.keys import LONG_KEYWORD_PREFIX_BYTES, Tag, tag_prefix
from qnode.index.fields.points import Mask, Numbers
from qnode.index.fields.text_keys import TextKeys
from qnode.models.filter import MatchTokens
from qnode.models.text_match import wanted_tokens

_LOOKUP_COST = 64
"""To look up one posting takes as long as to read so many in their order."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The points that may pass, (capacity,), and those of them that surely do."""

    possible: Mask
    sure: Mask

    @property
    def exact(self) -> bool:
        return self.possible is self.sure


def add(mask: Mask, numbers: Numbers) -> None:
    """Set these points; numbers that the mask does not reach are passed over."""
    # Indexing by what is not of the machine's own integer type takes twice as long.
    within = numbers.astype(np.intp)
    mask[within if within.max(initial=0) < len(mask) else within[within < len(mask)]] = True


def select_tokens(
    fields: FieldIndexes, txn: lmdb.Transaction, field: Field, match: MatchTokens, capacity: int
) -> Answer | None:
    """Answer a text condition; None if the index has other tokens than the condition is about."""
    settings = field.schema.text
    if settings != match.settings:
        return None
    keys = TextKeys(match.settings, field.id)
    wanted = wanted_tokens(match)
    none: Mask = np.zeros(capacity, np.bool_)
    if not wanted:
        return Answer(none, none)
    if match.how == "phrase" and len(wanted) > 1:
        possible = _having_all(fields, txn, map(keys.pair, wanted, wanted[1:]), capacity)
        return Answer(possible, possible if len(wanted) == 2 or not possible.any() else none)
    tokens = list(map(keys.token, wanted))
    if match.how == "any":
        some = none.copy()
        for token in tokens:
            add(some, fields.numbers_with(txn, token))
        return Answer(some, some)
    possible = _having_all(fields, txn, tokens, capacity)
    apart = possible & _having_all(fields, txn, [keys.several], capacity) if len(wanted) > 1 else none
    return Answer(possible, possible & ~apart if apart.any() else possible)


def _having_all(fields: FieldIndexes, txn: lmdb.Transaction, keys: Iterable[bytes], capacity: int) -> Mask:
    """Give the points that have postings under all of the keys, the rarest first."""
    (least, rarest), *others = sorted((fields.count_with(txn, key), key) for key in set(keys))
    numbers = fields.numbers_with(txn, rarest) if least else np.empty(0, np.uint32)
    for count, key in others:
        if len(numbers) * _LOOKUP_COST <= count:
            numbers = fields.among(txn, key, numbers)
        else:
            having: Mask = np.zeros(capacity, np.bool_)
            add(having, fields.numbers_with(txn, key))
            within = numbers[numbers < capacity]
            numbers = within[having[within]]
    mask: Mask = np.zeros(capacity, np.bool_)
    add(mask, numbers)
    return mask


def select_prefix(
    fields: FieldIndexes, txn: lmdb.Transaction, field: Field, prefix: str, capacity: int
) -> Answer | None:
    """Answer how a text begins; None for an index of another type. Of long texts, only the beginning is known."""
    if field.schema.type != "keyword":
        return None
    begins = prefix.encode("utf-8", "surrogatepass")
    sure: Mask = np.zeros(capacity, np.bool_)
    for numbers in fields.numbers_below(txn, tag_prefix(field.id, Tag.KEYWORD) + begins):
        add(sure, numbers)
    long = tag_prefix(field.id, Tag.LONG_KEYWORD) + begins[:LONG_KEYWORD_PREFIX_BYTES]
    if len(begins) <= LONG_KEYWORD_PREFIX_BYTES:
        for numbers in fields.numbers_below(txn, long):
            add(sure, numbers)
        return Answer(sure, sure)
    possible = sure.copy()
    for numbers in fields.numbers_below(txn, long):
        add(possible, numbers)
    return Answer(possible, sure if (possible != sure).any() else possible)
