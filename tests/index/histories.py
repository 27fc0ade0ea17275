"""Random histories of one vector of an index: what was done, and what the points are after it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from qnode.index import Index, copying, maintenance, reading
from qnode.index.builders import write_job
from qnode.index.vectors import BuildJob
from qnode.index.vectors.build import build as build_segment
from qnode.models.columns import column_of
from qnode.models.operation import Delete, DeleteVectors, Operation, UpdateVectors, Upsert
from qnode.models.point_id import PointKey, key_of
from qnode.models.query import ALL_VECTORS, RetrieveRequest
from qnode.models.vector_params import IndexParams

Kind = TypeVar("Kind")


class History(ABC, Generic[Kind]):
    """Random operations on an index, and what the points are after them; None: a point without the vector."""

    def __init__(self, path: Path, params: IndexParams, name: str, seed: int, ids: int, most: int) -> None:
        """Ids are below `ids`, an operation is about fewer than `most` of them."""
        print(f"seed {seed}")
        self.path, self.params, self.name, self.ids, self.most = path, params, name, ids, most
        self.random = np.random.default_rng(seed)
        self.index = Index.open(path, params)
        self.points: dict[PointKey, Kind | None] = {}

    @abstractmethod
    def vector(self) -> Kind:
        """Draw a vector."""

    def stored(self, vector: Kind) -> Kind:
        """Give a vector as it is read back."""
        return vector

    def payload(self, key: PointKey) -> bytes:
        return b"{}"

    def apply(self, *operations: Operation) -> None:
        first = self.index.applied_op + 1
        self.index.apply([(first + at, operation) for at, operation in enumerate(operations)])

    def step(self) -> Operation:
        """Draw an operation, and note what it does."""
        numbers = self.random.choice(self.ids, self.random.integers(1, self.most), replace=False)
        keys = [key_of(int(number)) for number in numbers]
        known = [key for key in keys if key in self.points]
        match self.random.integers(0, 6):
            case 0:
                for key in known:
                    del self.points[key]
                return Delete(keys)
            case 1 if known:
                return UpdateVectors(known, {self.name: column_of(*self._drawn(known))})
            case 2 if known:
                self.points.update(dict.fromkeys(known))
                return DeleteVectors(known, [self.name])
            case _:
                return Upsert(keys, list(map(self.payload, keys)), {self.name: column_of(*self._drawn(keys))})

    def _drawn(self, keys: list[PointKey]) -> tuple[np.ndarray, list[Kind]]:
        vectors = [self.vector() for _ in keys]
        self.points.update({key: self.stored(vector) for key, vector in zip(keys, vectors, strict=True)})
        return np.arange(len(keys), dtype=np.int32), vectors

    @property
    def held(self) -> dict[PointKey, Kind]:
        """The points that have the vector."""
        return {key: vector for key, vector in self.points.items() if vector is not None}

    @abstractmethod
    def check(self) -> None:
        """Compare the index with what it should be."""

    def check_read_back(self, assert_same: Callable[[Any, Kind], None]) -> None:
        """Compare all points, as they are read, with what they should be."""
        read = reading.retrieve(self.index, RetrieveRequest(tuple(self.points), with_vector=ALL_VECTORS))
        assert {point.key for point in read} == set(self.points)
        for point in read:
            vector = self.points[point.key]
            assert point.vectors is not None
            assert set(point.vectors) == (set() if vector is None else {self.name})
            if vector is not None:
                assert_same(point.vectors[self.name], vector)

    def live(self, rounds: int, steps: int, copied_in: int) -> None:
        """Write, build, and reopen again and again, checking in between; in round `copied_in` go on with a copy."""
        for turn in range(rounds):
            for _ in range(steps):
                self.apply(*(self.step() for _ in range(self.random.integers(1, 4))))
            self.check()
            self.build()
            assert any(part.is_sealed for part in self.index.spaces[0].parts)
            self.check()
            if turn == copied_in:
                copy = self.path.with_name("copy")
                copying.copy_index(self.index, copy)
                self.index.close()
                self.path, self.index = copy, Index.open(copy, self.params)
            else:
                self.reopen()
            self.check()
        self.index.close()

    def reopen(self) -> None:
        self.index.close()
        self.index = Index.open(self.path, self.params)

    def build(self) -> None:
        """Do all builds that are due, and write while each is under way."""
        while maintenance.is_due(self.index):
            build = maintenance.begin_build(self.index)
            if build is not None:
                job = BuildJob.from_json(write_job(build, threads=1).read_bytes())
                self.apply(self.step())
                build_segment(job)
                maintenance.install(self.index, build)
                build.clean_up()
