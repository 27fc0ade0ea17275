"""Sketches: what a row may score at most is hardly ever less than what it scores, so nothing is lost by passing over rows."""

import numpy as np
import pytest

from qnode.index.vectors import hadamard, lookups, native, prepare_query, scoring, shortlist, sketches
from qnode.index.vectors.growing import CODED_FROM
from qnode.models.vector_params import Datatype, Distance
from tests.index.vectors.common import brute_force, find_best, growing_of, params_of, vectors_for

needs_sketches = pytest.mark.skipif(
    not lookups.AVAILABLE, reason="the processor's shuffles are too narrow for sketches"
)

ROWS = CODED_FROM + 1024
METRICS = [Distance.COSINE, Distance.DOT, Distance.EUCLID]


def draw(kind: str, rows: int, size: int, generator: np.random.Generator) -> np.ndarray:
    match kind:
        case "normal":
            values = generator.standard_normal((rows, size))
        case "heavy-tailed":
            values = generator.standard_t(2, (rows, size))
        case "far from the origin":
            values = 100 + generator.standard_normal((rows, size))
        case "sparse":
            values = np.where(generator.random((rows, size)) < 3 / size, generator.standard_normal((rows, size)), 0)
        case _:
            values = generator.integers(0, 2, (rows, size))
    return values.astype(np.float32)


@pytest.mark.parametrize("size", [32, 100, 128, 384, 1000, 1536])
def test_a_rotation_keeps_lengths_and_angles(size):
    generator = np.random.default_rng(size)
    a, b = draw("normal", 2, size, generator)
    turned_a, turned_b = sketches.turned(a), sketches.turned(b)
    assert len(turned_a) % 8 == 0
    assert np.linalg.norm(turned_a) == pytest.approx(np.linalg.norm(a), rel=1e-5)
    assert turned_a @ turned_b == pytest.approx(a @ b, abs=1e-4 * size)


def test_a_rotation_spreads_a_single_component_over_most_others():
    for place in (0, 100, 200, 383):
        turned = sketches.turned(np.eye(384, dtype=np.float32)[place])
        assert np.abs(turned).max() < 0.3
        assert np.abs(turned).sum() > 0.6 * np.sqrt(384)


@needs_sketches
@pytest.mark.parametrize("distance", METRICS)
@pytest.mark.parametrize("kind", ["normal", "heavy-tailed", "far from the origin", "sparse", "bits"])
@pytest.mark.parametrize("size", [128, 200, 384])
def test_a_row_hardly_ever_scores_more_than_its_reach(distance, kind, size):
    generator = np.random.default_rng(size)
    values = draw(kind, 2048, size, generator)
    queries = np.concatenate([draw(kind, 5, size, generator), values[:5]])
    euclid = distance is Distance.EUCLID
    params, rotation = params_of(size, distance), hadamard.rotation_of(size)
    centre = sketches.centre_of(values)
    blocks = np.empty((32, sketches.block_bytes(rotation.padded)), np.uint8)
    longest = sketches.sketch(values, centre, euclid, blocks)
    assert longest == pytest.approx(np.linalg.norm(values - centre.values, axis=1).max(), rel=1e-5)
    work, reaches = np.empty(8 * rotation.padded, np.uint8), np.empty(2 * 2048, np.float32)
    passed = 0
    for vector in queries:
        query = prepare_query(params, vector)
        count = list_rows(params, query, values, blocks, centre, longest, work, reaches, k=1)
        assert 0 < count <= 2048
        exact = values.astype(np.float64) @ query.floats if not euclid else -np.square(values - vector).sum(axis=1)
        passed += int((exact > reaches[:2048]).sum())  # NaN, where a row was listed first
    assert passed <= 1


def list_rows(params, query, values, blocks, centre, longest, work, reaches, k):
    best, listed, cell = np.empty(k + 1, np.uint64), np.empty(len(values), np.int32), np.zeros(2, np.uint64)
    alive, points = np.ones(len(values), np.bool_), np.arange(len(values), dtype=np.uint32)
    at = native.address_of
    scorer = scoring.exact_scorer(params.distance, params.datatype)
    count = shortlist.shortlist(
        *(scorer.kind, scorer.function, at(values), 4 * params.size, params.size, scorer.factor, query.address),
        *(len(values), at(blocks), hadamard.rotation_of(params.size).padded, at(centre.values), at(centre.turned)),
        *(centre.length, longest, query.floats_address, query.turned_address, query.length),
        *(params.distance is Distance.EUCLID, sketches.CERTAINTY, 1e-5, -np.inf, len(values)),
        *(at(alive), at(points), 0, 0, k, best, at(work), at(reaches), at(listed), at(cell)),
    )
    assert len(set(listed[:count].tolist())) == count
    return count


