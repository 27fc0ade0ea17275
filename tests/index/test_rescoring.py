"""Searches among given ids, and by several examples, over a shard's index."""

from collections.abc import Iterator

import numpy as np
import pytest

from qnode.index import maintenance, reading
from qnode.models.field_schema import FieldSchema
from qnode.models.filter import FieldCondition, Filter, HasId, MatchText, MatchValue
from qnode.models.operation import Delete, DeleteVectors, MultiColumn, Upsert
from qnode.models.payload_path import parse_path
from qnode.models.point_id import key_of
from qnode.models.query import (
    ALL_PAYLOAD,
    ALL_VECTORS,
    Examples,
    ExamplesKind,
    Nearest,
    QueryRequest,
    SearchParams,
)
from qnode.models.vector_params import Distance, IndexParams, VectorParams
from tests.index.test_index import DIM, Driver, upsert, vectors

POINTS = 900
EVEN = FieldCondition(parse_path("even"), MatchValue(True))
GONE = range(100, 120)


@pytest.fixture(scope="module", params=[Distance.DOT, Distance.EUCLID], ids=["dot", "euclid"])
def driver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """A sealed segment and a growing one; some points are deleted, some rewritten, one has no vector."""
    vector = VectorParams("", 0, DIM, request.param, m=8, ef_construct=64, full_scan_threshold_kb=1)
    params = IndexParams((vector,), indexing_threshold_kb=10)
    made = Driver(tmp_path_factory.mktemp("rescoring") / "shard", params)
    values = vectors(POINTS, seed=4)
    for ids in (range(500), range(500, POINTS)):
        made.apply(upsert(ids, values[list(ids)], [{"even": i % 2 == 0} for i in ids]))
        if ids[0] == 0:
            made.build()
    made.apply(Delete([key_of(i) for i in GONE]), DeleteVectors([key_of(7)], [""]))
    made.apply(upsert(range(20, 30), vectors(10, seed=9), [{"even": True} for _ in range(10)]))
    yield made
    made.index.close()


TARGETS = [
    vectors(1, seed=1)[0],
    Examples(ExamplesKind.BEST_SCORE, positive=tuple(vectors(2, seed=2)), negative=tuple(vectors(1, seed=3))),
    Examples(
        ExamplesKind.DISCOVER, target=vectors(1, seed=1)[0], pairs=((vectors(1, seed=2)[0], vectors(1, seed=3)[0]),)
    ),
    Examples(ExamplesKind.CONTEXT, pairs=((vectors(1, seed=2)[0], vectors(1, seed=3)[0]),)),
]
NAMES = ["nearest", "best_score", "discover", "context"]


def hits(driver: Driver, target, limit: int, chosen: Filter | None = None, excluded=frozenset(), **options):
    query = target if isinstance(target, Examples) else Nearest(target)
    request = QueryRequest(query, filter=chosen, limit=limit, **options)
    found = reading.search(driver.index, request, target, excluded)
    return [(point.key, float(point.score), point.version) for point in found]


@pytest.mark.parametrize("target", TARGETS, ids=NAMES)
def test_given_ids_have_the_scores_and_the_order_of_a_search_of_all(driver, target):
    everything = hits(driver, target, POINTS, params=SearchParams(exact=True))
    assert len(everything) == POINTS - len(GONE) - 1
    keys = frozenset(key_of(i) for i in np.random.default_rng(5).choice(POINTS, 300, replace=False).tolist())
    keys |= {key_of(POINTS + 5), key_of(GONE[0]), key_of(7)}
    expected = [hit for hit in everything if hit[0] in keys]
    chosen = Filter(must=(HasId(keys),))
    assert hits(driver, target, POINTS, chosen) == expected
    assert hits(driver, target, 10, chosen) == expected[:10]
    assert hits(driver, target, 5, chosen, offset=5) == expected[:10]
    scores = [score for _, score, _ in expected]
    ascending = scores[0] < scores[-1]
    better = [hit for hit in expected if (hit[1] < scores[20] if ascending else hit[1] > scores[20])]
    assert hits(driver, target, POINTS, chosen, score_threshold=scores[20]) == better


