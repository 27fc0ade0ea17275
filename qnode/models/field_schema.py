"""The schema of a payload index: its type, and the parameters as they were sent.

A schema given as a plain string has no parameters; one given as an object is echoed with the defaults that Qdrant
shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qnode.errors import BadRequest
from qnode.models import reading
from qnode.models.text_settings import DEFAULT_TOKENIZER, READERS, TextSettings, settings_of

FIELD_TYPES = ("keyword", "integer", "float", "geo", "text", "bool", "datetime", "uuid")

_MEMORY = reading.one_of("cold", "cached", "pinned")
_COMMON: dict[str, reading.Reader] = {
    "on_disk": reading.boolean,
    "memory": _MEMORY,
    "enable_hnsw": reading.boolean,
}
_TENANT: dict[str, reading.Reader] = {"is_tenant": reading.boolean}
_PRINCIPAL: dict[str, reading.Reader] = {"is_principal": reading.boolean}
_PARAMETERS: dict[str, dict[str, reading.Reader]] = {
    "keyword": {**_TENANT, **_COMMON, "prefix": reading.boolean},
    "integer": {"lookup": reading.boolean, "range": reading.boolean, **_PRINCIPAL, **_COMMON},
    "float": {**_PRINCIPAL, **_COMMON},
    "geo": _COMMON,
    "text": {**READERS, "phrase_matching": reading.boolean, **_COMMON},
    "bool": _COMMON,
    "datetime": {**_PRINCIPAL, **_COMMON},
    "uuid": {**_TENANT, **_COMMON},
}
_SHOWN_AS_NULL = {"integer": ("lookup", "range", "is_principal"), "float": ("is_principal",)}


@dataclass(frozen=True, slots=True)
class FieldSchema:
    """`type` is one of FIELD_TYPES; `params` what was sent as an object, without `type`, None for a plain string."""

    type: str
    params: dict[str, Any] | None = None

    @property
    def lookup(self) -> bool:
        """Whether values can be matched (integer indexes may do without)."""
        return self.params is None or self.params.get("lookup") is not False

    @property
    def range(self) -> bool:
        """Whether ranges can be answered (integer indexes may do without)."""
        return self.params is None or self.params.get("range") is not False

    @property
    def text(self) -> TextSettings | None:
        """How texts become tokens; None for an index of another type."""
        return settings_of(self.params or {}) if self.type == "text" else None

    def to_json(self) -> object:
        return self.type if self.params is None else {"type": self.type, **self.params}

    @classmethod
    def from_json(cls, value: object) -> FieldSchema:
        """Read what `to_json` wrote."""
        return parse_field_schema(value)

    def shown(self, points: int) -> dict[str, Any]:
        """Build the entry of `payload_schema` in a collection's info."""
        entry: dict[str, Any] = {"data_type": self.type}
        if self.params is not None:
            unset: dict[str, Any] = dict.fromkeys(_SHOWN_AS_NULL.get(self.type, ()))
            if self.type == "text":
                unset = {"tokenizer": DEFAULT_TOKENIZER}
            entry["params"] = {"type": self.type, **unset, **self.params}
        entry["points"] = points
        return entry


def parse_field_schema(value: object) -> FieldSchema:
    """Read `field_schema` of a request: a type's name, or an object with `type`."""
    if value is None:
        raise BadRequest("Can't auto-detect field type, please specify `field_schema` in the request")
    if isinstance(value, str):
        return FieldSchema(_known_type(value))
    given = reading.mapping(value, "a payload schema type or an object with `type`")
    kind = _known_type(reading.text(reading.required(given, "type")))
    params = reading.fields(given, _PARAMETERS[kind])
    if kind == "integer" and params.get("lookup") is False and params.get("range") is False:
        both_off = "Validation error: the 'lookup' and 'range' capabilities can't be both disabled [{}]"
        reading.raise_faults([("field_schema.__all__", both_off)])
    return FieldSchema(kind, params)


def _known_type(name: str) -> str:
    if name not in FIELD_TYPES:
        raise reading.unknown_variant(name, FIELD_TYPES)
    return name
