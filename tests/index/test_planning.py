import random
from dataclasses import replace

from qnode.index.planning import (
    EXTEND_FACTOR,
    MOST_PIECES,
    PIECE_BYTES,
    Plan,
    SegmentSize,
    is_overfull,
    plan,
    should_close,
)
from qnode.models.vector_params import Distance, IndexParams, VectorParams

VECTOR = VectorParams("", 0, 256, Distance.DOT)
INDEX = IndexParams((VECTOR,), indexing_threshold_kb=1000)
ROW_BYTES = 1024


def segment(number, rows, *, living=None, sealed=False, full=False, indexed=False, extendable=False):
    living = rows if living is None else living
    return SegmentSize(number, rows, living, rows * ROW_BYTES, sealed, full, indexed, is_extendable=extendable)


def graph(number, rows):
    return segment(number, rows, sealed=True, indexed=True, extendable=True)


class Upload:
    """What becomes of the segments while rows come in: the plan and nothing else, as if a build took no time or long."""

    def __init__(self, index: IndexParams = INDEX) -> None:
        self.index, self.segments, self.next = index, [], 1
        self.inserted = self.copied = 0

    def close(self, rows: int) -> None:
        self.segments.append(segment(self.next, rows, full=True))
        self.next += 1

    def build(self) -> bool:
        """Do what is planned; rows that are not in the largest graph that can be extended are put into it."""
        chosen = plan(self.segments, VECTOR, self.index)
        if chosen is None:
            return False
        sources = [s for s in self.segments if s.id in chosen.sources]
        rows = sum(s.living for s in sources)
        kept = max((s.living for s in sources if s.is_extendable), default=0)
        self.inserted, self.copied = self.inserted + rows - kept, self.copied + kept
        self.segments = [s for s in self.segments if s.id not in chosen.sources]
        self.segments.append(graph(self.next, rows) if chosen.with_graph else segment(self.next, rows, sealed=True))
        self.next += 1
        return True


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


def test_segments_of_like_size_are_merged_when_no_closed_one_waits():
    small, other = segment(1, 1500, sealed=True, indexed=True), segment(2, 2000, sealed=True, indexed=True)
    assert plan([small, other, segment(3, 2000, full=True), segment(4, 10)], VECTOR, INDEX) == Plan((3,), True)
    assert plan([small, other, segment(4, 10)], VECTOR, INDEX) == Plan((1, 2), with_graph=True)
    assert plan([small, segment(2, 3000, sealed=True, indexed=True)], VECTOR, INDEX) is None


def test_many_segments_of_like_size_are_merged_though_closed_ones_wait():
    pieces = [segment(number, 2000, sealed=True, indexed=True) for number in range(MOST_PIECES + 1)]
    waiting = segment(99, 2000, full=True)
    assert plan([*pieces, waiting], VECTOR, INDEX) == Plan(tuple(range(MOST_PIECES + 1)), with_graph=True)
    assert plan([*pieces[1:], waiting], VECTOR, INDEX) == Plan((99,), with_graph=True)


def test_closed_segments_are_built_in_pieces_oldest_first():
    closed = [segment(number, 15_000, full=True) for number in range(1, 6)]
    assert plan(closed, VECTOR, INDEX) == Plan((1, 2), with_graph=True)
    assert plan([segment(1, 90_000, full=True), *closed[1:]], VECTOR, INDEX) == Plan((1,), with_graph=True)


def test_a_growing_segment_takes_no_more_rows_than_a_piece_unless_the_threshold_is_larger():
    assert not is_overfull(PIECE_BYTES, INDEX)
    assert is_overfull(PIECE_BYTES + 1, INDEX)
    assert not is_overfull(PIECE_BYTES + 1, replace(INDEX, indexing_threshold_kb=100_000))
    assert not is_overfull(PIECE_BYTES + 1, replace(INDEX, indexing_threshold_kb=0))


def test_nothing_grows_beyond_the_largest_size():
    limited = IndexParams((VECTOR,), indexing_threshold_kb=1000, max_segment_size_kb=3000)
    segments = [segment(1, 1500, sealed=True, indexed=True), segment(2, 2000, sealed=True, indexed=True)]
    assert plan(segments, VECTOR, INDEX) is not None
    assert plan(segments, VECTOR, limited) is None


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


def test_closed_segments_extend_the_largest_graph_that_is_not_too_large_for_them():
    closed = segment(9, 2000, full=True)
    assert plan([graph(1, 64_000), graph(2, 3000), closed], VECTOR, INDEX) == Plan((1, 9), with_graph=True)
    assert plan([graph(1, 64_001), graph(2, 3000), closed], VECTOR, INDEX) == Plan((2, 9), with_graph=True)
    limited = replace(INDEX, max_segment_size_kb=65_999)
    assert plan([graph(1, 64_000), graph(2, 3000), closed], VECTOR, limited) == Plan((2, 9), with_graph=True)


def test_a_piece_grows_with_the_graph_that_it_is_added_to():
    closed = [segment(number, 30_000, full=True) for number in range(2, 8)]
    assert plan([graph(1, 200_000), *closed], VECTOR, INDEX) == Plan((1, 2), with_graph=True)
    assert plan([graph(1, 500_000), *closed], VECTOR, INDEX) == Plan((1, 2, 3), with_graph=True)


def test_a_tail_is_added_to_a_graph_that_is_not_too_large_for_it():
    assert plan([graph(1, 193_000), graph(2, 7000)], VECTOR, INDEX) == Plan((1, 2), with_graph=True)
    assert plan([graph(1, 230_000), graph(2, 7000)], VECTOR, INDEX) is None
    dead = segment(1, 193_000, living=140_000, sealed=True, indexed=True)
    assert plan([dead, graph(2, 7000)], VECTOR, replace(INDEX, deleted_threshold=0.5)) is None


def test_an_upload_that_is_faster_than_the_builder_inserts_each_row_once_and_ends_as_one_segment():
    upload = Upload()
    for _ in range(10):
        upload.close(30_000)
        upload.close(30_000)
        upload.build()
    assert upload.build()
    while upload.build():
        assert upload.next < 100
    assert [s.rows for s in upload.segments] == [600_000]
    assert upload.inserted <= 1.01 * 600_000
    assert upload.copied <= 16 * 600_000


def test_a_steady_trickle_copies_no_more_than_the_factor_allows():
    upload = Upload()
    for _ in range(3000):
        upload.close(1001)
        while upload.build():
            pass
        assert len(upload.segments) <= 4
    rows = 3000 * 1001
    assert upload.inserted <= 3 * rows
    assert upload.copied <= 3 * EXTEND_FACTOR * rows
