"""Search bodies that recur with another vector are read as the general way reads them, or left to it."""

import json
import random

import numpy as np
import orjson
import pytest

from qnode.api import number_scan, older_json, query_json, recurring
from qnode.errors import QnodeError
from qnode.models.query import QueryRequest

VECTOR = "[" + ",".join(str(round(0.37 * at - 3, 3)) for at in range(24)) + "]"
LONG = "[" + ",".join(map(str, range(40))) + "]"
FILTER = '{"must":[{"key":"city","match":{"value":"Berlin"}}]}'

QUERIES = (
    '{"query":%s}',
    '{"query":%s,"limit":3,"offset":2,"params":{"hnsw_ef":64},"score_threshold":0.5}',
    ' { "limit" : 5 , "query" : { "nearest" : %s } , "using" : "a" } ',
    '{"query":%s,"filter":' + FILTER + ',"with_payload":["a.b"],"with_vector":["v"]}',
    '{"query":1,"query":%s}',
    '{"query":%s,"vector":null}',
)
SEARCHES = (
    '{"vector":%s,"limit":3}',
    '{"vector":{"name":"a","vector":%s},"limit":3,"with_payload":true}',
    '{"limit":1,"vector":%s,"filter":' + FILTER + ',"query":{"nearest":1}}',
)
LEFT = (
    '{"query":[%s]}',
    '{"query":%s,"filter":{"must":[{"key":"n","match":{"any":' + LONG + "}}]}}",
    '{"query":[1,2],"filter":{"must":[{"key":"n","match":{"any":%s}}]}}',
    '{"query":%s,"query":5}',
    '{"query":%s,"query":[1,2]}',
    '{"query":5,"vector":%s}',
    '{"vector":[1,2],"limit":1,"query":%s}',
    '{"query":{"nearest":%s,"mmr":{}}}',
    '{"query":{"recommend":%s}}',
    '{"query":{"nearest":[1,2],"vector":%s}}',
    '{"query":"%s"}',
    '{"query":%s,"limit":0}',
    '{"query":%s,"limit":"3"}',
    '{"query":%s,"filter":{"must":3}}',
    '{"query":%s,"unfinished":',
    '{"query":%s}}',
    "[%s]",
    "%s",
    '{"prefetch":[{"query":%s}],"query":5}',
)


@pytest.fixture(autouse=True, scope="module")
def _warm() -> None:
    number_scan.warm_up()


def asked(request: QueryRequest) -> tuple[object, ...]:
    assert request.query is not None
    assert request.query.vector is not None
    assert request.query.vector.dtype == np.float32
    named = [getattr(request, name) for name in QueryRequest.__slots__ if name != "query"]
    return (request.query.vector.tolist(), *map(repr, named))


@pytest.mark.parametrize("parse", [query_json.parse_query, older_json.parse_search])
def test_a_body_is_read_as_the_general_way_reads_it(parse: recurring.Parse) -> None:
    for text in QUERIES if parse is query_json.parse_query else SEARCHES:
        for vector in (VECTOR, VECTOR.replace(",", " ,\n"), LONG):
            body = (text % vector).encode()
            read = recurring.read(body, parse)
            assert read is not None, body
            assert asked(read) == asked(parse(orjson.loads(body))), body


@pytest.mark.parametrize("parse", [query_json.parse_query, older_json.parse_search])
@pytest.mark.parametrize("text", LEFT)
def test_what_is_wrong_or_not_certain_is_left_to_the_general_way(text: str, parse: recurring.Parse) -> None:
    body = (text % VECTOR).encode()
    read = recurring.read(body, parse)
    if read is not None:
        assert asked(read) == asked(parse(orjson.loads(body)))
    assert (read is None) or text in ('{"query":5,"vector":%s}', '{"vector":[1,2],"limit":1,"query":%s}')


def test_a_vector_that_is_short_or_has_other_things_in_it_is_left_to_the_general_way() -> None:
    for vector in ("[]", "[1,2,3]", VECTOR[:-1] + ',"1"]', VECTOR[:-1] + ",null]", VECTOR[:-1] + ",1e39]", "[NaN]"):
        assert recurring.read(f'{{"query":{vector}}}'.encode(), query_json.parse_query) is None


def test_two_bodies_that_differ_in_their_vector_alone_keep_their_own() -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    vectors = [[chance.gauss(0, 1) for _ in range(40)] for _ in range(20)]
    bodies = [orjson.dumps({"query": vector, "limit": 4}) for vector in vectors]
    read = [recurring.read(body, query_json.parse_query) for body in bodies]
    for vector, request in zip(vectors, read, strict=True):
        assert request is not None
        assert request.query is not None
        assert request.query.vector is not None
        assert request.query.vector.tolist() == np.array(vector).astype(np.float32).tolist()


def test_the_mark_stays_within_the_process(capsys: pytest.CaptureFixture[str]) -> None:
    body = f'{{"query":{VECTOR},"using":{VECTOR[:-1]}}}'.encode()
    assert recurring.read(body, query_json.parse_query) is None
    with pytest.raises(QnodeError) as told:
        query_json.parse_query(json.loads(f'{{"query":{{"unknown":{VECTOR}}}}}'))
    assert number_scan.MARK not in str(told.value)
