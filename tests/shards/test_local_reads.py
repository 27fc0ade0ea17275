"""Hits of several shards, put together."""

import numpy as np

from qnode.models.point_id import id_of, key_of
from qnode.models.query import Examples, ExamplesKind, Point
from qnode.models.vector_params import Distance, VectorParams
from qnode.shards.local_reads import merge_hits

VECTOR = np.ones(4, np.float32)
EXAMPLES = Examples(ExamplesKind.SUM_SCORES, positive=(VECTOR,))


def hits(*pairs: tuple[int, float]) -> list[Point]:
    return [Point(key_of(number), 1, np.float32(score)) for number, score in pairs]


def merged(distance: Distance, target, *found, limit: int = 3) -> list[int]:
    points = merge_hits(found, VectorParams("", 0, 4, distance), limit, target)
    return [id_of(point.key) for point in points]


def test_scores_of_examples_descend_for_every_metric():
    for distance in Distance:
        assert merged(distance, EXAMPLES, hits((1, 5.0), (2, 1.0)), hits((3, 3.0), (4, 1.0)), limit=4) == [1, 3, 4, 2]


def test_distances_to_a_vector_ascend_and_similarities_descend():
    near, far = hits((1, 1.0), (2, 5.0)), hits((3, 1.0), (4, 3.0))
    assert merged(Distance.EUCLID, VECTOR, near, far) == [1, 3, 4]
    assert merged(Distance.DOT, VECTOR, near[::-1], far[::-1]) == [2, 4, 3]
