import random

import numpy as np
import pytest

from qnode.index.fields.keys import SHORT_KEYWORD_BYTES, Tag, decode, encoder_of, tag_prefix

INTEGERS = [-(2**63), -1, 0, 1, 2**53 + 1, 2**63 - 1]
FLOATS = [-1e300, -1.5, -5e-324, 0.0, 5e-324, 1.0, 2.0**63, 1e300]


def records(keys):
    return b"".join(key + number.to_bytes(4, "little") for number, key in enumerate(keys))


@pytest.mark.parametrize(("tag", "values"), [(Tag.INTEGER, INTEGERS), (Tag.FLOAT, FLOATS)])
def test_keys_of_numbers_sort_as_the_numbers_and_decode_to_them(tag, values):
    encode = encoder_of("float", 7)
    keys = [encode(value) for value in values]
    assert keys == sorted(keys)
    assert all(key.startswith(tag_prefix(7, tag)) for key in keys)
    numbers, (decoded,) = decode(tag, records(keys))
    assert numbers.tolist() == list(range(len(values)))
    assert decoded.tolist() == values


def test_integers_beyond_int64_decode_to_their_distance_from_it():
    encode = encoder_of("integer", 1)
    keys = [encode(2**63), encode(2**64 - 1)]
    assert decode(Tag.LARGE_INTEGER, records(keys))[1][0].tolist() == [0, 2**63 - 1]
    assert encode(2**64) is None


def test_negative_zero_is_zero():
    encode = encoder_of("float", 1)
    assert encode(-0.0) == encode(0.0) != encode(0)


def test_places_decode_to_longitude_and_latitude():
    key = encoder_of("geo", 1)({"lon": -13.5, "lat": 52.25})
    _, (lon, lat) = decode(Tag.GEO, records([key]))
    assert (lon.tolist(), lat.tolist()) == ([-13.5], [52.25])


@pytest.mark.parametrize("text", ["", "a", "ü" * 100, "x" * SHORT_KEYWORD_BYTES, "x" * 100_000])
def test_keys_of_texts_are_short_enough_for_the_store_and_tell_texts_apart(text):
    encode = encoder_of("keyword", 1)
    assert len(encode(text)) < 511
    assert len({encode(text), encode(text + "x"), encode(text + "y")}) == 3


def test_a_uuid_in_capitals_is_another_text_than_the_same_in_small_letters():
    encode = encoder_of("uuid", 1)
    text = "ab5cf72b-9f42-4e11-8d3c-0123456789ab"
    keys = [encode(text), encode(text.upper()), encode(text.replace("-", "")), encode("no uuid")]
    assert len(set(keys)) == 4


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("keyword", 1), ("integer", True), ("integer", "1"), ("float", None), ("bool", 1), ("datetime", "soon"),
        ("datetime", 5), ("uuid", 5), ("geo", {"lon": 1}), ("geo", [1, 2]), ("keyword", ["a"]),
    ],
)  # fmt: skip
def test_values_that_no_condition_can_ask_of_an_index_are_left_out(kind, value):
    assert encoder_of(kind, 1)(value) is None


def test_random_floats_survive():
    seed = random.SystemRandom().randrange(2**32)
    values = np.random.default_rng(seed).standard_normal(1000) * 10.0 ** np.random.default_rng(seed).integers(
        -300, 300, 1000
    )
    encode = encoder_of("float", 1)
    assert decode(Tag.FLOAT, records([encode(value) for value in values.tolist()]))[1][0].tolist() == values.tolist(), (
        seed
    )