def assert_finds_the_same(segment, query, k, **arguments):
    quick, exact = (find_best(segment, query, k, exact=exact, **arguments) for exact in (False, True))
    assert quick[1].tolist() == exact[1].tolist()
    assert quick[0].tolist() == exact[0].tolist()


@pytest.mark.parametrize("distance", METRICS)
@pytest.mark.parametrize("datatype", [Datatype.FLOAT32, Datatype.FLOAT16])
def test_a_search_by_sketches_finds_what_an_exact_one_finds(tmp_path, distance, datatype):
    params = params_of(200, distance, datatype=datatype)
    vectors, queries = vectors_for(params, ROWS + 77, seed=1), vectors_for(params, 20, seed=2)
    segment = growing_of(tmp_path / "s", params, vectors)
    assert (segment._view.sketched is not None) == lookups.AVAILABLE
    generator = np.random.default_rng(3)
    alive, selected = generator.random(ROWS + 77) < 0.7, generator.random(ROWS + 77) < 0.3
    for query in queries:
        for k in (1, 10, 300, 1000):
            assert_finds_the_same(segment, query, k)
            assert_finds_the_same(segment, query, k, alive=alive, selected=selected)


@pytest.mark.parametrize("distance", METRICS)
def test_rows_of_extreme_length_are_not_passed_over(tmp_path, distance):
    params = params_of(128, distance)
    vectors = np.random.default_rng(4).standard_normal((ROWS, 128)).astype(np.float32)
    vectors[100:200] *= np.float32(1e18)
    vectors[200:300] *= np.float32(1e-20)
    vectors[300:400] = 0
    segment = growing_of(tmp_path / "s", params, vectors)
    for query in (vectors[0], vectors[100], vectors[200], vectors[300], np.float32(1e16) * vectors[1]):
        for k in (1, 50):
            assert_finds_the_same(segment, query, k)


def test_equal_rows_are_found_in_the_order_of_rows(tmp_path):
    params = params_of(128, Distance.DOT)
    segment = growing_of(tmp_path / "s", params, np.ones((ROWS, 128), np.float32))
    assert find_best(segment, np.ones(128, np.float32), 5)[1].tolist() == [0, 1, 2, 3, 4]


def test_fewer_wanted_rows_than_asked_for_are_all_found(tmp_path):
    params = params_of(128, Distance.EUCLID)
    vectors = vectors_for(params, ROWS, seed=5)
    segment = growing_of(tmp_path / "s", params, vectors)
    alive = np.zeros(ROWS, np.bool_)
    alive[[5, 2100, ROWS - 1]] = True
    assert sorted(find_best(segment, vectors[0], 10, alive=alive)[1].tolist()) == [5, 2100, ROWS - 1]


def test_sketches_reach_no_farther_than_an_older_alive_array(tmp_path):
    params = params_of(128, Distance.COSINE)
    vectors = vectors_for(params, ROWS, seed=6)
    segment = growing_of(tmp_path / "s", params, vectors)
    alive = np.ones(ROWS - 900, np.bool_)
    for query in vectors[-5:]:
        expected = brute_force(params, vectors[: ROWS - 900], query, 5)
        assert find_best(segment, query, 5, alive=alive)[1].tolist() == expected


def test_rows_in_the_place_of_forgotten_ones_are_sketched_anew(tmp_path):
    params = params_of(128, Distance.COSINE)
    vectors, other = vectors_for(params, 2 * ROWS, seed=7), vectors_for(params, 1024, seed=8)
    segment = growing_of(tmp_path / "s", params, vectors)
    segment.publish(ROWS)
    segment.append(np.arange(1024, dtype=np.uint32), np.arange(1024, dtype=np.uint64), other)
    segment.publish(ROWS + 1024)
    assert [int(find_best(segment, query, 1)[1][0]) for query in other[:20]] == list(range(ROWS, ROWS + 20))


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("distance", METRICS)
def test_a_floor_costs_no_row_that_reaches_it(tmp_path, distance, exact):
    params = params_of(128, distance)
    vectors, queries = vectors_for(params, ROWS, seed=9), vectors_for(params, 10, seed=10)
    segment = growing_of(tmp_path / "s", params, vectors)
    for query in queries:
        scores, rows = find_best(segment, query, 30, exact=True)
        for kept in (0, 1, 20, 30):
            floor = float(scores[kept - 1]) if kept else float(scores[0]) + 1
            above, found = find_best(segment, query, 30, exact=exact, floor=floor)
            assert found[above >= floor].tolist() == rows[:kept].tolist()
