"""Which shard a point belongs to: consistent hashing of its key.

Each shard stands at 100 places of a ring of 64-bit hashes; a key belongs to the first place at or behind its hash. So
when a shard is added, only the keys that move to it move.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xxhash

from qnode.models.columns import chosen
from qnode.models.operation import Column
from qnode.models.point_id import PointKey
from qnode.models.write import Selector, UpdateVectorsRequest, UpsertRequest, WriteRequest

PLACES_PER_SHARD = 100


class Ring:
    """The hash ring over shard ids; keeps nothing but the ring."""

    def __init__(self, shards: Sequence[int]) -> None:
        assert shards
        places = sorted(
            (xxhash.xxh3_64_intdigest(f"{shard}/{place}".encode()), shard)
            for shard in shards
            for place in range(PLACES_PER_SHARD)
        )
        self.shards = tuple(shards)
        self._hashes = [place for place, _ in places]
        self._owners = [shard for _, shard in places]

    def shard_of(self, key: PointKey) -> int:
        if len(self.shards) == 1:
            return self.shards[0]
        at = bisect_left(self._hashes, xxhash.xxh3_64_intdigest(key))
        return self._owners[at % len(self._owners)]

    def split(self, request: WriteRequest) -> dict[int, WriteRequest]:
        """Give each shard its part of a write; one by filter goes to all shards, with each the keys that are its own."""
        if len(self.shards) == 1:
            return {self.shards[0]: request}
        if isinstance(request, UpsertRequest | UpdateVectorsRequest):
            return self._split_vectors(request)
        keys = request.selector.keys
        if keys is None:
            return dict.fromkeys(self.shards, request)
        parts, chosen = self.split_keys(keys), request.selector.filter
        return {
            shard: replace(request, selector=Selector(tuple(parts.get(shard, ())), chosen))
            for shard in (parts if chosen is None else self.shards)
        }

    def split_keys(self, keys: Sequence[PointKey]) -> dict[int, list[PointKey]]:
        """Group keys by shard, in their order."""
        parts: dict[int, list[PointKey]] = {}
        for key in keys:
            parts.setdefault(self.shard_of(key), []).append(key)
        return parts

    def _split_vectors(self, request: UpsertRequest | UpdateVectorsRequest) -> dict[int, WriteRequest]:
        owners = np.array([self.shard_of(key) for key in request.keys], np.int64)
        parts: dict[int, WriteRequest] = {}
        for shard in np.unique(owners).tolist():
            taken = np.flatnonzero(owners == shard)
            keys = [request.keys[at] for at in taken.tolist()]
            vectors = {name: taken_of(column, taken, len(owners)) for name, column in request.vectors.items()}
            if isinstance(request, UpsertRequest):
                payloads = [request.payloads[at] for at in taken.tolist()]
                parts[shard] = replace(request, keys=keys, payloads=payloads, vectors=vectors)
            else:
                parts[shard] = replace(request, keys=keys, vectors=vectors)
        return parts


def taken_of(column: Column, taken: np.ndarray[tuple[int], np.dtype[np.intp]], total: int) -> Column:
    """Restrict a column to some of the points, renumbered; `taken` (n,) ascending, of `total` points."""
    position = np.full(total, -1, np.int32)
    position[taken] = np.arange(len(taken), dtype=np.int32)
    at = position[column.at]
    kept = np.flatnonzero(at >= 0)
    return chosen(column, at[kept], kept)
