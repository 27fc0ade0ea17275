"""Upserts and searches over HTTP/JSON beside Chroma's server, and what a loaded node costs and withstands.

Searches: both servers are loaded with the same points and take turns under the same load generator; the one that is not
measured idles. Upserts: rounds into fresh collections, in turns; a round begins when the node has no index to build.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.data import Dataset, Floats
from benchmarks.load import Latencies, SteadyLoad, closed_loop
from benchmarks.report import Row
from benchmarks.servers import EF, Chroma, Node, Server, cpu_seconds, memory_of, resident_bytes

BATCH = 1000
CONNECTIONS = 16
ROUNDS = 3
ROUND_SECONDS = 3.0
WARM_SECONDS = 1.0
UPSERT_ROUNDS = 3
UPSERT_ROUND_POINTS = 10_000
SEARCHES_A_SECOND = 50
IDLE_SECONDS = 20.0
SAMPLE_SECONDS = 0.25
RECALL_QUERIES = 200

SEARCH_FACTOR, SEARCH_P99_MS = 5.0, 4.0
UPSERT_FACTOR, UPSERT_RATE = 5.0, 15_000
STALL_FACTOR, READY_SECONDS, MEMORY_FACTOR = 3.0, 2.0, 2.0


def upsert(dataset: Dataset) -> list[Row]:
    """Upsert into fresh collections, in turns with Chroma."""
    points = min(UPSERT_ROUND_POINTS, len(dataset.vectors))
    with tempfile.TemporaryDirectory(prefix="qnode-benchmark-") as temporary:
        node, chroma = Node(Path(temporary) / "qnode"), Chroma(Path(temporary) / "chroma")
        rates: dict[Server, list[float]] = {node: [], chroma: []}
        used: dict[Server, float] = dict.fromkeys(rates, 0.0)
        with node.running(), chroma.running():
            for _ in range(UPSERT_ROUNDS):
                for server, measured in rates.items():
                    server.create(dataset.vectors.shape[1])
                    bodies = encoded_batches(server, dataset.vectors[:points])
                    before = cpu_seconds(server.processes[:1])
                    measured.append(points / upload(server, bodies))
                    used[server] += cpu_seconds(server.processes[:1]) - before
                    if isinstance(server, Node):
                        server.wait_until_indexed()
                    server.drop()
    ours, theirs = (statistics.median(measured) for measured in rates.values())
    ours_cpu, theirs_cpu = (each / (UPSERT_ROUNDS * points) * 1e6 for each in used.values())
    listed = " / ".join(f"{rate:,.0f}" for rate in rates[node])
    return [
        Row(
            f"upsert over HTTP/JSON, {BATCH} × {dataset.vectors.shape[1]} a batch, payload of 5 fields, 2 indexed, "
            f"`wait=true`, one connection ({points:,} points a round)",
            f"≥ {UPSERT_RATE:,} points/s, ≥ {UPSERT_FACTOR:.0f} × Chroma",
            f"**{ours:,.0f} points/s** (rounds: {listed}), Chroma {theirs:,.0f}: **{ours / theirs:.1f} ×**; "
            f"CPU a point {ours_cpu:.0f} µs (without the builder), Chroma {theirs_cpu:,.0f} µs",
            ours >= UPSERT_RATE and ours >= UPSERT_FACTOR * theirs,
        )
    ]


def search(dataset: Dataset) -> list[Row]:
    """Load both servers, then search them in turns."""
    with tempfile.TemporaryDirectory(prefix="qnode-benchmark-") as temporary:
        node, chroma = Node(Path(temporary) / "qnode"), Chroma(Path(temporary) / "chroma")
        servers: tuple[Server, ...] = (node, chroma)
        with node.running(), chroma.running():
            for server in servers:
                server.create(dataset.vectors.shape[1])
                upload(server, encoded_batches(server, dataset.vectors))
            node.wait_until_indexed()
            recall = {server: _recall(server, dataset) for server in servers}
            rounds: dict[Server, list[Latencies]] = {server: [] for server in servers}
            used = dict.fromkeys(servers, 0.0)
            for _ in range(ROUNDS):
                for server in servers:
                    requests = server.search_requests(dataset.queries)
                    closed_loop(server.port, requests, CONNECTIONS, WARM_SECONDS)
                    before = cpu_seconds(server.processes[:1])
                    rounds[server].append(closed_loop(server.port, requests, CONNECTIONS, ROUND_SECONDS))
                    used[server] += cpu_seconds(server.processes[:1]) - before
    shown = {
        server: f"{median_rate(found):,.0f} requests/s, p50 {median_ms(found, 50):.2f} ms, "
        f"p99 {median_ms(found, 99):.2f} ms, {used[server] / sum(len(each.each) for each in found) * 1e6:,.0f} µs of "
        f"CPU a request, recall {recall[server]:.4f}"
        for server, found in rounds.items()
    }
    factor = median_rate(rounds[node]) / median_rate(rounds[chroma])
    return [
        Row(
            f"search over HTTP/JSON, one process, {CONNECTIONS} connections, ef {EF} ({dataset.name})",
            f"≥ {SEARCH_FACTOR:.0f} × Chroma's server, p99 < {SEARCH_P99_MS:.0f} ms",
            f"**{factor:.1f} ×**; qnode {shown[node]}; Chroma {shown[chroma]}",
            factor >= SEARCH_FACTOR and median_ms(rounds[node], 99) < SEARCH_P99_MS,
        )
    ]


def node(dataset: Dataset) -> list[Row]:
    """Upload while searching, index while searching, search idle; then memory, disk, and a kill."""
    points = len(dataset.vectors)
    with tempfile.TemporaryDirectory(prefix="qnode-benchmark-") as temporary:
        server = Node(Path(temporary) / "qnode")
        with server.running():
            server.create(dataset.vectors.shape[1])
            bodies = encoded_batches(server, dataset.vectors)
            server.upsert(bodies[0])
            stall = _stall(server, bodies, dataset)
            recall = _recall(server, dataset)
            closed_loop(server.port, server.search_requests(dataset.queries), CONNECTIONS, ROUND_SECONDS)
            memory = memory_of(server.processes)
            disk = server.disk_bytes()
            server.kill()
            started = time.perf_counter()
            server.start()
            found = server.search(dataset.queries[0])
            ready = time.perf_counter() - started
            assert server.ask("POST", "/collections/benchmark/points/count", b"{}")["result"]["count"] == points
            assert len(np.intersect1d(found, dataset.truth[0])) >= 8
    raw = dataset.raw_bytes
    idle, uploading, indexing = (lap.milliseconds(99) for lap in (stall.idle, stall.uploading, stall.indexing))
    resident = memory["Rss"] / raw
    return [
        Row(
            f"p99 of searches while {points:,} points are uploaded and indexed ({SEARCHES_A_SECOND} searches/s)",
            f"≤ {STALL_FACTOR:.0f} × idle",
            f"idle {idle:.2f} ms; while uploading {uploading:.2f} ms (**{uploading / idle:.1f} ×**, "
            f"{stall.upload_rate:,.0f} points/s); while only indexing {indexing:.2f} ms (**{indexing / idle:.1f} ×**, "
            f"{stall.indexing.seconds:.0f} s)",
            max(uploading, indexing) <= STALL_FACTOR * idle,
        ),
        Row(
            f"ready after SIGKILL with {points:,} points",
            f"< {READY_SECONDS:.0f} s",
            f"**{ready:.2f} s** from exec to the first right answer of a search",
            ready < READY_SECONDS,
        ),
        Row(
            f"resident memory, {dataset.name}, indexed and searched, all processes",
            f"≤ {MEMORY_FACTOR:.0f} × raw float32 vectors",
            f"**{resident:.2f} ×** (RSS {_megabytes(memory['Rss'])}, PSS {_megabytes(memory['Pss'])}, of it anonymous "
            f"{_megabytes(memory['Pss_Anon'])}, mapped files {_megabytes(memory['Pss_File'])}; raw {_megabytes(raw)}); "
            f"peak of RSS while building {stall.peak_bytes / raw:.2f} ×",
            resident <= MEMORY_FACTOR,
        ),
        Row("disk use", "", f"{disk / raw:.2f} × raw float32 vectors, log and payloads included (recall {recall:.4f})"),
    ]


@dataclass(frozen=True, slots=True)
class Stall:
    """How searches fared in the three phases, how fast the upload went, and the most memory that was resident."""

    uploading: Latencies
    indexing: Latencies
    idle: Latencies
    upload_rate: float
    peak_bytes: int


class MemorySampler(threading.Thread):
    """Notes the largest resident size of a server's processes while its block runs."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self._server, self._stopped = server, threading.Event()
        self.peak_bytes = 0

    def run(self) -> None:
        while not self._stopped.wait(SAMPLE_SECONDS):
            self.peak_bytes = max(self.peak_bytes, resident_bytes(self._server.processes))

    def __enter__(self) -> MemorySampler:
        self.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stopped.set()
        self.join()


