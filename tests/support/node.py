"""A node as a process of its own, to be killed: started on a free port over a storage folder of its own.

`Node` is used as a context manager: whatever happens, the process is gone at the end, and its log is printed, which
pytest shows for a test that failed.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Any, Self

import httpx

ROOT = Path(__file__).parents[2]

START_SECONDS = 60.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.01
SHOWN_LOG_BYTES = 8000

FIRST_PORT, WORKER_PORTS, MOST_WORKERS = 10_000, 600, 16


class Node:
    """A node that can be started, stopped, killed and started again over the same storage."""

    def __init__(
        self,
        folder: Path,
        *,
        arguments: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        preexec: Callable[[], None] | None = None,
    ) -> None:
        self.storage = folder / "storage"
        self.log = folder / "node.log"
        self.port = free_port()
        self._environment = {
            **os.environ,
            "QNODE__STORAGE__OPTIMIZERS__MAX_OPTIMIZATION_THREADS": "1",
            "QNODE__STORAGE__SNAPSHOTS_PATH": str(folder / "snapshots"),  # a node that starts tidies up there
        }
        self._environment.update(environment or {})
        self.arguments = tuple(arguments)
        self._preexec = preexec
        self._process: subprocess.Popen[bytes] | None = None
        self.client = httpx.Client(base_url=self.address, timeout=60.0, trust_env=False)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the node was not started"
        return self._process

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self.log.exists():
            print(self.log.read_bytes()[-SHOWN_LOG_BYTES:].decode(errors="replace"))

    def launch(self) -> subprocess.Popen[bytes]:
        """Begin to start the node, without waiting for it."""
        assert self._process is None or self._process.poll() is not None, "the node is running"
        command = [sys.executable, "-m", "qnode", "--host", "127.0.0.1", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--storage", str(self.storage), *self.arguments],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
                preexec_fn=self._preexec,
            )
        return self._process

    def start(self) -> None:
        """Start the node; return when it answers."""
        self.launch()
        self.wait_until_it_answers()

    def wait_until_it_answers(self) -> None:
        """Return when the port is open."""
        process = self.process
        give_up = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                assert process.poll() is None, f"the node ended with {process.returncode}"
                assert time.monotonic() < give_up, "the node does not answer"
                time.sleep(POLL_SECONDS)

    def kill(self) -> None:
        """End the process at once, as a power cut ends it."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask the node to stop; give its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)

    def restart(self) -> None:
        """Kill the node if it runs, and start it again."""
        if self.process.poll() is None:
            self.kill()
        self.start()

    def builders(self) -> list[int]:
        """The process ids of the node's builders, as they are now."""
        return [child for child in children_of(self.pid) if "qnode.index.vectors.build" in command_of(child)]

    # Requests; `call` gives any answer, `ask` the result of one that must succeed.

    def call(self, method: str, path: str, body: Any = None, **params: Any) -> httpx.Response:
        """Send a request."""
        return self.client.request(method, path, json=body, params=params)

    def ask(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        """Send a request that must succeed; give its result."""
        answer = self.call(method, path, body, **params)
        assert answer.status_code == 200, f"{method} {path}: {answer.status_code} {answer.text[:1000]}"
        return answer.json()["result"]

    def create(self, name: str, size: int = 4, distance: str = "Dot", **settings: Any) -> None:
        """Make a collection with one unnamed vector."""
        self.ask("PUT", f"/collections/{name}", {"vectors": {"size": size, "distance": distance}, **settings})

    def upsert(self, name: str, points: list[dict[str, Any]], *, wait: bool = True) -> Any:
        """Write points."""
        return self.ask("PUT", f"/collections/{name}/points", {"points": points}, wait=str(wait).lower())

    def retrieve(self, name: str, ids: list[Any]) -> dict[Any, dict[str, Any]]:
        """Read whole points, by id."""
        body = {"ids": ids, "with_payload": True, "with_vector": True}
        return {point["id"]: point for point in self.ask("POST", f"/collections/{name}/points", body)}

    def count(self, name: str) -> int:
        """How many points the collection says it has."""
        return int(self.ask("POST", f"/collections/{name}/points/count", {})["count"])

    def info(self, name: str) -> dict[str, Any]:
        """How the collection stands."""
        shown: dict[str, Any] = self.ask("GET", f"/collections/{name}")
        return shown

    def wait_for(self, condition: Callable[[], Any], seconds: float = 60.0) -> Any:
        """Poll until a condition holds; give what it gave."""
        return wait_for(condition, seconds)

    def wait_until_ready(self, seconds: float = 180.0) -> None:
        """Return when all is served; on a fresh checkout the kernels are compiled first."""
        wait_for(lambda: self.call("GET", "/readyz").status_code == 200, seconds)

    def wait_until_green(self, name: str, seconds: float = 180.0) -> None:
        """Return when the collection has nothing left to optimise; builders yield to all else on a busy machine."""
        wait_for(lambda: self.info(name)["status"] == "green", seconds)


def wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Poll until a condition holds; give what it gave."""
    give_up = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < give_up, "what was waited for did not come"
        time.sleep(POLL_SECONDS)
    return value


def free_port() -> int:
    """A port that nobody uses, given once: of those of this process of tests, and none that the system gives to connections."""
    for port in _ports:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("unreachable: ports begin again")


def _own_ports() -> Iterator[int]:
    """Go round the ports of this process; Linux and macOS give connections those from 32768 on."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % MOST_WORKERS
    first = FIRST_PORT + worker * WORKER_PORTS
    yield from cycle(random.sample(range(first, first + WORKER_PORTS), WORKER_PORTS))


_ports = _own_ports()


def children_of(pid: int) -> list[int]:
    """The children of a process."""
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children += map(int, task.read_text().split())
        except OSError:  # the thread has ended
            continue
    return children


def command_of(pid: int) -> str:
    """The command line of a process; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
