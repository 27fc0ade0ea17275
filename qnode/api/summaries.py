"""The hot endpoints that sum points up: hits in groups, counts of values, distances within a sample."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from qnode.api import answers, older_json, query_json, summaries_json
from qnode.api.http import Call
from qnode.api.points import Endpoint, Points, Search, checked, in_time
from qnode.api.summaries_json import GroupsBody
from qnode.errors import NotFound
from qnode.models.filter import Filter
from qnode.models.grouping import Group, Grouping
from qnode.models.point_id import id_of
from qnode.models.query import NO_VECTORS, Point
from qnode.models.reads import most_frequent
from qnode.shards import kinds
from qnode.shards.grouping import fill, group_hits, grouped_by, look_up, narrowed
from qnode.shards.matrices import Matrix, matrix_of

if TYPE_CHECKING:
    from qnode.shards.collection import Collection


class Summaries:
    """The endpoints over the node's collections, which `points` finds, and whose bodies it reads."""

    def __init__(self, points: Points) -> None:
        self._points = points

    def routes(self) -> dict[tuple[str, str], Endpoint]:
        """List the endpoints by method and by what follows the collection's name."""
        endpoints: dict[tuple[str, str], Endpoint] = {
            ("POST", "points/query/groups"): self._grouping(_parse_query_groups),
            ("POST", "points/search/groups"): self._grouping(_parse_search_groups),
            ("POST", "points/recommend/groups"): self._grouping(_parse_recommend_groups),
            ("POST", "facet"): self.facet,
            ("POST", "points/search/matrix/pairs"): self.matrix_pairs,
            ("POST", "points/search/matrix/offsets"): self.matrix_offsets,
        }
        return {route: checked(endpoint, self._points.issues) for route, endpoint in endpoints.items()}

    async def facet(self, call: Call) -> bytes:
        """Give the values of a field that most points have."""
        request, collection = await self._points.read(call, summaries_json.parse_facet)
        counted = await in_time(call, collection.read(kinds.FACET, request, call.consistency))
        hits = await asyncio.to_thread(most_frequent, counted, request.limit)
        return answers.ok({"hits": [{"value": value, "count": count} for value, count in hits]}, call.started)

    async def matrix_pairs(self, call: Call) -> bytes:
        """Give the distances within a sample as pairs."""
        matrix = await self._matrix(call)
        return await asyncio.to_thread(lambda: answers.ok(_pairs_of(matrix), call.started))

    async def matrix_offsets(self, call: Call) -> bytes:
        """Give the distances within a sample as a sparse matrix."""
        matrix = await self._matrix(call)
        return await asyncio.to_thread(lambda: answers.ok(_offsets_of(matrix), call.started))

    async def _matrix(self, call: Call) -> Matrix:
        request, collection = await self._points.read(call, summaries_json.parse_matrix)
        return await in_time(call, matrix_of(collection, request, call.consistency))

    def _grouping(self, parse: Callable[[object], GroupsBody[Search]]) -> Endpoint:
        """Make the endpoint of a search in groups from the reader of its body."""

        async def endpoint(call: Call) -> bytes:
            body, collection = await self._points.read(call, parse)
            groups = await in_time(call, self._grouped(call, collection, body.request, body.grouping))
            return await asyncio.to_thread(lambda: answers.ok(answers.groups(groups), call.started))

        return endpoint

    async def _grouped(self, call: Call, collection: Collection, request: Search, grouping: Grouping) -> list[Group]:
        lookup = grouping.lookup
        other = None if lookup is None else self._looked_up_in(call, lookup.collection)
        bare = replace(request, with_payload=grouped_by(grouping.path), with_vector=NO_VECTORS)

        async def search(more: Filter | None, limit: int) -> Sequence[Point]:
            asked = replace(bare, filter=narrowed(request.filter, more), limit=limit)
            return await self._points.found(call, collection, asked)

        groups = await group_hits(search, grouping)
        await fill(collection, groups, request.with_payload, request.with_vector, request.shards, call.consistency)
        if lookup is not None and other is not None:
            await look_up(other, groups, lookup, call.consistency)
        return groups

    def _looked_up_in(self, call: Call, name: str) -> Collection:
        try:
            return self._points.finder(call)(name)
        except NotFound:
            raise NotFound(f"Collection {name} not found") from None


def _pairs_of(matrix: Matrix) -> dict[str, object]:
    pairs = [
        {"a": id_of(key), "b": id_of(other.key), "score": other.score}
        for key, nearest in zip(matrix.keys, matrix.nearest, strict=True)
        for other in nearest
    ]
    return {"pairs": pairs}


def _offsets_of(matrix: Matrix) -> dict[str, object]:
    places = {key: place for place, key in enumerate(matrix.keys)}
    cells = [(row, other) for row, nearest in enumerate(matrix.nearest) for other in nearest]
    return {
        "offsets_row": [row for row, _ in cells],
        "offsets_col": [places[other.key] for _, other in cells],
        "scores": [other.score for _, other in cells],
        "ids": [id_of(key) for key in matrix.keys],
    }


def _parse_query_groups(body: object) -> GroupsBody[Search]:
    return summaries_json.parse_groups(body, query_json.parse_query, is_old=False)


def _parse_search_groups(body: object) -> GroupsBody[Search]:
    return summaries_json.parse_groups(body, older_json.parse_search, is_old=True)


def _parse_recommend_groups(body: object) -> GroupsBody[Search]:
    return summaries_json.parse_groups(body, older_json.parse_recommend, is_old=True)
