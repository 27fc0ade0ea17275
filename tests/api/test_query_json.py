from typing import Any

import numpy as np
import pytest

from qnode.api.older_json import parse_batch, parse_discover, parse_recommend
from qnode.api.query_json import MAX_PREFETCH_DEPTH, parse_query
from qnode.errors import BadInput, BadRequest, MalformedBody, QnodeError, ValidationFailed
from qnode.models.formula import Decay, Formula, PrefetchScore, Shape, Sum
from qnode.models.point_id import key_of
from qnode.models.query import ALL_PAYLOAD, Nearest, QueryRequest
from qnode.models.reads import Direction
from qnode.models.universal import (
    Context,
    Dbsf,
    Discover,
    Feedback,
    Lookup,
    Mmr,
    OrderBy,
    Recommend,
    Rrf,
    Sample,
    Stage,
    Strategy,
    UniversalRequest,
)


def tree(body: dict[str, Any]) -> UniversalRequest:
    request = parse_query(body)
    assert isinstance(request, UniversalRequest)
    return request


def kind(query: Any) -> Any:
    return tree({"query": query}).query


def deep(levels: int) -> dict[str, Any]:
    body: dict[str, Any] = {"query": 1}
    for _ in range(levels):
        body = {"query": 1, "prefetch": body}
    return body


@pytest.mark.parametrize("empty", [{}, {"prefetch": None}, {"prefetch": []}, {"lookup_from": None}])
def test_a_search_with_nothing_around_it_stays_plain(empty: dict[str, Any]) -> None:
    assert isinstance(parse_query({"query": [1.0], **empty}), QueryRequest)
    assert isinstance(parse_query({"query": {"nearest": 3, "mmr": None}, **empty}), QueryRequest)
    assert isinstance(parse_query(empty), QueryRequest)


def test_every_kind_of_query_is_read() -> None:
    assert kind({"fusion": "rrf"}) == kind({"rrf": {}}) == Rrf(2, None)
    assert kind({"rrf": {"k": 60, "weights": [1, 0.5]}}) == Rrf(60, (1.0, 0.5))
    assert kind({"fusion": "dbsf"}) == Dbsf()
    assert kind({"sample": "random"}) == Sample()
    assert kind({"order_by": "a.b"}) == OrderBy("a.b")
    by = kind({"order_by": {"key": "a", "direction": "desc", "start_from": 7}})
    assert by == OrderBy("a", Direction.DESCENDING, 7)
    mmr = kind({"nearest": [1.0, 2.0], "mmr": {"diversity": 0.25, "candidates_limit": 50}})
    assert isinstance(mmr, Mmr)
    assert (mmr.diversity, mmr.candidates) == (0.25, 50)
    recommend = kind({"recommend": {"positive": [1, [0.5]], "negative": [2], "strategy": "best_score"}})
    assert isinstance(recommend, Recommend)
    assert recommend.positive[0] == key_of(1)
    np.testing.assert_array_equal(recommend.positive[1], np.array([0.5], np.float32))
    assert (recommend.negative, recommend.strategy) == ((key_of(2),), Strategy.BEST_SCORE)
    discover = kind({"discover": {"target": 1, "context": {"positive": 2, "negative": 3}}})
    assert isinstance(discover, Discover)
    assert (discover.target, discover.pairs) == (key_of(1), ((key_of(2), key_of(3)),))
    context = kind({"context": [{"positive": 2, "negative": 3}]})
    assert isinstance(context, Context)
    assert context.pairs == ((key_of(2), key_of(3)),)
    naive = {"naive": {"a": 1, "b": 2, "c": 3}}
    feedback = kind(
        {"relevance_feedback": {"target": 1, "feedback": [{"example": 2, "score": 0.5}], "strategy": naive}}
    )
    assert isinstance(feedback, Feedback)
    assert (feedback.judged, feedback.a, feedback.b, feedback.c) == (((key_of(2), 0.5),), 1, 2, 3)


