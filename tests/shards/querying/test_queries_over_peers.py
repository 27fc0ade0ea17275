"""Trees of searches over shards of several nodes: any node answers, and as one that holds everything."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qnode.api.query_json import parse_query
from qnode.models.query import Agreement, Point
from qnode.shards.querying import search
from tests.shards.nodes import Group, ids, nodes, upsert

WHOLE, SPREAD, TWICE = ((1,),), ((1,), (2,), (3,)), ((1, 2), (2, 3), (3, 1))

TREES: list[dict[str, Any]] = [
    {
        "prefetch": [{"query": [1.0, 0.0, 0.0, 0.0], "limit": 7}, {"query": [-1.0, 1.0, 0.0, 0.0], "limit": 5}],
        "query": {"rrf": {"weights": [1.0, 0.3]}},
        "with_payload": True,
    },
    {"prefetch": {"limit": 9}, "query": {"formula": {"sum": ["$score", {"mult": [0.5, "n"]}]}}, "with_vector": True},
    {"prefetch": {"query": [-1.0, 0.0, 0.0, 0.0], "limit": 6}, "query": 3, "limit": 4},
    {"query": {"recommend": {"positive": [3, 4], "negative": [20]}}, "offset": 2, "with_payload": True},
    {"query": {"nearest": 7, "mmr": {"candidates_limit": 12}}, "limit": 5},
]


async def answers(group: Group, through: int, consistency: Agreement | None = None) -> list[Sequence[Point]]:
    collections = group[through].collections
    collection = collections.get("c")
    return [await search(collection, parse_query(body), collections.get, consistency) for body in TREES]


async def answered_by(folder: Path, count: int, placement: tuple[tuple[int, ...], ...]) -> list[list[Any]]:
    async with asyncio.timeout(30), nodes(folder, count) as group:
        await group.create(placement)
        await group[1].collections.get("c").write(upsert(*range(1, 30)), wait=True)
        given = [await answers(group, through) for through in range(1, count + 1)]
        if placement is TWICE:
            given.append(await answers(group, 1, Agreement.ALL))
        return [[plain(points) for points in each] for each in given]


def plain(points: Sequence[Point]) -> list[tuple[Any, ...]]:
    return [
        (
            point_id,
            float(np.float32(point.score)),
            point.payload,
            None
            if point.vectors is None
            else {name: np.asarray(vector).tolist() for name, vector in point.vectors.items()},
        )
        for point_id, point in zip(ids(list(points)), points, strict=True)
    ]


def test_every_node_answers_a_tree_as_one_that_holds_all(tmp_path: Path) -> None:
    (alone,) = asyncio.run(answered_by(tmp_path / "alone", 1, WHOLE))
    assert all(alone)
    for name, placement in (("spread", SPREAD), ("twice", TWICE)):
        for given in asyncio.run(answered_by(tmp_path / name, 3, placement)):
            assert given == alone
