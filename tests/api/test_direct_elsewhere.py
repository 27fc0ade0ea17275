"""Searches of nodes that hold no part of what is searched, as clients send them: direct, or handed over to the ordinary way."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from uvicorn.server import ServerState

from qnode.api import number_scan
from qnode.api.app import build_application
from qnode.api.direct import protocol_of
from qnode.models.collection import CollectionDefaults
from qnode.models.operation import VectorColumn
from qnode.models.point_id import key_of
from qnode.models.write import UpsertRequest
from qnode.quotas import Quotas
from qnode.shards.topics import Topic
from tests.shards.nodes import Group, Node, nodes

QUERY, SEARCH = b"/collections/c/points/query", b"/collections/c/points/search"
HEAD = b"POST %b HTTP/1.1\r\nHost: node\r\n%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
ORDINARY = b"Origin: http://elsewhere\r\n"
SEED = random.randrange(1 << 30)
SIZE = 24
PLAIN = [1.0] + [0.0] * (SIZE - 1)
COUNT = 50
WAIT_SECONDS = 10.0


class Connection:
    """A client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    async def ask(self, *requests: bytes) -> list[tuple[int, Any]]:
        """Send requests in one piece; give status and body of each answer, but for the time."""
        self.writer.write(b"".join(requests))
        return [await self.answer() for _ in requests]

    async def answer(self) -> tuple[int, Any]:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        body = json.loads(await self._reader.readexactly(length))
        body.pop("time")
        return int(head.split()[1]), body


class Front:
    """The HTTP side of the group's first node. `state`: what uvicorn knows of its connections and tasks."""

    def __init__(self, group: Group, folder: Path, parsers: ThreadPoolExecutor, seconds: int | None) -> None:
        self.application = build_application(
            group[1].collections,
            parsers,
            CollectionDefaults(),
            topology=lambda: group.topology,
            quotas=Quotas(folder, lambda: group.topology, group[1].log.propose),
            body_limit_bytes=1 << 20,
            read_timeout_seconds=seconds,
        )
        config = uvicorn.Config(self.application, lifespan="off", ws="none", log_config=None, access_log=False)  # type: ignore[arg-type]
        config.load()
        self.state = ServerState()
        self.protocols: list[Any] = []
        self._make: Callable[..., Any] = protocol_of(self.application)
        self._config = config

    def uvicorns(self) -> Any:
        """The last request that uvicorn has heard of."""
        return self.protocols[0].cycle if self.protocols else None

    async def awaits(self) -> None:
        """Return when a request awaits its answer from elsewhere."""
        while not (self.protocols and self.protocols[0]._withdraw):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)

    def protocol(self) -> Any:
        made = self._make(config=self._config, server_state=self.state, app_state={})
        self.protocols.append(made)
        return made


Act = Callable[[Group, Front, Connection], Awaitable[None]]


def run(folder: Path, placement: Sequence[Sequence[int]], act: Act, seconds: int | None = None) -> None:
    async def running() -> None:
        number_scan.warm_up()
        peers = max(peer for shard in placement for peer in shard)
        with ThreadPoolExecutor(1) as parsers:
            async with asyncio.timeout(30), nodes(folder, peers) as group:
                await group.create(tuple(map(tuple, placement)), vectors={"size": SIZE, "distance": "Dot"})
                await group[1].collections.get("c").write(points(), wait=True)
                async with listening(Front(group, folder, parsers, seconds)) as (front, connection):
                    await act(group, front, connection)

    asyncio.run(running())


