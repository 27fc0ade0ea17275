"""What the postings of texts tell of conditions on them: tokens of a text index, and how the texts of a keyword index begin.

One posting is sure. Of several tokens that are all there, it is known only of points with one text that they are in the
same; of a phrase of three and more tokens, that its pairs are there, not that they follow each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import lmdb
import numpy as np

from qnode.index.fields.catalog import Field
from qnode.index.fields.indexes import FieldIndexes
from qnode.index.fields.keys import LONG_KEYWORD_PREFIX_BYTES, Tag, tag_prefix
from qnode.index.fields.points import Mask, Numbers
from qnode.index.fields.text_keys import TextKeys
from qnode.models.filter import MatchTokens
from qnode.models.text_match import wanted_tokens


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
    mask[numbers[numbers < len(mask)]] = True


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

    def having(key: bytes) -> Mask:
        mask = none.copy()
        add(mask, fields.numbers_with(txn, key))
        return mask

    if not wanted:
        return Answer(none, none)
    if match.how == "phrase" and len(wanted) > 1:
        pairs = dict.fromkeys(map(keys.pair, wanted, wanted[1:]))
        possible = _in_all(map(having, pairs))
        return Answer(possible, possible if len(wanted) == 2 or not possible.any() else none)
    tokens = map(having, dict.fromkeys(map(keys.token, wanted)))
    if match.how == "any":
        possible = reduce(np.logical_or, tokens)
        return Answer(possible, possible)
    possible = _in_all(tokens)
    apart = possible & having(keys.several) if len(wanted) > 1 else none
    return Answer(possible, possible & ~apart if apart.any() else possible)


def _in_all(masks: Iterable[Mask]) -> Mask:
    common: Mask | None = None
    for mask in masks:
        common = mask if common is None else common & mask
        if not common.any():
            break
    assert common is not None
    return common


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
