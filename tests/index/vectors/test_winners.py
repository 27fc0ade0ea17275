"""Winners of several segments are those of one sort of all their rows; records are copied for current rows alone."""

import random

import numpy as np
import pytest

from qnode.index.vectors.native import address_of
from qnode.index.vectors.winners import copy_heads, take

SEED = random.randrange(1 << 30)


@pytest.mark.parametrize("k", [1, 3, 10, 500])
def test_taking_segments_one_after_the_other_is_a_stable_sort_of_all(k: int) -> None:
    print(f"seed {SEED}")
    chance = np.random.default_rng(SEED + k)
    for _ in range(30):
        scores, numbers, ops = np.empty(k, np.float32), np.empty(k, np.uint32), np.empty(k, np.uint64)
        known, everything, first = 0, [], 0
        for size in chance.integers(0, 2 * k, chance.integers(0, 6)):
            points = np.arange(first, first + 2 * k, dtype=np.uint32)
            op_nums = points.astype(np.uint64) + 7
            rows = chance.permutation(2 * k)[:size].astype(np.int32)
            found = -np.sort(-chance.integers(0, 12, size).astype(np.float32))  # many are equal
            known = take(found, rows, address_of(points), address_of(op_nums), scores, numbers, ops, known)
            everything += list(zip(found.tolist(), points[rows].tolist(), strict=True))
            first += 2 * k
        expected = sorted(everything, key=lambda one: -one[0])[:k]
        assert list(zip(scores[:known].tolist(), numbers[:known].tolist(), strict=True)) == expected
        assert (ops[:known] == numbers[:known].astype(np.uint64) + 7).all()


def test_heads_are_copied_only_if_every_row_is_current() -> None:
    records = np.zeros(5, np.dtype([("head", "S4"), ("op", "<u8")]))
    records["head"], records["op"] = [b"zero", b"one.", b"two.", b"thre", b"four"], [10, 11, 12, 13, 14]
    heads = np.empty(8, np.uint8)

    def copied(numbers: list[int], ops: list[int]) -> bool:
        asked = np.array(numbers, np.uint32), np.array(ops, np.uint64)
        return bool(copy_heads(*asked, address_of(records), records.itemsize, len(records), 4, 4, heads))

    assert copied([3, 1], [13, 11])
    assert heads.tobytes() == b"threone."
    assert not copied([3, 1], [13, 12])
    assert not copied([3, 5], [13, 15])
