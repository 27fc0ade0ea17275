from typing import Any

import numpy as np
import orjson
import pytest

from qnode.api.vectors_json import matrix_of, vector_of
from qnode.errors import MalformedBody


def test_floats_are_read_exactly() -> None:
    seed = 7
    vectors = np.random.default_rng(seed).standard_normal((50, 33)).astype(np.float32)
    rows = orjson.loads(orjson.dumps(vectors, option=orjson.OPT_SERIALIZE_NUMPY))
    matrix = matrix_of(rows, 33)
    assert matrix.dtype == np.float32
    assert matrix.flags.c_contiguous
    assert np.array_equal(matrix, vectors)
    assert all(np.array_equal(vector_of(row), vector) for row, vector in zip(rows, vectors, strict=True))


def test_integers_among_floats_are_read() -> None:
    assert vector_of([1, 0.5, -2]).tolist() == [1.0, 0.5, -2.0]
    assert matrix_of([[1, 2], [0.5, 3]], 2).tolist() == [[1.0, 2.0], [0.5, 3.0]]
    assert vector_of([2**64]).tolist() == [2.0**64]


def test_one_value_and_one_row_are_read() -> None:
    assert matrix_of([[0.25]], 1).tolist() == [[0.25]]


@pytest.mark.parametrize("wrong", [True, None, "1.5", [1.0], {}, 1e39, -1e39, 10**40, float("nan"), float("inf")])
def test_anything_but_a_finite_number_is_refused(wrong: Any) -> None:
    for values in ([0.5, wrong], [wrong, 0.5], [wrong]):
        with pytest.raises(MalformedBody):
            vector_of(values)
        with pytest.raises(MalformedBody):
            matrix_of([[0.5] * len(values), values], len(values))


def test_large_finite_numbers_are_no_overflow() -> None:
    largest = float(np.finfo(np.float32).max)
    assert vector_of([largest, -largest]).tolist() == [largest, -largest]


def test_a_list_of_the_same_length_in_bytes_is_not_taken_for_floats() -> None:
    # A string of four characters takes as many bytes as a float when marshalled.
    with pytest.raises(MalformedBody):
        vector_of(["gggg", 0.5])
