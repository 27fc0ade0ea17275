"""All segments walked in one call give what they give one by one."""

from itertools import pairwise

import numpy as np
import pytest

from qnode.index.vectors import prepare_query
from qnode.index.vectors.native import address_of
from qnode.index.vectors.walks import Walked, plan_walks
from qnode.index.vectors.winners import take
from qnode.models.query import QuantizationParams
from qnode.models.vector_params import Datatype, Distance, Quantization, QuantizationKind
from tests.index.vectors.common import AS_SET, find_best, params_of, sealed_of, vectors_for

SIZE = 64


def segments_of(directory, params, rows=(4000, 3000)):
    vectors = vectors_for(params, sum(rows), seed=5)
    ends = np.cumsum([0, *rows])
    return [
        sealed_of(directory / str(begin), params, vectors[begin:end], np.arange(begin, end))
        for begin, end in pairwise(ends)
    ]


def walks_of(segments, params, k=10, ef=64, alive=None, quantization=AS_SET):
    alive = alive or [np.ones(segment.rows, np.bool_) for segment in segments]
    graphs = [
        Walked(segment.view, lives, address_of(segment.points), address_of(segment.op_nums))
        for segment, lives in zip(segments, alive, strict=True)
    ]
    return plan_walks(params, graphs, k, ef, quantization)


def one_by_one(segments, query, k=10, ef=64, alive=None, quantization=AS_SET):
    scores, numbers, ops = np.empty(k, np.float32), np.empty(k, np.uint32), np.empty(k, np.uint64)
    count = 0
    for at, segment in enumerate(segments):
        lives = None if alive is None else alive[at]
        found, rows = find_best(segment, query, k, ef=ef, alive=lives, quantization=quantization)
        places = address_of(segment.points), address_of(segment.op_nums)
        count = take(found, rows, *places, scores, numbers, ops, count)
    return scores[:count], numbers[:count], ops[:count]


def assert_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert one.tolist() == other.tolist()


@pytest.mark.parametrize("distance", [Distance.COSINE, Distance.DOT])
def test_walks_of_all_segments_give_what_each_gives_alone(tmp_path, distance):
    params = params_of(SIZE, distance)
    segments = segments_of(tmp_path, params)
    alive = [np.random.default_rng(7).random(segment.rows) < 0.8 for segment in segments]
    for lives in (None, alive):
        for k, ef in ((1, 64), (10, 64), (100, 200)):
            walks = walks_of(segments, params, k, ef, lives)
            assert walks is not None
            for query in 3 * vectors_for(params, 20, seed=6):  # not of unit length
                assert_equal(walks.search(query), one_by_one(segments, query, k, ef, lives))


def test_a_query_is_not_changed_by_being_normalised(tmp_path):
    params = params_of(SIZE)
    segments = segments_of(tmp_path, params, (3000,))
    query = 5 * vectors_for(params, 1, seed=6)[0]
    before = query.copy()
    assert walks_of(segments, params).search(query) is not None
    assert (query == before).all()
    assert (prepare_query(params, query).floats != before).any()


def test_the_user_s_quantization_counts(tmp_path):
    params = params_of(SIZE, quantization=Quantization(QuantizationKind.SCALAR))
    segments = segments_of(tmp_path, params)
    query = vectors_for(params, 1, seed=6)[0]
    for asked in (AS_SET, QuantizationParams(rescore=False), QuantizationParams(ignore=True)):
        walks = walks_of(segments, params, quantization=asked)
        assert_equal(walks.search(query), one_by_one(segments, query, quantization=asked))


def test_what_is_not_the_usual_case_is_left_to_the_segments(tmp_path):
    assert (
        walks_of(segments_of(tmp_path / "a", params_of(SIZE), (40, 3000)), params_of(SIZE)) is None
    )  # a scan is cheaper
    euclid = params_of(SIZE, Distance.EUCLID)
    assert walks_of(segments_of(tmp_path / "b", euclid), euclid) is None
    half = params_of(SIZE, datatype=Datatype.FLOAT16)
    assert walks_of(segments_of(tmp_path / "c", half), half) is None
    assert plan_walks(params_of(SIZE), [], 10, 64, AS_SET) is None


def test_walks_that_find_too_few_living_rows_give_nothing(tmp_path):
    params = params_of(SIZE)
    segments = segments_of(tmp_path, params)
    alive = [np.arange(segment.rows) < 3 for segment in segments]
    assert walks_of(segments, params, alive=alive).search(vectors_for(params, 1, seed=6)[0]) is None


def test_marks_of_many_searches_do_not_meet(tmp_path):
    params = params_of(SIZE)
    segments = segments_of(tmp_path, params, (2500, 2500, 2500))
    walks, query = walks_of(segments, params), vectors_for(params, 1, seed=6)[0]
    expected = one_by_one(segments, query)
    for _ in range(300):  # marks begin anew after 255 walks
        assert_equal(walks.search(query), expected)
