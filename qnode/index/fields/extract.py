"""Which keys of an index a payload has."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from qnode.index.fields.catalog import Field
from qnode.index.fields.keys import encoder_of
from qnode.index.fields.text_keys import TextKeys
from qnode.models.payload_path import elements_at, parse_path
from qnode.models.text_settings import TextSettings

Payload = dict[str, Any]
Extractor = Callable[[Payload], tuple[bytes, ...]]


def extractor_of(field: Field) -> Extractor:
    """Give the function that lists the keys of a payload in this index, each once."""
    text = field.schema.text
    if text is not None:
        return _text_extractor(field.name, text, field.id)
    return _extractor(field.name, field.schema.type, field.id)


@lru_cache(maxsize=1024)
def _text_extractor(name: str, settings: TextSettings, field_id: int) -> Extractor:
    path, keys = parse_path(name), TextKeys(settings, field_id)
    return lambda payload: keys.of(elements_at(payload, path))


@lru_cache(maxsize=1024)
def _extractor(name: str, kind: str, field_id: int) -> Extractor:
    path = parse_path(name)
    encode = encoder_of(kind, field_id)

    def keys_of_elements(elements: list[Any]) -> tuple[bytes, ...]:
        keys = {encode(element) for element in elements}
        return tuple(key for key in keys if key is not None)

    def anywhere(payload: Payload) -> tuple[bytes, ...]:
        return keys_of_elements(elements_at(payload, path))

    if len(path.steps) > 1:
        return anywhere
    top = path.steps[0]
    assert isinstance(top, str), "a path begins with a key"

    def at_the_top(payload: Payload) -> tuple[bytes, ...]:
        value = payload.get(top)
        if type(value) is list:
            return keys_of_elements(value)
        key = encode(value)
        return () if key is None else (key,)

    return at_the_top