@asynccontextmanager
async def listening(front: Front) -> AsyncIterator[tuple[Front, Connection]]:
    server = await asyncio.get_running_loop().create_server(front.protocol, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        yield front, Connection(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()
        for protocol in front.protocols:
            protocol.transport.abort()
        server.close()
        await server.wait_closed()


def post(body: Any, path: bytes = QUERY, more: bytes = b"") -> bytes:
    text = json.dumps(body).encode()
    return HEAD % (path, more, len(text), text)


def points() -> UpsertRequest:
    """Points whose vector begins with their id."""
    values = np.random.default_rng(SEED).standard_normal((COUNT, SIZE)).astype(np.float32)
    values[:, 0] = np.arange(COUNT)
    column = VectorColumn(np.arange(COUNT, dtype=np.int32), values)
    return UpsertRequest([key_of(i) for i in range(COUNT)], [b'{"n":%d}' % i for i in range(COUNT)], {"": column})


def vector(chance: random.Random) -> list[float]:
    return [chance.gauss(0, 1) for _ in range(SIZE)]


@pytest.mark.parametrize("placement", [((2,),), ((1,), (2,), (3, 2))])
def test_answers_from_elsewhere_are_those_of_the_ordinary_way(
    tmp_path: Path, placement: Sequence[Sequence[int]]
) -> None:
    print(f"seed {SEED}")
    chance = random.Random(SEED)

    async def act(group: Group, front: Front, connection: Connection) -> None:
        for body, path, is_direct in (
            ({"query": vector(chance)}, QUERY, True),
            ({"query": {"nearest": vector(chance)}, "limit": 7, "offset": 3}, QUERY, True),
            ({"query": vector(chance), "score_threshold": 0.3, "params": {"hnsw_ef": 30}}, QUERY, True),
            ({"query": vector(chance), "with_payload": True}, QUERY, True),
            ({"vector": vector(chance), "limit": 5, "with_payload": ["n"]}, SEARCH, True),
            ({"query": vector(chance), "with_vector": True}, QUERY, False),
            ({"query": vector(chance), "filter": {"must": [{"key": "n", "range": {"lt": 9}}]}}, QUERY, False),
            ({"query": vector(chance)[1:]}, QUERY, False),
            ({"query": vector(chance), "using": "other"}, QUERY, False),
            ({"query": vector(chance)}, QUERY + b"?consistency=all", False),
        ):
            before = front.uvicorns()
            (direct,) = await connection.ask(post(body, path))
            assert is_direct == (front.uvicorns() is before), body
            assert await connection.ask(post(body, path, ORDINARY)) == [direct], body

    run(tmp_path, placement, act)


def test_answers_from_elsewhere_keep_the_order_of_the_requests(tmp_path: Path) -> None:
    async def act(group: Group, front: Front, connection: Connection) -> None:
        bodies = [{"query": PLAIN, "limit": at % 7 + 1} for at in range(30)]
        alone = [(await connection.ask(post(body)))[0] for body in bodies]
        mixed = [post(body, more=ORDINARY if at % 4 == 0 else b"") for at, body in enumerate(bodies)]
        assert await connection.ask(*mixed) == alone
        assert [len(body["result"]["points"]) for _, body in alone] == [at % 7 + 1 for at in range(30)]

    run(tmp_path, ((2,), (1,)), act)


def test_a_search_whose_peer_goes_in_the_middle_is_answered_by_another(tmp_path: Path) -> None:
    async def act(group: Group, front: Front, connection: Connection) -> None:
        for peer in (2, 3):
            connection.writer.write(post({"query": PLAIN, "limit": 1}))
            await front.awaits()
            group[1].channel.break_link(peer, "the test says so")
            status, body = await connection.answer()
            assert (status, [point["id"] for point in body["result"]["points"]]) == (200, [49])
            await group[1].channel.wait_connected(peer, WAIT_SECONDS)
            await group[peer].channel.wait_connected(1, WAIT_SECONDS)

    run(tmp_path, ((2, 3),), act)


def test_a_search_that_nobody_can_do_is_told_in_the_words_of_the_ordinary_way(tmp_path: Path) -> None:
    async def act(group: Group, front: Front, connection: Connection) -> None:
        await group.nodes.pop(2).stop()
        (told,) = await connection.ask(post({"query": PLAIN}))
        assert told[0] == 500
        assert "has no active replica" in told[1]["status"]["error"]

    run(tmp_path, ((2,),), act)


class Standstill:
    """Lets a node answer no small search, as if it stood still; tells that it was asked for one, and that it was given up."""

    def __init__(self, node: Node) -> None:
        self.asked, self.given_up = asyncio.Event(), asyncio.Event()
        topics = node.channel._topics
        del topics.calls[Topic.SEARCH], topics.at_once[Topic.SEARCH]
        node.channel.on_call(Topic.SEARCH, self._answer)

    async def _answer(self, peer: int, content: bytes) -> bytes:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.given_up.set()
        return b""


def test_a_peer_that_does_not_answer_takes_no_more_than_the_time_of_the_request(tmp_path: Path) -> None:
    async def act(group: Group, front: Front, connection: Connection) -> None:
        stands_still = Standstill(group[2])
        (told,) = await connection.ask(post({"query": PLAIN}))
        assert told == (408, {"status": {"error": "Timeout: Operation timed out after 1 seconds"}})
        await stands_still.given_up.wait()
        (told,) = await connection.ask(post({"query": PLAIN}, more=ORDINARY))
        assert told[0] == 200

    run(tmp_path, ((2,),), act, seconds=1)


def test_a_client_that_leaves_has_its_search_given_up(tmp_path: Path) -> None:
    async def act(group: Group, front: Front, connection: Connection) -> None:
        stands_still = Standstill(group[2])
        connection.writer.write(post({"query": PLAIN}))
        await stands_still.asked.wait()
        connection.writer.close()
        await stands_still.given_up.wait()
        assert front.uvicorns() is None

    run(tmp_path, ((2,),), act)


def test_a_search_that_is_awaited_when_the_node_stops_is_answered(tmp_path: Path) -> None:
    async def act(group: Group, front: Front, connection: Connection) -> None:
        stands_still = Standstill(group[2])
        connection.writer.write(post({"query": PLAIN, "limit": 1}))
        await stands_still.asked.wait()
        front.protocols[0].shutdown()
        status, body = await connection.answer()
        assert (status, len(body["result"]["points"])) == (200, 1)

    run(tmp_path, ((2,),), act)
