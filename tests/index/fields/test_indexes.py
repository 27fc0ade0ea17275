import random

import pytest
from indexed_points import Shard

from qnode.errors import Corruption, MalformedBody
from qnode.index.fields import PayloadChange
from qnode.models.field_schema import FieldSchema
from qnode.models.filter import FieldCondition, Filter, MatchValue, Range
from qnode.models.payload_path import parse_path

KEYWORD, INTEGER, FLOAT = FieldSchema("keyword"), FieldSchema("integer"), FieldSchema("float")


@pytest.fixture
def shard(tmp_path):
    made = Shard(tmp_path)
    yield made
    made.close()


def equal_to(field, value):
    return Filter(must=(FieldCondition(parse_path(field), match=MatchValue(value)),))


def above(field, bound):
    return Filter(must=(FieldCondition(parse_path(field), range=Range(gt=bound)),))


def bounds(shard, chosen):
    with shard.env.begin() as txn:
        return shard.filtering.estimate(txn, shard.points, chosen)


def test_a_new_index_takes_in_the_points_that_are_there_step_by_step(shard):
    shard.write({number: {"color": f"c{number % 3}"} for number in range(100)})
    shard.create("color", KEYWORD, build=False)
    assert not shard.fields.ready("color")
    assert shard.fields.schemas == {"color": KEYWORD}
    steps = 1
    while not shard.step(max_points=10):
        steps += 1
    assert steps == 10
    assert shard.fields.ready("color")
    assert shard.count("color") == 100
    assert bounds(shard, equal_to("color", "c1")) == (33, 33, 33)


def test_writes_behind_and_before_the_progress_of_a_build_are_both_indexed(shard):
    shard.write({number: {"n": number} for number in range(20)})
    shard.create("n", INTEGER, build=False)
    shard.step(max_points=10)
    shard.write({5: {"n": 105}, 15: {"n": 115}, 6: None, 16: None, 25: {"n": 125}})
    shard.build(max_points=3)
    assert shard.count("n") == 19
    assert shard.select(above("n", 100)) == [5, 15, 25]
    assert bounds(shard, above("n", 100)) == (3, 3, 3)


def test_an_aborted_write_leaves_no_trace(shard):
    shard.create("n", INTEGER)
    shard.write({1: {"n": 1}})
    assert shard.select(above("n", 0)) == [1]
    before = shard.postings()
    shard.write({1: {"n": 5}, 2: {"n": 6}}, abort=True)
    assert shard.postings() == before
    assert shard.select(above("n", 0)) == [1]
    assert shard.select(above("n", 2)) == []
    assert shard.count("n") == 1


def test_an_aborted_creation_leaves_no_trace(shard):
    shard.write({1: {"a": "x", "b": 1}})
    with shard.env.begin(write=True) as txn:
        shard.fields.create(txn, "a", KEYWORD)
        shard.fields.step(txn, shard.points, 100)
        txn.abort()
    assert shard.fields.schemas == {}
    shard.create("b", INTEGER)
    assert bounds(shard, equal_to("b", 1)) == (1, 1, 1)
    assert shard.count("a") == 0


def test_building_goes_on_where_it_was_after_a_restart(tmp_path):
    shard = Shard(tmp_path)
    shard.write({number: {"n": number} for number in range(100)})
    shard.create("n", INTEGER, build=False)
    for _ in range(3):
        shard.step(max_points=10)
    shard.close()
    shard = Shard(tmp_path)
    assert not shard.fields.ready("n")
    steps = 1
    while not shard.step(max_points=10):
        steps += 1
    assert steps == 7
    assert shard.count("n") == 100
    assert shard.select(above("n", 89)) == list(range(90, 100))
    shard.close()


def test_a_dropped_index_is_gone_at_once_and_its_postings_step_by_step_also_over_a_restart(tmp_path):
    shard = Shard(tmp_path)
    shard.create("n", INTEGER)
    shard.create("kept", KEYWORD)
    shard.write({number: {"n": number, "kept": "x"} for number in range(50)})
    shard.drop("n")
    assert list(shard.fields.schemas) == ["kept"]
    assert shard.count("n") == 0
    shard.step(max_points=20)
    shard.close()
    shard = Shard(tmp_path)
    shard.write({1: {"n": 7, "kept": "x"}})
    shard.build(max_points=20)
    assert len(shard.postings()) == 50
    assert bounds(shard, equal_to("kept", "x")) == (50, 50, 50)
    shard.close()


