"""Snapshots of a node alone: made, downloaded, uploaded and recovered, while it is searched.

The bars are the disk's: a file of the same size, written beside from one buffer and synced. Searches come at a steady pace on one
connection; rounds are repeated until there are enough of them for a percentile.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import Dataset
from benchmarks.http_rows import IDLE_SECONDS, SEARCHES_A_SECOND, STALL_FACTOR, encoded_batches, upload
from benchmarks.load import Latencies, SteadyLoad
from benchmarks.report import Row
from benchmarks.servers import NAME, Node, connected

ROUNDS = 5
PIECE_BYTES = 4 << 20
DISK_SHARE = 0.5
COPY = "restored"
_BOUNDARY = b"benchmark"


def snapshot(dataset: Dataset) -> list[Row]:
    """Load a node, then take and restore snapshots of it."""
    with tempfile.TemporaryDirectory(prefix="qnode-benchmark-") as temporary:
        server = Node(Path(temporary) / "qnode")
        with server.running():
            server.create(dataset.vectors.shape[1])
            upload(server, encoded_batches(server, dataset.vectors))
            server.wait_until_indexed()
            with SteadyLoad(server.port, server.search_requests(dataset.queries), SEARCHES_A_SECOND) as load:
                return _measure(server, load, dataset.name)


def _measure(server: Node, load: SteadyLoad, name: str) -> list[Row]:
    path = f"/collections/{NAME}/snapshots"
    first = server.ask("POST", path)["result"]
    size_bytes, file = first["size"], server.folder / "snapshots" / NAME / first["name"]
    disk = [_write_to_disk(server.folder / "beside", size_bytes) for _ in range(ROUNDS)]
    load.lap()
    time.sleep(IDLE_SECONDS)
    idle = load.lap()
    making, made = _rounds(load, lambda: _make(server, path))
    streaming, streamed = _rounds(load, lambda: _download(server, f"/collections/{NAME}/shards/0/snapshot"))
    downloading, downloaded = _rounds(load, lambda: _download(server, f"{path}/{first['name']}"))
    sending, sent = _rounds(load, lambda: _restore(server, lambda: _upload(server, file)), 2)
    recovering, recovered = _rounds(load, lambda: _restore(server, lambda: _recover(server, file)), 2)

    bar = DISK_SHARE * size_bytes / statistics.median(disk)
    rate = size_bytes / statistics.median(made)
    p99, rest = making.milliseconds(99), idle.milliseconds(99)

    def shown(what: str, seconds: list[float], lap: Latencies) -> str:
        took = statistics.median(seconds)
        return f"{what} {took:.2f} s ({size_bytes / took / 1e6:,.0f} MB/s), p99 {lap.milliseconds(99):.2f} ms"

    return [
        Row(
            f"snapshot of {name}, {size_bytes / 1e6:,.0f} MB, at {SEARCHES_A_SECOND} searches/s",
            f"≥ {DISK_SHARE} × the disk, p99 of searches ≤ {STALL_FACTOR:.0f} × idle",
            f"**{rate / bar * DISK_SHARE:.2f} × the disk** (which writes {bar / DISK_SHARE / 1e6:,.0f} MB/s), "
            f"p99 idle {rest:.2f} ms, **{p99 / rest:.1f} ×** meanwhile; {shown('made in', made, making)}",
            rate >= bar and p99 <= STALL_FACTOR * rest,
        ),
        Row(
            "the same snapshot downloaded and restored",
            "",
            "; ".join(
                (
                    shown("a shard streamed as it is", streamed, streaming),
                    shown("the file downloaded", downloaded, downloading),
                    shown("uploaded into a new collection", sent, sending),
                    shown("recovered from `file://`", recovered, recovering),
                )
            ),
        ),
    ]


def _rounds(load: SteadyLoad, work: Callable[[], float], rounds: int = ROUNDS) -> tuple[Latencies, list[float]]:
    """Do something several times; give how searches fared in all of it, and the seconds of each."""
    load.lap()
    seconds = [work() for _ in range(rounds)]
    return load.lap(), seconds


def _timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _write_to_disk(path: Path, size_bytes: int) -> float:
    """Write so much from one buffer, and sync it; give the seconds."""
    piece = np.random.default_rng(1).bytes(PIECE_BYTES)
    try:
        with path.open("xb", buffering=0) as file:

            def write() -> None:
                for at in range(0, size_bytes, PIECE_BYTES):
                    file.write(piece[: size_bytes - at])
                os.fsync(file.fileno())

            return _timed(write)
    finally:
        path.unlink()


def _make(server: Node, path: str) -> float:
    made: list[str] = []
    seconds = _timed(lambda: made.append(server.ask("POST", path)["result"]["name"]))
    server.ask("DELETE", f"{path}/{made[0]}")
    return seconds


def _download(server: Node, path: str) -> float:
    """Read an answer to its end; give the seconds."""

    def download() -> None:
        connection = connected(server.port)
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        buffer = bytearray(PIECE_BYTES)
        while answer.readinto(buffer):
            pass
        connection.close()

    return _timed(download)


def _restore(server: Node, work: Callable[[], None]) -> float:
    seconds = _timed(work)
    server.ask("DELETE", f"/collections/{COPY}")
    return seconds


def _upload(server: Node, file: Path) -> None:
    head = b'--%s\r\nContent-Disposition: form-data; name="snapshot"; filename="s"\r\n\r\n' % _BOUNDARY
    tail = b"\r\n--%s--\r\n" % _BOUNDARY
    connection = connected(server.port)
    connection.putrequest("POST", f"/collections/{COPY}/snapshots/upload")
    connection.putheader("Content-Type", f"multipart/form-data; boundary={_BOUNDARY.decode()}")
    connection.putheader("Content-Length", str(len(head) + file.stat().st_size + len(tail)))
    connection.endheaders()
    connection.send(head)
    with file.open("rb") as opened:
        connection.sock.sendfile(opened)
    connection.send(tail)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    connection.close()


def _recover(server: Node, file: Path) -> None:
    connection = connected(server.port)
    body = b'{"location": "%s"}' % file.as_uri().encode()
    connection.request("PUT", f"/collections/{COPY}/snapshots/recover", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    connection.close()
