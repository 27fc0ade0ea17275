"""Load on an HTTP server, from a process of its own: closed-loop connections, or one at a steady pace.

Requests are encoded before the clock starts and answers are only counted, so that a request costs the generator about
20 µs: it shares the machine with the server that it measures.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from types import TracebackType
from typing import cast

import numpy as np
import numpy.typing as npt
import uvloop

Seconds = npt.NDArray[np.float64]
_SPAWN = multiprocessing.get_context("spawn")
_ERROR_SHOWN_BYTES = 500


@dataclass(frozen=True, slots=True, eq=False)
class Latencies:
    """What requests took, in seconds, over `seconds` of load."""

    each: Seconds
    seconds: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.each) / self.seconds

    def milliseconds(self, percentile: float) -> float:
        return float(np.percentile(self.each, percentile)) * 1000


def encode(method: str, path: str, body: bytes) -> bytes:
    """Write an HTTP/1.1 request that keeps the connection."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Client(asyncio.Protocol):
    """One connection that always has one request under way."""

    def __init__(self, requests: Sequence[bytes], first: int, until: float) -> None:
        self._requests, self._next, self._until = requests, first, until
        self._buffer = b""
        self.latencies: list[float] = []
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._requests[self._next])
        self._next = (self._next + 1) % len(self._requests)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if not _is_whole(self._buffer):
            return
        now = time.perf_counter()
        self.latencies.append(now - self._sent)
        if not self._buffer.startswith(b"HTTP/1.1 200"):
            self.ended.set_exception(RuntimeError(self._buffer[:_ERROR_SHOWN_BYTES].decode()))
            self._transport.close()
            return
        self._buffer = b""
        if now < self._until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


def _is_whole(answer: bytes) -> bool:
    head = answer.find(b"\r\n\r\n")
    if head < 0:
        return False
    at = answer.find(b"ontent-", 0, head)
    while at >= 0 and answer[at + 7 : at + 14].lower() != b"length:":
        at = answer.find(b"ontent-", at + 7, head)
    if at < 0:
        return answer.endswith(b"0\r\n\r\n")  # in chunks
    return len(answer) >= head + 4 + int(answer[at + 14 : answer.find(b"\r\n", at)])


def closed_loop(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> Latencies:
    """Keep every connection busy for some seconds."""
    receiver, sender = _SPAWN.Pipe(duplex=False)
    process = _SPAWN.Process(target=_run_closed_loop, args=(sender, port, requests, connections, seconds))
    process.start()
    try:
        result: Latencies | Exception = receiver.recv()
    finally:
        process.join()
    if isinstance(result, Exception):
        raise result
    return result


def _run_closed_loop(
    sender: Connection, port: int, requests: Sequence[bytes], connections: int, seconds: float
) -> None:
    async def run() -> Latencies:
        loop = asyncio.get_running_loop()
        started = time.perf_counter()
        clients = [
            Client(requests, number * len(requests) // connections, started + seconds) for number in range(connections)
        ]
        for client in clients:
            await loop.create_connection(partial(_itself, client), "127.0.0.1", port)
        await asyncio.gather(*(client.ended for client in clients))
        took = time.perf_counter() - started
        return Latencies(np.array([value for client in clients for value in client.latencies]), took)

    try:
        sender.send(uvloop.run(run()))
    except Exception as error:
        sender.send(error)


def _itself(client: Client) -> Client:
    return client


class SteadyLoad:
    """One connection that sends a request every so often until the block ends; `lap` tells what they took.

    A latency counts from when the request was due, so that a stall is charged with all that it held up.
    """

    def __init__(self, port: int, requests: Sequence[bytes], a_second: float) -> None:
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_run_steady, args=(theirs, port, requests, a_second))

    def __enter__(self) -> SteadyLoad:
        self._process.start()
        assert self._pipe.recv() == "started"
        return self

    def lap(self) -> Latencies:
        """Give what was measured since the start or the last lap."""
        self._pipe.send("lap")
        result = self._pipe.recv()
        if isinstance(result, Exception):
            raise result
        assert isinstance(result, Latencies)
        return result

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.send("stop")
        self._process.join()


def _run_steady(pipe: Connection, port: int, requests: Sequence[bytes], a_second: float) -> None:
    try:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pipe.send("started")
            _pace(pipe, connection, requests, a_second)
    except (OSError, RuntimeError) as error:
        pipe.send(error)
        pipe.recv()


def _pace(pipe: Connection, connection: socket.socket, requests: Sequence[bytes], a_second: float) -> None:
    latencies: list[float] = []
    started = due = time.perf_counter()
    number = 0
    while True:
        if pipe.poll():
            if pipe.recv() == "stop":
                return
            now = time.perf_counter()
            pipe.send(Latencies(np.array(latencies), now - started))
            latencies, started, due = [], time.perf_counter(), time.perf_counter()
        pause = due - time.perf_counter()
        if pause > 0:
            time.sleep(pause)
        connection.sendall(requests[number % len(requests)])
        answer = connection.recv(1 << 16)
        while not _is_whole(answer):
            answer += connection.recv(1 << 16)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(answer[:_ERROR_SHOWN_BYTES].decode())
        latencies.append(time.perf_counter() - due)
        number += 1
        due += 1 / a_second
