"""What a cluster of three processes on this machine costs, and how it takes the loss of a node.

The three share the machine with each other and with the load, which a cluster in earnest would not: what is compared, is compared
on the same three nodes, in turns. What is acknowledged or refused is noted by the writers, and compared with the content of every
node at the end.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.cluster import Cluster, Member, Points, wait_for
from benchmarks.cluster_writers import AccountingWriter, PacedWriter, RacingWriter, lap, writing
from benchmarks.data import Dataset
from benchmarks.http_rows import BATCH, CONNECTIONS, encoded_batches, median_ms, median_rate, upload
from benchmarks.load import Latencies, closed_loop
from benchmarks.report import Row
from benchmarks.servers import EF, cpu_seconds, loop_seconds
from qnode.models.point_id import key_of
from qnode.shards.routes import ring_of

KILLS, SHARDS, IDS_OF_A_SHARD = 14, 6, 500
LOAD_SECONDS = 2.0
RACING_WRITERS, RACED_IDS, RACE_SECONDS, SEED = 6, 300, 10.0, 1
FAILOVER_SECONDS = 3.0

UPSERT_ROUNDS, UPSERT_POINTS = 5, 10_000
REPLICATED_FACTOR = 0.35

SEARCH_ROUNDS, SEARCH_SECONDS, WARM_SECONDS = 5, 3.0, 1.0
ELSEWHERE_FACTOR = 0.6

SETTLE_SECONDS, IDLE_SECONDS, IDLE_SHARE = 15.0, 20.0, 0.03
IDLE_COLLECTIONS: Final[dict[str, dict[str, int]]] = {
    "no shards": {},
    "100 shards": {"shard_number": 100, "replication_factor": 1},
    "34 shards × 3": {"shard_number": 34, "replication_factor": 3},
}

ABSENCE_SECONDS = 60.0
RETURN_SECONDS, RETURN_FACTOR = 30.0, 3.0
WRITERS, WRITTEN_BATCH, WRITTEN_A_SECOND = 4, 100, 2000
BEFORE_SECONDS, FIRST_SECONDS = 20.0, 15.0


@contextmanager
def _cluster() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="qnode-benchmark-") as temporary:
        cluster = Cluster(Path(temporary))
        with cluster.running():
            yield cluster


# Losing a primary


@dataclass(frozen=True, slots=True)
class Outage:
    """How long the shards of a killed node took no writes, and whether the node led the cluster."""

    seconds: float
    was_leader: bool


def failover(dataset: Dataset) -> list[Row]:
    """Kill primaries under load, one after the other; then let writers race for the same points."""
    with _cluster() as cluster:
        lost, outages, writes = _killed_primaries(cluster, dataset)
        cluster.drop()
        raced, divergent = _raced(cluster, dataset)
    seconds = [outage.seconds for outage in outages]
    p50, p99 = (float(np.percentile(seconds, percentile)) for percentile in (50, 99))
    leaders = [outage.seconds for outage in outages if outage.was_leader]
    others = [outage.seconds for outage in outages if not outage.was_leader]
    return [
        Row(
            f"failover: primary SIGKILLed under load, until writes to all its shards go on ({len(outages)} kills, "
            f"{SHARDS} shards × 3)",
            f"p99 < {FAILOVER_SECONDS:.0f} s",
            f"p50 {p50:.2f} s, **p99 {p99:.2f} s**, longest {max(seconds):.2f} s; of the {len(leaders)} that led the "
            f"cluster {_shown_longest(leaders)}, of the {len(others)} others {_shown_longest(others)}",
            p99 < FAILOVER_SECONDS,
        ),
        Row(
            "acknowledged writes lost, over these kills",
            "0",
            f"**{lost}** of {writes:,} (every node compared with what the writers were told)",
            lost == 0,
        ),
        Row(
            "divergent points between in-sync replicas after racing writers",
            "0",
            f"**{divergent}** of {RACED_IDS} points after {raced:,} acknowledged writes of {RACING_WRITERS} writers through "
            "three nodes, a primary killed meanwhile",
            divergent == 0,
        ),
    ]


def _killed_primaries(cluster: Cluster, dataset: Dataset) -> tuple[int, list[Outage], int]:
    cluster.members[0].create(dataset.vectors.shape[1], shard_number=SHARDS, replication_factor=3)
    cluster.wait_active()
    writers = [
        AccountingWriter(shard, cluster.ports, ids, dataset.vectors) for shard, ids in enumerate(_ids_by_shard())
    ]
    with writing(writers):
        outages = [_outage(cluster, writers, of_leader=number % 2 == 0) for number in range(KILLS)]
    lost: set[int] = set()
    for content in _contents(cluster):
        lost.update(key for writer in writers for key in writer.lost(content))
    return len(lost), outages, sum(len(writer.answers) for writer in writers)


def _ids_by_shard() -> list[list[int]]:
    ring = ring_of(tuple(range(SHARDS)))
    ids: list[list[int]] = [[] for _ in range(SHARDS)]
    for number in range(4 * SHARDS * IDS_OF_A_SHARD):
        ids[ring.shard_of(key_of(number))].append(number)
    assert min(map(len, ids)) >= IDS_OF_A_SHARD
    return [own[:IDS_OF_A_SHARD] for own in ids]


def _outage(cluster: Cluster, writers: Sequence[AccountingWriter], *, of_leader: bool) -> Outage:
    time.sleep(LOAD_SECONDS)
    leader = cluster.leader()
    primaries = cluster.primaries()
    candidates = sorted(set(primaries.values()), key=lambda member: (member is leader) is not of_leader)
    victim = candidates[0]
    orphans = [writers[shard] for shard, primary in primaries.items() if primary is victim]
    killed = time.monotonic()
    victim.kill()
    served = [wait_for(partial(writer.first_after, killed), "writes do not go on") for writer in orphans]
    victim.start()
    cluster.wait_ready()
    cluster.wait_active()
    return Outage(max(served) - killed, victim is leader)


def _raced(cluster: Cluster, dataset: Dataset) -> tuple[int, int]:
    cluster.members[0].create(dataset.vectors.shape[1], shard_number=SHARDS, replication_factor=3)
    cluster.wait_active()
    writers = [
        RacingWriter(number, cluster.ports, RACED_IDS, dataset.vectors, SEED) for number in range(RACING_WRITERS)
    ]
    with writing(writers):
        time.sleep(RACE_SECONDS)
        victim = cluster.primaries()[0]
        victim.kill()
        time.sleep(RACE_SECONDS)
        victim.start()
        cluster.wait_active()
        time.sleep(RACE_SECONDS)
    first, *others = _contents(cluster)
    differing = {key for other in others for key in first.keys() | other.keys() if first.get(key) != other.get(key)}
    return sum(writer.acknowledged for writer in writers), len(differing)


def _contents(cluster: Cluster) -> list[Points]:
    cluster.wait_ready()
    cluster.wait_active()
    return [member.points() for member in cluster.members]


def _shown_longest(seconds: Sequence[float]) -> str:
    return f"{min(seconds):.2f} to {max(seconds):.2f} s" if seconds else "none"


# What replicas and detours cost


def replicas(dataset: Dataset) -> list[Row]:
    """Upsert into one replica and into three, in turns, each time through the node that is primary."""
    points = min(UPSERT_POINTS, len(dataset.vectors))
    rates: dict[int, list[float]] = {1: [], 3: []}
    used = dict.fromkeys(rates, 0.0)
    with _cluster() as cluster:
        processes = [member.processes[0] for member in cluster.members]
        bodies = encoded_batches(cluster.members[0], dataset.vectors[:points])
        for warm in (True, *[False] * UPSERT_ROUNDS):
            for factor, measured in rates.items():
                cluster.members[0].create(dataset.vectors.shape[1], shard_number=1, replication_factor=factor)
                cluster.wait_active()
                primary = cluster.primaries()[0]
                before = cpu_seconds(processes)
                rate = points / upload(primary, bodies)
                if not warm:
                    measured.append(rate)
                    used[factor] += cpu_seconds(processes) - before
                cluster.wait_until_indexed()
                cluster.drop()
    one, three = (statistics.median(measured) for measured in rates.values())
    one_cpu, three_cpu = (each / (UPSERT_ROUNDS * points) * 1e6 for each in used.values())
    return [
        Row(
            f"write with 3 replicas against 1: {BATCH} × {dataset.vectors.shape[1]} a batch, `wait=true`, one connection, "
            f"through the primary ({points:,} points a round, {UPSERT_ROUNDS} rounds)",
            f"≥ {REPLICATED_FACTOR} ×",
            f"**{three / one:.2f} ×**: 3 replicas {three:,.0f} points/s ({_listed(rates[3])}), 1 replica {one:,.0f} "
            f"({_listed(rates[1])}); CPU a point, of all three nodes, without builders: {three_cpu:.0f} and {one_cpu:.0f} µs",
            three >= REPLICATED_FACTOR * one,
        )
    ]


def elsewhere(dataset: Dataset) -> list[Row]:
    """Search through the node that holds everything and through one that holds nothing, in turns."""
    vectors = dataset.vectors
    with _cluster() as cluster:
        cluster.members[0].create(vectors.shape[1], shard_number=1, replication_factor=1)
        cluster.wait_active()
        holder = cluster.primaries()[0]
        asked = {"holds all": holder, "holds nothing": next(each for each in cluster.members if each is not holder)}
        upload(holder, encoded_batches(holder, vectors))
        cluster.wait_until_indexed()
        requests = holder.search_requests(dataset.queries)
        processes = [member.processes[0] for member in cluster.members]
        assert [member.search(dataset.queries[0]) for member in cluster.members] == [
            holder.search(dataset.queries[0])
        ] * 3
        rounds: dict[str, list[Latencies]] = {name: [] for name in asked}
        used = dict.fromkeys(asked, 0.0)
        for _ in range(SEARCH_ROUNDS):
            for name, member in asked.items():
                closed_loop(member.port, requests, CONNECTIONS, WARM_SECONDS)
                before = cpu_seconds(processes)
                rounds[name].append(closed_loop(member.port, requests, CONNECTIONS, SEARCH_SECONDS))
                used[name] += cpu_seconds(processes) - before
    shown = {
        name: f"{median_rate(found):,.0f} requests/s, p50 {median_ms(found, 50):.2f} ms, p99 {median_ms(found, 99):.2f} ms, "
        f"{used[name] / sum(len(each.each) for each in found) * 1e6:,.0f} µs of CPU a request"
        for name, found in rounds.items()
    }
    factor = median_rate(rounds["holds nothing"]) / median_rate(rounds["holds all"])
    return [
        Row(
            f"search through a node that holds nothing against one that holds all ({len(vectors):,} × {vectors.shape[1]}, "
            f"one shard, {CONNECTIONS} connections, ef {EF})",
            f"≥ {ELSEWHERE_FACTOR} ×",
            f"**{factor:.2f} ×**: holds nothing {shown['holds nothing']}; holds all {shown['holds all']}",
            factor >= ELSEWHERE_FACTOR,
        )
    ]


# Doing nothing


def idle(dataset: Dataset) -> list[Row]:
    """Let nodes with shards be idle; what they use without any is that of consensus and the links."""
    shares: dict[str, list[tuple[float, float]]] = {}
    with _cluster() as cluster:
        for name, settings in IDLE_COLLECTIONS.items():
            if settings:
                cluster.members[0].create(dataset.vectors.shape[1], **settings)
                cluster.wait_active()
                upload(cluster.members[0], encoded_batches(cluster.members[0], dataset.vectors[:BATCH]))
                cluster.wait_until_indexed()
            time.sleep(SETTLE_SECONDS)
            shares[name] = _shares(cluster.members)
            if settings:
                cluster.drop()
    shown = "; ".join(
        f"{name} {', '.join(f'{loop + rest:.1%}' for loop, rest in each)} (event loop "
        f"{', '.join(f'{loop:.1%}' for loop, _ in each)})"
        for name, each in shares.items()
    )
    most = max(loop + rest for each in shares.values() for loop, rest in each)
    return [
        Row(
            f"CPU of three idle nodes with 100 shards, over {IDLE_SECONDS:.0f} s",
            f"< {IDLE_SHARE:.0%} of one core each",
            f"at most **{most:.1%}**: {shown}",
            most < IDLE_SHARE,
        )
    ]


def _shares(members: Sequence[Member]) -> list[tuple[float, float]]:
    """The share of a core that each member's event loop uses, and that all its other threads and processes use."""

    def used() -> list[tuple[float, float]]:
        return [(loop_seconds(member.processes[0]), cpu_seconds(member.processes)) for member in members]

    before = used()
    time.sleep(IDLE_SECONDS)
    return [
        ((loop - loop_before) / IDLE_SECONDS, (all_ - all_before - loop + loop_before) / IDLE_SECONDS)
        for (loop, all_), (loop_before, all_before) in zip(used(), before, strict=True)
    ]


