"""Several examples as one scorer: what `score_row` gives for the kind COMBINED, in one pass over a row.

The kernels of the walk and of the scan take a scorer's kind and the address of a query. For COMBINED that is the address
of a table: a head, then an entry for each example. So every way of searching serves examples too, and the similarity
to each of them is the one that `scoring.score` gives.

    head    HEAD_WORDS int64: combination, kind and function of the scorer, entries, positives, whether there is a target
    entry   address of the example int64, factor float32, weight float32, whether a walk begins near it int64

BEST_SCORE and SUM_SCORES have the positives, then the negatives; the others the target if there is one, then positive and
negative of each pair in turn. The formulas are those of `ExamplesKind`, every step rounded to float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qnode.index.vectors import native
from qnode.index.vectors.scoring import score
from qnode.models.query import ExamplesKind

COMBINED = 13
"""A kind of scorer, beside those of `scoring`."""

BEST, SUM, DISCOVER, CONTEXT, FEEDBACK = range(5)
NUMBERS = {
    ExamplesKind.BEST_SCORE: BEST,
    ExamplesKind.SUM_SCORES: SUM,
    ExamplesKind.DISCOVER: DISCOVER,
    ExamplesKind.CONTEXT: CONTEXT,
    ExamplesKind.FEEDBACK: FEEDBACK,
}

HEAD_WORDS, HEAD_BYTES, ENTRY_BYTES = 6, 48, 24
ENTRY = np.dtype([("address", "<i8"), ("factor", "<f4"), ("weight", "<f4"), ("begins", "<i8")])
MARGIN = np.float32(2.0**-23)
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)


@dataclass(frozen=True, slots=True)
class Entry:
    """An example in one form: where its values lie, what turns their sums with a row's into similarities, its weight."""

    address: int
    factor: float
    weight: float
    begins: bool


def table_of(
    kind: ExamplesKind, scorer: int, function: int, entries: Sequence[Entry], positives: int, has_target: bool
) -> npt.NDArray[np.uint8]:
    """Write a table; whoever keeps it keeps what the entries point to."""
    head = np.array([NUMBERS[kind], scorer, function, len(entries), positives, has_target], "<i8")
    listed = np.array([(entry.address, entry.factor, entry.weight, entry.begins) for entry in entries], ENTRY)
    return np.concatenate((head.view(np.uint8), listed.view(np.uint8)))


@native.compiled
def similarity(table_at: int, number: int, row_at: int, dimensions: int, cell: int) -> np.float32:
    """Return the similarity of a row to an example of the table."""
    entry = table_at + HEAD_BYTES + ENTRY_BYTES * number
    return score(
        native.load_i64(table_at + 8),
        native.load_i64(table_at + 16),
        row_at,
        native.load_i64(entry),
        dimensions,
        np.float64(native.load_f32(entry + 8)),
        cell,
    )


@native.compiled
def softened(value: np.float32) -> np.float32:
    """Map to -1..1, x / (1 + |x|)."""
    return np.float32(value / np.float32(ONE + abs(value)))


@native.compiled
def squashed(value: np.float32) -> np.float32:
    """Map to 0..1, ½ (x / (1 + |x|) + 1)."""
    if value == -np.inf:
        return ZERO
    return np.float32(HALF * np.float32(softened(value) + ONE))


@native.compiled
def best_score(table_at: int, row_at: int, dimensions: int, cell: int) -> np.float32:
    """Combine as BEST_SCORE."""
    entries, positives = native.load_i64(table_at + 24), native.load_i64(table_at + 32)
    nearest, worst = np.float32(-np.inf), np.float32(-np.inf)
    for number in range(entries):
        s = similarity(table_at, number, row_at, dimensions, cell)
        if number < positives:
            nearest = max(nearest, s)
        else:
            worst = max(worst, s)
    return squashed(nearest) if nearest > worst else np.float32(-squashed(worst))


@native.compiled
def sum_scores(table_at: int, row_at: int, dimensions: int, cell: int) -> np.float32:
    """Combine as SUM_SCORES."""
    entries, positives = native.load_i64(table_at + 24), native.load_i64(table_at + 32)
    for_it, against = ZERO, ZERO
    for number in range(entries):
        s = similarity(table_at, number, row_at, dimensions, cell)
        if number < positives:
            for_it = np.float32(for_it + s)
        else:
            against = np.float32(against + s)
    return np.float32(for_it - against)


@native.compiled
def paired(combination: int, table_at: int, row_at: int, dimensions: int, cell: int) -> np.float32:
    """Combine a target and pairs, as DISCOVER, CONTEXT or FEEDBACK."""
    entries, targets = native.load_i64(table_at + 24), native.load_i64(table_at + 40)
    total, near = ZERO, ZERO
    if targets != 0:
        near = similarity(table_at, 0, row_at, dimensions, cell)
        if combination == FEEDBACK:
            total = np.float32(native.load_f32(table_at + HEAD_BYTES + 12) * near)
    for number in range(targets, entries, 2):
        positive = similarity(table_at, number, row_at, dimensions, cell)
        negative = similarity(table_at, number + 1, row_at, dimensions, cell)
        difference = np.float32(positive - negative)
        if combination == DISCOVER:
            if positive > negative:
                total = np.float32(total + ONE)
            elif positive < negative:
                total = np.float32(total - ONE)
        elif combination == CONTEXT:
            total = np.float32(total + softened(min(np.float32(difference - MARGIN), ZERO)))
        else:
            weight = native.load_f32(table_at + HEAD_BYTES + ENTRY_BYTES * number + 12)
            total = np.float32(total + np.float32(weight * difference))
    return np.float32(total + squashed(near)) if combination == DISCOVER else total


@native.compiled
def combined(table_at: int, row_at: int, dimensions: int, cell: int) -> np.float32:
    """Return a row's score against all examples of a table."""
    combination = native.load_i64(table_at)
    if combination == BEST:
        return best_score(table_at, row_at, dimensions, cell)
    if combination == SUM:
        return sum_scores(table_at, row_at, dimensions, cell)
    return paired(combination, table_at, row_at, dimensions, cell)


@native.compiled
def score_row(
    kind: int, function: int, row_at: int, query_at: int, dimensions: int, factor: float, cell: int
) -> np.float32:
    """Return the score of a row: its similarity to a query, or what its similarities to examples make together."""
    if kind == COMBINED:
        return np.float32(combined(query_at, row_at, dimensions, cell) + ZERO)  # + 0: no negative zero
    return score(kind, function, row_at, query_at, dimensions, factor, cell)


@native.compiled
def score_rows(
    kind: int,
    function: int,
    vectors_at: int,
    stride: int,
    dimensions: int,
    factor: float,
    query_at: int,
    rows: npt.NDArray[np.int64],
    out: npt.NDArray[np.float32],
    cell: int,
) -> None:
    """Score these rows, in their order."""
    for i in range(len(rows)):
        if i + 1 < len(rows):
            native.prefetch(vectors_at + rows[i + 1] * stride)
        out[i] = score_row(kind, function, vectors_at + rows[i] * stride, query_at, dimensions, factor, cell)
