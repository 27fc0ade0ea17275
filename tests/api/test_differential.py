"""The same calls of the client library, to a node and to the library's own local mode: the same answers.

Local mode is a second reading of Qdrant's rules, not ours; where the calls steer clear of a difference, `tests/differential` says why.
`QNODE_TEST_SEED` repeats a run; `python -m tests.differential --sequences 2000` is a longer one.
"""

import os
import random
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel
from qdrant_client import QdrantClient, models

from tests.differential.answers import same
from tests.differential.calls import Calls
from tests.differential.sequence import Sequence
from tests.differential.values import IDS, Values
from tests.support.node import Node

SEQUENCES, STEPS = 8, 40
SEED = os.environ.get("QNODE_TEST_SEED", str(random.randrange(2**32)))

DRAWN = """
upsert delete update_vectors delete_vectors set_payload overwrite_payload delete_payload clear_payload batch_update_points
create_vector_name delete_vector_name query_points query_batch_points query_points_groups scroll count retrieve facet
search_matrix_pairs search_matrix_offsets
NearestQuery Mmr RecommendQuery DiscoverQuery ContextQuery OrderByQuery SampleQuery FusionQuery RrfQuery FormulaQuery
RelevanceFeedbackQuery SparseVector LookupLocation WithLookup IdfCorpusParams Prefetch.prefetch Rrf.k Rrf.weights LookupLocation.vector
RecommendStrategy.average_vector RecommendStrategy.best_score RecommendStrategy.sum_scores Fusion.rrf Fusion.dbsf
MatchValue MatchText MatchTextAny MatchPhrase MatchPrefix MatchAny MatchExcept Range DatetimeRange ValuesCount
GeoBoundingBox GeoRadius GeoPolygon GeoPolygon.interiors FieldCondition.is_empty FieldCondition.is_null IsEmptyCondition
IsNullCondition HasIdCondition HasVectorCondition SliceCondition NestedCondition MinShould Filter.should Filter.must_not
DatetimeExpression DatetimeKeyExpression GeoDistance MultExpression SumExpression NegExpression AbsExpression DivExpression
SqrtExpression PowExpression ExpExpression Log10Expression LnExpression LinDecayExpression ExpDecayExpression GaussDecayExpression
UpsertOperation DeleteOperation SetPayloadOperation OverwritePayloadOperation DeletePayloadOperation ClearPayloadOperation
UpdateVectorsOperation DeleteVectorsOperation DenseVectorNameConfig SparseVectorNameConfig
"""
"""What random calls are made of: methods, models, fields that are set, and choices."""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QdrantClient]:
    with Node(tmp_path_factory.mktemp("differential")) as running:
        client = QdrantClient(running.address, timeout=60)
        yield client
        client.close()


@pytest.mark.parametrize("at", range(SEQUENCES))
def test_a_node_answers_as_local_mode_does(node: QdrantClient, at: int) -> None:
    print(f"QNODE_TEST_SEED={SEED}")
    Sequence(node, f"{SEED} {at}").run(STEPS)


def test_the_random_calls_have_all_kinds_of_queries_conditions_and_changes() -> None:
    missing, seed = set(DRAWN.split()), 0
    while missing and seed < 100:
        values = Values(random.Random(seed))
        values.known = IDS[:10]
        calls = Calls(values, "other")
        for _ in range(60):
            name, arguments = calls.any()
            missing -= {name, *parts_of(arguments)}
        seed += 1
    assert missing == set()


def parts_of(value: Any) -> Iterator[str]:
    """What an argument is made of, named as in `DRAWN`."""
    if isinstance(value, models.RecommendStrategy | models.Fusion):
        yield f"{type(value).__name__}.{value.value}"
    elif isinstance(value, BaseModel):
        yield type(value).__name__
        for name in value.model_fields_set:
            if (inner := getattr(value, name)) is not None:
                yield f"{type(value).__name__}.{name}"
                yield from parts_of(inner)
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from parts_of(inner)


def hits(*scored: tuple[int, float]) -> list[dict[str, object]]:
    return [{"id": point, "score": score} for point, score in scored]


def test_equal_scores_may_stand_in_any_order_and_no_others() -> None:
    assert same(hits((1, 2.0), (2, 1.0), (3, 1.0)), hits((1, 2.0), (3, 1.0), (2, 1.0)))
    assert same(hits((1, 2.0), (2, 1.0)), hits((1, 2.0), (3, 1.0)))
    assert not same(hits((1, 2.0), (2, 1.0)), hits((2, 2.0), (1, 1.0)))
    assert not same(hits((1, 3.0), (2, 2.0), (4, 1.0)), hits((1, 3.0), (3, 2.0), (4, 1.0)))
    assert not same(hits((1, 2.0)), hits((1, 2.0), (2, 1.0)))
