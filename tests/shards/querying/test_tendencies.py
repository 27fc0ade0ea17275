"""Judged examples: what neighbours weigh is what all pairs weigh, and no numbers are too large for it."""

import numpy as np
import pytest

from qnode.shards.querying.examples import tendencies


@pytest.mark.parametrize("count", [1, 2, 3, 20])
def test_neighbours_weigh_what_all_pairs_weigh(count: int) -> None:
    print("seed 7")
    random = np.random.default_rng(7)
    scores = np.sort(np.round(random.standard_normal(count), 1))[::-1]  # some are equal
    similarities = random.standard_normal(count)
    b, c = 1.5, -0.7
    expected = sum(
        c * (scores[i] - scores[j]) ** b * (similarities[i] - similarities[j])
        for i in range(count)
        for j in range(count)
        if scores[i] > scores[j]
    )
    weights = tendencies(random.permutation(scores).tolist(), b, c)
    assert len(weights) == count - 1
    assert np.dot(weights, similarities[:-1] - similarities[1:]) == pytest.approx(expected)


@pytest.mark.parametrize(("b", "c"), [(1e300, 1e300), (3.0, -1e300), (0.0, 1.0)])
def test_weights_that_are_too_large_are_the_largest(b: float, c: float) -> None:
    weights = tendencies([1e308, -1e308, 0.0, 1e38, 1e38], b, c)
    assert len(weights) == 4
    assert np.isfinite(np.array(weights, np.float32)).all()
