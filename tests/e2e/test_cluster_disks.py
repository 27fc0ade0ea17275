"""Disks of cluster nodes that are full or have damaged files: what others hold is served by them, and the node heals by itself."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import ClusterOfProcesses, Member
from tests.support.ledger import DIM, Ledger, everything
from tests.support.node import wait_for

UNLIMITED = resource.RLIM_INFINITY
POINTS = [{"id": i, "vector": [i, 1, 1, 1], "payload": {"n": i}} for i in range(200)]


def ignore_the_signal() -> None:
    """Without this the kernel would end the process that writes beyond the limit."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterOfProcesses]:
    with ClusterOfProcesses(tmp_path_factory.mktemp("disks"), preexec=ignore_the_signal) as running:
        yield running


@pytest.fixture
def cluster(shared: ClusterOfProcesses) -> Iterator[ClusterOfProcesses]:
    """Three nodes, all of which hold the collection `c`."""
    with shared.holding("c", DIM, replication_factor=3, shard_number=1):
        yield shared


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x10
    path.write_bytes(content)


def newest_log(member: Member) -> Path:
    """The log of `c` on a node."""
    logs = sorted(member.storage.glob("collections/*/0/wal/*.log"), key=lambda path: path.stat().st_mtime)
    return logs[-1]


@pytest.mark.parametrize(
    "is_primary", [pytest.param(True, marks=pytest.mark.soak, id="primary"), pytest.param(False, id="replica")]
)
def test_damaged_replica_is_copied_anew_when_its_node_starts(cluster: ClusterOfProcesses, is_primary: bool) -> None:
    cluster[0].ask("PUT", "/collections/c/index", {"field_name": "n", "field_schema": "integer"}, wait="true")
    cluster[0].upsert("c", POINTS)
    primary = cluster.primary_of("c")
    victim = primary if is_primary else next(member for member in cluster if member is not primary)
    victim.kill()
    flip_a_byte(newest_log(victim))
    victim.start()
    wait_for(lambda: "is damaged here" in victim.log.read_text())
    cluster.wait_ready()
    cluster.wait_active("c", 3)
    contents = [everything(member.address, "c") for member in cluster]
    assert contents[0].keys() == {point["id"] for point in POINTS}
    assert contents[1:] == contents[:1] * 2
    assert victim.info("c")["payload_schema"]["n"]["data_type"] == "integer"
    assert not list(victim.storage.glob("collections/*/0/damaged"))


@pytest.mark.parametrize(
    "is_primary", [pytest.param(True, marks=pytest.mark.soak, id="primary"), pytest.param(False, id="replica")]
)
def test_node_with_a_full_disk_loses_nothing_and_comes_back(cluster: ClusterOfProcesses, is_primary: bool) -> None:
    primary = cluster.primary_of("c")
    victim = primary if is_primary else next(member for member in cluster if member is not primary)
    others = [member.address for member in cluster if member is not victim]
    with Ledger(others, "c") as ledger:
        ledger.wait_for_more()
        resource.prlimit(victim.pid, resource.RLIMIT_FSIZE, (4096, UNLIMITED))
        if is_primary:
            wait_for(lambda: any("507" in fault for fault in ledger.faults))
        else:
            ledger.wait_for_more(100)
            wait_for(lambda: primary.replicas("c")[0][victim.peer_id] != "Active")
        resource.prlimit(victim.pid, resource.RLIMIT_FSIZE, (UNLIMITED, UNLIMITED))
        ledger.wait_for_more(50)
        ledger.stop()
        cluster.wait_active("c", 3)
        ledger.check(cluster.addresses)
