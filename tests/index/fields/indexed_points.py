"""A small shard for the tests: points in one LMDB environment, their indexes, and what a writer does around them."""

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import orjson

from qnode.index.fields import FIELDS_FLAGS, POSTINGS_FLAGS, FieldIndexes, Filtering, PayloadChange
from qnode.models.condition import PointFacts, matches
from qnode.models.point_id import key_of
from qnode.models.text_match import tokenized


class StoredPoints:
    """A population whose keys and payloads are in the store and whose masks are in the heap."""

    def __init__(self, env, points_db):
        self._env, self._points_db = env, points_db
        self.journal = []
        self.journal_begins = 0
        self.load()

    def load(self):
        with self._env.begin() as txn:
            self.applied_op = int(txn.get(b"op", b"0"))
            self.masks = {}
            for key, value in txn.cursor(db=self._points_db):
                self.show(int.from_bytes(key, "little"), orjson.loads(value)["vectors"])
        self.journal, self.journal_begins = [], self.applied_op

    def show(self, number, vectors):
        """Note a point's vectors; None: the point is gone."""
        self.masks[number] = vectors

    @property
    def live(self):
        return self._mask(lambda vectors: vectors is not None)

    def with_vector(self, name):
        return self._mask(lambda vectors: vectors is not None and name in vectors)

    def _mask(self, test):
        shown = self.masks.copy()
        mask = np.zeros(1 + max(shown, default=-1), np.bool_)
        for number, vectors in shown.items():
            mask[number] = test(vectors)
        return mask

    def numbers_of(self, txn, keys):
        wanted = set(keys)
        numbers = [
            int.from_bytes(number, "little")
            for number, value in txn.cursor(db=self._points_db)
            if key_of(orjson.loads(value)["id"]) in wanted
        ]
        return np.array(numbers, np.uint32)

    def _stored(self, txn, numbers):
        return [txn.get(number.to_bytes(4, "little"), db=self._points_db) for number in numbers.tolist()]

    def keys_of(self, txn, numbers):
        return [key_of(orjson.loads(value)["id"]) for value in self._stored(txn, numbers) if value is not None]

    def payloads_of(self, txn, numbers):
        return [
            b"{}" if value is None else orjson.dumps(orjson.loads(value)["payload"])
            for value in self._stored(txn, numbers)
        ]

    def changed_since(self, op_num):
        if op_num < self.journal_begins:
            return None
        return np.array(sorted({number for op, number in self.journal.copy() if op > op_num}), np.uint32)


@dataclass
class Databases:
    """What the indexes need of a store."""

    path: Path
    read_only: bool
    env: lmdb.Environment
    postings: Any
    fields: Any

    def reading(self):
        return self.env.begin()


class Shard:
    """Writes as a shard's writer does: stage, commit, publish, in this order."""

    def __init__(self, path, *, read_only=False):
        self.env = lmdb.open(str(path), map_size=1 << 28, max_dbs=8, readonly=read_only, lock=True, max_readers=64)
        self.points_db = self.env.open_db(b"points", create=not read_only)
        postings = self.env.open_db(b"postings", create=not read_only, **POSTINGS_FLAGS)
        self.postings_db = postings
        fields = self.env.open_db(b"fields", create=not read_only, **FIELDS_FLAGS)
        self.fields = FieldIndexes(Databases(Path(path), read_only, self.env, postings, fields))
        with self.env.begin() as txn:
            self.fields.load(txn)
        self.points = StoredPoints(self.env, self.points_db)
        self.filtering = Filtering(self.fields)

    def close(self):
        self.env.close()

    @contextmanager
    def writing(self):
        with self.env.begin(write=True) as txn:
            yield txn

    def stored(self, txn, number):
        value = txn.get(number.to_bytes(4, "little"), db=self.points_db)
        return None if value is None else orjson.loads(value)

    def write(self, changes, *, vectors=("",), abort=False):
        """Apply {number: payload, or None to delete}; a point's id is its number + 1000."""
        with self.env.begin(write=True) as txn:
            op_num = self.points.applied_op + 1
            told = []
            for number, payload in changes.items():
                before = self.stored(txn, number)
                told.append(PayloadChange(number, before and before["payload"], payload))
                key = number.to_bytes(4, "little")
                if payload is None:
                    txn.delete(key, db=self.points_db)
                else:
                    point = {"id": number + 1000, "payload": payload, "vectors": list(vectors)}
                    txn.put(key, orjson.dumps(point), db=self.points_db)
            txn.put(b"op", str(op_num).encode())
            staged = self.fields.stage(txn, told)
            if abort:
                txn.abort()
                return
        self.fields.publish(staged)
        for number, payload in changes.items():
            self.points.show(number, None if payload is None else list(vectors))
            self.points.journal.append((op_num, number))
        self.points.applied_op = op_num

    def create(self, name, schema, *, build=True):
        with self.writing() as txn:
            self.fields.create(txn, name, schema)
        if build:
            self.build()

    def drop(self, name):
        with self.writing() as txn:
            self.fields.drop(txn, name)

    def step(self, max_points=1000):
        with self.writing() as txn:
            return self.fields.step(txn, self.points, max_points)

    def build(self, max_points=1000):
        while not self.step(max_points):
            pass

    def select(self, chosen, filtering=None):
        """The point numbers that pass."""
        with self.env.begin() as txn:
            selection = (filtering or self.filtering).select(txn, self.points, chosen)
        numbers = np.flatnonzero(selection.mask).tolist()
        assert selection.count == len(numbers)
        return numbers

    def brute_force(self, chosen):
        """The point numbers that pass by evaluating the rules on every point."""
        passing = []
        with self.env.begin() as txn:
            chosen = tokenized(chosen, self.fields.catalog(txn).texts)
            for key, value in txn.cursor(db=self.points_db):
                point = orjson.loads(value)
                facts = PointFacts(key_of(point["id"]), tuple(point["vectors"]))
                if matches(chosen, point["payload"], facts):
                    passing.append(int.from_bytes(key, "little"))
        return sorted(passing)

    def count(self, name):
        with self.env.begin() as txn:
            return self.fields.points_count(txn, name)

    def postings(self):
        """Every posting of the store."""
        with self.env.begin() as txn:
            return list(txn.cursor(db=self.postings_db))
