"""Taking rows out of a graph: what is left is a graph of the rows that stay, as good as one that was built of them."""

import numpy as np
import pytest

from qnode.index.vectors import repair, scoring
from qnode.index.vectors.graph_file import FlatGraph
from qnode.models.vector_params import Datatype, Distance
from tests.index.vectors.common import params_of, sealed_of, vectors_for

SCORER = scoring.exact_scorer(Distance.COSINE, Datatype.FLOAT32)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    params = params_of(32, m=8)
    vectors = vectors_for(params, 3000, seed=3)
    segment = sealed_of(tmp_path_factory.mktemp("repair"), params, vectors)
    found = segment.graph
    return FlatGraph(found.links, found.upper, found.first, found.entry, found.top), vectors


def lists_of(graph: FlatGraph) -> dict[tuple[int, int], set[int]]:
    """(row, level) → the rows that its list names."""
    lists = {(row, 0): set(links[links >= 0].tolist()) for row, links in enumerate(graph.links)}
    for row, height in enumerate(graph.levels.tolist()):
        for level in range(height):
            links = graph.upper[graph.first[row] + level]
            lists[row, level + 1] = set(links[links >= 0].tolist())
    return lists


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("share", [0.02, 0.25])
def test_lists_without_lost_rows_stay_and_others_name_only_rows_that_stay_and_were_reachable(built, share, threads):
    graph, vectors = built
    stays = np.random.default_rng(4).random(len(vectors)) >= share
    old, new = lists_of(graph), lists_of(repair.without(graph, stays, vectors, SCORER, threads))
    numbers = np.flatnonzero(stays).tolist()
    assert set(new) == {(numbers.index(row), level) for row, level in old if stays[row]}
    changed = 0
    for (row, level), links in new.items():
        before, after = old[numbers[row], level], {numbers[other] for other in links}
        lost = {other for other in before if not stays[other]}
        assert before - lost <= after
        assert len(after) <= len(before)
        assert after - before <= set().union(*(old[gone, level] for gone in lost)) - {numbers[row]}
        changed += bool(lost)
    assert changed


def test_a_lost_entry_is_replaced_by_a_tallest_row_that_stays(built):
    graph, vectors = built
    levels = graph.levels
    stays = levels < levels.max()
    repaired = repair.without(graph, stays, vectors, SCORER, 1)
    assert repaired.top == levels[stays].max() == repaired.levels[repaired.entry]
    assert not stays[graph.entry]


def test_a_single_row_can_stay(built):
    graph, vectors = built
    stays = np.arange(len(vectors)) == 7
    repaired = repair.without(graph, stays, vectors, SCORER, 1)
    assert repaired.links.tolist() == [[-1] * 16]
    assert (repaired.entry, repaired.top) == (0, graph.levels[7])
