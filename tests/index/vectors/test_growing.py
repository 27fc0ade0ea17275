"""Growing segments: what is published is found, exactly; what is not, is not."""

import numpy as np
import pytest

from qnode.errors import Corruption
from qnode.index.vectors import GrowingSegment, prepare_query
from qnode.index.vectors.growing import CODED_FROM
from qnode.models.vector_params import Datatype, Distance
from tests.index.vectors.common import brute_force, find_best, growing_of, params_of, recall, vectors_for


@pytest.mark.parametrize("distance", list(Distance))
@pytest.mark.parametrize("datatype", list(Datatype))
def test_search_is_exact_with_and_without_codes(tmp_path, distance, datatype):
    params = params_of(48, distance, datatype=datatype)
    for rows in (100, CODED_FROM + 700):
        vectors, queries = vectors_for(params, rows, seed=1), vectors_for(params, 20, seed=2)
        segment = growing_of(tmp_path / str(rows), params, vectors)
        stored = segment.read(np.arange(rows))
        assert recall(segment, stored, queries.astype(params.datatype.value), k=7) >= 0.985  # last bits may swap ties
        for query in queries:
            scores, rows_found = find_best(segment, query, 7)
            prepared = prepare_query(params, query)
            alone = [find_best(segment, prepared, 1, alive=np.arange(rows) == row)[0][0] for row in rows_found.tolist()]
            assert scores.tolist() == alone  # one routine, bit for bit


def test_skipping_by_codes_gives_the_very_same_result(tmp_path):
    params = params_of(64, Distance.DOT)
    generator = np.random.default_rng(3)
    vectors = (generator.standard_t(2, (CODED_FROM + 100, 64)) * 10).astype(np.float32)
    coded = growing_of(tmp_path / "coded", params, vectors)
    assert coded._view.codes is not None
    pieces = [growing_of(tmp_path / str(i), params, vectors[i : i + 500]) for i in range(0, len(vectors), 500)]
    for query in generator.standard_t(2, (30, 64)).astype(np.float32):
        scores, rows = find_best(coded, query, 20)
        merged = [
            (-score, row + 500 * number)
            for number, piece in enumerate(pieces)
            for score, row in zip(*(part.tolist() for part in find_best(piece, query, 20)), strict=True)
        ]
        assert sorted(merged)[:20] == list(zip((-scores).tolist(), rows.tolist(), strict=True))


def test_ties_are_broken_by_row(tmp_path):
    params = params_of(8, Distance.DOT)
    segment = growing_of(tmp_path / "s", params, np.ones((50, 8), np.float32))
    assert find_best(segment, np.ones(8, np.float32), 5)[1].tolist() == [0, 1, 2, 3, 4]


def test_pending_rows_are_invisible_until_published(tmp_path):
    params = params_of(8, Distance.DOT)
    segment = growing_of(tmp_path / "s", params, np.eye(8, dtype=np.float32))
    first = segment.append(np.array([9], np.uint32), np.array([9], np.uint64), np.full((1, 8), 5, np.float32))
    assert first == 8
    assert segment.rows == 8
    assert 8 not in find_best(segment, np.ones(8, np.float32), 20)[1]
    segment.publish(9)
    assert find_best(segment, np.ones(8, np.float32), 1)[1].tolist() == [8]


def test_pending_rows_are_overwritten_after_a_failed_commit(tmp_path):
    params = params_of(8, Distance.DOT)
    segment = growing_of(tmp_path / "s", params, np.eye(8, dtype=np.float32))
    segment.append(np.array([9], np.uint32), np.array([9], np.uint64), np.full((1, 8), 5, np.float32))
    segment.publish(8)
    assert segment.append(np.array([3], np.uint32), np.array([10], np.uint64), np.full((1, 8), 7, np.float32)) == 8
    segment.publish(9)
    assert found(segment, (3, 10), (9, 9)) == [8, -1]
    assert segment.read(np.array([8])).tolist() == [[7.0] * 8]


def found(segment: GrowingSegment, *wanted: tuple[int, int]) -> list[int]:
    points, op_nums = zip(*wanted, strict=True)
    return segment.find(np.array(points, np.uint32), np.array(op_nums, np.uint64)).tolist()


def test_a_row_is_found_by_its_operation_after_later_rows_of_the_same_point(tmp_path):
    params = params_of(8, Distance.DOT)
    segment = growing_of(tmp_path / "s", params, np.zeros((5, 8), np.float32), points=[7, 3, 7, 7, 3])
    segment.append(np.array([7], np.uint32), np.array([9], np.uint64), np.ones((1, 8), np.float32))
    segment.publish(6)
    assert found(segment, (7, 1), (7, 3), (7, 4), (7, 9), (3, 2), (3, 5)) == [0, 2, 3, 5, 1, 4]
    assert found(segment, (7, 2), (7, 10), (3, 1), (4, 1)) == [-1] * 4
    reopened = GrowingSegment.open(tmp_path / "s", params, 6, read_only=True)
    assert found(reopened, (7, 1), (7, 3), (7, 4), (7, 9), (3, 2), (3, 5)) == [0, 2, 3, 5, 1, 4]


def test_publishing_fewer_rows_restores_what_find_said_before(tmp_path):
    params = params_of(8, Distance.DOT)
    segment = growing_of(tmp_path / "s", params, np.eye(8, dtype=np.float32))
    segment.append(np.array([3], np.uint32), np.array([10], np.uint64), np.full((1, 8), 7, np.float32))
    segment.publish(9)
    assert found(segment, (3, 10)) == [8]
    segment.publish(8)
    assert found(segment, (3, 4), (3, 10), (100, 1)) == [3, -1, -1]


