import random
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from indexed_points import Shard

from qnode.index.fields import Filtering
from qnode.models.field_schema import FieldSchema
from qnode.models.filter import (
    FieldCondition,
    Filter,
    GeoPoint,
    GeoRadius,
    HasId,
    HasVector,
    MatchAny,
    MatchPrefix,
    MatchValue,
    Range,
    SliceCondition,
)
from qnode.models.payload_path import parse_path
from qnode.models.point_id import key_of


@pytest.fixture
def shard(tmp_path):
    made = Shard(tmp_path)
    yield made
    made.close()


def field(name, **checks):
    return FieldCondition(parse_path(name), **checks)


def only(condition):
    return Filter(must=(condition,))


class CountingPoints:
    """A population that counts the payloads it is asked for."""

    def __init__(self, points):
        self._points = points
        self.payloads = 0

    def __getattr__(self, name):
        return getattr(self._points, name)

    def payloads_of(self, txn, numbers):
        self.payloads += len(numbers)
        return self._points.payloads_of(txn, numbers)


def payloads_read(shard, chosen, filtering=None):
    counting = CountingPoints(shard.points)
    with shard.env.begin() as txn:
        (filtering or Filtering(shard.fields)).select(txn, counting, chosen)
    return counting.payloads


INDEXED = [
    ("keyword", "red", field("x", match=MatchAny(("red", "green")))),
    (
        "uuid",
        "ab5cf72b-9f42-4e11-8d3c-0123456789ab",
        field("x", match=MatchValue("ab5cf72b-9f42-4e11-8d3c-0123456789ab")),
    ),
    ("integer", 5, field("x", match=MatchValue(5))),
    ("integer", 5.5, field("x", range=Range(gt=5.0))),
    ("float", 5, field("x", range=Range(gt=4.5))),
    ("bool", True, field("x", match=MatchValue(True))),
    ("geo", {"lon": 1, "lat": 1}, field("x", geo_radius=GeoRadius(GeoPoint(1.0, 1.0), 10.0))),
]


@pytest.mark.parametrize(("kind", "value", "condition"), INDEXED)
def test_an_indexed_condition_reads_no_payload(shard, kind, value, condition):
    shard.write({1: {"x": value}, 2: {"x": "other"}})
    assert payloads_read(shard, only(condition)) == 2
    shard.create("x", FieldSchema(kind))
    assert payloads_read(shard, only(condition)) == 0
    assert shard.select(only(condition)) == [1]


def test_payloads_are_read_only_of_points_that_the_indexed_conditions_leave(shard):
    shard.create("color", FieldSchema("keyword"))
    shard.write({number: {"color": f"c{number % 10}", "n": number} for number in range(100)})
    red, small = field("color", match=MatchValue("c1")), field("n", range=Range(lt=50.0))
    assert payloads_read(shard, Filter(must=(red, small))) == 10
    assert payloads_read(shard, Filter(must=(small,), must_not=(Filter(must_not=(red,)),))) == 10
    assert payloads_read(shard, Filter(must=(HasId(frozenset([key_of(1001)])), small))) == 1
    assert payloads_read(shard, Filter(should=(red, small))) == 100


def test_a_mask_is_used_again_and_only_changed_points_are_looked_at(shard):
    chosen = only(field("n", range=Range(gt=10.0)))
    shard.write({number: {"n": number} for number in range(50)})
    assert payloads_read(shard, chosen, shard.filtering) == 50
    assert payloads_read(shard, chosen, shard.filtering) == 0
    shard.write({1: {"n": 11}, 20: None, 70: {"n": 99}})
    assert payloads_read(shard, chosen, shard.filtering) == 2
    assert shard.select(chosen) == [1, *range(11, 20), *range(21, 50), 70]


def test_the_mask_of_one_condition_serves_filters_that_hold_it(shard):
    shard.write({number: {"n": number, "m": number % 2} for number in range(50)})
    large, odd = field("n", range=Range(gt=40.0)), field("m", match=MatchValue(1))
    shard.select(Filter(must=(large, odd)))
    assert payloads_read(shard, only(odd), shard.filtering) == 0
    assert payloads_read(shard, Filter(must_not=(large,)), shard.filtering) == 0


def test_a_mask_that_is_too_old_to_be_brought_up_is_made_anew(shard):
    chosen = only(field("n", range=Range(gt=10.0)))
    shard.write({1: {"n": 11}})
    assert shard.select(chosen) == [1]
    shard.write({2: {"n": 12}})
    shard.points.journal_begins = shard.points.applied_op
    assert shard.select(chosen) == [1, 2]


def test_the_cache_stays_within_its_bytes(shard):
    filtering = Filtering(shard.fields, cache_bytes=20_000)
    shard.write({number: {"n": number} for number in range(50)})
    for bound in range(100):
        shard.select(only(field("n", range=Range(gt=float(bound)))), filtering)
    cache = filtering._cache
    assert 0 < sum(entry.bytes for entry in cache._entries.values()) == cache._bytes <= 20_000


def test_true_and_one_are_different_filters(shard):
    shard.write({1: {"n": 1}, 2: {"n": True}})
    assert shard.select(only(field("n", match=MatchValue(1)))) == [1]
    assert shard.select(only(field("n", match=MatchValue(True)))) == [2]


