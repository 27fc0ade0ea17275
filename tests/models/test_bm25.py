from math import isclose
from typing import Any

import mmh3
import numpy as np
import pytest

from qnode.errors import MalformedBody
from qnode.models.bm25 import parse_bm25


def index_of(token: str) -> int:
    return abs(mmh3.hash(token))


def test_a_document_weighs_its_tokens_by_count_and_length() -> None:
    indices, values = parse_bm25(None).document("The cat and the cats ran")
    assert (indices.dtype, values.dtype) == (np.uint32, np.float32)
    # Three tokens are left: cat, cat, ran.
    length = 1.2 * (1 - 0.75 + 0.75 * 3 / 256)
    expected = {index_of("cat"): 2 * 2.2 / (2 + length), index_of("ran"): 2.2 / (1 + length)}
    assert indices.tolist() == sorted(expected)
    assert all(isclose(value, expected[at], rel_tol=1e-6) for at, value in zip(indices.tolist(), values, strict=True))


def test_a_query_weighs_each_token_once() -> None:
    indices, values = parse_bm25({}).query("cats cat dog the")
    assert indices.tolist() == sorted([index_of("cat"), index_of("dog")])
    assert values.tolist() == [1.0, 1.0]


def test_indices_are_hashes_known_from_elsewhere() -> None:
    # The values that the reference implementation of MurmurHash3_x86_32 gives for these bytes.
    assert parse_bm25(None).query("hello")[0].tolist() == [0x248BFA47]
    assert parse_bm25(None).query("world")[0].tolist() == [2**32 - 0xFB963CFB]


def test_a_text_without_tokens_is_an_empty_vector() -> None:
    for weights in (parse_bm25(None).document("the"), parse_bm25(None).query(" ")):
        assert [len(part) for part in weights] == [0, 0]


def test_options_change_weights_and_tokens() -> None:
    flat = parse_bm25({"k": 0, "b": 0, "avg_len": 1})
    assert flat.document("cat cat dog")[1].tolist() == [1.0, 1.0]
    raw = {"language": "english", "stemmer": {"type": "none"}, "stopwords": {}}
    assert sorted(parse_bm25(raw).query("the cats")[0].tolist()) == sorted([index_of("the"), index_of("cats")])
    assert parse_bm25({"language": "none"}).query("the cats")[0].tolist() == sorted([index_of("the"), index_of("cats")])
    assert parse_bm25({"language": "german"}).query("die Häuser")[0].tolist() == [index_of("haus")]
    assert parse_bm25({"lowercase": False}).query("Dog")[0].tolist() == [index_of("Dog")]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"k": "much"}, "invalid type"),
        ({"avg_len": 0}, "expected a number above 0"),
        ({"b": -1}, "expected a number of 0 or more"),
        ({"language": "klingon"}, "Unsupported language: klingon"),
        ({"tokenizer": "letters"}, "unknown variant `letters`"),
        ([], "invalid type: sequence, expected struct Bm25Config"),
    ],
)
def test_wrong_options_are_refused(options: Any, text: str) -> None:
    with pytest.raises(MalformedBody, match=text):
        parse_bm25(options)
