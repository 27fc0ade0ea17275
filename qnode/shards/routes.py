"""Which shards a request is about, and which peers have them: what one topology says of one collection.

A value: a new one is made whenever the collection's entry changes. Without shard keys a point is in the shard that the ring gives it
to; with custom sharding each key has a ring of its own shards, and a point may be under several keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

from qnode.errors import BadInput, NotFound, Unavailable
from qnode.models.point_id import PointKey
from qnode.models.shard_choice import ShardChoice, ShardKey, shown
from qnode.models.topology import CollectionEntry, KeyState, ReplicaState, ShardingMethod
from qnode.models.write import WriteRequest
from qnode.shards.routing import Ring

_REMEMBERED_RINGS: Final = 256


@lru_cache(_REMEMBERED_RINGS)
def ring_of(shards: tuple[int, ...]) -> Ring:
    """Make the ring of these shards, once."""
    return Ring(shards)


class Routes:
    """Where the shards of a collection are, as `me` sees it."""

    def __init__(self, me: int, entry: CollectionEntry) -> None:
        self.me = me
        self.entry = entry
        self.is_custom = entry.sharding_method is ShardingMethod.CUSTOM
        self.numbers = tuple(sorted(entry.shards))
        self.most_replicas = max((len(shard.replicas) for shard in entry.shards.values()), default=0)
        self._active = {number: tuple(shard.active()) for number, shard in entry.shards.items()}

    def active(self, number: int) -> tuple[int, ...]:
        """List the peers whose replica of a shard may be read."""
        return self._active.get(number, ())

    def answerable(self, number: int) -> int:
        """Count the replicas of a shard that a read which asks several must count with: those just being made do not matter."""
        states = self.entry.shards[number].replicas.values()
        return sum(state is not ReplicaState.INITIALIZING for state in states)

    def primary(self, number: int) -> int | None:
        """Give the peer that takes the writes of a shard, if there is one."""
        shard = self.entry.shards.get(number)
        return None if shard is None else shard.primary

    def key_of(self, number: int) -> ShardKey | None:
        """Give the shard key that a shard belongs to, if any."""
        shard = self.entry.shards.get(number)
        return None if shard is None else shard.key

    def read_from(self, choice: ShardChoice | None) -> tuple[int, ...]:
        """List the shards that a read is about; raise BadInput for an unknown key.

        Without a choice, all; with custom sharding only those that can be read.
        """
        if not self.is_custom:
            _refuse_choice(choice)
            return self.numbers
        if choice is None:
            return tuple(number for number in self.numbers if self._is_filled(number) and self._active[number])
        if choice.fallback is not None and not self._can_be_read(choice.keys[0]):
            return self._shards_of((choice.fallback,))
        return self._shards_of(choice.keys)

    def split(self, request: WriteRequest) -> dict[int, WriteRequest]:
        """Give each shard its part of a write; raise BadInput, NotFound or Unavailable if it is about none."""
        if not self.is_custom:
            _refuse_choice(request.shards)
            return ring_of(self.numbers).split(request)
        parts: dict[int, WriteRequest] = {}
        for key in self._written(request.shards):
            if shards := self.entry.keys[key].shards:
                parts.update(ring_of(shards).split(replace(request, shards=None)))
        return parts

    def steps(self, request: WriteRequest) -> list[dict[int, WriteRequest]]:
        """Split a write as `split`, into what is to be done at once, one after the other.

        A key that is read and still being filled is written after its fallback, from which it is filled: what stands under it
        is never newer, so passing on how the fallback is cannot take anything back for good.
        """
        choice = request.shards
        if choice is None or choice.fallback is None or len(written := self._written(choice)) < 2:
            return [self.split(request)]
        return [self.split(replace(request, shards=ShardChoice((key,)))) for key in reversed(written)]

    def split_keys(self, keys: Sequence[PointKey], shards: Iterable[int]) -> dict[int, list[PointKey]]:
        """Group keys by the shards, of these, that may have them."""
        if not self.is_custom:
            return ring_of(self.numbers).split_keys(keys)
        wanted = set(shards)
        parts: dict[int, list[PointKey]] = {}
        for own in self.entry.keys.values():
            if own.shards and wanted.intersection(own.shards):
                parts.update(ring_of(own.shards).split_keys(keys))
        return {number: part for number, part in parts.items() if number in wanted}

    def _written(self, choice: ShardChoice | None) -> tuple[ShardKey, ...]:
        """List the keys that a write goes to."""
        if choice is None:
            raise BadInput("Shard key not specified")
        if choice.fallback is None:
            self._shards_of(choice.keys)
            return choice.keys
        target, fallback = (self.entry.keys.get(key) for key in (choice.keys[0], choice.fallback))
        if target is None and fallback is None:
            raise NotFound(
                f"Neither shard key {shown(choice.keys[0])} nor its fallback {shown(choice.fallback)} exists"
            )
        if target is not None and target.state is KeyState.ACTIVE:
            return choice.keys
        if target is not None and target.state is KeyState.ACTIVE_READ:
            return choice.keys if fallback is None else (*choice.keys, choice.fallback)
        if fallback is None or fallback.state is KeyState.PARTIAL:
            raise Unavailable(
                f"neither shard key {shown(choice.keys[0])} nor its fallback {shown(choice.fallback)} is active"
            )
        return (choice.fallback,)

    def _shards_of(self, keys: Iterable[ShardKey]) -> tuple[int, ...]:
        shards: dict[int, None] = {}
        for key in keys:
            own = self.entry.keys.get(key)
            if own is None:
                raise BadInput(f"Shard key {shown(key)} not found")
            shards.update(dict.fromkeys(own.shards))
        return tuple(shards)

    def _can_be_read(self, key: ShardKey) -> bool:
        own = self.entry.keys.get(key)
        return own is not None and own.state is not KeyState.PARTIAL and all(self._active[at] for at in own.shards)

    def _is_filled(self, number: int) -> bool:
        key = self.entry.shards[number].key
        return key is None or self.entry.keys[key].state is not KeyState.PARTIAL


def _refuse_choice(choice: ShardChoice | None) -> None:
    if choice is not None:
        raise BadInput(f"Shard key {shown(choice.keys[0])} not found")
