"""The catalogue of a shard's payload indexes, one record of the store.

Invariant: everything that decides whether an index may be asked (which fields, of which type, how far they are built)
is read from the transaction at hand, so that every transaction and every process sees the indexes that its own state
of the store has.

A field's id is used again when its old postings are gone; its generation never is.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson
import xxhash

from qnode.errors import Corruption, InternalError
from qnode.index.fields.keys import MAX_FIELD_ID
from qnode.models.field_schema import FieldSchema
from qnode.models.text_settings import TextSettings

FORMAT = 1
_CHECKSUM_BYTES = 8


@dataclass(frozen=True, slots=True)
class Field:
    """One payload index. `built_to`: points with smaller numbers are in it, the others `step` will add; None: all are."""

    name: str
    id: int
    generation: int
    schema: FieldSchema
    built_to: int | None

    @property
    def ready(self) -> bool:
        return self.built_to is None


@dataclass(frozen=True, slots=True)
class Catalog:
    """All payload indexes by name, and the ids whose postings are still to be removed.

    `texts`: the settings of the text indexes by name, also of those that are being built.
    """

    fields: dict[str, Field] = field(default_factory=dict)
    dropping: tuple[int, ...] = ()
    generations: int = 0
    texts: dict[str, TextSettings] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        settings = {name: known.schema.text for name, known in self.fields.items()}
        texts = {name: text for name, text in settings.items() if text is not None}
        object.__setattr__(self, "texts", texts)

    def with_field(self, name: str, schema: FieldSchema) -> Catalog:
        """Add an index that has nothing in it yet."""
        assert name not in self.fields
        used = {known.id for known in self.fields.values()}.union(self.dropping)
        free = next((number for number in range(MAX_FIELD_ID + 1) if number not in used), None)
        if free is None:
            raise InternalError(f"A shard can have {MAX_FIELD_ID + 1} payload indexes at most")
        added = Field(name, free, self.generations, schema, 0)
        return Catalog({**self.fields, name: added}, self.dropping, self.generations + 1)

    def without_field(self, name: str) -> Catalog:
        """Take an index away; its postings remain to be removed."""
        left = {known: kept for known, kept in self.fields.items() if known != name}
        return Catalog(left, (*self.dropping, self.fields[name].id), self.generations)

    def with_progress(self, name: str, built_to: int | None) -> Catalog:
        """Note how far an index is built."""
        moved = replace(self.fields[name], built_to=built_to)
        return Catalog({**self.fields, name: moved}, self.dropping, self.generations)

    def without_dropped(self, field_id: int) -> Catalog:
        """Note that all postings of a dropped index are gone."""
        left = tuple(number for number in self.dropping if number != field_id)
        return Catalog(self.fields, left, self.generations)


def encode_catalog(catalog: Catalog) -> bytes:
    """Write the catalogue, with its checksum in front."""
    body = orjson.dumps(
        {
            "format": FORMAT,
            "generations": catalog.generations,
            "dropping": catalog.dropping,
            "fields": [
                [known.name, known.id, known.generation, known.schema.to_json(), known.built_to]
                for known in catalog.fields.values()
            ],
        }
    )
    return xxhash.xxh3_64_digest(body) + body


def decode_catalog(record: bytes, path: Path) -> Catalog:
    """Read what `encode_catalog` wrote; raise Corruption naming `path`, InternalError for a later format."""
    body = record[_CHECKSUM_BYTES:]
    if xxhash.xxh3_64_digest(body) != record[:_CHECKSUM_BYTES]:
        raise Corruption(
            path,
            "the checksum of its catalogue of payload indexes does not match",
            "Restore the shard from a snapshot or from another replica",
        )
    found = orjson.loads(body)
    if found["format"] > FORMAT:
        raise InternalError(f"{path} holds payload indexes of format {found['format']}, written by a later version")
    fields = [
        Field(name, number, generation, FieldSchema.from_json(schema), built_to)
        for name, number, generation, schema, built_to in found["fields"]
    ]
    return Catalog({known.name: known for known in fields}, tuple(found["dropping"]), found["generations"])
