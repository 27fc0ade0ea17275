"""Reads in order, at random and by counts, while the writer changes what they look at."""

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
import pytest

from qnode.index import Index, maintenance, ordering, sampling
from qnode.index.fields import facets
from qnode.models.field_schema import FieldSchema
from qnode.models.filter import FieldCondition, Filter, MatchValue, Range
from qnode.models.operation import Delete, OverwritePayload, Upsert, VectorColumn
from qnode.models.payload_path import parse_path
from qnode.models.point_id import id_of, key_of
from qnode.models.reads import Direction, FacetRequest, OrderedRequest, SampleRequest, most_frequent
from qnode.models.vector_params import Distance, IndexParams, VectorParams

POINTS = 120
KEYS = [key_of(number) for number in range(POINTS)]
UUID = "936da01f-9abd-4d9d-80c7-02af85c822a8"


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    opened = Index.open(tmp_path / "shard", IndexParams((VectorParams("", 0, 2, Distance.DOT),)))
    yield opened
    opened.close()


def put(index: Index, op_num: int, payloads: dict[int, object]) -> None:
    column = VectorColumn(np.arange(len(payloads), dtype=np.int32), np.ones((len(payloads), 2), np.float32))
    stored = [orjson.dumps(payload) for payload in payloads.values()]
    index.apply([(op_num, Upsert([key_of(number) for number in payloads], stored, {"": column}))])


def index_field(index: Index, field: str, kind: str) -> None:
    maintenance.create_field(index, field, FieldSchema(kind))
    while not maintenance.step_fields(index, 1000):
        pass


def entries(index: Index, field: str, **options: object) -> list[tuple[object, object]]:
    found = ordering.ordered(index, OrderedRequest(field, **options))  # type: ignore[arg-type]
    return [(point.order_value, id_of(point.key)) for point in found]


def test_an_ordered_read_shows_each_point_with_the_value_that_it_has(index: Index) -> None:
    """A point changes its value in every operation: an order and payloads of different moments would differ."""
    put(index, 1, {number: {"n": number} for number in range(POINTS)})
    index_field(index, "n", "integer")
    ended = threading.Event()
    faults: list[BaseException] = []

    def read() -> None:
        try:
            while not ended.is_set():
                found = ordering.ordered(index, OrderedRequest("n", Direction.DESCENDING, limit=2 * POINTS))
                values = [point.order_value for point in found]
                assert [orjson.loads(point.payload or b"")["n"] for point in found] == values
                assert values == sorted(values, reverse=True)
                assert len({point.key for point in found}) == POINTS
        except BaseException as fault:
            faults.append(fault)

    thread = threading.Thread(target=read)
    thread.start()
    rng = np.random.default_rng(4)
    for op_num in range(2, 100):
        key = KEYS[rng.integers(POINTS)]
        index.apply([(op_num, OverwritePayload([key], orjson.dumps({"n": POINTS + op_num})))])
    ended.set()
    thread.join()
    assert not faults, faults


def test_ties_at_the_end_of_a_page_are_cut_in_the_order_of_ids(index: Index) -> None:
    put(index, 1, {number: {"n": number % 2} for number in reversed(range(POINTS))})
    index_field(index, "n", "integer")
    assert entries(index, "n", limit=3) == [(0, 0), (0, 2), (0, 4)]
    descending = entries(index, "n", direction=Direction.DESCENDING, limit=2)
    assert descending == [(1, POINTS - 1), (1, POINTS - 3)]
    small = Filter(must=(FieldCondition(parse_path("n"), range=Range(gte=1)),))
    assert entries(index, "n", limit=2, filter=small) == [(1, 1), (1, 3)]


def test_numbers_of_a_float_index_are_ordered_whatever_their_type(index: Index) -> None:
    put(index, 1, {1: {"x": [2**63 + 2**12, -1, -1.0]}, 2: {"x": 1.5}, 3: {"x": 2}, 4: {"x": "2"}})
    index_field(index, "x", "float")
    assert entries(index, "x") == [(-1.0, 1), (1.5, 2), (2.0, 3), (float(2**63 + 2**12), 1)]
    assert entries(index, "x", start_from=1.6) == [(2.0, 3), (float(2**63 + 2**12), 1)]


@pytest.mark.parametrize(("start", "ascending", "descending"), [(1.5, [2, 3], [1]), (2**70, [], [3, 2, 1])])
def test_an_integer_index_begins_at_any_number(
    index: Index, start: float, ascending: list[int], descending: list[int]
) -> None:
    put(index, 1, {number: {"n": number} for number in (1, 2, 3)})
    index_field(index, "n", "integer")
    assert [value for value, _ in entries(index, "n", start_from=start)] == ascending
    backwards = entries(index, "n", start_from=start, direction=Direction.DESCENDING)
    assert [value for value, _ in backwards] == descending


def test_facets_count_points_by_values_and_not_by_spellings(index: Index) -> None:
    long = "long " * 200
    put(index, 1, {1: {"k": [long, long, "a"], "u": UUID}, 2: {"k": long, "u": [UUID.upper(), "no uuid"]}, 3: {"k": 7}})
    index_field(index, "k", "keyword")
    index_field(index, "u", "uuid")
    assert most_frequent(sampling.facet(index, FacetRequest("k")), 10) == [(long, 2), ("a", 1)]
    assert most_frequent(sampling.facet(index, FacetRequest("u")), 10) == [(UUID, 2)]
    first = Filter(must=(FieldCondition(parse_path("k"), MatchValue("a")),))
    assert most_frequent(sampling.facet(index, FacetRequest("u", filter=first)), 10) == [(UUID, 1)]
    index.apply([(2, Delete([key_of(1)]))])
    assert most_frequent(sampling.facet(index, FacetRequest("k")), 10) == [(long, 1)]


def test_facets_within_a_filter_count_values_of_few_and_of_many_points(index: Index, monkeypatch) -> None:
    monkeypatch.setattr(facets, "_PIECE", 7)
    payloads = {number: {"k": [f"{number // each} of {each}" for each in (1, 3, 30)]} for number in range(POINTS)}
    put(index, 1, {number: {**payload, "n": number} for number, payload in payloads.items()})
    index_field(index, "k", "keyword")
    for below in (0, 1, 50, POINTS):
        expected = Counter(value for number in range(below) for value in payloads[number]["k"])
        chosen = Filter(must=(FieldCondition(parse_path("n"), range=Range(lt=below)),))
        counted = sampling.facet(index, FacetRequest("k", filter=chosen))
        assert dict(most_frequent(counted, 10 * POINTS)) == expected


def test_a_sample_is_within_the_filter_and_each_point_is_drawn_about_as_often(index: Index) -> None:
    put(index, 1, {number: {"n": number % 2} for number in range(20)})
    odd = Filter(must=(FieldCondition(parse_path("n"), MatchValue(1)),))
    drawn = np.zeros(20, np.int64)
    for _ in range(400):
        points = sampling.sample(index, SampleRequest(5, odd))
        scores = [float(point.score or 0) for point in points]
        assert scores == sorted(scores)
        assert len({point.key for point in points}) == 5
        drawn[[id_of(point.key) for point in points]] += 1
    assert drawn[::2].sum() == 0
    assert 130 < drawn[1::2].min() <= drawn[1::2].max() < 270  # 200 expected, seven standard deviations to either side
    assert len(sampling.sample(index, SampleRequest(50))) == 20
