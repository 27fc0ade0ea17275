"""Sparse vectors in the index against brute force: random histories, reopening, building, copies, filters, damage."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qnode.errors import Corruption
from qnode.index import Index, check, reading, sampling
from qnode.index.sparse.sealed import DESCRIPTION, Description
from qnode.index.vectors.files import FileFacts, checksum_of
from qnode.models.columns import column_of
from qnode.models.filter import FieldCondition, Filter, HasId, MatchAny
from qnode.models.operation import Upsert
from qnode.models.payload_path import parse_path
from qnode.models.point_id import PointKey, key_of
from qnode.models.query import (
    Examples,
    ExamplesKind,
    Nearest,
    QueryRequest,
    SearchParams,
    SparseVector,
)
from qnode.models.reads import FrequenciesRequest
from qnode.models.vector_params import IndexParams, SparseParams
from tests.index.histories import History

DIMS = 60
NAME = "s"
Floats = np.ndarray[tuple[int], np.dtype[np.float32]]


class SparseHistory(History[SparseVector]):
    """Random operations on an index of sparse vectors; `common` of the indices are in about every second one."""

    def __init__(self, path: Path, seed: int, threshold_kb: int = 8, common: int = 0) -> None:
        self.common = common
        params = IndexParams((), indexing_threshold_kb=threshold_kb, sparse=(SparseParams(NAME, 0),))
        super().__init__(path, params, NAME, seed, ids=400, most=60)

    def vector(self) -> SparseVector:
        """A vector of few or many numbers, of which some are small integers, so that scores are equal, and 0."""
        count = int(self.random.choice([0, 1, 3, 8, 20]))
        chosen = self.random.choice(DIMS, count, replace=False)
        if self.common:
            chosen = np.union1d(chosen, np.flatnonzero(self.random.random(self.common) < 0.5) * (DIMS // self.common))
        indices, count = np.sort(chosen).astype(np.uint32), len(chosen)
        indices[indices > DIMS - 3] += np.uint32(2**32 - DIMS)
        if self.random.random() < 0.5:
            values = self.random.integers(-2, 3, count).astype(np.float32)
        else:
            values = self.random.standard_normal(count).astype(np.float32)
        return SparseVector(indices, values)

    def payload(self, key: PointKey) -> bytes:
        return b'{"n":%d}' % (key[-1] % 50)

    def found(self, query: SparseVector, chosen: Filter | None = None, limit: int = 10) -> list[tuple[float, PointKey]]:
        request = QueryRequest(Nearest(query), NAME, chosen, SearchParams(), limit=limit)
        return [(float(point.score or 0), point.key) for point in reading.search(self.index, request, query)]

    def check(self) -> None:
        assert list(check.faults(self.index)) == []
        held = self.held
        assert self.index.spaces[0].count == self.index.spaces[0].indexed_count == len(held)
        self.check_read_back(assert_equal)
        for _ in range(5):
            query = self.vector()
            expected = brute_force(query, held)
            assert self.found(query) == expected[:10]
            assert self.found(query, limit=500) == expected
            few = set(list(self.points)[::20])
            assert (
                self.found(query, Filter(must=(HasId(frozenset(few)),)))
                == [hit for hit in expected if hit[1] in few][:10]
            )
            rest = Filter(must_not=(HasId(frozenset(few)),))
            assert self.found(query, rest) == [hit for hit in expected if hit[1] not in few][:10]
            narrow = Filter(must=(FieldCondition(parse_path("n"), MatchAny((7,))),))
            assert self.found(query, narrow) == [hit for hit in expected if hit[1][-1] % 50 == 7][:10]
            self.check_frequencies(query, few)

    def check_frequencies(self, query: SparseVector, few: set[PointKey]) -> None:
        for corpus in (None, Filter(must=(HasId(frozenset(few)),))):
            counted = sampling.frequencies(self.index, FrequenciesRequest(NAME, query.indices, corpus))
            held = [vector for key, vector in self.held.items() if corpus is None or key in few]
            assert counted.points == len(held)
            assert counted.counts.tolist() == [
                sum(index in vector.indices for vector in held) for index in query.indices
            ]


def assert_equal(got: object, vector: SparseVector) -> None:
    assert isinstance(got, SparseVector)
    assert np.array_equal(got.indices, vector.indices)
    assert np.array_equal(got.values, vector.values)


def product(query: SparseVector, vector: SparseVector) -> float | None:
    """The sum in the order of indices, in float32; None without a common index."""
    _, here, there = np.intersect1d(query.indices, vector.indices, assume_unique=True, return_indices=True)
    total = np.float32(0)
    for one, other in zip(query.values[here], vector.values[there], strict=True):
        total = np.float32(total + np.float32(one * other))
    return float(total) if len(here) else None


def brute_force(query: SparseVector, held: dict[PointKey, SparseVector]) -> list[tuple[float, PointKey]]:
    scored = [(score, key) for key, vector in held.items() if (score := product(query, vector)) is not None]
    return sorted(scored, reverse=True)


@pytest.mark.parametrize(("seed", "common"), [(3, 0), (4, 0), (10, 6)])
def test_a_history_of_sparse_vectors_gives_what_brute_force_gives(tmp_path: Path, seed: int, common: int) -> None:
    history = SparseHistory(tmp_path / "shard", seed, common=common)
    history.live(rounds=4, steps=10, copied_in=2)


@pytest.mark.parametrize("common", [0, 3])
def test_rows_of_a_growing_segment_are_found_however_they_were_added(tmp_path: Path, common: int) -> None:
    history = SparseHistory(tmp_path / "shard", 5, threshold_kb=10_000, common=common)
    number = 0
    for count in (1, 254, 1, 1, 700, 3, 256, 255, 2000, 10):
        keys = [key_of(number + at) for at in range(count)]
        number += count
        vectors = [history.vector() for _ in keys]
        history.points.update(zip(keys, vectors, strict=True))
        column = column_of(np.arange(count, dtype=np.int32), vectors)
        history.apply(Upsert(keys, [b"{}"] * count, {NAME: column}))
        query = history.vector()
        assert history.found(query, limit=5000) == brute_force(query, history.held)
    history.reopen()
    assert history.found(query, limit=5000) == brute_force(query, history.held)
    history.index.close()


def test_examples_give_every_point_a_score(tmp_path: Path) -> None:
    history = SparseHistory(tmp_path / "shard", 6, common=4)
    for _ in range(12):
        history.apply(history.step())
    history.build()
    history.apply(history.step())
    good, bad = history.vector(), history.vector()
    examples = Examples(ExamplesKind.SUM_SCORES, positive=(good,), negative=(bad,))
    few = frozenset(list(history.points)[::3])
    for chosen in (None, Filter(must=(HasId(few),)), Filter(must_not=(HasId(few),))):
        request = QueryRequest(examples, NAME, chosen, limit=1000)
        found = reading.search(history.index, request, examples)
        held = {key: vector for key, vector in history.held.items() if passes(chosen, key, few)}
        expected = {key: (product(good, vector) or 0) - (product(bad, vector) or 0) for key, vector in held.items()}
        assert {point.key: float(point.score or 0) for point in found} == pytest.approx(expected, abs=1e-5)
        scores = [float(point.score or 0) for point in found]
        assert scores == sorted(scores, reverse=True)
    history.index.close()


def passes(chosen: Filter | None, key: PointKey, few: frozenset[PointKey]) -> bool:
    return chosen is None or (key in few) == bool(chosen.must)


def test_damage_of_any_file_of_a_segment_is_found(tmp_path: Path) -> None:
    history = SparseHistory(tmp_path / "shard", 7, common=4)
    for _ in range(30):
        history.apply(history.step())
    history.build()
    history.apply(history.step())
    folders = [part.segment.directory for part in history.index.spaces[0].parts]
    history.index.close()
    files = [file for folder in folders for file in sorted(folder.iterdir())]
    assert {file.name for file in files} >= {
        "entries.bin",
        "rows.bin",
        "dims.bin",
        "starts.bin",
        "heavy.bin",
        "columns.bin",
    }
    for file in files:
        content = file.read_bytes()
        file.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        with pytest.raises(Corruption, match=str(file.parent)):
            Index.open(history.path, history.params)
        file.write_bytes(content)
    history.index = Index.open(history.path, history.params)
    history.check()
    history.index.close()


@pytest.mark.parametrize("name", ["rows.bin", "starts.bin", "offsets.bin"])
def test_what_would_lead_a_search_astray_is_found_without_looking_at_all_checksums(tmp_path: Path, name: str) -> None:
    history = SparseHistory(tmp_path / "shard", 8)
    for _ in range(30):
        history.apply(history.step())
    history.build()
    sealed = next(part.segment for part in history.index.spaces[0].parts if part.is_sealed)
    history.index.close()
    content = np.fromfile(sealed.directory / name, np.int32)
    content[len(content) // 2 // 2 * 2] = 1 << 28
    content.tofile(sealed.directory / name)
    with pytest.raises(Corruption, match=name):
        Index.open(history.path, history.params, verify=False)


@pytest.mark.parametrize("with_extremes", [True, False])
def test_a_segment_of_version_1_gives_the_same(tmp_path: Path, with_extremes: bool) -> None:
    history = SparseHistory(tmp_path / "shard", 9, common=4)
    for _ in range(30):
        history.apply(history.step())
    history.build()
    (sealed,) = [part.segment for part in history.index.spaces[0].parts if part.is_sealed]
    rewrite_as_version_1(sealed.directory, with_extremes=with_extremes)
    history.index.close()
    history.index = Index.open(history.path, history.params)
    history.check()
    history.index.close()


def rewrite_as_version_1(sealed: Path, *, with_extremes: bool) -> None:
    """Give every index a list, and drop the columns."""
    described = Description.read(sealed / DESCRIPTION)
    offsets = np.fromfile(sealed / "offsets.bin", np.int64)
    indices, values = np.fromfile(sealed / "indices.bin", np.uint32), np.fromfile(sealed / "values.bin", np.float32)
    order = np.argsort(indices, kind="stable")
    dims, begins = np.unique(indices[order], return_index=True)
    lists = {
        "dims.bin": dims,
        "starts.bin": np.append(begins, len(indices)),
        "rows.bin": np.repeat(np.arange(described.rows, dtype=np.int32), np.diff(offsets))[order],
        "weights.bin": values[order],
    }
    if with_extremes:
        weights = lists["weights.bin"]
        lists["extremes.bin"] = np.stack(
            [np.minimum.reduceat(weights, begins), np.maximum.reduceat(weights, begins)], 1
        )
    facts = {
        name: fact for name, fact in described.files.items() if name not in ("heavy.bin", "held.bin", "columns.bin")
    }
    for name in ("heavy.bin", "held.bin", "columns.bin"):
        (sealed / name).unlink(missing_ok=True)
    for name, array in lists.items():
        array.tofile(sealed / name)
        facts[name] = FileFacts(array.nbytes, checksum_of(sealed / name))
    (sealed / DESCRIPTION).unlink()
    replace(described, version=1, lists=len(dims), files=facts).write(sealed / DESCRIPTION)
