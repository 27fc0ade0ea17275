"""What an archive says of itself: the collection's settings and, for each shard in it, where its copy stands.

    manifest.json              the first file of an archive
    shards/<number>/store/data.mdb
    shards/<number>/segments/<n>/<file>
    checksums.json             the last: XXH3 of every file between

The numbers of shards are those of the collection that was copied. Whoever reads a manifest may have been given anybody's: what
is not as it is written here is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

from qnode.errors import BadInput, QnodeError
from qnode.models.collection import CollectionConfig
from qnode.models.collection_sections import collection_name_faults
from qnode.models.field_schema import FieldSchema
from qnode.models.payload_path import parse_path
from qnode.models.shard_choice import ShardKey
from qnode.models.topology import CollectionEntry, ShardingMethod

FORMAT: Final = "qnode-snapshot"
VERSION: Final = 1
MANIFEST: Final = "manifest.json"
MOST_MANIFEST_BYTES: Final = 4 << 20
MOST_SHARDS: Final = 1 << 16
_MOST_SLOTS: Final = 1 << 10


@dataclass(frozen=True, slots=True)
class ShardPart:
    """A shard in an archive: its number and key, and the operation (of an epoch) as of which it is."""

    number: int
    key: ShardKey | None
    epoch: int
    op_num: int


@dataclass(frozen=True, slots=True)
class KeyPart:
    """A shard key of the collection: its shards, in order, and how many replicas they should have."""

    key: ShardKey
    shards: tuple[int, ...]
    replication_factor: int | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """`config` and `fields` as the topology has them. `numbers`: all shards of the collection, in the archive or not."""

    collection: str
    config: Mapping[str, Any]
    fields: Mapping[str, Any]
    numbers: tuple[int, ...]
    keys: tuple[KeyPart, ...]
    shards: tuple[ShardPart, ...]

    @classmethod
    def of(cls, name: str, entry: CollectionEntry, shards: tuple[ShardPart, ...]) -> Manifest:
        """Describe a collection of which some shards were copied."""
        keys = tuple(KeyPart(key, tuple(own.shards), own.replication_factor) for key, own in entry.keys.items())
        return cls(name, entry.config, entry.fields, tuple(sorted(entry.shards)), keys, shards)

    @property
    def is_custom(self) -> bool:
        return bool(self.config["params"].get("sharding_method") == ShardingMethod.CUSTOM)

    def to_bytes(self) -> bytes:
        """Write what `from_bytes` reads."""
        return orjson.dumps(
            {
                "format": FORMAT,
                "version": VERSION,
                "collection": self.collection,
                "config": self.config,
                "fields": self.fields,
                "numbers": self.numbers,
                "keys": [asdict(key) for key in self.keys],
                "shards": [asdict(shard) for shard in self.shards],
            },
            option=orjson.OPT_INDENT_2,
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Read a manifest; raise BadInput for anything else, or for settings that this version cannot serve."""
        try:
            stored = orjson.loads(data)
            if stored["format"] != FORMAT:
                raise BadInput("this is no snapshot of qnode")
            if stored["version"] > VERSION:
                raise BadInput("the snapshot was made by a later version of qnode")
            manifest = cls(
                _text(stored["collection"]),
                stored["config"],
                stored["fields"],
                tuple(map(_number, stored["numbers"])),
                tuple(_key_part(key) for key in stored["keys"]),
                tuple(_shard_part(shard) for shard in stored["shards"]),
            )
            manifest._check()
        except BadInput:
            raise
        except (QnodeError, ValueError, TypeError, KeyError, AttributeError, AssertionError) as error:
            raise BadInput(f"the manifest of the snapshot cannot be read: {error!r}") from None
        return manifest

    def _check(self) -> None:
        _check_config(self.config, len(self.numbers))
        for path, schema in self.fields.items():
            parse_path(path)
            FieldSchema.from_json(schema)
        held = [shard.number for shard in self.shards]
        if (not held and self.numbers) or len(set(held)) != len(held) or not set(held) <= set(self.numbers):
            raise BadInput("the manifest of the snapshot names other shards than the collection has")
        of_keys = [number for key in self.keys for number in key.shards]
        if sorted(of_keys) != sorted(self.numbers if self.is_custom else ()):
            raise BadInput("the manifest of the snapshot names other shard keys than its shards have")
        if len(self.numbers) > MOST_SHARDS or collection_name_faults(self.collection):
            raise BadInput("the manifest of the snapshot names no collection")


def _check_config(stored: Mapping[str, Any], shards: int) -> None:
    """Refuse settings that nobody could have asked for, or that are of another number of shards."""
    config = CollectionConfig.from_json(stored)
    sections = {
        "hnsw_config": config.hnsw,
        "optimizers_config": config.optimizers,
        "wal_config": config.wal,
        "quantization_config": config.quantization,
        "strict_mode_config": config.strict_mode,
        "metadata": config.metadata,
    }
    asked = {name: section for name, section in sections.items() if section is not None}
    again = CollectionConfig.from_request(
        {**config.params, "vectors": config.vectors, "sparse_vectors": config.sparse, **asked}
    )
    slots = list(config.slots.values())
    if config.slots.keys() != again.slots.keys() or sorted(set(slots)) != sorted(slots):
        raise BadInput("the manifest of the snapshot numbers its vectors wrongly")
    if any(type(slot) is not int or not 0 <= slot < _MOST_SLOTS for slot in (*slots, config.next_slot)):
        raise BadInput("the manifest of the snapshot numbers its vectors wrongly")
    if config.params.get("sharding_method") != ShardingMethod.CUSTOM and config.shard_number != shards:
        raise BadInput("the manifest of the snapshot names other shards than the collection has")


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 32:
        raise ValueError(f"{value!r} is no number of a shard")
    return value


def _op_num(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError(f"{value!r} is no number of an operation")
    return value


def _text(value: object) -> str:
    if type(value) is not str:
        raise ValueError(f"{value!r} is no text")
    return value


def _key(value: object) -> ShardKey:
    if type(value) is str and value:
        return value
    if type(value) is int and 0 <= value < 1 << 64:
        return value
    raise ValueError(f"{value!r} is no shard key")


def _key_part(stored: Mapping[str, Any]) -> KeyPart:
    factor = stored["replication_factor"]
    return KeyPart(
        _key(stored["key"]),
        tuple(map(_number, stored["shards"])),
        None if factor is None else max(1, _number(factor)),
    )


def _shard_part(stored: Mapping[str, Any]) -> ShardPart:
    key = stored["key"]
    return ShardPart(
        _number(stored["number"]),
        None if key is None else _key(key),
        _op_num(stored["epoch"]),
        _op_num(stored["op_num"]),
    )
