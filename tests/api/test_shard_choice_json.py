from typing import Any

import pytest

from qnode.api.older_json import parse_search
from qnode.api.query_json import parse_query
from qnode.api.reads_json import parse_count, parse_retrieve, parse_scroll
from qnode.api.shard_choice_json import choice_of
from qnode.api.writes_json import parse_clear_payload, parse_delete, parse_set_payload, parse_upsert
from qnode.errors import MalformedBody
from qnode.models.shard_choice import ShardChoice


@pytest.mark.parametrize(
    ("value", "choice"),
    [
        (None, None),
        ("a", ShardChoice(("a",))),
        (5, ShardChoice((5,))),
        (["5", 5, "5"], ShardChoice(("5", 5))),
        ({"target": "a", "fallback": 1}, ShardChoice(("a",), 1)),
    ],
)
def test_a_key_a_list_or_a_key_with_another_to_fall_back_on_is_read(value: Any, choice: ShardChoice | None) -> None:
    assert choice_of({"shard_key": value}) == choice


@pytest.mark.parametrize("value", [True, 1.5, [], [None], {"target": "a"}, {"fallback": "a"}, [["a"]], -1])
def test_anything_else_is_malformed(value: Any) -> None:
    with pytest.raises(MalformedBody):
        choice_of({"shard_key": value})


def test_every_request_of_points_takes_one() -> None:
    given = {"shard_key": "a", "points": [1], "payload": {}, "ids": [1], "vector": [1.0], "limit": 1}
    written: dict[str, Any] = {"shard_key": "a", "points": [{"id": 1, "vector": [1.0]}]}
    for parse in (parse_query, parse_search, parse_scroll, parse_retrieve, parse_count):
        assert parse(given).shards == ShardChoice(("a",)), parse  # type: ignore[operator]
    for parse_write in (parse_delete, parse_set_payload, parse_clear_payload):
        assert parse_write(given, dict).shards == ShardChoice(("a",)), parse_write  # type: ignore[operator]
    assert parse_upsert(written, dict).shards == ShardChoice(("a",))
