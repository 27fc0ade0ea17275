"""Random queries of all kinds, alone and as trees of searches.

What they steer clear of, because local mode differs from Qdrant's server or leaves the order open, is said where they are made.
"""

from __future__ import annotations

from typing import Any

from qdrant_client import models

from tests.differential.values import IDS, MISSING, OTHER_IDS, Values


class Queries:
    """Makes queries about a collection; `other`: the name of a collection to look examples up in."""

    def __init__(self, values: Values, other: str) -> None:
        self.values = values
        self.rng = values.rng
        self.other = other
        self.nameable: list[Any] = []
        """Ids that may stand for examples. In a prefetch only where they are looked up elsewhere: Qdrant leaves out the points that are
        named anywhere in the tree, local mode below the naming stage.
        """
        self.may_miss = True
        """Whether an id may be one that is not there. Local mode looks up none where the prefetches have found nothing."""

    def query(self) -> dict[str, Any]:
        """A whole query: the fields of a `QueryRequest`."""
        rng, values = self.rng, self.values
        asked = self.simple() if rng.random() < 0.4 else self.stage()
        asked["with_payload"] = values.with_payload()
        asked["with_vector"] = values.with_vectors()
        # Without offset over prefetches, which local mode does not skip in a random sample.
        is_sample = isinstance(asked.get("query"), models.SampleQuery) and "prefetch" in asked
        if rng.random() < 0.3 and not is_sample:
            asked["offset"] = rng.randrange(6)
        if rng.random() < 0.3:
            asked["params"] = models.SearchParams(exact=rng.random() < 0.5, hnsw_ef=rng.choice([None, 16, 200]))
        if self.counts_rarity(asked.get("using")) and rng.random() < 0.4:
            corpus = models.IdfCorpusParams(corpus=values.filter())
            asked["params"] = models.SearchParams(idf=rng.choice([corpus, corpus, models.IdfScope.GLOBAL]))
        return asked

    def counts_rarity(self, name: str | None) -> bool:
        return name in self.values.sparse and self.values.sparse[name].modifier is models.Modifier.IDF

    def simple(self) -> dict[str, Any]:
        """A query without prefetches, under any filter."""
        rng, name = self.rng, self.values.name()
        asked: dict[str, Any] = {"limit": rng.choice((1, 3, 10, 100)), "filter": self.values.optional_filter()}
        chance = rng.random()
        if chance < 0.1:
            return asked
        if chance < 0.2:
            return asked | {"query": models.OrderByQuery(order_by=self.order(rng.choice(("own", "own", "when"))))}
        if chance < 0.25:
            # All of them: which ones a smaller limit gives is left to chance.
            return asked | {"query": models.SampleQuery(sample=models.Sample.RANDOM), "limit": 1000}
        if chance < 0.3:
            # Never a wrong dimension: local mode stretches a vector of one component to any.
            return asked | {"query": self.values.vector(name), "using": "unknown"}
        if chance < 0.5:
            asked["score_threshold"] = rng.uniform(-1, 6)
        self.nameable, self.may_miss = self.values.known or IDS, True
        # Many points have the score 0 in a context search, so it is not drawn where another search goes on from it.
        query = models.ContextQuery(context=self.pairs(name)) if rng.random() < 0.1 else self.alone(name)
        return asked | {"query": query, "using": name or None}

    def order(self, key: str) -> models.OrderBy:
        """By values that no two points share: of equal ones, local mode has those first that were written first."""
        rng = self.rng
        start: Any = rng.choice([None, "2024-01-04T12:00:00Z" if key == "when" else rng.random()])
        direction = rng.choice([None, models.Direction.ASC, models.Direction.DESC])
        return models.OrderBy(key=key, direction=direction, start_from=start)

    def stage(self, depth: int = 0, *, may_tie: bool = True) -> dict[str, Any]:
        """A query with prefetches, perhaps, or one of these; `may_tie`: whether it does not matter which of equal scores comes first."""
        rng, name = self.rng, self.values.name()
        stage: dict[str, Any] = {"filter": self.narrow_filter(), "limit": rng.choice((1, 5, 10, 100))}
        if depth < 2 and rng.random() < (0.8 if depth == 0 else 0.3):
            count, combines = rng.randint(1, 3), rng.random() < 0.6
            below = [self.stage(depth + 1, may_tie=may_tie and not combines) for _ in range(count)]
            stage["prefetch"] = [models.Prefetch(**each) for each in below]
            if combines:
                if depth and may_tie:
                    stage["limit"] = 100
                if rng.random() < 0.2:
                    stage["score_threshold"] = rng.uniform(0, 1)
                return stage | {"query": self.combining(count, may_tie=may_tie)}
        if rng.random() < 0.1:
            return stage | self.without_scores(depth, may_tie=may_tie)
        if rng.random() < 0.3:
            stage["score_threshold"] = rng.uniform(-1, 6)
        if depth and rng.random() < 0.05 and "prefetch" not in stage:
            return {"filter": stage["filter"], "limit": stage["limit"]}
        if rng.random() < 0.1 and not name.startswith("late"):
            # Of vectors that the other collection has: local mode minds the others only when it looks an example up.
            others = [other for other in self.values.alike(name) if not other.startswith("late")]
            vector = rng.choice([None, *others]) or None
            stage["lookup_from"] = models.LookupLocation(collection=self.other, vector=vector)
        self.nameable = OTHER_IDS if "lookup_from" in stage else (self.values.known or IDS) if not depth else []
        self.may_miss = "prefetch" not in stage and not depth
        return stage | {"query": self.alone(name), "using": name or None}

    def over_all(self) -> dict[str, Any]:
        """A query over prefetches that lose no point: for groups, limits of prefetches mean something else."""
        below = [self.stage(2, may_tie=False) | {"limit": 1000} for _ in range(2)]
        name = self.values.name()
        self.nameable, self.may_miss = [], False
        alone = {"query": self.alone(name), "using": name or None}
        combined = {"query": self.combining(len(below), may_tie=False)}
        return {"prefetch": [models.Prefetch(**each) for each in below]} | self.rng.choice([alone, combined])

    def without_scores(self, depth: int, *, may_tie: bool) -> dict[str, Any]:
        """A query whose hits are all alike: in an order, or in none, and then all of them."""
        if self.rng.random() < 0.6 or not may_tie:
            return {"query": models.OrderByQuery(order_by=self.order(self.rng.choice(("own", "when"))))}
        return {"query": models.SampleQuery(sample=models.Sample.RANDOM), "limit": 1000}

    def narrow_filter(self) -> models.Filter | None:
        """Never with `should`: what Qdrant rescores need not pass that of both levels, in local mode it must."""
        if self.rng.random() < 0.6:
            return None
        return models.Filter(**{self.rng.choice(("must", "must_not")): [self.values.condition(depth=2)]})

    def alone(self, name: str) -> Any:
        """A query that needs no prefetches."""
        rng = self.rng
        # No feedback about multivectors, which local mode does not know, nor by points of another collection, which it takes for its own.
        has_feedback = not self.values.is_multi(name) and self.nameable is not OTHER_IDS
        match rng.randrange(9 if has_feedback else 8):
            case 0:
                return self.values.vector(name)
            case 1:
                return self.example(name)
            case 2:
                return self.recommend(name, rng.choice([None, models.RecommendStrategy.AVERAGE_VECTOR]))
            case 3 | 4:
                # With as much diversity as relevance, Manhattan distances to the query and to a chosen point cancel out: ties.
                diversity = rng.choice([0.4, rng.random()] if self.is_manhattan(name) else [None, rng.random()])
                mmr = models.Mmr(diversity=diversity, candidates_limit=rng.choice([None, 10, 100]))
                return models.NearestQuery(nearest=self.example(name), mmr=mmr)
            case 5:
                return self.recommend(
                    name, rng.choice([models.RecommendStrategy.BEST_SCORE, models.RecommendStrategy.SUM_SCORES])
                )
            case 6 | 7:
                target = self.example(name)
                return models.DiscoverQuery(discover=models.DiscoverInput(target=target, context=self.pairs(name)))
        if not self.may_miss:
            # By vectors over prefetches: local mode does not leave out of these which points are judged.
            self.nameable = []
        judged = [models.FeedbackItem(example=self.example(name), score=rng.random()) for _ in range(rng.randint(1, 3))]
        params = models.NaiveFeedbackStrategyParams(a=rng.uniform(0.5, 1), b=rng.random(), c=rng.random())
        return models.RelevanceFeedbackQuery(
            relevance_feedback=models.RelevanceFeedbackInput(
                target=self.example(name), feedback=judged, strategy=models.NaiveFeedbackStrategy(naive=params)
            )
        )

    def is_manhattan(self, name: str) -> bool:
        return name in self.values.dense and self.values.dense[name].distance is models.Distance.MANHATTAN

    def recommend(self, name: str, strategy: models.RecommendStrategy | None) -> models.RecommendQuery:
        averages = strategy in (None, models.RecommendStrategy.AVERAGE_VECTOR)
        positive = [self.example(name) for _ in range(self.rng.randint(1 if averages else 0, 3))]
        negative = [self.example(name) for _ in range(self.rng.randint(0 if positive else 1, 3))]
        return models.RecommendQuery(
            recommend=models.RecommendInput(positive=positive, negative=negative, strategy=strategy)
        )

    def example(self, name: str) -> Any:
        chance = self.rng.random()
        if self.may_miss and chance < 0.02:
            return self.rng.choice(MISSING)
        if self.nameable and chance < 0.4:
            return self.rng.choice(self.nameable)
        return self.values.vector(name)

    def pairs(self, name: str) -> list[models.ContextPair]:
        """Never twice the same example: in local mode the similarities to it differ by rounding."""
        made: list[models.ContextPair] = []
        for _ in range(self.rng.randint(1, 3)):
            positive, negative = self.example(name), self.example(name)
            if positive == negative:
                negative = self.values.vector(name)
            made.append(models.ContextPair(positive=positive, negative=negative))
        return made

    # What combines the answers of prefetches

    def combining(self, prefetches: int, *, may_tie: bool) -> Any:
        rng = self.rng
        match rng.randrange(4) if may_tie else 0:
            case 0:
                # Weights, so that no two points have the same places in both lists with the same weight.
                weights = [rng.uniform(0.1, 2) for _ in range(prefetches)]
                return models.RrfQuery(rrf=models.Rrf(k=rng.choice([None, 1, 60]), weights=weights))
            case 1:
                return models.FusionQuery(fusion=models.Fusion.DBSF)
            case 2:
                return rng.choice(
                    [
                        models.FusionQuery(fusion=models.Fusion.RRF),
                        models.RrfQuery(rrf=models.Rrf(k=rng.choice([None, 3]))),
                    ]
                )
        return self.formula()

    def formula(self) -> models.FormulaQuery:
        # Brought below 1 and put beside a number of each point's own, so that no two candidates tie.
        inner = self.expression()
        size = models.SumExpression(sum=[1.0, models.AbsExpression(abs=inner)])
        bounded = models.DivExpression(div=models.DivParams(left=inner, right=size))
        expression = models.SumExpression(sum=["$score", "own", bounded])
        place = {"lon": 1.5, "lat": 2.5}
        defaults: dict[str, Any] = {"own": 0.5, "price": 3.5, "t": "2024-01-01T00:00:00Z", "home": place}
        if self.rng.random() < 0.9:
            defaults |= {"o.y.z": 1.25, "n": 2, "$score[1]": -1.5}
        return models.FormulaQuery(formula=expression, defaults=defaults)

    def expression(self, depth: int = 0) -> Any:
        if depth >= 3 or self.rng.random() < 0.4:
            return self._leaf()
        return self._decay(depth) if self.rng.random() < 0.1 else self._compound(depth)

    def _leaf(self) -> Any:
        rng = self.rng
        match rng.randrange(7):
            case 0:
                return rng.uniform(-3, 3)
            case 1:
                return rng.choice(["$score", "$score[0]", "$score[1]", "$score[7]"])
            case 2:
                return rng.choice(["n", "price", "o.y.z"])
            case 3:
                return self.values.condition(depth=2)
            case 4:
                origin = models.GeoPoint(**self.values.place())
                return models.GeoDistance(geo_distance=models.GeoDistanceParams(origin=origin, to="home"))
            case 5:
                return models.DatetimeKeyExpression(datetime_key="t")
        return models.DatetimeExpression(datetime="2024-01-04T12:00:00Z")

    def _compound(self, depth: int) -> Any:
        rng = self.rng

        def part() -> Any:
            return self.expression(depth + 1)

        match rng.randrange(9):
            case 0 | 1:
                return models.SumExpression(sum=[part() for _ in range(rng.randint(1, 3))])
            case 2 | 3:
                return models.MultExpression(mult=[part() for _ in range(rng.randint(1, 3))])
            case 4:
                params = models.DivParams(left=part(), right=part(), by_zero_default=rng.choice([None, 2.5]))
                return models.DivExpression(div=params)
            case 5:
                return models.NegExpression(neg=part())
            case 6:
                positive = models.AbsExpression(abs=part())
                power = models.PowParams(base=positive, exponent=rng.uniform(0, 2))
                return rng.choice([models.SqrtExpression(sqrt=positive), models.PowExpression(pow=power)])
            case 7:
                inside = models.SumExpression(sum=[models.AbsExpression(abs=part()), 0.5])
                return rng.choice([models.LnExpression(ln=inside), models.Log10Expression(log10=inside)])
        return models.ExpExpression(exp=models.NegExpression(neg=models.AbsExpression(abs=part())))

    def _decay(self, depth: int) -> Any:
        rng = self.rng
        params = models.DecayParamsExpression(
            x=self.expression(depth + 1),
            target=rng.choice([None, self.expression(depth + 1)]),
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
