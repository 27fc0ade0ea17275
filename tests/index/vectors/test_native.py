"""The score routine's order of operations, and keys."""

import numpy as np
import pytest

from qnode.index.vectors import native, scoring
from qnode.models.vector_params import Datatype, Distance


def score(distance: Distance, datatype: Datatype, row: np.ndarray, query: np.ndarray) -> np.float32:
    scorer, cell = scoring.exact_scorer(distance, datatype), np.zeros(1, np.uint64)
    return scoring.score(
        scorer.kind,
        scorer.function,
        native.address_of(row),
        native.address_of(query),
        len(row),
        scorer.factor,
        native.address_of(cell),
    )


def sequential(distance: Distance, row: np.ndarray, query: np.ndarray) -> np.float32:
    total = np.float32(0)
    for a, b in zip(row.astype(np.float32), query.astype(np.float32), strict=True):
        if distance is Distance.EUCLID:
            total = total + np.float32(a - b) * np.float32(a - b)
        elif distance is Distance.MANHATTAN:
            total = total + abs(np.float32(a - b))
        else:
            total = total + a * b
    return -total if distance.smaller_is_better else total


@pytest.mark.parametrize("distance", [Distance.DOT, Distance.EUCLID, Distance.MANHATTAN])
@pytest.mark.parametrize("datatype", [Datatype.FLOAT32, Datatype.FLOAT16])
def test_short_vectors_are_summed_in_index_order(distance, datatype):
    generator = np.random.default_rng(1)
    for size in range(1, 32):
        row, query = generator.standard_normal((2, size)).astype(scoring.STORED_TYPE[datatype])
        assert score(distance, datatype, row, query) == sequential(distance, row, query)


@pytest.mark.parametrize("distance", list(Distance))
@pytest.mark.parametrize("datatype", list(Datatype))
@pytest.mark.parametrize("size", [1, 31, 32, 33, 100, 384, 1536])
def test_every_metric_is_near_its_definition(distance, datatype, size):
    generator = np.random.default_rng(size)
    values = generator.integers(0, 256, (2, size)) if datatype is Datatype.UINT8 else generator.random((2, size)) - 0.5
    row, query = values.astype(scoring.STORED_TYPE[datatype])
    a, b = row.astype(np.float64), query.astype(np.float64)
    expected = {
        Distance.DOT: a @ b,
        Distance.COSINE: a @ b,
        Distance.EUCLID: -np.square(a - b).sum(),
        Distance.MANHATTAN: -np.abs(a - b).sum(),
    }[distance]
    if distance is Distance.COSINE and datatype is Datatype.UINT8:
        expected = a @ b / np.sqrt((a @ a) * (b @ b))
    assert score(distance, datatype, row, query) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_uint8_cosine_of_a_zero_vector_is_zero():
    row, query = np.zeros(40, np.uint8), np.ones(40, np.uint8)
    assert score(Distance.COSINE, Datatype.UINT8, row, query) == 0


def test_keys_order_by_score_then_by_smaller_row():
    hits = [(3.5, 9), (3.5, 10), (0.0, 0), (-1e-30, 7), (-2.0, 4_000_000), (-np.inf, 1)]
    keys = [native.key_of(np.float32(score), row) for score, row in hits]
    assert keys == sorted(keys, reverse=True)
    as_keys = [np.uint64(key) for key in keys]
    assert [(native.score_in(key), native.row_in(key)) for key in as_keys] == [(np.float32(s), r) for s, r in hits]


def test_uint8_truncates_then_clamps():
    values = np.array([1.9, 256.19, -3.0, 255.9], np.float32)
    assert scoring.to_stored(values, Datatype.UINT8).tolist() == [1, 255, 0, 255]
