"""Which shards of a collection with custom sharding a request is about: those of the keys that it names."""

from __future__ import annotations

from dataclasses import dataclass

ShardKey = int | str
"""What a user names a group of shards; 5 and "5" are two keys."""


def shown(key: ShardKey) -> str:
    """Print a shard key as users read it: text in quotes, so that "5" is not 5."""
    return f'"{key}"' if isinstance(key, str) else str(key)


@dataclass(frozen=True, slots=True)
class ShardChoice:
    """The shards of these keys; or, of one key that cannot be used yet, those of `fallback`."""

    keys: tuple[ShardKey, ...]
    fallback: ShardKey | None = None
