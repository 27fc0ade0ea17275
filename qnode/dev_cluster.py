"""`qnode dev-cluster`: several nodes of one cluster as local processes, for trying things out.

The nodes are started, joined and stopped together; their logs come through with the node's name in front. When one ends that
was not told to, the others are stopped. No node outlives this process: it stops them when it is told to stop, and the kernel
kills them when it is killed itself (PR_SET_PDEATHSIG, Linux).

Left out: replacing a node that ends, and nodes on several machines; a service manager does both.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
PORT_STEP = 10
START_SECONDS = 120.0
"""So long a node may take until it is ready; the very first start compiles the search kernels."""
STOP_SECONDS = 30.0
"""A node that was told to stop and has not after this is killed."""

_ASK_AGAIN_SECONDS = 0.1
_ANSWER_SECONDS = 5.0
_LONGEST_LINE_BYTES = 1 << 20
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Member:
    """A node of the cluster, and the one that it joins through (None: it is the first)."""

    name: str
    storage: Path
    http_port: int
    p2p_port: int
    bootstrap: str | None

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.http_port}"

    @property
    def uri(self) -> str:
        return f"http://{HOST}:{self.p2p_port}"

    def command(self) -> list[str]:
        """The command that starts it."""
        words = [sys.executable, "-m", "qnode", "--host", HOST, "--port", str(self.http_port)]
        words += ["--storage", str(self.storage), "--uri", self.uri]
        return words if self.bootstrap is None else [*words, "--bootstrap", self.bootstrap]


class NodeEnded(Exception):
    """A node is gone, or does not get ready, and was not told to stop."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--nodes", type=int, default=3, help="how many nodes (default 3)")
    parser.add_argument(
        "--storage", type=Path, default=Path("./dev-cluster"), metavar="FOLDER", help="where they store"
    )
    parser.add_argument(
        "--http-port", type=int, default=6333, help="port of the first; the next ones have 10 more each"
    )
    parser.add_argument("--p2p-port", type=int, default=6335, help="its port for peers; likewise")


def run(arguments: argparse.Namespace) -> int:
    """Run the nodes until told to stop; give the exit code."""
    if arguments.nodes < 1:
        print("qnode: --nodes must be 1 at least", file=sys.stderr)
        return 1
    members = members_of(arguments.nodes, arguments.storage, arguments.http_port, arguments.p2p_port)
    return asyncio.run(_run(members))


def members_of(nodes: int, storage: Path, http_port: int, p2p_port: int) -> list[Member]:
    """Name the nodes and give them their ports and folders; all join through the first."""
    first = f"http://{HOST}:{p2p_port}"
    return [
        Member(
            f"node{number + 1}",
            storage / f"node{number + 1}",
            http_port + PORT_STEP * number,
            p2p_port + PORT_STEP * number,
            first if number else None,
        )
        for number in range(nodes)
    ]


async def _run(members: Sequence[Member]) -> int:
    told_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told_to_stop.set)
    cluster = _Processes()
    stopping = asyncio.create_task(told_to_stop.wait())
    running = asyncio.create_task(cluster.run(members))
    try:
        await asyncio.wait({stopping, running}, return_when=asyncio.FIRST_COMPLETED)
        if stopping.done():
            _say("stopping")
            return 0
        _say(f"{running.exception()}; stopping the others")
        return 1
    finally:
        running.cancel()
        stopping.cancel()
        with suppress(asyncio.CancelledError, NodeEnded):
            await running
        await cluster.stop()


class _Processes:
    """The processes of the nodes."""

    def __init__(self) -> None:
        self._processes: dict[Member, asyncio.subprocess.Process] = {}
        self._logs: list[asyncio.Task[None]] = []

    async def run(self, members: Sequence[Member]) -> None:
        """Start the nodes, tell when they are ready, and raise NodeEnded when one is gone."""
        first, *others = members
        joins = [member for member in others if not member.storage.exists()]
        await self._start(first)
        if joins:  # they need somebody who lets them in; nodes that come back need each other
            await self._ready(first, "/cluster")
        for member in others:
            await self._start(member)
        for member in members:
            await self._ready(member, "/readyz")
        for member in members:
            _say(f"{member.name} answers on {member.address} and stores in {member.storage}")
        _say(f"{len(members)} nodes are ready; Ctrl-C stops them")
        ends = [asyncio.create_task(self._ended(member)) for member in members]
        try:
            await asyncio.gather(*ends)
        finally:
            for end in ends:
                end.cancel()

    async def stop(self) -> None:
        """Stop all nodes, and return when they are gone and their logs are told."""
        ends = [asyncio.create_task(process.wait()) for process in self._processes.values()]
        self._signal(signal.SIGTERM)
        if ends:
            _, left = await asyncio.wait(ends, timeout=STOP_SECONDS)
            if left:
                self._signal(signal.SIGKILL)
                await asyncio.wait(left)
        await asyncio.gather(*self._logs)

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes.values():
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.send_signal(number)

    async def _start(self, member: Member) -> None:
        process = await asyncio.create_subprocess_exec(
            *member.command(),
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=_LONGEST_LINE_BYTES,
            start_new_session=True,  # Ctrl-C is for this process, which tells the nodes
            preexec_fn=dying_with_parent(),
        )
        self._processes[member] = process
        assert process.stdout is not None
        self._logs.append(asyncio.create_task(_pass_on(member.name, process.stdout)))

    async def _ready(self, member: Member, path: str) -> None:
        """Return when a node answers 200; raise NodeEnded if it ends before, or takes too long."""
        ended = asyncio.create_task(self._ended(member))
        answered = asyncio.create_task(_answered(member, path))
        done, _ = await asyncio.wait({ended, answered}, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for task in (ended, answered):
            task.cancel()
        if ended in done:
            ended.result()
        if answered not in done:
            raise NodeEnded(f"{member.name} is not ready after {START_SECONDS:g} s")

    async def _ended(self, member: Member) -> None:
        code = await self._processes[member].wait()
        raise NodeEnded(f"{member.name} ended with exit code {code}")


async def _answered(member: Member, path: str) -> None:
    """Return when a node answers 200."""
    while not await _answers(member, path):  # noqa: ASYNC110 - another process has no event here
        await asyncio.sleep(_ASK_AGAIN_SECONDS)


async def _answers(member: Member, path: str) -> bool:
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(HOST, member.http_port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n".encode())
                status = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return status.split()[1:2] == [b"200"]


async def _pass_on(name: str, log: asyncio.StreamReader) -> None:
    """Print what a node logs, with its name in front, until it ends."""
    while True:
        try:
            line = await log.readline()
        except ValueError:  # longer than the limit: what was read of it is gone
            continue
        if not line:
            return
        print(f"{name} | {line.decode(errors='replace').rstrip()}", file=sys.stderr, flush=True)


def dying_with_parent() -> Callable[[], None]:
    """Make what a child runs before its program, so that the kernel kills it when this thread ends."""
    parent = os.getpid()
    library = ctypes.CDLL(None) if sys.platform == "linux" else None

    def prepare() -> None:
        if library is not None:
            library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def _say(text: str) -> None:
    print(f"qnode dev-cluster: {text}", flush=True)