@pytest.mark.parametrize("nested", [False, True], ids=["beside", "nested"])
@pytest.mark.parametrize("is_remembered", [False, True], ids=["judged", "remembered"])
def test_what_else_the_filter_asks_for_counts(driver, nested, is_remembered):
    target = TARGETS[0]
    if is_remembered:
        hits(driver, target, 1, Filter(must=(EVEN,)))
    keys = frozenset(key_of(i) for i in range(0, POINTS, 3))
    other = Filter(must=(EVEN,)) if nested else EVEN
    found = hits(driver, target, POINTS, Filter(must=(HasId(keys), other, HasId(keys | {key_of(1)}))))
    everything = hits(driver, target, POINTS, Filter(must=(EVEN,)), params=SearchParams(exact=True))
    assert found == [hit for hit in everything if hit[0] in keys]
    assert hits(driver, target, 5, Filter(must=(HasId(keys),), must_not=(HasId(keys),))) == []
    assert hits(driver, target, 5, Filter(must=(HasId(frozenset()),))) == []


def test_a_point_that_changes_behind_a_remembered_mask_is_judged_anew(driver):
    keys = frozenset(key_of(i) for i in (200, 201))
    chosen = Filter(must=(HasId(keys), EVEN))
    hits(driver, TARGETS[0], 5, Filter(must=(EVEN,)))
    assert [key for key, _, _ in hits(driver, TARGETS[0], 5, chosen)] == [key_of(200)]
    values = vectors(POINTS, seed=4)[[200, 201]]
    driver.apply(upsert([200, 201], values, [{"even": False}, {"even": True}]))
    assert [key for key, _, _ in hits(driver, TARGETS[0], 5, chosen)] == [key_of(201)]
    driver.apply(upsert([200, 201], values, [{"even": True}, {"even": False}]))


def test_a_text_is_about_tokens_once_there_is_an_index_whatever_was_remembered(driver):
    driver.apply(upsert([200, 201], vectors(2), [{"t": "reddish"}, {"t": "red"}]))
    keys, text = frozenset(map(key_of, (200, 201))), FieldCondition(parse_path("t"), MatchText("red"))
    chosen = Filter(must=(HasId(keys), text))
    assert len(hits(driver, TARGETS[0], 5, Filter(must=(text,)))) == 2
    assert {key for key, _, _ in hits(driver, TARGETS[0], 5, chosen)} == keys
    maintenance.create_field(driver.index, "t", FieldSchema("text"))
    while not maintenance.step_fields(driver.index, POINTS):
        pass
    assert [key for key, _, _ in hits(driver, TARGETS[0], 5, chosen)] == [key_of(201)]
    maintenance.drop_field(driver.index, "t")
    driver.apply(upsert([200, 201], vectors(POINTS, seed=4)[[200, 201]], [{"even": True}, {"even": False}]))


@pytest.mark.parametrize("target", TARGETS, ids=NAMES)
@pytest.mark.parametrize(
    "chosen", [None, Filter(must=(EVEN,)), Filter(must=(HasId(frozenset(map(key_of, range(300)))),))]
)
def test_excluded_points_are_left_out_and_the_page_is_full(driver, target, chosen):
    whole = hits(driver, target, 30, chosen, params=SearchParams(exact=True))
    excluded = frozenset(key for key, _, _ in whole[:15:2])
    kept = [hit for hit in whole if hit[0] not in excluded]
    assert hits(driver, target, len(kept), chosen, excluded, params=SearchParams(exact=True)) == kept


@pytest.mark.parametrize("target", TARGETS, ids=NAMES)
def test_examples_and_given_ids_show_payloads_and_vectors(driver, target):
    keys = frozenset(map(key_of, range(300, 320)))
    for chosen in (Filter(must=(HasId(keys),)), Filter(must=(EVEN,))):
        query = target if isinstance(target, Examples) else Nearest(target)
        request = QueryRequest(query, filter=chosen, limit=5, with_payload=ALL_PAYLOAD, with_vector=ALL_VECTORS)
        found = reading.search(driver.index, request, target)
        assert len(found) == 5
        for point in found:
            assert point.payload == (
                b'{"even":true}' if int.from_bytes(point.key[1:], "big") % 2 == 0 else b'{"even":false}'
            )
            again = reading.vector_of(driver.index, point.key, "")
            assert point.vectors[""].tolist() == again.tolist()