def test_an_index_made_again_with_another_type_holds_nothing_of_the_old_one(shard):
    shard.create("n", FLOAT)
    shard.write({1: {"n": 1.5}, 2: {"n": "text"}})
    assert shard.select(above("n", 1)) == [1]
    shard.create("n", KEYWORD)
    assert shard.fields.schemas == {"n": KEYWORD}
    assert shard.count("n") == 1
    assert len(shard.postings()) == 1
    assert bounds(shard, equal_to("n", "text")) == (1, 1, 1)


def test_points_are_counted_that_have_a_value_of_the_type(shard):
    shard.create("n", INTEGER)
    shard.create("id", FieldSchema("uuid"))
    shard.write(
        {1: {"n": 1.5, "id": "x"}, 2: {"n": [1, 2], "id": "AB5CF72B-9F42-4E11-8D3C-0123456789AB"}, 3: {"n": "1"}}
    )
    assert (shard.count("n"), shard.count("id")) == (1, 1)
    shard.write({2: {"n": [3]}, 3: {"n": [None, 4]}})
    assert (shard.count("n"), shard.count("id")) == (2, 0)
    shard.write({2: None})
    assert shard.count("n") == 1


def test_several_changes_of_one_point_in_a_batch_count_as_one(shard):
    shard.create("n", INTEGER)
    with shard.writing() as txn:
        changes = [
            PayloadChange(1, None, {"n": 1}),
            PayloadChange(1, {"n": 1}, {"n": 2}),
            PayloadChange(1, {"n": 2}, None),
        ]
        shard.fields.stage(txn, changes)
    assert shard.postings() == []
    assert shard.count("n") == 0


def test_a_number_that_is_used_again_has_only_the_new_points_values(shard):
    shard.create("n", INTEGER)
    shard.write({1: {"n": [1, 2, 3]}})
    assert shard.select(above("n", 0)) == [1]
    shard.write({1: None})
    shard.write({1: {"n": 9}})
    assert shard.select(above("n", 0)) == [1]
    assert shard.select(equal_to("n", 2)) == []
    assert len(shard.postings()) == 1


def test_a_change_that_leaves_a_field_alone_writes_no_posting(shard):
    shard.create("n", INTEGER)
    shard.write({1: {"n": 1}})
    before = shard.postings()
    shard.write({1: {"n": 1, "other": 2}})
    assert shard.postings() == before


def test_random_churn_leaves_the_postings_that_a_new_index_would_have(tmp_path):
    seed = random.SystemRandom().randrange(2**32)
    rng = random.Random(seed)
    shard = Shard(tmp_path)
    shard.create("n", FLOAT)
    for _ in range(100):
        values = [1, 1.0, 2, "x", None, [1, 2.5, 1], [], True]
        shard.write({rng.randrange(30): rng.choice([None, {}, {"n": rng.choice(values)}]) for _ in range(8)})
    churned, count = shard.postings(), shard.count("n")
    shard.create("n", FLOAT)
    rebuilt = [(bytes(2) + key[2:], number) for key, number in shard.postings()]
    assert [(bytes(2) + key[2:], number) for key, number in churned] == rebuilt, seed
    assert shard.count("n") == count, seed
    shard.close()


def test_a_malformed_path_is_refused(shard):
    with shard.writing() as txn, pytest.raises(MalformedBody):
        shard.fields.create(txn, "a..b", KEYWORD)


def test_a_damaged_catalogue_is_named(shard):
    shard.create("n", INTEGER)
    with shard.writing() as txn:
        record = bytearray(txn.get(b"catalog", db=shard.fields._store.fields))
        record[-3] ^= 1
        txn.put(b"catalog", bytes(record), db=shard.fields._store.fields)
    with pytest.raises(Corruption, match="catalogue of payload indexes"):
        _ = shard.fields.schemas