# Coming back


def catch_up(dataset: Dataset, absence_seconds: float = ABSENCE_SECONDS) -> list[Row]:
    """Kill a node under a steady load of new points, start it again after a while, and see how all fare until it is in sync."""
    with _cluster() as cluster:
        cluster.members[0].create(dataset.vectors.shape[1], replication_factor=3, shard_number=1)
        cluster.wait_active()
        primary = cluster.primaries()[0]
        absent = next(member for member in cluster.members if member is not primary)
        ports = [member.port for member in cluster.members if member is not absent]
        every_seconds = WRITERS * WRITTEN_BATCH / WRITTEN_A_SECOND
        writers = [
            PacedWriter(number, ports, dataset.vectors, number * 10_000_000, WRITTEN_BATCH, every_seconds)
            for number in range(WRITERS)
        ]
        with writing(writers):
            time.sleep(FIRST_SECONDS)
            began = time.monotonic()
            time.sleep(BEFORE_SECONDS)
            killed = time.monotonic()
            absent.kill()
            time.sleep(absence_seconds)
            started = time.monotonic()
            absent.start()
            answered = time.monotonic()
            wait_for(lambda: _is_active(primary, absent.peer_id), "it is not in sync")
            back = time.monotonic()
        cluster.wait_active()
        counts = [member.count() for member in cluster.members]
    before, away, during = lap(writers, began, killed), lap(writers, killed, started), lap(writers, started, back)
    factor = during.milliseconds(99) / before.milliseconds(99)
    assert len(set(counts)) == 1, counts
    return [
        Row(
            f"node catches up after {absence_seconds:.0f} s of absence at {WRITTEN_A_SECOND:,} writes/s ({WRITTEN_BATCH} × "
            f"{dataset.vectors.shape[1]} a batch, one shard × 3)",
            f"< {RETURN_SECONDS:.0f} s, writers' p99 < {RETURN_FACTOR:.0f} ×",
            f"**{back - started:.1f} s** from exec until in sync, of it {answered - started:.1f} s until it answers; writers' p99 "
            f"before {before.milliseconds(99):.0f} ms ({_points_rate(before)}), while it was away {away.milliseconds(99):.0f} ms "
            f"({_points_rate(away)}), while it catches up {during.milliseconds(99):.0f} ms (**{factor:.1f} ×**, "
            f"{_points_rate(during)}); {counts[0]:,} points on each node at the end",
            back - started < RETURN_SECONDS and factor < RETURN_FACTOR,
        )
    ]


def _is_active(asked: Member, peer: int) -> bool:
    return all(state == "Active" for _, holder, state in asked.states() if holder == peer)


def _points_rate(found: Latencies) -> str:
    return f"{found.rate * WRITTEN_BATCH:,.0f} points/s"


def _listed(rates: Sequence[float]) -> str:
    return " / ".join(f"{rate:,.0f}" for rate in rates)
