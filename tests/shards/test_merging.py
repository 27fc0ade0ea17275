"""What several shards have found, put together."""

import random

import numpy as np
import pytest

from qnode.models.collection import CollectionConfig
from qnode.models.query import Hits, Point
from qnode.shards.local_reads import merge_hits

SEED = random.randrange(1 << 30)
VECTOR = np.zeros(4, np.float32)


@pytest.mark.parametrize("distance", ["Cosine", "Euclid"])
def test_columns_are_merged_as_points_are(distance: str) -> None:
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    body = {"vectors": {"size": 4, "distance": distance}}
    (params,) = CollectionConfig.from_request(body).index_params().vectors
    assert list(merge_hits([], params, 3, VECTOR)) == []
    for _ in range(200):
        values = [chance.choice([0.25, 0.5, chance.random(), chance.random(), chance.random()]) for _ in range(12)]
        found = []
        for shard in range(3):
            scores = sorted(values[4 * shard : 4 * shard + chance.randrange(5)], reverse=distance == "Cosine")
            ids: list[int | str] = [shard + 3 * at for at in range(len(scores))]
            found.append(Hits(ids, ids.copy(), np.array(scores, np.float32)))  # type: ignore[arg-type]
        limit = chance.randrange(1, 14)
        expected = merge_hits([list(hits) for hits in found], params, limit, VECTOR)
        assert shown(merge_hits(found, params, limit, VECTOR)) == shown(expected)


def shown(points: object) -> list[tuple[object, ...]]:
    return [(point.key, point.version, point.score) for point in points if isinstance(point, Point)]  # type: ignore[attr-defined]
