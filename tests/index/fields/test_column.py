import random

import numpy as np
import pytest

from qnode.index.fields.column import Column


def numbers(values):
    return np.array(values, np.uint32)


def selected(column, test, capacity):
    mask = np.zeros(capacity, np.bool_)
    column.select(test, mask)
    return np.flatnonzero(mask).tolist()


def replace(column, values_of):
    pairs = [(number, value) for number, values in values_of.items() for value in values]
    column.replace(
        numbers(list(values_of)), numbers([number for number, _ in pairs]), (np.array([v for _, v in pairs], np.int64),)
    )


def test_any_of_several_values_counts():
    column = Column(np.int64)
    replace(column, {1: [5], 2: [5, 6, 7], 3: []})
    assert selected(column, lambda values: values[0] == 7, 10) == [2]
    assert selected(column, lambda values: values[0] == 5, 10) == [1, 2]
    assert selected(column, lambda values: values[0] == 0, 10) == []


def test_replaced_values_are_forgotten_the_further_ones_too():
    column = Column(np.int64)
    replace(column, {1: [5, 6], 2: [6]})
    replace(column, {1: [7], 2: []})
    assert selected(column, lambda values: values[0] == 6, 10) == []
    assert selected(column, lambda values: values[0] == 7, 10) == [1]


def test_points_beyond_the_mask_are_passed_over():
    column = Column(np.int64)
    replace(column, {1: [5], 8: [5, 5], 9: [4, 5]})
    assert selected(column, lambda values: values[0] == 5, 8) == [1]


@pytest.mark.parametrize("seed", [random.SystemRandom().randrange(2**32), 0], ids=["a new seed", "0"])
def test_columns_equal_a_dict_through_many_replacements(seed):
    print(f"seed {seed}")
    rng = random.Random(seed)
    column, expected = Column(np.int64), {}
    for _ in range(400):
        change = {rng.randrange(50): [rng.randrange(9) for _ in range(rng.randrange(6))] for _ in range(10)}
        replace(column, change)
        expected |= change
        wanted = rng.randrange(9)
        found = selected(column, lambda values, wanted=wanted: values[0] == wanted, 50)
        assert found == sorted(number for number, values in expected.items() if wanted in values)
    assert len(column._list_numbers) < 5000
