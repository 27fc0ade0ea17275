"""SipHash-2-4 and the slices made of it."""

import random
import uuid

import numpy as np
from qdrant_client.local.siphash import point_id_slice

from qnode.models.point_id import id_of, key_of
from qnode.models.siphash import siphash24, slice_of, slices_of


def test_hash_agrees_with_the_clients_under_the_zero_key():
    from qdrant_client.local.siphash import siphash24 as expected

    for length in range(40):
        message = bytes(range(length))
        assert siphash24(message) == expected(message)


def test_slice_of_many_points_is_the_slice_of_each():
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    ids = [chance.getrandbits(64) for _ in range(300)] + [0, 1, 2**64 - 1]
    ids += [str(uuid.UUID(int=chance.getrandbits(128))) for _ in range(300)]
    chance.shuffle(ids)
    keys = [key_of(each) for each in ids]
    for total in (1, 2, 7, 2**32 - 1):
        expected = [point_id_slice(id_of(key), total) for key in keys]
        assert [slice_of(key, total) for key in keys] == expected
        assert slices_of(keys, total).tolist() == expected


def test_slices_of_no_points_are_none():
    assert slices_of([], 3).dtype == np.int64
    assert len(slices_of([], 3)) == 0


def test_slice_of_half_the_total_contains_the_finer_ones():
    keys = [key_of(number) for number in range(200)]
    assert (slices_of(keys, 4) % 2 == slices_of(keys, 2)).all()
