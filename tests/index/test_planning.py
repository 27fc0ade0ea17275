import random
from dataclasses import replace

from qnode.index.planning import Plan, SegmentSize, plan, should_close
from qnode.models.vector_params import Distance, IndexParams, VectorParams

VECTOR = VectorParams("", 0, 256, Distance.DOT)
INDEX = IndexParams((VECTOR,), indexing_threshold_kb=1000)
ROW_BYTES = 1024


def segment(number, rows, *, living=None, sealed=False, full=False, indexed=False):
    living = rows if living is None else living
    return SegmentSize(number, rows, living, rows * ROW_BYTES, sealed, full, indexed)


def test_a_growing_segment_is_closed_above_the_threshold_only():
    assert not should_close(segment(1, 1000), INDEX)
    assert should_close(segment(1, 1001), INDEX)


def test_without_a_threshold_a_growing_segment_is_closed_late():
    never = IndexParams((VECTOR,), indexing_threshold_kb=0)
    assert not should_close(segment(1, 100_000), never)
    assert should_close(segment(1, 300_000), never)
    assert plan([segment(1, 300_000, full=True)], VECTOR, never) == Plan((1,), with_graph=False)


def test_rewriting_the_same_points_closes_a_small_segment_too():
    assert should_close(segment(1, 11_000, living=500), IndexParams((VECTOR,), indexing_threshold_kb=100_000))


def test_a_closed_segment_is_built_and_takes_no_larger_one_with_it():
    segments = [segment(1, 50_000, sealed=True, indexed=True), segment(2, 2000, full=True), segment(3, 10)]
    assert plan(segments, VECTOR, INDEX) == Plan((2,), with_graph=True)


def test_smaller_sealed_segments_are_merged_into_a_build():
    segments = [segment(1, 1500, sealed=True, indexed=True), segment(2, 2000, full=True), segment(3, 10)]
    assert plan(segments, VECTOR, INDEX) == Plan((1, 2), with_graph=True)


def test_nothing_grows_beyond_the_largest_size():
    limited = IndexParams((VECTOR,), indexing_threshold_kb=1000, max_segment_size_kb=3000)
    segments = [segment(1, 1500, sealed=True, indexed=True), segment(2, 2000, full=True)]
    assert plan(segments, VECTOR, limited) == Plan((2,), with_graph=True)


def test_a_segment_with_many_dead_rows_is_rewritten():
    wasted = segment(1, 50_000, living=39_000, sealed=True, indexed=True)
    assert plan([wasted], VECTOR, INDEX) == Plan((1,), with_graph=True)
    kept = segment(1, 50_000, living=41_000, sealed=True, indexed=True)
    assert plan([kept], VECTOR, INDEX) is None


def test_a_rewritten_segment_that_became_small_has_no_graph_and_is_left_alone():
    assert plan([segment(1, 5000, living=500, sealed=True, indexed=True)], VECTOR, INDEX) == Plan(
        (1,), with_graph=False
    )
    assert plan([segment(2, 500, sealed=True)], VECTOR, INDEX) is None


def test_a_segment_of_other_settings_is_rebuilt():
    current = segment(1, 5000, sealed=True, indexed=True)
    assert plan([current], VECTOR, INDEX) is None
    assert plan([replace(current, is_outdated=True)], VECTOR, INDEX) == Plan((1,), with_graph=True)


def test_a_lowered_threshold_gives_old_segments_a_graph():
    assert plan([segment(1, 5000, sealed=True)], VECTOR, INDEX) == Plan((1,), with_graph=True)


def test_the_number_of_segments_stays_logarithmic_and_every_plan_ends():
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    segments, number = [], 1
    for _ in range(300):
        segments.append(segment(number, chance.randrange(1001, 8000), full=True))
        number += 1
        built = 0
        while (chosen := plan(segments, VECTOR, INDEX)) is not None:
            built += 1
            assert built < 20
            rows = sum(s.living for s in segments if s.id in chosen.sources)
            segments = [s for s in segments if s.id not in chosen.sources]
            segments.append(segment(number, rows, sealed=True, indexed=chosen.with_graph))
            number += 1
        assert len(segments) <= 10  # 300 × 4 500 rows, halving down to 1 000
