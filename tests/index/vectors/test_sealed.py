"""Sealed segments: recall at any selectivity, what the user's quantisation does, and damage."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from qnode.errors import Corruption
from qnode.index.vectors import SealedSegment, prepare_query
from qnode.models.query import QuantizationParams
from qnode.models.vector_params import Datatype, Distance, Quantization, QuantizationKind
from tests.index.vectors.common import find_best, params_of, recall, sealed_of, vectors_for

ROWS = 5000


@pytest.fixture(scope="module")
def cosine(tmp_path_factory):
    params = params_of(64)
    vectors = vectors_for(params, ROWS, seed=1)
    return sealed_of(tmp_path_factory.mktemp("cosine"), params, vectors), vectors, vectors_for(params, 50, seed=2)


@pytest.mark.parametrize("distance", list(Distance))
@pytest.mark.parametrize("datatype", list(Datatype))
def test_the_graph_finds_the_nearest(tmp_path, distance, datatype):
    params = params_of(48, distance, datatype=datatype)
    vectors = vectors_for(params, 3000, seed=1)
    segment = sealed_of(tmp_path, params, vectors)
    assert segment.indexed
    stored = segment.read(np.arange(3000))
    queries = vectors_for(params, 30, seed=2).astype(params.datatype.value)
    # With bytes, all positive, the longest vectors are near everything by dot product: a hard graph.
    hard = distance is Distance.DOT and datatype is Datatype.UINT8
    assert recall(segment, stored, queries) >= (0.88 if hard else 0.97)
    for query in queries[:5]:
        scores, rows = find_best(segment, query)
        alone = [find_best(segment, query, 1, alive=np.arange(3000) == row, exact=True)[0][0] for row in rows.tolist()]
        assert scores.tolist() == alone  # rescored by the one routine


@pytest.mark.parametrize("share", [1.0, 0.5, 0.2, 0.05, 0.01, 0.001])
def test_recall_holds_at_any_selectivity(cosine, share):
    segment, vectors, queries = cosine
    selected = np.random.default_rng(3).random(ROWS) < share
    assert recall(segment, vectors, queries, wanted=selected, selected=selected) >= 0.97


@pytest.mark.parametrize("share", [0.5, 0.2, 0.05])
def test_recall_holds_when_nothing_near_the_query_is_selected(cosine, share):
    segment, vectors, queries = cosine
    for query in queries[:20]:
        selected = vectors @ query < np.quantile(vectors @ query, share)
        assert recall(segment, vectors, [query], wanted=selected, selected=selected) >= 0.9


def test_dead_rows_are_walked_through_and_not_returned(cosine):
    segment, vectors, queries = cosine
    for share in (0.8, 0.3, 0.01):
        alive = np.random.default_rng(4).random(ROWS) < share
        assert recall(segment, vectors, queries, wanted=alive, alive=alive) >= 0.97


def test_exact_search_of_a_graph_is_exact(cosine):
    segment, vectors, queries = cosine
    assert recall(segment, vectors, queries, exact=True) == 1.0


def test_more_results_than_rows_gives_every_row(cosine):
    segment, _, queries = cosine
    assert sorted(find_best(segment, queries[0], 6000)[1].tolist()) == list(range(ROWS))


def test_a_selection_shorter_than_the_points_selects_nothing_beyond_it(cosine):
    segment, _, queries = cosine
    found = find_best(segment, queries[0], 10, selected=np.ones(100, np.bool_))[1]
    assert len(found) == 10
    assert found.max() < 100


def test_points_are_found_by_number(tmp_path):
    params = params_of(8)
    vectors = vectors_for(params, 4, seed=1)
    segment = sealed_of(tmp_path, params, vectors, points=[30, 10, 40, 20])
    assert segment.points.tolist() == [10, 20, 30, 40]
    assert segment.op_nums.tolist() == [2, 4, 1, 3]
    assert segment.find(np.array([40, 5, 10, 99, 20], np.uint32), np.array([3, 1, 2, 1, 9], np.uint64)).tolist() == [
        3,
        -1,
        0,
        -1,
        -1,
    ]
    assert np.array_equal(segment.read(np.array([0, 3])), vectors[[1, 2]])


def test_without_m_there_is_no_graph_and_search_is_exact(tmp_path):
    params = params_of(40, m=0)
    vectors = vectors_for(params, 2000, seed=1)
    segment = sealed_of(tmp_path, params, vectors)
    assert not segment.indexed
    assert recall(segment, vectors, vectors_for(params, 20, seed=2)) == 1.0


@pytest.mark.parametrize("kind", [QuantizationKind.SCALAR, QuantizationKind.BINARY])
def test_quantised_scores_are_reported_only_without_rescoring(tmp_path, kind):
    params = params_of(256, quantization=Quantization(kind))
    vectors = vectors_for(params, 2000, seed=1)
    segment = sealed_of(tmp_path, params, vectors)
    query = vectors[7]
    rough = find_best(segment, query, 5, quantization=QuantizationParams(rescore=False))
    exact = find_best(segment, query, 5, exact=True)
    rescored = find_best(segment, query, 5, quantization=QuantizationParams(oversampling=60.0))
    ignored = find_best(segment, query, 5, quantization=QuantizationParams(ignore=True))
    assert rough[0].tolist() != exact[0].tolist()
    assert rescored[0].tolist() == exact[0].tolist() == ignored[0].tolist()
    if kind is QuantizationKind.SCALAR:
        assert rough[0] == pytest.approx(exact[0], abs=0.05)
    else:
        assert rough[0][0] == 256  # all signs agree
    assert segment.description.codes == ("int8" if kind is QuantizationKind.SCALAR else "bits")


@pytest.mark.parametrize("distance", [Distance.COSINE, Distance.EUCLID])
def test_two_bits_find_more_than_one(tmp_path, distance):
    found = {}
    for two_bits in (False, True):
        quantization = Quantization(QuantizationKind.BINARY, two_bits=two_bits)
        params = params_of(100, distance, quantization=quantization)
        vectors = vectors_for(params, 3000, seed=1)
        segment = sealed_of(tmp_path / str(two_bits), params, vectors)
        assert segment.description.codes == ("two_bits" if two_bits else "bits")
        queries = vectors_for(params, 60, seed=2)
        found[two_bits] = recall(segment, vectors, queries, quantization=QuantizationParams(oversampling=4.0))
    assert found[True] > found[False] + 0.05, found
    one_bit = replace(params, quantization=Quantization(QuantizationKind.BINARY))
    assert segment.fits(params)
    assert not segment.fits(one_bit)


def test_heavy_tails_get_finer_codes(tmp_path):
    params = params_of(64, Distance.EUCLID)
    vectors = vectors_for(params, 2000, seed=1)
    vectors[:, 0] *= 3000
    segment = sealed_of(tmp_path, params, vectors)
    assert segment.description.codes != "int8"
    assert recall(segment, vectors, vectors[:30]) >= 0.97


def test_an_unnormalised_query_is_normalised(cosine):
    segment, _, queries = cosine
    assert np.allclose(find_best(segment, queries[0])[0], find_best(segment, queries[0] * 17)[0], atol=1e-6)
    assert find_best(segment, np.zeros(64, np.float32), 3)[0].tolist() == [0, 0, 0]


def test_a_query_may_be_shared_by_segments_of_different_codes(tmp_path, cosine):
    segment, _, queries = cosine
    query = prepare_query(segment.params, queries[0])
    once = find_best(segment, query)
    assert np.array_equal(find_best(segment, query)[0], once[0])


@pytest.mark.parametrize("name", ["vectors.bin", "points.bin", "op_nums.bin", "codes.bin", "bounds.bin", "links.bin"])
def test_a_flipped_byte_is_named(tmp_path, cosine, name):
    shutil.copytree(cosine[0].directory, tmp_path / "s")
    path = tmp_path / "s" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(Corruption, match=name):
        SealedSegment.open(tmp_path / "s", cosine[0].params, verify=True)


def test_a_flipped_byte_anywhere_in_the_description_is_named(tmp_path, cosine):
    shutil.copytree(cosine[0].directory, tmp_path / "s")
    path = tmp_path / "s" / "segment.json"
    original = path.read_bytes()
    for at in range(0, len(original), 7):
        data = bytearray(original)
        data[at] ^= 0x01
        path.write_bytes(data)
        with pytest.raises(Corruption, match=r"segment\.json"):
            SealedSegment.open(tmp_path / "s", cosine[0].params, verify=False)


def test_links_out_of_the_graph_are_refused_without_verifying(tmp_path, cosine):
    shutil.copytree(cosine[0].directory, tmp_path / "s")
    for name, bad in (("links.bin", ROWS), ("upper.bin", ROWS), ("first.bin", 1 << 30)):
        path = tmp_path / "s" / name
        original = path.read_bytes()
        path.write_bytes(np.int32(bad).tobytes() + original[4:])
        with pytest.raises(Corruption, match=name):
            SealedSegment.open(tmp_path / "s", cosine[0].params, verify=False)
        path.write_bytes(original)


@pytest.mark.parametrize("name", ["vectors.bin", "segment.json", "codes.bin"])
def test_a_missing_file_is_named(tmp_path, cosine, name):
    shutil.copytree(cosine[0].directory, tmp_path / "s")
    (tmp_path / "s" / name).unlink()
    with pytest.raises(Corruption, match=name):
        SealedSegment.open(tmp_path / "s", cosine[0].params, verify=False)


def test_uint8_keeps_what_was_truncated(tmp_path):
    params = params_of(4, datatype=Datatype.UINT8)
    segment = sealed_of(tmp_path, params, np.array([[1.9, 256.19, -1, 7], [3, 2, 1, 0]], np.float32))
    assert segment.read(np.array([0, 1])).tolist() == [[1, 255, 0, 7], [3, 2, 1, 0]]
