"""The topology as a value, and the commands that change it.

`apply_command` is pure and deterministic and never raises: what cannot be done is `Rejected`, and changes nothing. A
collection lives in a folder of its own whose name is never used again, so a collection that is made after another one
of the same name was deleted has nothing to do with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import orjson

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class CollectionEntry:
    """A collection: its settings, and its payload indexes (field path → schema), both as JSON values."""

    folder: str
    config: Mapping[str, Any]
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Topology:
    """All that the commands so far have led to; `index` counts them."""

    index: int = 0
    collections: Mapping[str, CollectionEntry] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Write what `from_bytes` reads."""
        return orjson.dumps({"v": FORMAT_VERSION, "index": self.index, "collections": dict(self.collections)})

    @classmethod
    def from_bytes(cls, value: bytes) -> Topology:
        """Read what `to_bytes` wrote."""
        content = orjson.loads(value)
        assert content["v"] <= FORMAT_VERSION, "a topology of a later version"
        entries = {name: CollectionEntry(**entry) for name, entry in content["collections"].items()}
        return cls(content["index"], entries)


@dataclass(frozen=True, slots=True)
class CreateCollection:
    """Make a collection under a free name."""

    name: str
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class UpdateCollection:
    """Replace a collection's settings; refused if they are no longer `expected`."""

    name: str
    expected: Mapping[str, Any]
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DeleteCollection:
    """Remove a collection with all that it holds."""

    name: str


@dataclass(frozen=True, slots=True)
class CreateFieldIndex:
    """Index a payload field, or index it in another way."""

    name: str
    field: str
    schema: Any


@dataclass(frozen=True, slots=True)
class DropFieldIndex:
    """Take a payload index away."""

    name: str
    field: str


Command = CreateCollection | UpdateCollection | DeleteCollection | CreateFieldIndex | DropFieldIndex


class Rejected(StrEnum):
    """Why a command changed nothing."""

    EXISTS = "exists"
    MISSING = "missing"
    OUTDATED = "outdated"


def apply_command(topology: Topology, command: Command) -> tuple[Topology, Rejected | None]:
    """Apply a command; the index moves on even if it is rejected."""
    index = topology.index + 1
    unchanged = replace(topology, index=index)
    entry = topology.collections.get(command.name)
    if isinstance(command, CreateCollection):
        if entry is not None:
            return unchanged, Rejected.EXISTS
        return _with(topology, index, command.name, CollectionEntry(f"{index:08d}", command.config)), None
    if entry is None:
        return unchanged, Rejected.MISSING
    match command:
        case UpdateCollection():
            if entry.config != command.expected:
                return unchanged, Rejected.OUTDATED
            changed = replace(entry, config=command.config)
        case DeleteCollection():
            left = {name: other for name, other in topology.collections.items() if name != command.name}
            return Topology(index, left), None
        case CreateFieldIndex():
            changed = replace(entry, fields={**entry.fields, command.field: command.schema})
        case DropFieldIndex():
            left_fields = {name: schema for name, schema in entry.fields.items() if name != command.field}
            changed = replace(entry, fields=left_fields)
    return _with(topology, index, command.name, changed), None


def _with(topology: Topology, index: int, name: str, entry: CollectionEntry) -> Topology:
    return Topology(index, {**topology.collections, name: entry})
