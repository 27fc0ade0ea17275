import numpy as np

from qnode.models.point_id import key_of
from qnode.models.query import Point
from qnode.models.vector_params import Distance
from qnode.shards.querying.diversity import chosen
from qnode.shards.querying.evaluation import leading


def points(*scores: float) -> list[Point]:
    return [Point(key_of(at), 0, np.float32(score)) for at, score in enumerate(scores)]


def test_a_threshold_of_descending_scores_ends_the_list_at_the_first_that_is_not_below_it() -> None:
    found = points(0.9, 0.5, 0.1)
    assert leading(found, 1.0) == found
    assert list(leading(found, 0.9)) == []
    assert list(leading(found, 0.5)) == []
    assert list(leading([], 0.5)) == []


def test_a_multivector_is_weighed_by_how_its_own_rows_are_near_to_one_that_was_chosen() -> None:
    query = np.array([[1, 0]], np.float32)
    first = np.array([[2, 0], [0, 3]], np.float32)
    small = np.array([[1, 0]], np.float32)  # asks for 2 of `first`, which would ask for 2 + 0 of it
    large = np.array([[1, 0], [0, 1]], np.float32)  # asks for 2 + 3, and would be asked for 2 + 3
    both = np.array([[1, 0], [1, 0]], np.float32)  # asks for 2 + 2, and would be asked for 2 + 0
    assert chosen(query, [first, both, small], Distance.DOT, 0.5, 2) == [0, 2]
    assert chosen(query, [first, large, both], Distance.DOT, 0.5, 2) == [0, 2]