def test_rows_without_a_graph_are_passed_over_if_that_is_asked_for(driver):
    keys = frozenset(map(key_of, range(450, 550)))
    found = hits(driver, TARGETS[0], 100, Filter(must=(HasId(keys),)), params=SearchParams(indexed_only=True))
    assert {key for key, _, _ in found} == set(map(key_of, range(450, 500)))


def test_a_context_whose_best_score_many_points_share_ends_anywhere_among_them(tmp_path):
    made = Driver(tmp_path / "shard", IndexParams((VectorParams("", 0, DIM, Distance.DOT),)))
    made.apply(upsert(range(3000), vectors(3000)))
    found = hits(made, TARGETS[3], 20)
    assert [score for _, score, _ in found] == [0.0] * 20
    assert len({key for key, _, _ in found}) == 20
    made.index.close()


MULTI = IndexParams((VectorParams("", 0, DIM, Distance.COSINE, multivector=True),), indexing_threshold_kb=1 << 20)


@pytest.mark.parametrize("kind", list(ExamplesKind))
def test_multivectors_are_combined_by_their_max_sims_and_given_ids_have_the_same_scores(tmp_path, kind):
    made = Driver(tmp_path / "shard", MULTI)
    lengths = np.random.default_rng(3).integers(1, 5, 200)
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    rows = vectors(int(offsets[-1]), seed=6)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    keys = [key_of(i) for i in range(200)]
    column = MultiColumn(np.arange(200, dtype=np.int32), offsets, rows)
    made.apply(Upsert(keys, [b"{}"] * 200, {"": column}), Delete([key_of(5)]))
    given = [vectors(2, seed=20 + at) for at in range(5)]
    similar = [hits(made, vector, 200, params=SearchParams(exact=True)) for vector in given]
    to = [{key: np.float32(score) for key, score, _ in found} for found in similar]
    if kind in (ExamplesKind.BEST_SCORE, ExamplesKind.SUM_SCORES):
        examples = Examples(kind, positive=tuple(given[:3]), negative=tuple(given[3:]))
    else:
        target = None if kind is ExamplesKind.CONTEXT else given[0]
        first = 0 if target is None else 1
        pairs = ((given[first], given[first + 1]), (given[first + 2], given[first + 3]))
        weights = (0.5, 0.25) if kind is ExamplesKind.FEEDBACK else ()
        examples = Examples(kind, target, pairs=pairs, pair_weights=weights)
    found = hits(made, examples, 200)
    assert len(found) == 199
    for key, score, _ in found:
        s = [float(one[key]) for one in to]
        assert score == pytest.approx(formula(examples, s), abs=1e-5)
    chosen = frozenset(map(key_of, range(50, 90)))
    assert hits(made, examples, 200, Filter(must=(HasId(chosen),))) == [hit for hit in found if hit[0] in chosen]
    assert hits(made, given[0], 200, Filter(must=(HasId(chosen),))) == [hit for hit in similar[0] if hit[0] in chosen]
    made.index.close()


def formula(examples: Examples, s: list[float]) -> float:
    """The score of a point of these similarities, in the order of `Examples.vectors`."""

    def soft(x: float) -> float:
        return x / (1 + abs(x))

    def squash(x: float) -> float:
        return 0.5 * (soft(x) + 1)

    match examples.kind:
        case ExamplesKind.BEST_SCORE:
            near, far = max(s[:3]), max(s[3:])
            return squash(near) if near > far else -squash(far)
        case ExamplesKind.SUM_SCORES:
            return sum(s[:3]) - sum(s[3:])
        case ExamplesKind.DISCOVER:
            return float(np.sign(s[1] - s[2]) + np.sign(s[3] - s[4])) + squash(s[0])
        case ExamplesKind.CONTEXT:
            return sum(soft(min(good - bad - 2.0**-23, 0)) for good, bad in ((s[0], s[1]), (s[2], s[3])))
    return s[0] + 0.5 * (s[1] - s[2]) + 0.25 * (s[3] - s[4])
