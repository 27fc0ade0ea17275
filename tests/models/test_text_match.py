import random
from typing import Any

import pytest
from qdrant_client.http import models as client
from qdrant_client.local.payload_filters import check_match

from qnode.models.condition import PointFacts, matches
from qnode.models.filter_json import parse_filter
from qnode.models.text_match import tokenized
from qnode.models.text_settings import TextSettings

PHRASES = TextSettings(phrases=True)
NOBODY = PointFacts(b"1")


def passes(conditions: dict[str, Any], payload: dict[str, Any], **indexes: TextSettings) -> bool:
    return matches(tokenized(parse_filter(conditions), indexes), payload, NOBODY)


def on(match: dict[str, Any], key: str = "t") -> dict[str, Any]:
    return {"must": [{"key": key, "match": match}]}


@pytest.mark.parametrize(
    ("match", "value", "expected"),
    [
        ({"text": "brown Quick"}, "The quick, brown fox", True),
        ({"text": "brown cat"}, "The quick, brown fox", False),
        ({"text": "row"}, "The quick, brown fox", False),
        ({"text": "-"}, "a - b", False),
        ({"text": ""}, "a", False),
        ({"text_any": "cat FOX"}, "The quick, brown fox", True),
        ({"text_any": "cat"}, "The quick, brown fox", False),
        ({"text_any": " "}, "x", False),
        ({"phrase": "Quick brown"}, "The quick, brown fox", True),
        ({"phrase": "brown quick"}, "The quick, brown fox", False),
        ({"phrase": "a a"}, "a b a", False),
        ({"phrase": "a a b"}, "a a a b", True),
        ({"phrase": ""}, "a", False),
        ({"text": "a b"}, ["a", "b"], False),
        ({"text": "a b"}, ["c", "b a"], True),
        ({"phrase": "a b"}, ["a", "b"], False),
        ({"phrase": "a"}, 7, False),
    ],
)
def test_a_text_index_makes_conditions_about_tokens(match: dict[str, Any], value: Any, expected: bool) -> None:
    assert passes(on(match), {"t": value}, t=PHRASES) is expected


def test_without_an_index_texts_are_substrings() -> None:
    assert passes(on({"text": "row"}), {"t": "brown"})
    assert passes(on({"phrase": "own f"}), {"t": "brown fox"})
    assert not passes(on({"text": "Row"}), {"t": "brown"})
    assert passes(on({"text_any": "cat row"}), {"t": "brown"})
    assert passes(on({"text": "row"}), {"t": "brown"}, other=PHRASES)


def test_a_phrase_needs_an_index_for_phrases() -> None:
    assert not passes(on({"phrase": "a"}), {"t": "a"}, t=TextSettings())


def test_every_clause_and_nesting_is_rewritten() -> None:
    wanted = {"key": "t", "match": {"text": "ROW"}}
    payload = {"t": "a row"}
    for conditions in (
        {"must": [wanted]},
        {"should": [wanted]},
        {"min_should": {"conditions": [wanted], "min_count": 1}},
        {"must": [{"should": [wanted]}]},
    ):
        assert passes(conditions, payload, t=PHRASES)
        assert not passes(conditions, payload)
    assert not passes({"must_not": [wanted]}, payload, t=PHRASES)


@pytest.mark.parametrize("key", ["e", "e[]"])
def test_a_condition_within_an_element_asks_the_index_of_the_whole_path(key: str) -> None:
    conditions = {"must": [{"nested": {"key": key, "filter": on({"text": "ROW"})}}]}
    payload = {"e": [{"t": "a row"}]}
    assert passes(conditions, payload, **{"e[].t": PHRASES})
    assert not passes(conditions, payload, t=PHRASES)


def test_tokens_match_as_in_the_client_library() -> None:
    seed = random.SystemRandom().randrange(2**32)
    rng = random.Random(seed)
    words = ["red", "Red", "green", "a", "x-y", "ß", "_", "3", "."]
    for _ in range(500):
        value, asked = (" ".join(rng.choices(words, k=rng.randrange(5))) for _ in range(2))
        for name, kind in (
            ("text", client.MatchText),
            ("text_any", client.MatchTextAny),
            ("phrase", client.MatchPhrase),
        ):
            expected = check_match(kind(**{name: asked}), value)
            assert passes(on({name: asked}), {"t": value}, t=PHRASES) is expected, (seed, name, asked, value)
