"""Pages over points of equal scores: each point stands on one page, whatever the segments that hold them."""

import random

import numpy as np
import pytest

from qnode.index import reading
from qnode.models.filter import FieldCondition, Filter, Range
from qnode.models.operation import Delete
from qnode.models.payload_path import parse_path
from qnode.models.point_id import key_of
from qnode.models.query import ALL_PAYLOAD, NO_PAYLOAD, Nearest, QueryRequest, SearchParams
from qnode.models.vector_params import Distance, IndexParams, VectorParams
from tests.index.test_index import Driver, ids_of, upsert

DIM = 8
KINDS = 5
"""So many different vectors there are: scores are equal for a fifth of all points."""


@pytest.fixture(scope="module", params=[Distance.DOT, Distance.EUCLID, Distance.COSINE])
def driver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Driver:
    """Points in a sealed segment and in a growing one, in no order of their ids."""
    params = IndexParams((VectorParams("", 0, DIM, request.param, m=8, ef_construct=64),), indexing_threshold_kb=10)
    made = Driver(tmp_path_factory.mktemp("ties") / "shard", params)
    kinds = np.random.default_rng(5).standard_normal((KINDS, DIM)).astype(np.float32)
    kinds /= np.linalg.norm(kinds, axis=1, keepdims=True)
    ids = list(range(600))
    random.Random(3).shuffle(ids)
    for part in (ids[:500], ids[500:]):
        made.apply(upsert(part, kinds[[i % KINDS for i in part]], [{"n": i} for i in part]))
        if part is not ids[500:] and len(part) == 500:
            made.build()
    made.apply(Delete([key_of(i) for i in range(100, 110)]))
    assert len(made.index.spaces[0].parts) == 2
    return made


@pytest.mark.parametrize("with_payload", [NO_PAYLOAD, ALL_PAYLOAD], ids=["ids", "payload"])
@pytest.mark.parametrize("exact", [True, False], ids=["exact", "walk"])
@pytest.mark.parametrize("filtered", [False, True], ids=["all", "filtered"])
def test_pages_over_equal_scores_hold_each_point_once_in_the_order_of_ids(
    driver: Driver, with_payload: object, exact: bool, filtered: bool
) -> None:
    index = driver.index
    vector = np.random.default_rng(1).standard_normal(DIM).astype(np.float32)
    chosen = Filter(must=(FieldCondition(parse_path("n"), range=Range(lt=400.0)),)) if filtered else None
    descending = index.params.vectors[0].distance is not Distance.EUCLID

    def page(offset: int, limit: int) -> list[tuple[int, float]]:
        params = SearchParams(exact=exact, hnsw_ef=512)
        asked = QueryRequest(
            Nearest(vector), filter=chosen, params=params, limit=limit, offset=offset, with_payload=with_payload
        )
        found = reading.search(index, asked, vector)[offset : offset + limit]
        return list(zip(ids_of(found), [float(point.score) for point in found], strict=True))

    whole = page(0, 600)
    assert len(whole) == (390 if filtered else 590)
    assert whole == sorted(whole, key=lambda hit: (hit[1], hit[0]), reverse=descending)
    paged = [hit for offset in range(0, len(whole), 7) for hit in page(offset, 7)]
    if exact:
        assert paged == whole
    else:  # a walk may miss a point, but gives none twice
        assert len({i for i, _ in paged}) == len(paged)
        assert len(set(paged) & set(whole)) >= 0.97 * len(whole)


def test_more_ties_than_are_looked_at_still_fill_a_page(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_TIED", 10)
    vector = np.ones(DIM, np.float32)
    found = reading.search(driver.index, QueryRequest(Nearest(vector), limit=20), vector)
    assert len(set(ids_of(found))) == 20
