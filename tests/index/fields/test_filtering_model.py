"""Any filter gives the same points as the rules evaluated on every payload, whatever indexes there are.

Of text conditions, the text indexes that there are decide what the rules are.
"""

import random

import pytest
from indexed_points import Shard
from random_filters import FIELDS, filter_of, payload, schema

from qnode.index.fields import Filtering, evaluation

SEEDS = [random.SystemRandom().randrange(2**32) for _ in range(3)] + [1, 2]


@pytest.mark.parametrize("seed", SEEDS, ids=range(len(SEEDS)))
@pytest.mark.parametrize("most_scanned", [0, evaluation.MOST_SCANNED])
def test_masks_equal_brute_force_while_points_and_indexes_change(tmp_path, monkeypatch, seed, most_scanned):
    monkeypatch.setattr(evaluation, "MOST_SCANNED", most_scanned)
    print(f"seed {seed}")
    rng = random.Random(seed)
    shard = Shard(tmp_path)
    seen = []
    for _ in range(60):
        action = rng.random()
        if action < 0.5:
            changes = {
                rng.randrange(60): payload(rng) if rng.random() < 0.85 else None for _ in range(rng.randrange(20))
            }
            shard.write(changes, vectors=rng.choice([("",), ("image",), ()]), abort=rng.random() < 0.15)
        elif action < 0.65:
            shard.create(rng.choice(FIELDS), schema(rng), build=rng.random() < 0.6)
        elif action < 0.7:
            shard.drop(rng.choice(FIELDS))
        elif action < 0.85:
            shard.step(rng.randrange(1, 30))
        elif action < 0.9:
            shard.close()
            shard = Shard(tmp_path)
        elif action < 0.95:
            shard.points.journal_begins = shard.points.applied_op
        seen += [filter_of(rng) for _ in range(3)]
        for chosen in rng.sample(seen, min(len(seen), 6)):
            expected = shard.brute_force(chosen)
            assert shard.select(chosen) == expected, chosen
            assert shard.select(chosen, Filtering(shard.fields)) == expected, chosen
            with shard.env.begin() as txn:
                least, likely, most = Filtering(shard.fields).estimate(txn, shard.points, chosen)
                assert least <= len(expected) <= most
                assert least <= likely <= most
    shard.close()
