"""Reads in order, by counts, in groups and at random, of shards that are on several nodes."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np

from qnode.models.field_schema import FieldSchema
from qnode.models.filter import Filter
from qnode.models.grouping import Grouping
from qnode.models.payload_path import parse_path
from qnode.models.point_id import id_of
from qnode.models.query import Agreement, Nearest, Point, QueryRequest
from qnode.models.reads import (
    Direction,
    FacetRequest,
    MatrixRequest,
    OrderedRequest,
    SampleRequest,
    most_frequent,
)
from qnode.shards import kinds
from qnode.shards.grouping import fill, group_hits, grouped_by
from qnode.shards.matrices import matrix_of
from tests.shards.nodes import Group, ids, nodes, upsert


def run(folder: Path, act: Callable[[Group], Awaitable[None]]) -> None:
    async def running() -> None:
        async with asyncio.timeout(30), nodes(folder, 4) as group:
            await group.create(((1, 2), (2, 3), (3, 1)))
            writer = group[1].collections.get("c")
            await writer.write(upsert(*range(20), kind="low"), wait=True)
            await writer.write(upsert(*range(20, 60), kind="high"), wait=True)
            for field, kind in (("n", "integer"), ("kind", "keyword")):
                await group[2].collections.create_field_index("c", field, FieldSchema(kind), wait=True)
            await act(group)

    asyncio.run(running())


def test_reads_of_every_kind_are_merged_on_any_node(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        for peer in (1, 4):
            collection = group[peer].collections.get("c")
            wanted = OrderedRequest("n", Direction.DESCENDING, start_from=40, limit=4)
            for consistency in (None, Agreement.ALL):
                ordered = await collection.read(kinds.ORDERED, wanted, consistency)
                assert [(point.order_value, id_of(point.key)) for point in ordered] == [
                    (n, n) for n in (40, 39, 38, 37)
                ]
                counted = await collection.read(kinds.FACET, FacetRequest("kind"), consistency)
                assert most_frequent(counted, 10) == [("high", 40), ("low", 20)]
                sample = await collection.read(kinds.SAMPLE, SampleRequest(50), consistency)
                assert len(set(ids(sample))) == 50
            matrix = await matrix_of(collection, MatrixRequest("", 60, 2), None)
            assert [id_of(key) for key in matrix.keys] == list(range(60))
            assert [ids(nearest) for nearest in matrix.nearest[:2]] == [[59, 58], [59, 58]]
            assert ids(matrix.nearest[59]) == [58, 57]

    run(tmp_path, act)


def test_hits_of_shards_elsewhere_are_grouped_and_filled(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        collection, grouping = group[4].collections.get("c"), Grouping(parse_path("kind"), 2, 2)
        query = Nearest(np.array([1, 0, 0, 0], np.float32))
        asked: list[int] = []

        async def search(more: Filter | None, limit: int) -> list[Point]:
            asked.append(limit)
            request = QueryRequest(query, filter=more, limit=limit, with_payload=grouped_by(grouping.path))
            return list(await collection.query(request))

        groups = await group_hits(search, grouping)
        await fill(collection, groups, grouped_by(parse_path("n")), QueryRequest(None).with_vector, None, None)
        assert [(found.id, ids(found.hits)) for found in groups] == [("high", [59, 58]), ("low", [19, 18])]
        assert groups[1].hits[0].payload == b'{"n":19}'
        assert len(asked) == 3, "two plain searches see the 40 of one group alone; the third leaves that group out"

    run(tmp_path, act)
