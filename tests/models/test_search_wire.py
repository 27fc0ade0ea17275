"""Small searches between peers: what is read is what was written, and nothing else is read."""

import random

import msgpack
import numpy as np
import pytest

from qnode.models import search_wire, wire
from qnode.models.payload_path import parse_path
from qnode.models.query import (
    ALL_PAYLOAD,
    Hits,
    Nearest,
    PayloadSelector,
    Point,
    QuantizationParams,
    QueryRequest,
    SearchParams,
)
from qnode.models.shard_calls import NotServed, Table, table_of

VECTOR = np.arange(6, dtype=np.float32) / 7
REQUESTS = [
    QueryRequest(Nearest(VECTOR)),
    QueryRequest(Nearest(VECTOR), "other", None, SearchParams(64, False, True), 0.25, 7, 3, ALL_PAYLOAD),
    QueryRequest(
        Nearest(VECTOR[:0]),
        params=SearchParams(quantization=QuantizationParams(True, False, 2.5)),
        with_payload=PayloadSelector(True, (parse_path("a.b[]"),)),
    ),
]


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("seconds", [None, 2.5])
def test_a_search_is_read_as_it_was_written(request_: QueryRequest, seconds: float | None) -> None:
    for turn in range(3):
        asked = request_.nearest_to(request_.query.vector + turn)  # type: ignore[union-attr, operator]
        call, request = search_wire.decode_search(search_wire.encode_search("c-1", (0, 5), asked, seconds))
        assert (call.folder, call.shards, call.seconds) == ("c-1", (0, 5), seconds)
        assert wire.encode(request) == wire.encode(asked)
        assert request.query is not None
        assert request.query.vector is not None
        assert request.query.vector.flags.writeable


def test_what_a_search_found_is_read_as_it_was_written() -> None:
    ids: list[int | str] = [3, (1 << 64) - 1, "0f8fad5b-d9cb-469f-a165-70867728950e"]
    hits = Hits(ids, [0, 7, 1 << 40], np.array([0.5, -np.inf, 3e38], np.float32))
    again = search_wire.decode_found(search_wire.encode_found(hits))
    assert isinstance(again, Hits)
    assert (again.ids, again.versions, again.scores.tolist()) == (hits.ids, hits.versions, hits.scores.tolist())
    assert search_wire.decode_found(search_wire.encode_found(NotServed((2,)))) == NotServed((2,))
    table = table_of([Point(b"\1" * 9, 4, np.float32(0.5), b'{"a":1}')])
    assert isinstance(table, Table)
    read = search_wire.decode_found(search_wire.encode_found(table))
    assert isinstance(read, Table)
    assert (read.keys, read.payloads) == (table.keys, table.payloads)


def test_bytes_that_are_no_search_and_no_answer_are_refused() -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    search = search_wire.encode_search("c-1", (0,), REQUESTS[1], None)
    head = wire.encode(NotServed((1,)))
    for bad in (b"", b"\0\0", search[:9], search[:-1], len(head).to_bytes(4, "little") + head, b"\xff" * 40):
        with pytest.raises(wire.BadWire):
            search_wire.decode_search(bad)
    answers: list[object] = [None, 5, [], [[1], [1]], [[1], [1], b"123"], [[1], [1, 2], b"1234"], [1, 2, b"1234"]]
    for content in (b"", b"\2", b"\0", b"\1", *(b"\1" + msgpack.packb(answer) for answer in answers)):
        with pytest.raises(wire.BadWire):
            search_wire.decode_found(content)
    for _ in range(300):
        cut = bytearray(search)
        cut[chance.randrange(len(cut))] ^= 1 << chance.randrange(8)
        for read in (search_wire.decode_search, search_wire.decode_found):
            try:
                read(bytes(cut))
            except wire.BadWire:
                continue