def test_a_text_is_found_however_its_json_is_written(shard):
    class Escaped(CountingPoints):
        def payloads_of(self, txn, numbers):
            return [b'{"\\u006e": "r\\u0065d"}' for _ in numbers]

    shard.write({1: {"n": "red"}})
    with shard.env.begin() as txn:
        for condition in (field("n", match=MatchValue("red")), field("n", match=MatchPrefix("r"))):
            assert shard.filtering.select(txn, Escaped(shard.points), only(condition)).count == 1


def test_matches_judges_points_by_their_payloads_ids_and_vectors(shard):
    shard.write({1: {"n": 1}, 2: {"n": 2}}, vectors=("image",))
    shard.write({3: {"n": 1}})
    one = field("n", match=MatchValue(1))
    with shard.env.begin() as txn:

        def judged(*conditions, numbers=(3, 1, 2)):
            return shard.filtering.matches(txn, shard.points, Filter(must=conditions), numbers_of(numbers)).tolist()

        assert judged(one) == [True, True, False]
        assert judged(one, HasVector("image")) == [False, True, False]
        assert judged(HasId(frozenset([key_of(1003)]))) == [True, False, False]
        assert judged(HasVector("image"), numbers=(9, 2)) == [False, True]
        slices = [judged(SliceCondition(2, index)) for index in (0, 1)]
        assert all(sum(both) == 1 for both in zip(*slices, strict=True))


def numbers_of(values):
    return np.array(values, np.uint32)


def test_a_column_that_is_read_while_writes_go_on_has_them_all(shard):
    shard.create("n", FieldSchema("integer"))
    shard.write({number: {"n": number} for number in range(2000)})
    above = only(field("n", range=Range(gt=5000.0)))
    rounds = 30
    for round_number in range(rounds):
        shard.fields._columns._loaded.clear()
        reading = threading.Thread(target=lambda: shard.select(above, Filtering(shard.fields)))
        reading.start()
        shard.write({round_number: {"n": 6000}})
        reading.join()
        assert shard.select(above, Filtering(shard.fields)) == list(range(round_number + 1))


def test_masks_that_are_remembered_while_writes_go_on_are_right_when_these_end(shard):
    seed = random.SystemRandom().randrange(2**32)
    rng = random.Random(seed)
    shard.create("n", FieldSchema("integer"))
    filters = [
        only(field("n", range=Range(gt=50.0))),
        only(field("m", range=Range(gt=50.0))),
        Filter(must=(field("n", range=Range(gt=20.0)), field("m", range=Range(lt=80.0)))),
    ]
    ended, faults = threading.Event(), []

    def search():
        while not ended.is_set():
            for chosen in filters:
                try:
                    shard.select(chosen)
                except Exception as fault:
                    faults.append(fault)
                    return

    searchers = [threading.Thread(target=search) for _ in range(2)]
    for searcher in searchers:
        searcher.start()
    for _ in range(150):
        number = rng.randrange(100)
        shard.write({number: {"n": rng.randrange(100), "m": rng.randrange(100)} if rng.random() < 0.9 else None})
    ended.set()
    for searcher in searchers:
        searcher.join()
    assert not faults, seed
    for chosen in filters:
        assert shard.select(chosen) == shard.brute_force(chosen), seed


READER = """
import sys
sys.path[:0] = sys.argv[2:]
from indexed_points import Shard
from qnode.index.fields import Filtering
from qnode.models.filter import FieldCondition, Filter, Range
from qnode.models.payload_path import parse_path

shard = Shard(sys.argv[1], read_only=True)
chosen = Filter(must=(FieldCondition(parse_path("n"), range=Range(gt=10.0)),))
for line in sys.stdin:
    before = shard.points.applied_op
    known = dict(shard.points.masks)
    shard.points.load()
    if line.strip() == "follow":
        changed = [number for number, vectors in shard.points.masks.items()]
        changed += [number for number in known if number not in shard.points.masks]
        shard.points.journal = [(shard.points.applied_op, number) for number in changed]
        shard.points.journal_begins = before
        for number in changed:
            shard.points.masks.setdefault(number, None)
    with shard.env.begin() as txn:
        exact = shard.filtering.estimate(txn, shard.points, chosen)
    print(shard.select(chosen, Filtering(shard.fields)), exact[0] == exact[2], flush=True)
"""


def test_a_second_process_sees_indexes_and_writes_from_the_store_alone(shard):
    shard.create("n", FieldSchema("integer"))
    shard.write({1: {"n": 11}, 2: {"n": 5}})
    roots = [str(Path(__file__).parent), *(path for path in sys.path if path)]
    process = subprocess.Popen(
        [sys.executable, "-c", READER, shard.env.path(), *roots],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def asked(how):
        process.stdin.write(how + "\n")
        process.stdin.flush()
        return process.stdout.readline().strip()

    try:
        assert asked("anew") == "[1] True"
        shard.write({2: {"n": [12, 13]}, 1: {"n": 0}})
        assert asked("follow") == "[2] True"
        shard.write({3: {"n": 14.5}, 2: None})
        assert asked("anew") == "[3] True"
        shard.drop("n")
        assert asked("follow") == "[3] False"
        shard.create("n", FieldSchema("float"))
        assert asked("follow") == "[3] True"
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()