def test_a_reader_sees_rows_that_the_owner_publishes_later(tmp_path):
    params = params_of(40, Distance.DOT)
    vectors = vectors_for(params, 6000, seed=4)
    owner = GrowingSegment.create(tmp_path / "s", params)
    reader = GrowingSegment.open(tmp_path / "s", params, 0, read_only=True)
    for first in range(0, 6000, 1500):
        numbers = np.arange(first, first + 1500)
        owner.append(numbers.astype(np.uint32), numbers.astype(np.uint64), vectors[numbers])
        owner.publish(first + 1500)
        reader.publish(first + 1500)
        for query in vectors[:5]:
            expected = brute_force(params, vectors[: first + 1500], query, 3)
            assert find_best(reader, query, 3)[1].tolist() == expected
            assert find_best(owner, query, 3)[1].tolist() == expected


def test_a_search_with_an_older_alive_array_ignores_newer_rows(tmp_path):
    params = params_of(8, Distance.DOT)
    segment = growing_of(tmp_path / "s", params, np.eye(8, dtype=np.float32))
    alive = np.ones(5, np.bool_)
    assert max(find_best(segment, np.ones(8, np.float32), 20, alive=alive)[1].tolist()) == 4


def test_reopening_finds_the_rows_that_count(tmp_path):
    params = params_of(16, Distance.EUCLID)
    vectors = vectors_for(params, 300, seed=5)
    growing_of(tmp_path / "s", params, vectors, points=np.arange(300) * 2)
    segment = GrowingSegment.open(tmp_path / "s", params, 200)
    assert segment.rows == 200
    assert segment.points.tolist() == list(range(0, 400, 2))
    assert segment.op_nums.tolist() == list(range(1, 201))
    assert find_best(segment, vectors[150], 1)[1].tolist() == [150]


def test_a_segment_that_is_not_for_search_reads_and_finds_the_same_without_codes(tmp_path):
    params = params_of(128)
    vectors, rows = vectors_for(params, CODED_FROM + 100, seed=5), CODED_FROM + 64
    growing_of(tmp_path / "s", params, vectors)
    full = GrowingSegment.open(tmp_path / "s", params, rows, read_only=True)
    plain = GrowingSegment.open(tmp_path / "s", params, rows, read_only=True, for_search=False)
    assert (full._view.codes is None, plain._view.codes is None) == (False, True)
    assert plain._view.sketched is None
    assert (plain.read(np.arange(rows)) == full.read(np.arange(rows))).all()
    assert plain.checksum(0, rows) == full.checksum(0, rows)
    for query in vectors[:5]:
        for one, other in zip(find_best(plain, query), find_best(full, query), strict=True):
            assert one.tolist() == other.tolist()


def test_a_scan_reads_codes_and_sketches_in_place_of_vectors(tmp_path):
    rows = CODED_FROM + 10
    for size in (64, 384):
        params = params_of(size)
        vectors = vectors_for(params, rows, seed=5)
        segment = growing_of(tmp_path / str(size), params, vectors)
        plain = GrowingSegment.open(tmp_path / str(size), params, rows, read_only=True, for_search=False)
        assert plain.scan_bytes == plain.vector_bytes == 4 * size * rows
        coded = CODED_FROM * (size + 12) + 4 * size * 10
        if segment._view.sketched is None:
            assert segment.scan_bytes == coded
        else:
            assert 10 * 4 * size < segment.scan_bytes < coded / 4
    few = growing_of(tmp_path / "few", params_of(64), vectors_for(params_of(64), 100, seed=5))
    assert few.scan_bytes == few.vector_bytes


def test_a_shortened_file_is_named(tmp_path):
    params = params_of(16, Distance.EUCLID)
    growing_of(tmp_path / "s", params, vectors_for(params, 300, seed=5))
    path = tmp_path / "s" / "vectors.bin"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(Corruption, match=r"vectors\.bin"):
        GrowingSegment.open(tmp_path / "s", params, 300)


def test_the_checksum_notices_any_flipped_byte(tmp_path):
    params = params_of(4, Distance.EUCLID)
    segment = growing_of(tmp_path / "s", params, vectors_for(params, 10, seed=5))
    expected = segment.checksum(2, 7)
    for name, at in (
        ("vectors.bin", 16 * 2),
        ("vectors.bin", 16 * 7 - 1),
        ("entries.bin", 12 * 2),
        ("entries.bin", 83),
    ):
        with (tmp_path / "s" / name).open("r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1]))
            file.flush()
            assert segment.checksum(2, 7) != expected
            file.seek(at)
            file.write(bytes([byte]))
    assert segment.checksum(2, 7) == expected


@pytest.mark.parametrize("distance", list(Distance))
def test_filters_and_dead_rows_are_left_out(tmp_path, distance):
    params = params_of(40, distance)
    vectors = vectors_for(params, 3000, seed=6)
    segment = growing_of(tmp_path / "s", params, vectors)
    generator = np.random.default_rng(7)
    alive, selected = generator.random(3000) < 0.7, generator.random(3000) < 0.1
    for query in vectors[:10]:
        expected = brute_force(params, vectors, query, 10, alive & selected)
        assert find_best(segment, query, 10, alive=alive, selected=selected)[1].tolist() == expected
