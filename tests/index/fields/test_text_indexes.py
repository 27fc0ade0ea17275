"""Text indexes in a shard: postings and evaluation agree, and what an index means begins and ends with it."""

import random

import numpy as np
import orjson
import pytest
from indexed_points import Shard
from random_filters import schema, text_match

from qnode.index.fields import evaluation, indexes, posting_faults
from qnode.models.field_schema import FieldSchema
from qnode.models.filter import (
    FieldCondition,
    Filter,
    IsEmpty,
    MatchPhrase,
    MatchPrefix,
    MatchText,
    MatchTextAny,
    Nested,
)
from qnode.models.payload_path import parse_path

WORDS = ["red", "Red", "green", "blue", "x", "the", "ü", "re", "-", "long" * 60, "long" * 61]
SEEDS = [random.SystemRandom().randrange(2**32), 1]


def text(match, field="t"):
    return Filter(must=(FieldCondition(parse_path(field), match),))


def refuse_payloads(monkeypatch):
    def refuse(*_):
        raise AssertionError("a payload was looked at")

    monkeypatch.setattr(evaluation, "scan", refuse)


def faults(shard):
    with shard.env.begin() as txn:
        payloads = [
            (int.from_bytes(key, "little"), orjson.loads(value)["payload"])
            for key, value in txn.cursor(db=shard.points_db)
        ]
        return list(posting_faults(txn, shard.fields._store, shard.fields.catalog(txn), payloads))


@pytest.fixture
def shard(tmp_path):
    opened = Shard(tmp_path)
    yield opened
    opened.close()


