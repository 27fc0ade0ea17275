import numpy as np
import pytest

from qnode.models.point_id import key_of
from qnode.models.query import Hits

UUID = "11111111-2222-3333-4444-555555555555"
HITS = Hits([7, UUID, 2**64 - 1], [1, 5, 9], np.array([0.5, 0.25, 0.125], np.float32))


def test_a_hit_is_the_point_that_its_columns_say():
    point = HITS[1]
    assert (point.key, point.version, point.score) == (key_of(UUID), 5, np.float32(0.25))
    assert point.payload is None
    assert point.vectors is None
    assert [hit.key for hit in HITS] == [key_of(point_id) for point_id in HITS.ids]


def test_a_slice_keeps_the_columns_together():
    part = HITS[1:]
    assert isinstance(part, Hits)
    assert (part.ids, part.versions, part.scores.tolist()) == ([UUID, 2**64 - 1], [5, 9], [0.25, 0.125])
    assert HITS[-1].version == 9
    with pytest.raises(IndexError):
        HITS[3]
