"""Random trees of searches, to a node and to the client library's own local mode: the same answers.

`QNODE_TEST_SEED` repeats a run, `QNODE_UNIVERSAL_QUERIES` makes it longer. What the trees steer clear of, because local mode differs
from Qdrant's server or leaves the order open, is said where they are made.
"""

import os
import random
import uuid
import warnings
from typing import Any

import httpx
import pytest
from qdrant_client import QdrantClient, models

from tests.api.conftest import Client
from tests.api.test_differential import Refused, same, without

QUERIES = int(os.environ.get("QNODE_UNIVERSAL_QUERIES", "150"))
SEED = int(os.environ.get("QNODE_TEST_SEED", random.randrange(2**32)))
SIZES = {"cosine": 4, "dot": 3, "euclid": 5, "manhattan": 17}
D = models.Distance
VECTORS = {name: models.VectorParams(size=size, distance=D(name.capitalize())) for name, size in SIZES.items()}
IDS: list[Any] = [*range(50), *(str(uuid.UUID(int=i * 2**100 + 7)) for i in range(10))]
MISSING = [1000, 1001]
OTHER = "other"


class Trees:
    """Makes random queries."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.may_name = True
        """Whether ids may stand for examples. In a prefetch only where they are looked up elsewhere: Qdrant leaves out the points that are
        named anywhere in the tree, local mode below the naming stage.
        """

    def vector(self, name: str) -> list[float]:
        return [self.rng.uniform(-2, 2) for _ in range(SIZES[name])]

    def point(self, point_id: Any) -> models.PointStruct:
        rng = self.rng
        names = list(SIZES) if rng.random() < 0.8 else rng.sample(list(SIZES), 2)
        payload: dict[str, Any] = {"n": rng.randrange(8), "own": rng.random()}
        if rng.random() < 0.7:
            payload["price"] = rng.choice([rng.uniform(0, 10), rng.randrange(10)])
        if rng.random() < 0.7:
            payload["t"] = f"2024-01-{rng.randrange(1, 9):02}T{rng.randrange(24):02}:00:00Z"
        if rng.random() < 0.7:
            payload["place"] = {"lon": rng.uniform(-180, 180), "lat": rng.uniform(-80, 80)}
        if rng.random() < 0.5:
            payload["o"] = {"x": rng.uniform(-5, 5), "k": rng.choice("abc")}
        return models.PointStruct(id=point_id, vector={name: self.vector(name) for name in names}, payload=payload)

    def example(self, name: str) -> Any:
        chance = self.rng.random()
        if self.may_name and chance < 0.02:
            return self.rng.choice(MISSING)
        return self.rng.choice(IDS) if self.may_name and chance < 0.4 else self.vector(name)

    def examples(self, name: str, least: int = 0) -> list[Any]:
        return [self.example(name) for _ in range(self.rng.randint(least, 3))]

    def pairs(self, name: str) -> list[models.ContextPair]:
        return [
            models.ContextPair(positive=self.example(name), negative=self.example(name))
            for _ in range(self.rng.randint(1, 3))
        ]

    def condition(self) -> Any:
        rng = self.rng
        return rng.choice(
            [
                models.FieldCondition(key="n", range=models.Range(gte=rng.randrange(5))),
                models.FieldCondition(key="o.k", match=models.MatchValue(value=rng.choice("abc"))),
                models.IsEmptyCondition(is_empty=models.PayloadField(key="price")),
                models.HasIdCondition(has_id=rng.sample(IDS, 40)),
                models.HasVectorCondition(has_vector=rng.choice(list(SIZES))),
            ]
        )

    def filter(self) -> models.Filter | None:
        """Never with `should`: what Qdrant rescores need not pass that of both levels, in local mode it must."""
        if self.rng.random() < 0.6:
            return None
        return models.Filter(**{self.rng.choice(("must", "must_not")): [self.condition()]})

    def expression(self, depth: int = 0) -> Any:
        rng, part = self.rng, self.expression
        kind = rng.randrange(18 if depth < 3 else 6)
        match kind:
            case 0:
                return rng.uniform(-3, 3)
            case 1:
                return rng.choice(["$score", "$score[0]", "$score[1]", "$score[7]"])
            case 2:
                return rng.choice(["n", "price", "o.x"])
            case 3:
                return self.condition()
            case 4:
                origin = models.GeoPoint(lon=rng.uniform(-180, 180), lat=rng.uniform(-80, 80))
                return models.GeoDistance(geo_distance=models.GeoDistanceParams(origin=origin, to="place"))
            case 5:
                return models.DatetimeKeyExpression(datetime_key="t")
            case 6:
                return models.DatetimeExpression(datetime="2024-01-04T12:00:00Z")
            case 7 | 8:
                return models.SumExpression(sum=[part(depth + 1) for _ in range(rng.randint(1, 3))])
            case 9 | 10:
                return models.MultExpression(mult=[part(depth + 1) for _ in range(rng.randint(1, 3))])
            case 11:
                default = rng.choice([None, 2.5])
                params = models.DivParams(left=part(depth + 1), right=part(depth + 1), by_zero_default=default)
                return models.DivExpression(div=params)
            case 12:
                return models.NegExpression(neg=part(depth + 1))
            case 13:
                return models.SqrtExpression(sqrt=models.AbsExpression(abs=part(depth + 1)))
            case 14:
                params = models.PowParams(base=models.AbsExpression(abs=part(depth + 1)), exponent=rng.uniform(0, 2))
                return models.PowExpression(pow=params)
            case 15:
                inside = models.SumExpression(sum=[models.AbsExpression(abs=part(depth + 1)), 0.5])
                return rng.choice([models.LnExpression(ln=inside), models.Log10Expression(log10=inside)])
            case 16:
                return models.ExpExpression(exp=models.NegExpression(neg=models.AbsExpression(abs=part(depth + 1))))
        params = models.DecayParamsExpression(
            x=part(depth + 1),
            target=rng.choice([None, part(depth + 1)]),
            scale=rng.choice([None, rng.uniform(0.5, 1e6)]),
            midpoint=rng.choice([None, rng.uniform(0.1, 0.9)]),
        )
        return rng.choice(
            [
                models.LinDecayExpression(lin_decay=params),
                models.ExpDecayExpression(exp_decay=params),
                models.GaussDecayExpression(gauss_decay=params),
            ]
        )

    def formula(self) -> models.FormulaQuery:
        # Brought below 1 and put beside a number of each point's own, so that no two candidates tie.
        inner = self.expression()
        size = models.SumExpression(sum=[1.0, models.AbsExpression(abs=inner)])
        bounded = models.DivExpression(div=models.DivParams(left=inner, right=size))
        expression = models.SumExpression(sum=["$score", "own", bounded])
        defaults: dict[str, Any] = {"price": 3.5, "t": "2024-01-01T00:00:00Z", "place": {"lon": 1.5, "lat": 2.5}}
        if self.rng.random() < 0.9:
            defaults |= {"o.x": 1.25, "n": 2, "$score[1]": -1.5}
        return models.FormulaQuery(formula=expression, defaults=defaults)

    def alone(self, name: str) -> Any:
        """A query that needs no prefetches."""
        rng = self.rng
        match rng.randrange(9):
            case 0:
                return self.vector(name)
            case 1:
                return self.example(name)
            case 2:
                return models.RecommendQuery(
                    recommend=models.RecommendInput(positive=self.examples(name, 1), negative=self.examples(name))
                )
            case 3 | 4:
                mmr = models.Mmr(
                    diversity=rng.choice([None, rng.random()]), candidates_limit=rng.choice([None, 10, 100])
                )
                return models.NearestQuery(nearest=self.example(name), mmr=mmr)
            case 5:
                strategy = rng.choice([models.RecommendStrategy.BEST_SCORE, models.RecommendStrategy.SUM_SCORES])
                positive, negative = self.examples(name, 1), self.examples(name)
                return models.RecommendQuery(
                    recommend=models.RecommendInput(positive=positive, negative=negative, strategy=strategy)
                )
            case 6:
                target = self.example(name)
                return models.DiscoverQuery(discover=models.DiscoverInput(target=target, context=self.pairs(name)))
            case 7:
                # Many points have the score 0 in a context search, and in any order: so it is not drawn as such.
                target = self.example(name)
                return models.DiscoverQuery(discover=models.DiscoverInput(target=target, context=self.pairs(name)))
        judged = [models.FeedbackItem(example=self.example(name), score=rng.random()) for _ in range(rng.randint(1, 3))]
        params = models.NaiveFeedbackStrategyParams(a=rng.uniform(0.5, 1), b=rng.random(), c=rng.random())
        return models.RelevanceFeedbackQuery(
            relevance_feedback=models.RelevanceFeedbackInput(
                target=self.example(name), feedback=judged, strategy=models.NaiveFeedbackStrategy(naive=params)
            )
        )

    def combining(self, prefetches: int) -> Any:
        rng = self.rng
        match rng.randrange(3):
            case 0:
                # Weights, so that no two points have the same places in both lists with the same weight.
                weights = [rng.uniform(0.1, 2) for _ in range(prefetches)]
                return models.RrfQuery(rrf=models.Rrf(k=rng.choice([None, 1, 60]), weights=weights))
            case 1:
                return models.FusionQuery(fusion=models.Fusion.DBSF)
        return self.formula()

    def stage(self, depth: int = 0) -> dict[str, Any]:
        rng, name = self.rng, self.rng.choice(list(SIZES))
        stage: dict[str, Any] = {"filter": self.filter(), "limit": rng.choice((1, 5, 10, 100))}
        if depth < 2 and rng.random() < (0.8 if depth == 0 else 0.3):
            below = [models.Prefetch(**self.stage(depth + 1)) for _ in range(rng.randint(1, 3))]
            stage["prefetch"] = below
            if rng.random() < 0.6:
                return stage | {"query": self.combining(len(below))}
        if rng.random() < 0.3 and name in ("cosine", "dot"):
            # Elsewhere local mode takes scores by examples for distances, of which smaller ones are better.
            stage["score_threshold"] = rng.uniform(-1, 6)
        if depth and rng.random() < 0.05 and "prefetch" not in stage:
            return {"filter": stage["filter"], "limit": stage["limit"]}
        if rng.random() < 0.1:
            stage["lookup_from"] = models.LookupLocation(collection=OTHER)
        self.may_name = not depth or "lookup_from" in stage
        query = self.alone(name)
        if "lookup_from" in stage and isinstance(query, models.RelevanceFeedbackQuery):
            query = self.vector(name)  # local mode looks such points up in the collection itself
        return stage | {"query": query, "using": name}

    def query(self) -> dict[str, Any]:
        rng = self.rng
        asked = self.stage() | {
            "with_payload": rng.choice([True, False, ["n", "o.k"]]),
            "with_vector": rng.choice([False, True, ["dot"]]),
        }
        if rng.random() < 0.3:
            asked["offset"] = rng.randrange(5)
        return asked


def local_outcome(local: QdrantClient, asked: dict[str, Any]) -> Any:
    arguments = dict(asked)
    arguments["with_vectors"], arguments["query_filter"] = arguments.pop("with_vector"), arguments.pop("filter")
    try:
        answer = local.query_points("trees", **arguments)
    except (ValueError, KeyError) as error:
        return Refused(str(error))
    return without(answer.model_dump()["points"], ("version", "shard_key", "order_value"))


def node_outcome(client: Client, asked: dict[str, Any]) -> Any:
    body = models.QueryRequest(**asked).model_dump(mode="json", exclude_none=True, by_alias=True)
    response: httpx.Response = client.send("POST", "/collections/trees/points/query", body)
    if response.status_code != 200:
        assert response.status_code < 500, response.text
        return Refused(response.text)
    empty = {"payload": None, "vector": None}
    return [empty | without(hit, ("version",)) for hit in response.json()["result"]["points"]]


@pytest.fixture(scope="module")
def local(client: Client) -> QdrantClient:
    print(f"QNODE_TEST_SEED={SEED}")
    trees = Trees(random.Random(f"{SEED} points"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        local = QdrantClient(":memory:")
        shown = {name: params.model_dump(mode="json", exclude_none=True) for name, params in VECTORS.items()}
        for collection in ("trees", OTHER):
            local.create_collection(collection, vectors_config=VECTORS)
            client.result("PUT", f"/collections/{collection}", {"vectors": shown, "shard_number": 2})
            points = [trees.point(point_id) for point_id in IDS]
            local.upsert(collection, points)
            body = {"points": [point.model_dump(mode="json") for point in points]}
            client.result("PUT", f"/collections/{collection}/points?wait=true", body)
    return local


def test_a_tree_of_searches_is_answered_as_local_mode_does(client: Client, local: QdrantClient) -> None:
    print(f"QNODE_TEST_SEED={SEED}")
    answered = 0
    for at in range(QUERIES):
        asked = Trees(random.Random(f"{SEED} {at}")).query()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = local_outcome(local, asked)
        ours = node_outcome(client, asked)
        answered += not isinstance(ours, Refused)
        assert same(ours, theirs), f"query {at}: {asked}\n  the node: {ours}\nlocal mode: {theirs}"
    assert answered > QUERIES / 2
