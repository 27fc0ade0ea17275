"""The builder: what it gathers, how it runs, what it refuses."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import orjson
import pytest

from qnode.errors import Corruption, InternalError
from qnode.index.vectors import BuildJob, BuildSource, SealedSegment, graph_file
from qnode.index.vectors.build import build
from qnode.index.vectors.graph_builder import GraphBuilder
from qnode.models.vector_params import Datatype, Distance, Quantization, QuantizationKind
from tests.index.vectors.common import find_best, growing_of, params_of, recall, seal, sealed_of, vectors_for


def run_builder(*jobs: BuildJob, folder) -> list[dict]:
    """Have a process do some jobs; give its answers."""
    lines = b""
    for number, job in enumerate(jobs):
        path = folder / f"job-{number}.json"
        path.write_bytes(job.to_json())
        lines += orjson.dumps(str(path)) + b"\n"
    command = [sys.executable, "-m", "qnode.index.vectors.build"]
    done = subprocess.run(command, input=lines, capture_output=True, check=True)
    return [orjson.loads(line) for line in done.stdout.splitlines()]


def test_a_job_survives_json():
    params = params_of(
        7, Distance.MANHATTAN, datatype=Datatype.FLOAT16, quantization=Quantization(QuantizationKind.SCALAR, 0.9)
    )
    from pathlib import Path

    source = BuildSource(Path("a/b"), True, 5, Path("c"), ((0, 5, 2**63 + 1),))
    job = BuildJob((source, source), Path("out"), params, 42, 3, False)
    assert BuildJob.from_json(job.to_json()) == job


def test_alive_rows_of_all_sources_are_gathered_in_order_of_points(tmp_path):
    params = params_of(40, Distance.DOT)
    vectors = vectors_for(params, 600, seed=1)
    generator = np.random.default_rng(2)
    points = generator.permutation(1000)[:600]
    first = growing_of(tmp_path / "a", params, vectors[:400], points[:400])
    second = growing_of(tmp_path / "b", params, vectors[400:], points[400:])
    (tmp_path / "once").mkdir()
    seal(tmp_path / "once", params, [second])
    sealed_second = SealedSegment.open(tmp_path / "once" / "sealed", params, verify=True)
    alive = [generator.random(400) < 0.8, generator.random(200) < 0.5]
    assert seal(tmp_path, params, [first, sealed_second], alive=alive) == alive[0].sum() + alive[1].sum()
    merged = SealedSegment.open(tmp_path / "sealed", params, verify=True)
    expected = {}
    for segment, mask in ((first, alive[0]), (sealed_second, alive[1])):
        for row in np.flatnonzero(mask):
            expected[int(segment.points[row])] = (int(segment.op_nums[row]), segment.read(np.array([row]))[0].tolist())
    assert merged.points.tolist() == sorted(expected)
    for row, point in enumerate(merged.points.tolist()):
        assert (int(merged.op_nums[row]), merged.read(np.array([row]))[0].tolist()) == expected[point]


def test_of_a_point_with_two_alive_rows_the_last_one_is_taken(tmp_path):
    params = params_of(4, Distance.DOT)
    growing = growing_of(tmp_path / "a", params, np.arange(12, dtype=np.float32).reshape(3, 4), [5, 2, 5])
    assert seal(tmp_path, params, [growing]) == 2
    sealed = SealedSegment.open(tmp_path / "sealed", params, verify=True)
    assert sealed.points.tolist() == [2, 5]
    assert sealed.op_nums.tolist() == [2, 3]


@pytest.mark.parametrize("rows", [0, 1, 2, 3])
def test_tiny_segments_can_be_sealed(tmp_path, rows):
    params = params_of(40)
    growing = growing_of(tmp_path / "a", params, vectors_for(params, 3, seed=1))
    assert seal(tmp_path, params, [growing], alive=[np.arange(3) < rows]) == rows
    sealed = SealedSegment.open(tmp_path / "sealed", params, verify=True)
    assert len(find_best(sealed, np.ones(40, np.float32))[1]) == rows
    assert sealed.find(np.array([0], np.uint32), np.array([1], np.uint64)).tolist() == [0 if rows else -1]


def test_the_process_builds_and_reports(tmp_path):
    params = params_of(32)
    growing = growing_of(tmp_path / "a", params, vectors_for(params, 500, seed=1))
    np.ones(500, np.bool_).tofile(tmp_path / "alive")
    source = BuildSource(growing.directory, False, 500, tmp_path / "alive", ((0, 500, growing.checksum(0, 500)),))
    assert run_builder(BuildJob((source,), tmp_path / "out", params, os.getpid()), folder=tmp_path) == [{"rows": 500}]
    assert SealedSegment.open(tmp_path / "out", params, verify=True).indexed
    assert not (tmp_path / "out.building").exists()


def test_a_damaged_source_is_named_nothing_appears_and_the_next_job_is_done(tmp_path):
    params = params_of(32)
    growing = growing_of(tmp_path / "a", params, vectors_for(params, 500, seed=1))
    np.ones(500, np.bool_).tofile(tmp_path / "alive")
    checksum = growing.checksum(0, 500)
    with (tmp_path / "a" / "vectors.bin").open("r+b") as file:
        file.seek(1000)
        file.write(b"\x77\x77")
    source = BuildSource(growing.directory, False, 500, tmp_path / "alive", ((0, 500, checksum),))
    damaged = BuildJob((source,), tmp_path / "out", params, os.getpid())
    good = BuildJob((replace(source, checksums=()),), tmp_path / "next", params, os.getpid())
    answer, next_answer = run_builder(damaged, good, folder=tmp_path)
    assert answer["damaged"] == str(growing.directory)
    assert "rows 0 to 500" in answer["error"]
    assert not (tmp_path / "out").exists()
    assert next_answer == {"rows": 500}


def test_a_builder_whose_parent_is_gone_does_nothing(tmp_path):
    params = params_of(32)
    job = BuildJob((), tmp_path / "out", params, parent=2**22 + 1)
    with pytest.raises(subprocess.CalledProcessError):
        run_builder(job, folder=tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_short_alive_file_is_refused(tmp_path):
    params = params_of(32)
    growing = growing_of(tmp_path / "a", params, vectors_for(params, 50, seed=1))
    np.ones(49, np.bool_).tofile(tmp_path / "alive")
    source = BuildSource(growing.directory, False, 50, tmp_path / "alive")
    with pytest.raises(Corruption, match="alive"):
        build(BuildJob((source,), tmp_path / "out", params, os.getpid()))


@pytest.mark.parametrize("distance", list(Distance))
@pytest.mark.parametrize("datatype", list(Datatype))
def test_a_graph_that_is_extended_finds_as_much_as_one_that_is_built(tmp_path, monkeypatch, distance, datatype):
    params = params_of(24, distance, datatype=datatype, m=8, ef_construct=64)
    vectors = vectors_for(params, 2000, seed=1)
    queries = vectors_for(params, 60, seed=2)
    order = np.random.default_rng(3).permutation(2000)
    (tmp_path / "base").mkdir()
    base = sealed_of(tmp_path / "base", params, vectors[order[:1500]], order[:1500])
    alive = np.random.default_rng(4).random(1500) < 0.96
    # The rows that died come again, in another order than before, with others beside them.
    again = np.concatenate([order[1500:], base.points[~alive].astype(np.int64)])
    newer = growing_of(tmp_path / "newer", params, vectors[again], again)
    added: list[int] = []
    add = GraphBuilder.add
    monkeypatch.setattr(GraphBuilder, "add", lambda self, rows, values: (added.extend(rows), add(self, rows, values)))
    assert seal(tmp_path, params, [base, newer], alive=[alive, np.ones(len(again), np.bool_)]) == 2000
    extended = SealedSegment.open(tmp_path / "sealed", params, verify=True)
    assert sorted(added) == sorted(again)
    monkeypatch.undo()
    assert extended.points.tolist() == list(range(2000))
    np.testing.assert_array_equal(extended.read(np.arange(2000)), base_and(base, newer, alive))
    (tmp_path / "fresh").mkdir()
    fresh = sealed_of(tmp_path / "fresh", params, extended.read(np.arange(2000)))
    # By dot product, recall depends on the order of the rows, most of all with bytes: the longest are near everything.
    hard = distance is Distance.DOT and datatype is Datatype.UINT8
    tolerance = 0.1 if hard else 0.05 if distance is Distance.DOT else 0.01
    expected = recall(fresh, fresh.read(np.arange(2000)), queries)
    assert recall(extended, extended.read(np.arange(2000)), queries) >= expected - tolerance
    assert not (tmp_path / "sealed" / "graph.usearch").exists()


def base_and(base: SealedSegment, newer, alive) -> np.ndarray:
    """The living rows of both segments in order of their points."""
    rows = np.concatenate([base.read(np.flatnonzero(alive)), newer.read(np.arange(newer.rows))])
    return rows[np.argsort(np.concatenate([base.points[alive], newer.points]), kind="stable")]


def test_a_graph_of_other_settings_or_with_many_dead_rows_is_built_anew(tmp_path, monkeypatch):
    params = params_of(24, m=8)
    base = sealed_of(tmp_path, params, vectors_for(params, 400, seed=1))
    extended: list[SealedSegment] = []
    extend = GraphBuilder.extend
    monkeypatch.setattr(
        GraphBuilder, "extend", lambda self, segment, *rest: (extended.append(segment), extend(self, segment, *rest))
    )
    some = np.arange(400) >= 20
    few = np.arange(400) >= 21
    for number, (wanted, alive) in enumerate(
        [(params_of(24, m=9), some), (params_of(24, m=8, ef_construct=50), some), (params, few), (params, some)]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert seal(folder, wanted, [base], alive=[alive]) == alive.sum()
        assert bool(extended) == (number == 3)


def test_what_was_removed_before_counts(tmp_path):
    params = params_of(24, m=8)
    segment = sealed_of(tmp_path, params, vectors_for(params, 400, seed=1))
    for turn, (removed, in_all) in enumerate([(0, 0), (12, 12), (0, 12), (10, 0), (15, 15)]):
        folder = tmp_path / str(turn)
        folder.mkdir()
        alive = np.arange(segment.rows) >= removed
        assert segment.is_extendable(params, int(alive.sum())) == (in_all == segment.description.removed + removed)
        seal(folder, params, [segment], alive=[alive])
        segment = SealedSegment.open(folder / "sealed", params, verify=True)
        assert segment.description.removed == in_all  # 22 would have been too many: that graph was built anew


@pytest.mark.parametrize("height", [0, 1])
def test_a_restored_graph_file_is_the_one_that_was_flattened(tmp_path, height):
    from usearch.index import Index

    rows = 2000 if height else 3
    index = Index(ndim=16, metric="ip", dtype="f32", connectivity=8)
    vectors = np.random.default_rng(1).random((rows, 16), np.float32)
    index.add(np.arange(rows), vectors, threads=1)
    original, restored, sample = tmp_path / "original", tmp_path / "restored", tmp_path / "sample"
    index.save(str(original))
    flat = graph_file.flatten(original, rows, 64, 8)
    assert bool(flat.top) == bool(height)
    one = Index(ndim=16, metric="ip", dtype="f32", connectivity=8)
    one.add(np.arange(1), vectors[:1])
    one.save(str(sample))
    head = graph_file.head_of(sample)
    graph_file.restore(restored, flat, np.arange(rows), [vectors[: rows // 2], vectors[rows // 2 :]], head)
    assert restored.read_bytes() == original.read_bytes()
    with pytest.raises(InternalError, match="unknown layout"):
        graph_file.head_of(original)


def test_a_graph_file_of_another_layout_is_refused(tmp_path):
    from usearch.index import Index

    index = Index(ndim=16, metric="ip", dtype="f32", connectivity=8)
    index.add(np.arange(300), np.random.default_rng(1).random((300, 16), np.float32))
    path = tmp_path / "graph"
    index.save(str(path))
    flat = graph_file.flatten(path, 300, 64, 8)
    assert flat.links.shape == (300, 16)
    original = path.read_bytes()
    with pytest.raises(InternalError, match="unknown layout"):
        graph_file.flatten(path, 300, 64, 16)
    head = 8 + 300 * 64
    for at in (0, 4, head, head + 7, head + 64, head + 72, head + 80, head + 96, len(original) - 4 * 17):
        damaged = bytearray(original)
        damaged[at] ^= 0xFF
        path.write_bytes(damaged)
        with pytest.raises(InternalError, match="unknown layout"):
            graph_file.flatten(path, 300, 64, 8)
    path.write_bytes(original + b"\0")
    with pytest.raises(InternalError, match="unknown layout"):
        graph_file.flatten(path, 300, 64, 8)
