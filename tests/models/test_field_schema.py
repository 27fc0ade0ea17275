from typing import Any

import orjson
import pytest
from pydantic import TypeAdapter
from qdrant_client.http import models as client

from qnode.errors import BadRequest, MalformedBody, QnodeError, ValidationFailed
from qnode.models.field_schema import FieldSchema, parse_field_schema


def test_a_plain_type_has_no_params() -> None:
    schema = parse_field_schema("keyword")
    assert schema.shown(3) == {"data_type": "keyword", "points": 3}
    assert (schema.lookup, schema.range) == (True, True)


def test_an_object_is_echoed_with_unset_capabilities_as_null() -> None:
    schema = parse_field_schema({"type": "integer", "range": True, "lookup": False, "on_disk": None})
    shown = {"type": "integer", "lookup": False, "range": True, "is_principal": None}
    assert schema.shown(0)["params"] == shown
    assert (schema.lookup, schema.range) == (False, True)
    assert parse_field_schema({"type": "float"}).shown(0)["params"] == {"type": "float", "is_principal": None}
    assert parse_field_schema({"type": "uuid", "is_tenant": True}).shown(0)["params"] == {
        "type": "uuid",
        "is_tenant": True,
    }


@pytest.mark.parametrize("kind", ["keyword", "integer", "float", "geo", "text", "bool", "datetime", "uuid"])
def test_every_type_is_shown_as_the_client_library_reads_it(kind: str) -> None:
    for sent in (kind, {"type": kind, "on_disk": True}):
        schema = parse_field_schema(sent)
        TypeAdapter(client.PayloadIndexInfo).validate_json(orjson.dumps(schema.shown(1)), strict=True)
        assert FieldSchema.from_json(orjson.loads(orjson.dumps(schema.to_json()))) == schema


def test_a_text_index_shows_its_tokenizer_and_what_was_sent() -> None:
    assert parse_field_schema("text").shown(2) == {"data_type": "text", "points": 2}
    assert parse_field_schema({"type": "text"}).shown(0)["params"] == {"type": "text", "tokenizer": "word"}
    sent = {
        "type": "text",
        "tokenizer": "prefix",
        "stopwords": {"custom": ["b", "a", "b"], "languages": ["english"]},
        "stemmer": {"type": "snowball", "language": "german"},
        "phrase_matching": True,
        "lowercase": None,
    }
    shown = parse_field_schema(sent).shown(0)
    assert shown["params"] == {
        "type": "text",
        "tokenizer": "prefix",
        "stopwords": {"languages": ["english"], "custom": ["a", "b"]},
        "stemmer": {"type": "snowball", "language": "german"},
        "phrase_matching": True,
    }
    TypeAdapter(client.PayloadIndexInfo).validate_json(orjson.dumps(shown), strict=True)


def test_equal_parameters_are_equal_settings_however_they_are_written() -> None:
    by_name = parse_field_schema({"type": "text", "stopwords": "english", "stemmer": {"type": "none"}})
    by_set = parse_field_schema({"type": "text", "stopwords": {"languages": ["english"]}, "lowercase": True})
    assert by_name.text == by_set.text is not None
    assert parse_field_schema("text").text == parse_field_schema({"type": "text"}).text
    assert parse_field_schema("keyword").text is None


@pytest.mark.parametrize(
    ("sent", "kind", "text"),
    [
        (None, BadRequest, "Can't auto-detect field type, please specify `field_schema` in the request"),
        (
            {"type": "text", "tokenizer": "letters"},
            MalformedBody,
            "unknown variant `letters`, expected one of `prefix`",
        ),
        (
            {"type": "text", "stopwords": "klingon"},
            MalformedBody,
            "unknown variant `klingon`, expected one of `arabic`",
        ),
        ({"type": "text", "stopwords": ["the"]}, MalformedBody, "invalid type: sequence"),
        ({"type": "text", "stopwords": {"custom": [1]}}, MalformedBody, "invalid type: integer `1`, expected a string"),
        ({"type": "text", "stemmer": {"type": "snowball"}}, MalformedBody, "missing field `language`"),
        ({"type": "text", "stemmer": "english"}, MalformedBody, "invalid type: string"),
        (
            {"type": "text", "stemmer": {"type": "snowball", "language": "hebrew"}},
            MalformedBody,
            "unknown variant `hebrew`",
        ),
        ({"type": "text", "min_token_len": -1}, MalformedBody, "invalid value: integer `-1`"),
        ("int", MalformedBody, "unknown variant `int`, expected one of `keyword`, `integer`"),
        ({}, MalformedBody, "missing field `type`"),
        (7, MalformedBody, "invalid type: integer `7`"),
        ({"type": "integer", "lookup": "yes"}, MalformedBody, "expected a boolean"),
        (
            {"type": "integer", "lookup": False, "range": False},
            ValidationFailed,
            "Validation error: the 'lookup' and 'range' capabilities can't be both disabled [{}]",
        ),
    ],
)
def test_a_wrong_schema_is_refused(sent: Any, kind: type[QnodeError], text: str) -> None:
    with pytest.raises(kind) as raised:
        parse_field_schema(sent)
    assert text in str(raised.value)