def _stall(server: Node, bodies: list[bytes], dataset: Dataset) -> Stall:
    load = SteadyLoad(server.port, server.search_requests(dataset.queries), SEARCHES_A_SECOND)
    with load, MemorySampler(server) as sampler:
        took = upload(server, bodies)
        uploading = load.lap()
        server.wait_until_indexed()
        indexing = load.lap()
        time.sleep(IDLE_SECONDS)
        idle = load.lap()
    return Stall(uploading, indexing, idle, len(dataset.vectors) / took, sampler.peak_bytes)


def encoded_batches(server: Server, vectors: Floats) -> list[bytes]:
    """Encode upserts of points, numbered from 0, BATCH at a time."""
    return [server.upsert_body(first, vectors[first : first + BATCH]) for first in range(0, len(vectors), BATCH)]


def upload(server: Server, bodies: list[bytes]) -> float:
    """Send all batches, one after the other; return the seconds that it took."""
    started = time.perf_counter()
    for body in bodies:
        server.upsert(body)
    return time.perf_counter() - started


def _recall(server: Server, dataset: Dataset) -> float:
    return dataset.recall([np.array(server.search(query)) for query in dataset.queries[:RECALL_QUERIES]])


def median_rate(rounds: list[Latencies]) -> float:
    """The median of the rounds' requests a second."""
    return statistics.median(found.rate for found in rounds)


def median_ms(rounds: list[Latencies], percentile: float) -> float:
    """The median of the rounds' percentiles."""
    return statistics.median(found.milliseconds(percentile) for found in rounds)


def _megabytes(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
