"""The process: started, asked through the client library, killed, started again, stopped."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from qdrant_client import QdrantClient, models

from qnode.__main__ import main
from qnode.config import load
from qnode.node import copy_settings
from tests.support.node import free_port

START_SECONDS = 60
"""Far more than a start takes, for a machine that must compile the kernels first."""


class Node:
    """A node in a process of its own."""

    def __init__(self, storage: Path, port: int, **environment: str) -> None:
        self.port = port
        command = [sys.executable, "-m", "qnode", *options(storage, port)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})

    def wait_until_it_serves(self) -> None:
        """Read the log up to the line that says that the port is about to open, then until it is."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if "serves" in line:
                break
        while self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), START_SECONDS).close()
                return
            except ConnectionRefusedError:
                continue
        raise AssertionError("the node ended")

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        self.process.communicate(timeout=START_SECONDS)
        return self.process.returncode


def options(storage: Path, port: int) -> list[str]:
    return ["--host", "127.0.0.1", "--port", str(port), "--storage", str(storage)]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "qnode", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS, check=False)


def test_a_certificate_that_cannot_be_read_ends_the_start_before_the_storage_is_touched(tmp_path: Path) -> None:
    missing = {"QNODE__SERVICE__ENABLE_TLS": "true", "QNODE__TLS__CERT": str(tmp_path / "cert.pem")}
    node = Node(tmp_path / "storage", free_port(), **missing)
    _, told = node.process.communicate(timeout=START_SECONDS)
    assert node.process.returncode == 1
    assert told.startswith("qnode: the certificate of the REST interface cannot be used")
    assert not (tmp_path / "storage").exists()


def test_what_was_acknowledged_is_there_after_a_kill(tmp_path: Path) -> None:
    port = free_port()
    node = Node(tmp_path, port)
    try:
        node.wait_until_it_serves()
        taken, locked = run(*options(tmp_path / "other", port)), run(*options(tmp_path, free_port()))
        assert (taken.returncode, locked.returncode) == (1, 1)
        assert taken.stderr.startswith(f"qnode: port {port} on 127.0.0.1 is taken by another process")
        assert locked.stderr.strip() == f"qnode: the storage folder {tmp_path} is in use by another node"

        client = QdrantClient(port=port, host="127.0.0.1", check_compatibility=False)
        client.create_collection("c", models.VectorParams(size=2, distance=models.Distance.DOT))
        points = [models.PointStruct(id=i, vector=[float(i), 1.0], payload={"i": i}) for i in range(20)]
        assert client.upsert("c", points, wait=True).status == models.UpdateStatus.COMPLETED
        client.close()
        assert node.end(signal.SIGKILL) == -signal.SIGKILL

        node = Node(tmp_path, port)
        node.wait_until_it_serves()
        client = QdrantClient(port=port, host="127.0.0.1", check_compatibility=False)
        found = client.query_points("c", query=[1.0, 0.0], limit=2, with_payload=True).points
        assert [(hit.id, hit.score, hit.payload) for hit in found] == [(19, 19.0, {"i": 19}), (18, 18.0, {"i": 18})]
        assert client.count("c").count == 20
        client.close()
        assert node.end(signal.SIGTERM) == 0
    finally:
        node.process.kill()
        node.process.communicate()


def test_a_node_stops_without_waiting_for_kernels_that_are_being_compiled(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    node = Node(tmp_path / "storage", free_port(), NUMBA_CACHE_DIR=str(cache))
    try:
        node.wait_until_it_serves()
        assert httpx.get(f"http://127.0.0.1:{node.port}/readyz", trust_env=False).status_code == 503
        assert node.end(signal.SIGINT) == 0
        assert not list(cache.rglob("shortlist.*")), "the kernels were finished first"
    finally:
        node.process.kill()
        node.process.communicate()


def test_help_and_version_are_answered_without_starting() -> None:
    shown = run("--help")
    assert (shown.returncode, "--config-path" in shown.stdout) == (0, True)
    assert run("--version").stdout.startswith("qnode ")


def test_a_node_that_cannot_start_says_why_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    for arguments, text in (
        (["--port", "0", "--storage", str(blocked / "storage")], "cannot be written"),
        (["--config-path", str(tmp_path / "none")], "there is no file"),
        (["--port", "70000"], "cannot be served"),
    ):
        assert main(arguments) == 1
        shown = capsys.readouterr().err
        assert (shown.count("\n"), text in shown) == (1, True)


def test_a_members_storage_is_not_run_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "raft" / "journal").mkdir(parents=True)
    (tmp_path / "raft" / "journal" / "data.mdb").touch()
    assert main(["--port", "0", "--storage", str(tmp_path)]) == 1
    assert "is a cluster member's: start it with its address (cluster.uri, --uri)" in capsys.readouterr().err


def test_a_node_that_strangers_could_reach_does_not_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port", "0", "--storage", str(tmp_path), "--uri", "http://n1:6335"]) == 1
    assert "set cluster.key (QDRANT__CLUSTER__KEY)" in capsys.readouterr().err


@pytest.mark.parametrize(("limit", "copies"), [("1", 1), ("5", 5), ("0", 1), ("", 1)])
def test_copies_of_shards_keep_to_the_configured_limits(tmp_path: Path, limit: str, copies: int) -> None:
    """0 is about transfers that begin by themselves; those that were asked for go one at a time."""
    environment = {
        "QNODE__STORAGE__PERFORMANCE__OUTGOING_SHARD_TRANSFERS_LIMIT": limit,
        "QNODE__CLUSTER__TRANSFER_BYTES_PER_SEC": "1000000",
    }
    settings = copy_settings(load(environment=environment, folder=tmp_path))
    assert (settings.most_outgoing, settings.bytes_per_second) == (copies, 1_000_000)
