"""Where the reads of a tree are done: each once, on the event loop or in a thread."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from qnode.api.query_json import parse_query
from qnode.index import reading
from qnode.shards.querying import search
from tests.shards.nodes import ids, nodes, upsert

QUICK: dict[str, Any] = {"query": [1.0, 0.0, 0.0, 0.0], "limit": 7}
SLOW: dict[str, Any] = {"query": [-1.0, 1.0, 0.0, 0.0], "limit": 5, "params": {"exact": True}}


@pytest.mark.parametrize("prefetches", [[QUICK, SLOW], [SLOW, QUICK], [QUICK] * 9], ids=["first", "last", "many"])
def test_what_was_found_on_the_event_loop_is_not_searched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefetches: list[dict[str, Any]]
) -> None:
    begun = []
    whole = reading.search

    def counted(*args: Any) -> Any:
        begun.append(args)
        return whole(*args)

    async def act() -> None:
        async with asyncio.timeout(30), nodes(tmp_path, 1) as group:
            await group.create(((1,),))
            collections = group[1].collections
            collection = collections.get("c")
            await collection.write(upsert(*range(1, 30)), wait=True)
            monkeypatch.setattr(reading, "search", counted)
            tree = parse_query({"prefetch": prefetches, "query": {"fusion": "rrf"}, "limit": 3})
            assert len(ids(list(await search(collection, tree, collections.get)))) == 3

    asyncio.run(act())
    assert len(begun) == len(prefetches)
