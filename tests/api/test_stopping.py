"""What becomes of requests when a node stops."""

import asyncio
import signal
import socket
from pathlib import Path
from typing import Any

import orjson

from tests.api.conftest import Client
from tests.support.node import Node

HEAD = b"%b /collections/c%b HTTP/1.1\r\nHost: node\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{"
UNFINISHED = (
    HEAD % (b"PUT", b"/points"),
    HEAD % (b"POST", b"/points/query"),  # of the kind that is answered at once
    HEAD % (b"PUT", b""),
)


def test_a_request_whose_body_is_not_complete_holds_up_nobody_who_stops(tmp_path: Path) -> None:
    with Node(tmp_path, environment={"QNODE__SERVICE__SHUTDOWN_GRACE_SEC": "1000"}) as node:
        connections = [socket.create_connection(("127.0.0.1", node.port), 30) for _ in UNFINISHED]
        for connection, begun in zip(connections, UNFINISHED, strict=True):
            connection.sendall(begun)
        node.ask("GET", "/collections")  # sent later, so the node has seen what was sent before
        node.process.send_signal(signal.SIGINT)
        assert node.process.wait(30) == 0
        for connection in connections:
            assert connection.recv(1) == b""
            connection.close()
        told = node.log.read_text()
        assert "Traceback" not in told
        assert "ERROR" not in told


def test_a_request_that_is_cut_off_by_the_end_is_told_so(client: Client) -> None:
    transport: Any = client.http._transport
    for method, path in (("PUT", "/collections/c/points"), ("PUT", "/collections/c")):
        sent: list[Any] = []

        async def cut_off(method: str, path: str, sent: list[Any]) -> None:
            reading = asyncio.Event()

            async def receive() -> Any:
                reading.set()
                await asyncio.Event().wait()

            async def send(message: Any) -> None:
                sent.append(message)

            scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": []}
            task = asyncio.create_task(transport.app(scope, receive, send))
            await reading.wait()
            task.cancel()
            await task

        client.runner.run(cut_off(method, path, sent))
        assert sent[0]["status"] == 503
        text = "Shard temporarily unavailable: the node stops, and nobody knows what becomes of this request"
        assert orjson.loads(sent[1]["body"])["status"] == {"error": text}