def test_a_tree_of_prefetches_is_read() -> None:
    request = tree(
        {
            "prefetch": [
                {"query": [1.0], "using": "a", "limit": 50, "score_threshold": 0.5, "params": {"exact": True}},
                {"prefetch": {"limit": 7}, "query": 5, "lookup_from": {"collection": "other", "vector": "v"}},
            ],
            "query": {"fusion": "rrf"},
            "filter": {"must": [{"has_id": [1]}]},
            "offset": 2,
            "with_payload": True,
        }
    )
    first, second = request.prefetches
    assert (first.using, first.limit, first.score_threshold, first.params.exact) == ("a", 50, 0.5, True)
    assert isinstance(second.query, Nearest)
    assert second.query.example == key_of(5)
    assert second.lookup == Lookup("other", "v")
    assert second.prefetches[0].limit == 7
    assert second.prefetches[0].query is None
    assert type(second) is Stage
    assert (request.offset, request.with_payload, request.limit) == (2, ALL_PAYLOAD, 10)


def test_a_formula_is_read_with_its_defaults() -> None:
    decay = {"exp_decay": {"x": "$score[1]", "scale": 2, "midpoint": 0.25}}
    formula = kind({"formula": {"sum": ["$score", decay]}, "defaults": {"$score[1]": 3, "$score": 1, "a.b": "x"}})
    assert isinstance(formula, Formula)
    assert formula.expression == Sum(
        (PrefetchScore(0), Decay(Shape.EXPONENTIAL, PrefetchScore(1), scale=2.0, midpoint=0.25))
    )
    assert (formula.scores, formula.values) == ({1: 3.0, 0: 1.0}, {"a.b": "x"})


