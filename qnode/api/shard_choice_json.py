"""Reading `shard_key` of a request: one key, a list of keys, or a key with another to fall back on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qnode.errors import MalformedBody
from qnode.models import reading
from qnode.models.shard_choice import ShardChoice, ShardKey


def choice_of(given: Mapping[str, Any]) -> ShardChoice | None:
    """Read which shards a body is about; None: it does not say."""
    value = given.get("shard_key")
    if value is None:
        return None
    if isinstance(value, list) and value:
        return ShardChoice(tuple(dict.fromkeys(_key(key) for key in value)))
    if isinstance(value, dict):
        target, fallback = (reading.required(value, name) for name in ("target", "fallback"))
        return ShardChoice((_key(target),), _key(fallback))
    return ShardChoice((_key(value),))


def _key(value: object) -> ShardKey:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return reading.unsigned(value)
    raise MalformedBody("data did not match any variant of untagged enum ShardKeySelector")
