"""Running the steps of a query: on the event loop while all is quick, in one thread when all shards are here, else over peers.

A search of a collection is a `QueryRequest` (one search) or a tree of them (`UniversalRequest`): `search` takes both. May be cancelled
at any time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from qnode.errors import NotFound
from qnode.models.query import Consistency, Point, QueryRequest, RetrieveRequest
from qnode.models.reads import OrderedRequest
from qnode.models.universal import Lookup, UniversalRequest
from qnode.shards import kinds
from qnode.shards.collection import Collection
from qnode.shards.local_reads import Part
from qnode.shards.querying.evaluation import evaluate
from qnode.shards.querying.steps import Ask, Steps
from qnode.shards.querying.structure import stages_of
from qnode.shards.resolve import named

Find = Callable[[str], Collection]
"""Gives a collection by its name; raises NotFound."""

MOST_ON_LOOP = 8
"""So many reads of a tree are done on the event loop, if each is quick; what is left then goes to a thread."""


async def search(
    collection: Collection,
    request: QueryRequest | UniversalRequest,
    find: Find,
    consistency: Consistency | None = None,
) -> Sequence[Point]:
    """Answer a query of any kind."""
    if isinstance(request, QueryRequest):
        points = collection.query_now(request) if consistency is None else None
        return await collection.query(request, consistency) if points is None else points
    return await _Run(collection, request, find, consistency).answer()


def search_now(collection: Collection, request: UniversalRequest, find: Find) -> Sequence[Point] | None:
    """Answer a tree of a single search at once, if all that it takes is sure to be quick; None for any other."""
    return None if request.prefetches else _Run(collection, request, find, None).answer_now()


class _Run:
    """One tree that is being answered."""

    def __init__(
        self, collection: Collection, request: UniversalRequest, find: Find, consistency: Consistency | None
    ) -> None:
        self._collection = collection
        self._consistency = consistency
        self._places = _places(request, find)
        own = frozenset(place for place, found in self._places.items() if found is collection)
        self._steps: Steps[Sequence[Point]] = evaluate(request, collection.settings, own)
        self._parts = None if self._places.keys() - own else collection.direct_parts(request.shards, consistency)

    def answer_now(self) -> Sequence[Point] | None:
        """Answer without leaving the event loop; None if it takes more than that."""
        if (parts := self._parts) is None:
            return None
        try:
            asks = next(self._steps)
            for _ in range(MOST_ON_LOOP):
                answers = self._now(parts, asks)
                if len(answers) < len(asks):
                    return None
                asks = self._steps.send(answers)
        except StopIteration as end:
            points: Sequence[Point] = end.value
            return points
        return None

    async def answer(self) -> Sequence[Point]:
        answers: list[Sequence[Point]] | None = None
        try:
            left = MOST_ON_LOOP
            while True:
                asks = next(self._steps) if answers is None else self._steps.send(answers)
                if (parts := self._parts) is None:
                    answers = await asyncio.gather(*map(self._gathered, asks))
                    continue
                left -= len(asks)
                answers = self._now(parts, asks) if left >= 0 else []
                if len(answers) < len(asks):
                    return await asyncio.to_thread(self._finished, parts, asks, answers)
        except StopIteration as end:
            points: Sequence[Point] = end.value
            return points

    def _now(self, parts: list[Part], asks: Sequence[Ask]) -> list[Sequence[Point]]:
        """Answer on the event loop, up to the first that is not quick."""
        answers: list[Sequence[Point]] = []
        for ask in asks:
            points = self._collection.answered_now(parts, ask.request)
            if points is None:
                break
            answers.append(points)
        return answers

    def _finished(self, parts: list[Part], asks: Sequence[Ask], answers: list[Sequence[Point]]) -> Sequence[Point]:
        """Answer those that have no answer yet, and whatever else is asked; blocks."""
        try:
            while True:
                left = asks[len(answers) :]
                answers += [self._collection.answered_here(parts, ask.request) for ask in left]
                asks, answers = self._steps.send(answers), []
        except StopIteration as end:
            points: Sequence[Point] = end.value
            return points

    async def _gathered(self, ask: Ask) -> Sequence[Point]:
        collection = self._collection if ask.place is None else self._places[ask.place]
        if isinstance(ask.request, QueryRequest):
            return await collection.query(ask.request, self._consistency)
        if isinstance(ask.request, RetrieveRequest):
            return await collection.retrieve(ask.request, self._consistency)
        if isinstance(ask.request, OrderedRequest):
            return await collection.read(kinds.ORDERED, ask.request, self._consistency)
        return await collection.read(kinds.SAMPLE, ask.request, self._consistency)


def _places(request: UniversalRequest, find: Find) -> dict[Lookup, Collection]:
    """Find the collections in which points are looked up; raise NotFound, or BadInput for one without such a vector."""
    places: dict[Lookup, Collection] = {}
    for stage in stages_of(request):
        if (place := stage.lookup) is None:
            continue
        if place not in places:
            try:
                places[place] = find(place.collection)
            except NotFound:
                raise NotFound(f"Collection {place.collection} not found") from None
        name = stage.using if place.vector is None else place.vector
        named(places[place].settings.vectors, name)
    return places
