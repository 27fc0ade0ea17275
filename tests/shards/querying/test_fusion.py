import numpy as np
import pytest

from qnode.models.point_id import key_of
from qnode.models.query import Hits, Point
from qnode.shards.querying.fusion import distribution_based_fusion, reciprocal_rank_fusion


def points(*ids: int) -> list[Point]:
    return [Point(key_of(point_id), 1, np.float32(1 - place / 10)) for place, point_id in enumerate(ids)]


def hits(*ids: int) -> Hits:
    return Hits(list(ids), [1] * len(ids), np.array([1 - place / 10 for place in range(len(ids))], np.float32))


def shown(found: object) -> dict[int, float]:
    return {int.from_bytes(point.key[1:], "big"): float(point.score) for point in found}  # type: ignore[attr-defined]


@pytest.mark.parametrize("make", [points, hits])
def test_ranks_are_fused_by_their_reciprocals(make: type[Hits]) -> None:
    fused = shown(reciprocal_rank_fusion([make(1, 2, 3), make(3, 4)], 2, None))
    assert list(fused) == [3, 1, 2, 4]
    assert fused == pytest.approx({3: 1 / 4 + 1 / 2, 1: 1 / 2, 2: 1 / 3, 4: 1 / 3})


def test_weights_stretch_the_ranks_and_none_counts_nothing() -> None:
    fused = shown(reciprocal_rank_fusion([points(1, 2), points(2), points(3)], 60, (2.0, 0.5, 0.0)))
    assert fused == pytest.approx({1: 1 / (1 / 2 + 59), 2: 1 / (2 / 2 + 59) + 1 / (1 / 0.5 + 59), 3: 0})


def test_lists_of_different_make_are_fused_alike() -> None:
    mixed = reciprocal_rank_fusion([points(1, 2), hits(2, 3)], 2, None)
    assert shown(mixed) == shown(reciprocal_rank_fusion([hits(1, 2), hits(2, 3)], 2, None))


@pytest.mark.parametrize("make", [points, hits])
def test_scores_are_fused_by_their_distribution(make: type[Hits]) -> None:
    scores = np.array([1.0, 0.9, 0.8], np.float32)
    mean, deviation = scores.mean(), scores.std(ddof=1)
    expected = (scores - (mean - 3 * deviation)) / (6 * deviation)
    fused = shown(distribution_based_fusion([make(1, 2, 3), make(9), make()]))
    assert fused == pytest.approx({1: expected[0], 2: expected[1], 9: 0.5, 3: expected[2]})


def test_equal_scores_count_one_half() -> None:
    same = [Point(key_of(point_id), 1, np.float32(3)) for point_id in (1, 2)]
    assert shown(distribution_based_fusion([same])) == {1: 0.5, 2: 0.5}


def test_nothing_is_fused_to_nothing() -> None:
    assert not reciprocal_rank_fusion([[], []], 2, None)
    assert not distribution_based_fusion([hits()])
