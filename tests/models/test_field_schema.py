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


@pytest.mark.parametrize("kind", ["keyword", "integer", "float", "geo", "bool", "datetime", "uuid"])
def test_every_type_is_shown_as_the_client_library_reads_it(kind: str) -> None:
    for sent in (kind, {"type": kind, "on_disk": True}):
        schema = parse_field_schema(sent)
        TypeAdapter(client.PayloadIndexInfo).validate_json(orjson.dumps(schema.shown(1)), strict=True)
        assert FieldSchema.from_json(orjson.loads(orjson.dumps(schema.to_json()))) == schema


@pytest.mark.parametrize(
    ("sent", "kind", "text"),
    [
        (None, BadRequest, "Can't auto-detect field type, please specify `field_schema` in the request"),
        ("text", BadRequest, "full-text indexes are not supported yet"),
        ({"type": "text", "tokenizer": "word"}, BadRequest, "full-text indexes are not supported yet"),
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