@pytest.mark.parametrize("seed", SEEDS, ids=range(len(SEEDS)))
def test_postings_and_texts_agree_through_random_histories(shard, seed):
    print(f"seed {seed}")
    rng = random.Random(seed)

    def value():
        made = [" ".join(rng.choices(WORDS, k=rng.randrange(7))) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
        return made[0] if len(made) == 1 else [*made, 3]

    seen = []
    for _ in range(50):
        action = rng.random()
        if action < 0.6:
            shard.write(
                {
                    rng.randrange(40): {"t": value(), "e": [{"f": value()}]} if rng.random() < 0.9 else None
                    for _ in range(rng.randrange(12))
                },
                abort=rng.random() < 0.1,
            )
        elif action < 0.8:
            shard.create(rng.choice(["t", "e[].f"]), schema(rng), build=rng.random() < 0.7)
        elif action < 0.85:
            shard.drop(rng.choice(["t", "e[].f"]))
        else:
            shard.step(rng.randrange(1, 20))
        field = FieldCondition(parse_path(rng.choice(["t", "e[].f"])), text_match(rng))
        inner = FieldCondition(parse_path("f"), text_match(rng))
        seen.append(
            rng.choice(
                [
                    Filter(must=(field,)),
                    Filter(must_not=(field,)),
                    Filter(should=(field, IsEmpty(parse_path("t")))),
                    Filter(must=(field, FieldCondition(field.path, text_match(rng)))),
                    Filter(must=(Nested(parse_path("e"), Filter(must=(inner,))),)),
                ]
            )
        )
        for chosen in rng.sample(seen, min(len(seen), 5)):
            assert shard.select(chosen) == shard.brute_force(chosen), (seed, chosen)
    assert faults(shard) == []


def test_tokens_and_short_phrases_are_answered_without_payloads(shard, monkeypatch):
    shard.create("t", FieldSchema("text", {"phrase_matching": True}))
    shard.write(
        {1: {"t": "the quick brown fox"}, 2: {"t": "brown quick"}, 3: {"t": ["quick", "brown fox"]}, 4: {"t": 5}}
    )
    assert shard.count("t") == 3
    assert shard.select(text(MatchText("brown fox quick"))) == [1]
    assert shard.select(text(MatchPhrase("the quick brown"))) == [1]
    refuse_payloads(monkeypatch)
    assert shard.select(text(MatchText("FOX"))) == [1, 3]
    assert shard.select(text(MatchTextAny("fox cat"))) == [1, 3]
    assert shard.select(text(MatchPhrase("quick brown"))) == [1]
    assert shard.select(text(MatchPhrase("brown cat"))) == []
    assert shard.select(text(MatchText(""))) == []


def test_only_candidates_of_a_long_phrase_are_looked_at(shard, monkeypatch):
    shard.create("t", FieldSchema("text", {"phrase_matching": True}))
    shard.write({0: {"t": "a b c"}, 1: {"t": "a b x b c"}} | {number: {"t": "a c b"} for number in range(2, 20)})
    looked_at = []
    scan = evaluation.scan

    def noting(txn, population, conditions, numbers):
        looked_at.extend(numbers.tolist())
        return scan(txn, population, conditions, numbers)

    monkeypatch.setattr(evaluation, "scan", noting)
    assert shard.select(text(MatchPhrase("a b c"))) == [0]
    assert looked_at == [0, 1]


def test_an_index_decides_what_a_text_means_from_its_creation_to_its_end(shard):
    shard.write({1: {"t": "Red wine"}, 2: {"t": "redwood"}})
    condition = text(MatchText("red"))
    assert shard.select(condition) == [2]
    shard.create("t", FieldSchema("text"), build=False)
    assert shard.select(condition) == [1]
    shard.build()
    assert shard.select(condition) == [1]
    shard.create("t", FieldSchema("text", {"tokenizer": "prefix"}))
    assert shard.select(condition) == [1, 2]
    shard.drop("t")
    assert shard.select(condition) == [2]


def test_a_remembered_text_condition_follows_writes(shard):
    shard.create("t", FieldSchema("text"))
    shard.write({number: {"t": "red"} for number in range(5)})
    assert shard.select(text(MatchText("RED"))) == [0, 1, 2, 3, 4]
    shard.write({1: {"t": "blue"}, 2: None, 7: {"t": "Red!"}})
    assert shard.select(text(MatchText("RED"))) == [0, 3, 4, 7]


def test_a_changed_text_leaves_no_postings_of_the_old_one(shard):
    shard.create("t", FieldSchema("text", {"phrase_matching": True}))
    before = shard.postings()
    shard.write({1: {"t": [" ".join(f"w{n}" for n in range(100)), "other"]}})
    shard.write({1: {"t": "w1 w2"}})
    assert len(shard.postings()) == 3
    shard.write({1: {}})
    assert shard.postings() == before
    assert shard.count("t") == 0


def test_long_texts_are_indexed_in_several_pieces(shard, monkeypatch):
    monkeypatch.setattr(indexes, "MOST_POSTINGS_BUILT", 10)
    shard.write({number: {"t": f"a b c d e f n{number}"} for number in range(6)})
    shard.create("t", FieldSchema("text"), build=False)
    pieces = 1
    while not shard.step(1000):
        pieces += 1
    assert pieces == 3
    assert faults(shard) == []
    assert shard.select(text(MatchText("n3 a"))) == [3]


def test_long_tokens_are_told_apart(shard):
    shard.create("t", FieldSchema("text", {"phrase_matching": True}))
    long = ["long" * 60 + end for end in "xyz"]
    shard.write({number: {"t": f"{word} end"} for number, word in enumerate(long)})
    assert [shard.select(text(MatchText(word))) for word in long] == [[0], [1], [2]]
    assert shard.select(text(MatchPhrase(f"{long[1]} end"))) == [1]


def test_a_keyword_index_answers_how_texts_begin(shard, monkeypatch):
    long = ["ab" * 60 + end + "c" * 200 for end in "xy"]
    shard.create("t", FieldSchema("keyword", {"prefix": True}))
    shard.write(
        {0: {"t": "abc"}, 1: {"t": ["x", "ab"]}, 2: {"t": "Ab"}, 3: {"t": 5}, 4: {"t": long[0]}, 5: {"t": long[1]}}
    )
    assert shard.select(text(MatchPrefix("ab" * 60 + "x"))) == [4]
    assert shard.select(text(MatchPrefix(long[1]))) == [5]
    refuse_payloads(monkeypatch)
    assert shard.select(text(MatchPrefix("ab"))) == [0, 1, 4, 5]
    assert shard.select(text(MatchPrefix(""))) == [0, 1, 2, 4, 5]
    assert shard.select(text(MatchPrefix("abx"))) == []


def test_the_estimate_of_a_phrase_looks_at_no_payload(shard, monkeypatch):
    shard.create("t", FieldSchema("text", {"phrase_matching": True}))
    shard.write({0: {"t": "a b c"}, 1: {"t": "a b x b c"}, 2: {"t": "z"}})
    refuse_payloads(monkeypatch)
    with shard.env.begin() as txn:
        assert shard.filtering.estimate(txn, shard.points, text(MatchPhrase("a b c"))) == (0, 1, 2)
        assert shard.filtering.estimate(txn, shard.points, text(MatchPhrase("a b"))) == (2, 2, 2)


def test_a_missing_posting_of_a_token_is_found_by_the_audit(shard):
    shard.create("t", FieldSchema("text"))
    shard.write({1: {"t": "one two"}})
    key, number = shard.postings()[0]
    with shard.writing() as txn:
        txn.delete(key, number, db=shard.postings_db)
        txn.put(key + b"s", np.uint32(1).tobytes(), db=shard.postings_db)
    assert faults(shard) == ['the index of "t" lacks 1 postings and has 1 too many']
