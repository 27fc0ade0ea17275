"""Vectors that come and go on an index that is open: which slots it has follows its settings.

A slot is a number for life. A new one begins without segments; records that were written before it came read as 0 there. Of
one that is gone, the segments leave the manifest; what records still say of it counts for nothing, since its number never
comes again. An operation names the slots that it is about: one of a slot that is gone passes it over, and one of a slot that
the settings do not have yet waits, as does everything while the manifest knows of slots that the settings do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qnode.errors import OlderSettings
from qnode.index.fields import Filtering
from qnode.index.manifest import Manifest, write_manifest
from qnode.index.segment_rows import forget_segment
from qnode.index.space import Part
from qnode.index.store import get_meta_u64
from qnode.models.operation import DeleteVectors, Operation, UpdateVectors, Upsert
from qnode.models.vector_params import IndexParams

if TYPE_CHECKING:
    from qnode.index.index import Index


def check_settings(params: IndexParams, manifest: Manifest, operations: Sequence[tuple[int, Operation]]) -> None:
    """Raise OlderSettings if something is about a slot that the settings do not know."""
    newest = max((entry.slot for entry in manifest.segments), default=-1)
    for _, operation in operations:
        if isinstance(operation, Upsert | UpdateVectors | DeleteVectors) and operation.slots:
            newest = max(newest, *operation.slots.values())
    if newest >= params.slots_given:
        raise OlderSettings("a vector was added to the collection that this node has not heard of yet")


def change_slots(index: Index) -> list[Part]:
    """Follow the settings, for the writer thread: open what is new, and give the parts that are gone, on disk still."""
    params = index.params
    slots = {name: one.slot for name, one in params.by_name.items()}
    if slots == index.slots and params.slots_given == index.population.width:
        return []
    with index.store.reading() as txn:
        made = {
            vector.slot: index.space_of(vector, index.open_parts(txn, vector.slot))
            for vector in params.by_name.values()
            if vector.slot not in index.spaces
        }
        index.population.width = params.slots_given
        index.population.load(txn, get_meta_u64(txn, index.store, b"next_number"), index.applied_op)
    for space in made.values():
        space.show(index.applied_op, index.applied_op)
    index.spaces = {**index.spaces, **made}
    index.slots = index.population.slots = slots
    index.filtering = Filtering(index.fields)  # its masks may be of a name that stood for another vector
    gone = [part for slot, space in index.spaces.items() if slot not in slots.values() for part in space.parts]
    index.spaces = {slot: space for slot, space in index.spaces.items() if slot in slots.values()}
    drop_slots(index)
    return gone


def drop_slots(index: Index) -> None:
    """Take segments of slots that are gone out of the manifest; their folders are left."""
    manifest, known = index.manifest, set(index.slots.values())
    gone = {
        entry.id for entry in manifest.segments if entry.slot not in known and entry.slot < index.params.slots_given
    }
    if not gone:
        return
    with index.store.writing() as txn:
        for segment in gone:
            forget_segment(txn, index.store, segment)
        write_manifest(txn, index.store, manifest.without(gone))
    index.manifest = manifest.without(gone)
