"""Whether what an archive holds can take the place of what a collection holds, and which shard that of which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from qnode.errors import BadInput
from qnode.models.collection import CollectionConfig
from qnode.models.topology import CollectionEntry
from qnode.snapshots.manifest import Manifest

INCOMPATIBLE: Final = "Snapshot is not compatible with existing collection"


def check_fits(manifest: Manifest, entry: CollectionEntry) -> None:
    """Raise BadInput if a collection has other vectors, or other shards, than the one that was copied."""
    check_vectors_fit(manifest, entry)
    here = {key: len(own.shards) for key, own in entry.keys.items()}
    there = {key.key: len(key.shards) for key in manifest.keys}
    if len(entry.shards) != len(manifest.numbers):
        raise BadInput(
            f"{INCOMPATIBLE}: it is of {len(manifest.numbers)} shards, and the collection has {len(entry.shards)}"
        )
    if here != there:
        raise BadInput(f"{INCOMPATIBLE}: their shard keys are different")


def check_vectors_fit(manifest: Manifest, entry: CollectionEntry) -> None:
    """Raise BadInput if a collection's vectors are not those that were copied."""
    if _vectors(manifest.config) != _vectors(entry.config):
        raise BadInput(f"{INCOMPATIBLE}: their vectors are different")


def paired(manifest: Manifest, entry: CollectionEntry) -> dict[int, int]:
    """Say which shard here takes which shard of the archive: those of equal places in the order, within their keys."""
    if not manifest.keys:
        return dict(zip(manifest.numbers, sorted(entry.shards), strict=True))
    pairs: dict[int, int] = {}
    for key in manifest.keys:
        pairs.update(zip(key.shards, entry.keys[key.key].shards, strict=True))
    return pairs


def _vectors(config: Mapping[str, Any]) -> set[tuple[object, ...]]:
    params = CollectionConfig.from_json(config).index_params()
    dense = {(one.name, one.slot, one.size, one.distance, one.datatype, one.multivector) for one in params.vectors}
    return dense | {(one.name, one.slot, one.datatype) for one in params.sparse}
