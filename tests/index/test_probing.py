"""The estimate of the recall against the recall that brute force finds, on graphs that are well and on one that is damaged."""

from pathlib import Path

import numpy as np
import pytest

from qnode.index import Index, maintenance, probing
from qnode.index.builders import write_job
from qnode.index.probing import Tally
from qnode.index.vectors import BuildJob
from qnode.index.vectors.build import build as build_segment
from qnode.models.columns import column_of
from qnode.models.operation import Delete, Upsert
from qnode.models.point_id import key_of
from qnode.models.vector_params import Distance, IndexParams, VectorParams

DIM, POINTS, SEED = 16, 6000, 11


def built(path: Path, *, multivector: bool = False, points: int = POINTS) -> Index:
    vector = VectorParams("", 0, DIM, Distance.EUCLID, multivector=multivector)
    index = Index.open(path, IndexParams((vector,), indexing_threshold_kb=4))
    random = np.random.default_rng(SEED)
    rows = [random.standard_normal((2, DIM) if multivector else DIM).astype(np.float32) for _ in range(points)]
    at = np.arange(points, dtype=np.int32)
    keys = [key_of(number) for number in range(points)]
    index.apply([(1, Upsert(keys, [b"{}"] * points, {"": column_of(at, rows)}))])
    while maintenance.is_due(index):
        build = maintenance.begin_build(index)
        if build is not None:
            build_segment(BuildJob.from_json(write_job(build, threads=2).read_bytes()))
            maintenance.install(index, build)
            build.clean_up()
    return index


def estimate(index: Index, queries: int = 40, most_rows: int = POINTS, seed: int = 3) -> Tally | None:
    outcome = None
    for step in probing.probe(index, 0, queries, 10, most_rows, np.random.default_rng(seed)):
        outcome = step
    return outcome


def damaged(index: Index) -> Index:
    """Cut most links of the graph, behind the back of the checksums."""
    (part,) = index.spaces[0].parts
    file = index.segment_path(part.id) / "links.bin"
    index.close()
    links = np.fromfile(file, "<i4").reshape(POINTS, -1)
    links[:, 3:] = -1
    links.tofile(file)
    return Index.open(index.path, index.params, verify=False)


def test_a_sound_graph_is_found_to_be_sound(tmp_path: Path) -> None:
    index = built(tmp_path)
    tally = estimate(index)
    assert tally is not None
    assert tally.found == 400
    assert tally.scanned == 1
    assert tally.recall > 0.98
    index.close()


def test_a_graph_that_has_lost_links_is_found_out_and_a_sample_of_rows_says_about_the_same(tmp_path: Path) -> None:
    index = damaged(built(tmp_path))
    whole, part = estimate(index), estimate(index, 200, POINTS // 3)
    assert whole is not None
    assert part is not None
    assert whole.recall < 0.9
    assert 0.1 < part.scanned < 0.5
    assert part.recall == pytest.approx(whole.recall, abs=0.1)
    index.close()


def test_deleted_points_are_neither_asked_for_nor_missed(tmp_path: Path) -> None:
    index = built(tmp_path)
    index.apply([(2, Delete([key_of(number) for number in range(0, POINTS, 2)]))])
    tally = estimate(index)
    assert tally is not None
    assert tally.found < 400
    assert tally.recall > 0.98
    index.close()


def test_multivectors_are_compared_as_searches_compare_them(tmp_path: Path) -> None:
    index = built(tmp_path, multivector=True, points=2000)
    tally = estimate(index, 10)
    assert tally is not None
    assert tally.found == 100
    assert tally.recall > 0.9
    index.close()


def test_what_is_scanned_is_not_probed(tmp_path: Path) -> None:
    index = built(tmp_path, points=40)
    assert estimate(index) is None
    assert not probing.has_graph(index.spaces[0])
    index.close()
