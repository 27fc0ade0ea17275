"""One shard's points: opened, written by one thread, read by many threads and by other processes.

The store says what is; the heap (population, spaces, columns of the payload indexes) is a cache of it that the writer
brings up to date after each commit. A reader of a second process opens the same folder with `read_only` and calls
`refresh` before it reads: then it sees every commit that came before.

Left out: the order of operations (that is the log's), routing, and when to build (that is `shards`').
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import lmdb
import numpy as np

from qnode.disk import fault_of, remove_tree
from qnode.errors import Corruption
from qnode.index.apply import Group
from qnode.index.dense_space import DenseSpace
from qnode.index.fields import FieldIndexes, Filtering
from qnode.index.manifest import Manifest, SegmentEntry, SegmentState, read_manifest, write_manifest
from qnode.index.multi_space import MultiSpace
from qnode.index.planning import is_overfull
from qnode.index.population import Population
from qnode.index.segment_rows import CHUNK_ROWS, put_check, put_dead_chunks, read_alive, read_checks
from qnode.index.segments import Growing, append, create_growing, open_growing, open_sealed
from qnode.index.slots import check_settings, drop_slots
from qnode.index.space import Part, Rows, Space
from qnode.index.sparse.space import SparseSpace
from qnode.index.store import (
    RESTORE,
    Store,
    compacted_path,
    get_meta_u64,
)
from qnode.models.operation import Operation
from qnode.models.vector_params import IndexParams, SlotParams, SparseParams


class Index:
    """A shard's index; build it with `open`. `params` may be replaced while it is open."""

    def __init__(self, path: Path, params: IndexParams, store: Store, *, read_only: bool, verify: bool) -> None:
        self.path = path
        self.params = params
        self.store = store
        self.read_only = read_only
        self._verify = verify
        self.slots: Mapping[str, int] = {name: one.slot for name, one in params.by_name.items()}
        self.fields = FieldIndexes(store)
        self.filtering = Filtering(self.fields)
        self.population = Population(store, self.slots, params.slots_given)
        self.manifest = Manifest()
        self.spaces: dict[int, Space] = {}
        self.points_count = 0
        self.watchers: tuple[Callable[[Sequence[tuple[int, Operation]]], None], ...] = ()
        """Told on the writer thread what was just applied, when reads show it; never raise."""

    @classmethod
    def open(cls, path: Path, params: IndexParams, *, read_only: bool = False, verify: bool = True) -> Index:
        """Open the index in `path`, making an empty one if there is none.

        verify: check the checksums of all segment files first. Raises Corruption naming a damaged file.
        """
        if not read_only:
            _refuse_lost_store(path)
        index = cls(path, params, Store(path / "store", read_only=read_only), read_only=read_only, verify=verify)
        try:
            with index.store.reading() as txn:
                index._load_whole(txn)
        except BaseException:
            index.store.close()
            raise
        if not read_only:
            drop_slots(index)
            index._remove_strays()
        return index

    def _load_whole(self, txn: lmdb.Transaction) -> None:
        """Load; where the owner has removed a segment since the transaction began, from a later one."""
        try:
            self._load(txn)
        except Corruption:
            with self.store.reading() as newest:
                if read_manifest(newest, self.store) == read_manifest(txn, self.store):
                    raise
                self._load(newest)

    def _load(self, txn: lmdb.Transaction) -> None:
        manifest = read_manifest(txn, self.store)
        known = {part.id: part for space in self.spaces.values() for part in space.parts}
        self.manifest = manifest
        self.spaces = {
            vector.slot: self.space_of(vector, self.open_parts(txn, vector.slot, known))
            for vector in self.params.by_name.values()
        }
        self.fields.load(txn)
        self.points_count = txn.stat(self.store.ids)["entries"]
        capacity = get_meta_u64(txn, self.store, b"next_number")
        applied_op = get_meta_u64(txn, self.store, b"applied_op")
        self.population.load(txn, capacity, applied_op)
        self._show(applied_op, applied_op)

    def space_of(self, vector: SlotParams, parts: Sequence[Part]) -> Space:
        """Make the space of a vector out of its segments."""
        if isinstance(vector, SparseParams):
            return SparseSpace(vector, tuple(parts))
        return (MultiSpace if vector.multivector else DenseSpace)(vector, self.params, tuple(parts))

    def open_parts(self, txn: lmdb.Transaction, slot: int, known: Mapping[int, Part] | None = None) -> list[Part]:
        """Open the segments that the manifest has of a slot; of sealed ones among `known` nothing is read again."""
        entries = (entry for entry in self.manifest.segments if entry.slot == slot)
        return [self._open_part(txn, entry, (known or {}).get(entry.id)) for entry in entries]

    def _open_part(self, txn: lmdb.Transaction, entry: SegmentEntry, known: Part | None) -> Part:
        params = next(vector for vector in self.params.by_name.values() if vector.slot == entry.slot)
        folder = self.segment_path(entry.id)
        if entry.state is SegmentState.SEALED:
            segment = known.segment if known else open_sealed(folder, params, verify=self._verify)
        else:
            segment = growing = open_growing(folder, params, entry.rows, read_only=self.read_only)
            if self._verify and known is None:
                self._verify_growing(txn, entry, growing)
        alive = read_alive(txn, self.store, entry.id, entry.rows)
        return Part(entry.id, segment, alive, int(np.count_nonzero(~alive)), entry.state is SegmentState.FULL)

    def _verify_growing(self, txn: lmdb.Transaction, entry: SegmentEntry, segment: Growing) -> None:
        for first, last, checksum in read_checks(txn, self.store, entry.id):
            if segment.checksum(first, last) != checksum:
                fault = f"rows {first} to {last - 1} do not match their checksum"
                raise Corruption(self.segment_path(entry.id), fault, RESTORE)

    def _remove_strays(self) -> None:
        """Remove folders that no manifest refers to: what a build or a commit left when it was cut off."""
        folder = self.path / "segments"
        folder.mkdir(exist_ok=True)
        known = {str(entry.id) for entry in self.manifest.segments}
        for child in folder.iterdir():
            if child.name not in known:
                remove_tree(child)

    def segment_path(self, segment: int) -> Path:
        return self.path / "segments" / str(segment)

    @property
    def applied_op(self) -> int:
        """The last operation that searches see."""
        return self.population.applied_op

    @property
    def stored_op(self) -> int:
        """The last operation that is committed."""
        with self.store.reading() as txn:
            return get_meta_u64(txn, self.store, b"applied_op")

    def refresh(self) -> None:
        """Take over what another process has committed since; cheap if nothing has."""
        if self.store.was_exchanged:
            self.store.exchange(lambda: None)
        with self.store.reading() as txn:
            self.follow(txn)

    def follow(self, txn: lmdb.Transaction) -> None:
        """Take over what another process had committed when this transaction began."""
        if get_meta_u64(txn, self.store, b"applied_op") != self.applied_op or (
            read_manifest(txn, self.store) != self.manifest
        ):
            self._load_whole(txn)

    def close(self) -> None:
        self.store.close()

    def field_points(self, field: str) -> int:
        """How many points a payload index holds."""
        with self.store.reading() as txn:
            return self.fields.points_count(txn, field)

    # What follows is for the writer thread alone.

    def apply(self, operations: Sequence[tuple[int, Operation]]) -> None:
        """Apply operations in one transaction; when it returns they are on disk and visible.

        operations: (op_num, operation), ascending, all behind `applied_op`. Raises OutOfSpace, OlderSettings or
        InternalError, and then nothing of them is applied.
        """
        assert operations[0][0] > self.applied_op
        check_settings(self.params, self.manifest, operations)
        applied_op = operations[-1][0]
        before = self.manifest
        try:
            with self.store.writing() as txn:
                group = Group(self.store, txn, self.fields, self.slots, self.population.width, self.applied_op)
                for op_num, operation in operations:
                    group.apply(op_num, operation)
                appended = self._write_rows(txn, group)
                deaths = self._write_deaths(txn, group)
                write_manifest(txn, self.store, self.manifest)
                group.finish(applied_op)
                changed, live, records = group.current()
                points_count = txn.stat(self.store.ids)["entries"]
                for part, rows in appended:
                    part.segment.publish(rows)  # type: ignore[union-attr]  # only growing segments take rows
                    part.follow()
                self._show(self.applied_op, applied_op)
        except BaseException as error:
            self._take_back(before)
            if isinstance(error, OSError):
                raise fault_of(error, f"{self.path} could not be written") from error
            raise
        for part, dead_rows in deaths:
            part.kill(dead_rows)
        self._show(applied_op, applied_op)
        for staged in group.staged:
            self.fields.publish(staged)
        self.points_count = points_count
        self.population.publish(changed, live, records, group.next_number, applied_op)
        for watcher in self.watchers:
            watcher(operations)

    def _write_rows(self, txn: lmdb.Transaction, group: Group) -> list[tuple[Part, int]]:
        appended = []
        for slot, new in group.rows.items():
            kept = new.kept()
            if kept is None:
                continue
            part = self._growing(slot)
            segment = part.segment
            assert isinstance(segment, Growing)
            first, rows = append(segment, *kept)
            put_check(txn, self.store, part.id, first, rows, segment.checksum(first, rows))
            entry = self.manifest.entry(part.id)
            self.manifest = self.manifest.changed(replace(entry, rows=rows))
            appended.append((part, rows))
        return appended

    def _show(self, oldest_op: int, newest_op: int) -> None:
        for space in self.spaces.values():
            space.show(oldest_op, newest_op)

    def _growing(self, slot: int) -> Part:
        """The part that takes rows; made if there is none."""
        space = self.spaces[slot]
        part = space.growing
        if part is not None and is_overfull(part.segment.vector_bytes, self.params):
            entry = self.manifest.entry(part.id)
            self.manifest = self.manifest.changed(replace(entry, state=SegmentState.FULL))
            part.is_full = True
            part = None
        if part is None:
            self.manifest, entry = self.manifest.added(slot, SegmentState.GROWING)
            folder = self.segment_path(entry.id)
            if folder.exists():
                remove_tree(folder)
            part = Part(entry.id, create_growing(folder, space.params), np.ones(0, np.bool_))
            space.parts = (*space.parts, part)
        return part

    def _write_deaths(self, txn: lmdb.Transaction, group: Group) -> list[tuple[Part, Rows]]:
        deaths = []
        for slot, killed in group.killed.items():
            if not killed.numbers:
                continue
            located = self.spaces[slot].locate(np.concatenate(killed.numbers), np.concatenate(killed.ops))
            for part, rows, _ in located:
                after = part.alive.copy()
                after[rows] = False
                put_dead_chunks(txn, self.store, part.id, after, np.unique(rows // CHUNK_ROWS))
                deaths.append((part, rows))
        return deaths

    def _take_back(self, before: Manifest) -> None:
        """Forget what a failed transaction had put into the heap."""
        self.manifest = before
        rows = {entry.id: entry.rows for entry in before.segments}
        full = {entry.id for entry in before.segments if entry.state is SegmentState.FULL}
        for space in self.spaces.values():
            for part in space.parts:
                part.is_full = part.id in full
                if isinstance(part.segment, Growing):
                    part.segment.publish(rows.get(part.id, 0))
                    part.follow()
            space.parts = tuple(part for part in space.parts if part.id in rows)
        self._show(self.applied_op, self.applied_op)


def _refuse_lost_store(path: Path) -> None:
    """Raise Corruption if there are segments and no store that knows of them: a new one would make strays of them."""
    store, segments = path / "store", path / "segments"
    is_there = any((folder / "data.mdb").exists() for folder in (store, compacted_path(store)))
    if not is_there and segments.exists() and any(segments.iterdir()):
        raise Corruption(store / "data.mdb", "it is missing", RESTORE)
