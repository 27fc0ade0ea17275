"""Servers that are measured: a qnode node and Chroma's, each started on a free port over a folder of its own.

Both are asked for the same: a collection of unit vectors, m 16, ef_construct 128, searches with ef 64 and no payload.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from benchmarks import data
from benchmarks.data import TOP, Floats
from benchmarks.engines import EF_CONSTRUCT, M
from benchmarks.load import encode

EF = 64
START_SECONDS = 60
NAME = "benchmark"


class Server(ABC):
    """A server process; `start` runs it, `kill` ends it with SIGKILL."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: http.client.HTTPConnection | None = None

    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    def is_up(self) -> bool: ...

    @abstractmethod
    def create(self, dimensions: int) -> None:
        """Make the collection."""

    @abstractmethod
    def drop(self) -> None: ...

    @abstractmethod
    def upsert_body(self, first: int, vectors: Floats) -> bytes:
        """Encode the upsert of points numbered from `first`, with their payloads."""

    @abstractmethod
    def upsert(self, body: bytes) -> None: ...

    @abstractmethod
    def search_requests(self, queries: Floats) -> list[bytes]:
        """Encode searches for the load generator."""

    @abstractmethod
    def search(self, query: Floats) -> list[int]: ...

    def start(self) -> None:
        """Run the server and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), cwd=self.folder, stdout=log, stderr=log)
        limit = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.is_up():
                    return
            self._connection = None
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < limit, f"{self.command()} does not answer"
            time.sleep(0.01)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        self.start()
        try:
            yield
        finally:
            self.kill()

    def kill(self) -> None:
        """End the process at once and wait for it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None

    @property
    def processes(self) -> list[int]:
        """The server's process and all below it."""
        assert self._process is not None
        found, waiting = [], [self._process.pid]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    waiting += map(int, (task / "children").read_text().split())
        return found

    def ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        """Send a request over one kept connection, made anew if the server has closed it, and parse the answer."""
        try:
            return self._ask(method, path, body)
        except (http.client.RemoteDisconnected, ConnectionError):  # it was idle while the other server was loaded
            self._connection = None
            return self._ask(method, path, body)

    def _ask(self, method: str, path: str, body: bytes | None) -> Any:
        if self._connection is None:
            self._connection = connected(self.port)
        self._connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:500].decode()}")
        return orjson.loads(text)

    def disk_bytes(self) -> int:
        return sum(path.stat().st_blocks * 512 for path in self.folder.rglob("*") if path.is_file())


class Node(Server):
    """A qnode node with its default configuration."""

    def command(self) -> list[str]:
        return [sys.executable, "-m", "qnode", "--host", "127.0.0.1", "--port", str(self.port), "--storage", "storage"]

    def is_up(self) -> bool:
        return bool(self.ask("GET", "/collections"))

    def create(self, dimensions: int, **settings: Any) -> None:
        """Make the collection, with what else it shall be told, and two payload indexes."""
        settings |= {
            "vectors": {"size": dimensions, "distance": "Cosine"},
            "hnsw_config": {"m": M, "ef_construct": EF_CONSTRUCT},
        }
        self.ask("PUT", f"/collections/{NAME}", orjson.dumps(settings))
        for field, schema in (("section", "keyword"), ("size", "integer")):
            body = orjson.dumps({"field_name": field, "field_schema": schema})
            self.ask("PUT", f"/collections/{NAME}/index?wait=true", body)

    def drop(self) -> None:
        self.ask("DELETE", f"/collections/{NAME}")

    def upsert_body(self, first: int, vectors: Floats) -> bytes:
        points = [
            {"id": first + at, "vector": vector, "payload": data.payload(first + at)}
            for at, vector in enumerate(vectors)
        ]
        return orjson.dumps({"points": points}, option=orjson.OPT_SERIALIZE_NUMPY)

    def upsert(self, body: bytes) -> None:
        answer = self.ask("PUT", f"/collections/{NAME}/points?wait=true", body)
        assert answer["result"]["status"] == "completed"

    def search_requests(self, queries: Floats) -> list[bytes]:
        return [encode("POST", f"/collections/{NAME}/points/query", self._search_body(query)) for query in queries]

    def _search_body(self, query: Floats) -> bytes:
        body = {"query": query, "limit": TOP, "params": {"hnsw_ef": EF}}
        return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)

    def search(self, query: Floats) -> list[int]:
        answer = self.ask("POST", f"/collections/{NAME}/points/query", self._search_body(query))
        return [point["id"] for point in answer["result"]["points"]]

    def is_indexed(self) -> bool:
        """Whether no segment waits for the builder."""
        return bool(self.ask("GET", f"/collections/{NAME}")["result"]["status"] == "green")

    def wait_until_indexed(self) -> None:
        quiet = 0
        while quiet < 3:
            quiet = quiet + 1 if self.is_indexed() else 0
            time.sleep(0.1)