@pytest.mark.parametrize(
    ("body", "error", "text"),
    [
        ({"query": {"fusion": "x"}}, MalformedBody, "unknown variant `x`, expected one of `rrf`, `dbsf`"),
        (
            {"query": {"rrf": {"k": 0}}},
            ValidationFailed,
            "[internal.query.rrf.k: value 0 invalid, must be 1 or larger]",
        ),
        ({"query": {"rrf": {"k": -1}}}, MalformedBody, "expected usize"),
        ({"query": {"recommend": {}}}, ValidationFailed, "[internal.query.recommend: "),
        ({"query": {"recommend": {"positive": [[]]}}}, ValidationFailed, "dense vector must not be empty"),
        ({"query": {"recommend": {"positive": [1], "strategy": "x"}}}, MalformedBody, "unknown variant `x`"),
        ({"query": {"discover": {"context": []}}}, MalformedBody, "missing field `target`"),
        ({"query": {"context": {"positive": 1}}}, MalformedBody, "missing field `negative`"),
        ({"query": {"sample": "first"}}, MalformedBody, "unknown variant `first`"),
        (
            {"query": {"nearest": [1.0], "mmr": {"diversity": 1.5}}},
            ValidationFailed,
            "[internal.query.mmr.diversity: value 1.5 invalid, must be from 0.0 to 1.0]",
        ),
        (
            {"query": {"nearest": [1.0], "mmr": {"candidates_limit": 16385}}},
            ValidationFailed,
            "[internal.query.mmr.candidates_limit: value 16385 invalid, must be 16384 or smaller]",
        ),
        (
            {
                "query": {
                    "relevance_feedback": {
                        "target": 1,
                        "feedback": [{"example": 1, "score": 1}],
                        "strategy": {"naive": {"a": 1, "b": -1, "c": 1}},
                    }
                }
            },
            ValidationFailed,
            "[internal.query.relevance_feedback.strategy.naive.b: value -1.0 invalid, must be 0.0 or larger]",
        ),
        (
            {
                "query": {
                    "relevance_feedback": {"target": 1, "feedback": [], "strategy": {"naive": {"a": 1, "b": 1, "c": 1}}}
                }
            },
            ValidationFailed,
            "feedback elements must be non-empty",
        ),
        (
            {
                "query": {
                    "relevance_feedback": {
                        "target": 1,
                        "feedback": [{"example": 1, "score": 1}] * 4097,
                        "strategy": {"naive": {"a": 1, "b": 1, "c": 1}},
                    }
                }
            },
            ValidationFailed,
            "feedback elements must be at most 4096",
        ),
        ({"query": {"formula": {"x": 1}}}, MalformedBody, "unknown field `x`"),
        ({"query": {"formula": True}}, MalformedBody, "untagged enum ExpressionInterface"),
        ({"query": {"formula": "$scores"}}, BadInput, "Invalid score pattern: $scores"),
        ({"query": {"formula": "$score[-1]"}}, BadInput, "Invalid score pattern: $score[-1]"),
        ({"query": {"formula": "a["}}, MalformedBody, "Invalid json path: 'a['"),
        ({"query": {"formula": {"datetime": "x"}}}, MalformedBody, "'x' does not match accepted datetime format"),
        ({"query": {"formula": {"div": {"left": 1}}}}, MalformedBody, "missing field `right`"),
        (
            {"query": {"formula": {"gauss_decay": {"x": 1, "midpoint": 1}}}},
            BadInput,
            "Decay midpoint should be in the range (0.0, 1.0), got 1",
        ),
        (
            {"query": {"formula": {"lin_decay": {"x": 1, "midpoint": 1.5}}}},
            BadInput,
            "Linear decay midpoint should be in the range [0.0, 1.0], got 1.5",
        ),
        (
            {"query": {"formula": {"exp_decay": {"x": 1, "scale": 0}}}},
            BadInput,
            "Scale must be non-zero positive, got 0",
        ),
        ({"query": 1, "lookup_from": {}}, MalformedBody, "missing field `collection`"),
        ({"prefetch": [{"limit": 0}], "query": 1}, ValidationFailed, "[internal.prefetch[0].limit: value 0 invalid"),
        ({"prefetch": 3, "query": 1}, MalformedBody, "expected struct Prefetch"),
        (deep(MAX_PREFETCH_DEPTH + 1), BadRequest, "prefetches depth 65 exceeds max depth 64"),
    ],
)
def test_a_wrong_tree_is_refused_in_qdrants_words(body: Any, error: type[QnodeError], text: str) -> None:
    with pytest.raises(error) as raised:
        parse_query(body)
    assert text in str(raised.value)


def test_prefetches_nest_to_the_depth_that_qdrant_has() -> None:
    assert parse_query(deep(MAX_PREFETCH_DEPTH)) is not None


def test_expressions_that_nest_too_deep_are_refused() -> None:
    expression: Any = 1
    for _ in range(100):
        expression = {"neg": expression}
    with pytest.raises(MalformedBody, match="recursion limit exceeded"):
        parse_query({"query": {"formula": expression}})


def test_the_older_forms_ask_for_the_same() -> None:
    recommend = parse_recommend({"positive": [1], "limit": 3, "using": {"name": "a"}, "offset": 2})
    assert (recommend.limit, recommend.using, recommend.offset) == (3, "a", 2)
    assert isinstance(recommend.query, Recommend)
    discover = parse_discover({"target": 1, "context": [{"positive": 2, "negative": 3}], "top": 3})
    assert isinstance(discover.query, Discover)
    assert isinstance(parse_discover({"context": [{"positive": 2, "negative": 3}], "limit": 3}).query, Context)
    with pytest.raises(MalformedBody, match="missing field `limit`"):
        parse_recommend({"positive": [1]})
    with pytest.raises(ValidationFailed, match=r"\[searches\[1\]\.recommend_request\.limit: value 0"):
        parse_batch({"searches": [{"positive": [1], "limit": 1}, {"positive": [1], "limit": 0}]}, parse_recommend)