class Chroma(Server):
    """Chroma's server, `chroma run`."""

    _collections = "/api/v2/tenants/default_tenant/databases/default_database/collections"

    def command(self) -> list[str]:
        program = Path(sys.executable).with_name("chroma")
        return [str(program), "run", "--path", "storage", "--host", "127.0.0.1", "--port", str(self.port)]

    def is_up(self) -> bool:
        return bool(self.ask("GET", "/api/v2/heartbeat"))

    def create(self, dimensions: int) -> None:
        """Make the collection; all metadata fields are indexed there, it cannot be told otherwise."""
        hnsw = {"space": "cosine", "ef_construction": EF_CONSTRUCT, "max_neighbors": M, "ef_search": EF}
        settings = {"name": NAME, "configuration": {"hnsw": hnsw}}
        self._path = f"{self._collections}/{self.ask('POST', self._collections, orjson.dumps(settings))['id']}"

    def drop(self) -> None:
        self.ask("DELETE", f"{self._collections}/{NAME}")

    def upsert_body(self, first: int, vectors: Floats) -> bytes:
        numbers = range(first, first + len(vectors))
        columns = {
            "ids": [str(number) for number in numbers],
            "embeddings": vectors,
            "metadatas": [data.payload(number) for number in numbers],
        }
        return orjson.dumps(columns, option=orjson.OPT_SERIALIZE_NUMPY)

    def upsert(self, body: bytes) -> None:
        self.ask("POST", f"{self._path}/upsert", body)

    def search_requests(self, queries: Floats) -> list[bytes]:
        return [encode("POST", f"{self._path}/query", self._search_body(query)) for query in queries]

    def _search_body(self, query: Floats) -> bytes:
        body = {"query_embeddings": [query], "n_results": TOP, "include": ["distances"]}
        return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)

    def search(self, query: Floats) -> list[int]:
        return [int(text) for text in self.ask("POST", f"{self._path}/query", self._search_body(query))["ids"][0]]


def cpu_seconds(processes: Sequence[int]) -> float:
    """The processor time that processes have used so far: says more than the clock on a machine that others use too."""
    return sum(_ticks(Path(f"/proc/{pid}/stat")) for pid in processes) / os.sysconf("SC_CLK_TCK")


def loop_seconds(process: int) -> float:
    """The processor time that the first thread of a process has used so far: of a node, its event loop."""
    return _ticks(Path(f"/proc/{process}/task/{process}/stat")) / os.sysconf("SC_CLK_TCK")


def _ticks(stat: Path) -> int:
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:  # it has ended
        return 0
    return int(fields[11]) + int(fields[12])


def resident_bytes(processes: Sequence[int]) -> int:
    """The sum of the processes' resident sets; what they share counts in each."""
    total = 0
    for pid in processes:
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total


def memory_of(processes: Sequence[int]) -> dict[str, int]:
    """Sum up what /proc/<pid>/smaps_rollup tells of processes, in bytes: Rss, Pss, Pss_Anon, Pss_File, …"""
    total: dict[str, int] = {}
    for pid in processes:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
                name, amount, _ = line.split()
                total[name[:-1]] = total.get(name[:-1], 0) + int(amount) * 1024
    return total


def connected(port: int, timeout_seconds: float | None = None) -> http.client.HTTPConnection:
    """Connect to a server of this machine; what is written leaves at once."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_seconds)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
