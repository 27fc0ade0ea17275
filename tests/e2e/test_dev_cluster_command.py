"""`qnode dev-cluster`: nodes that live and end together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.node import ROOT, children_of, is_running, wait_for

NODES = 2
START_SECONDS = 60.0


@pytest.fixture
def http_port() -> int:
    """The first of a row of ports that are free, in steps of ten, for REST and for peers."""
    for port in range(20_000 + os.getpid() % 10_000, 60_000, 100):
        if all(is_free(port + offset + 10 * number) for offset in (0, 2) for number in range(NODES)):
            return port
    raise AssertionError("there are no free ports")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@pytest.fixture
def command(tmp_path: Path, http_port: int) -> Iterator[subprocess.Popen[str]]:
    """The command, whose nodes are ready."""
    words = ["dev-cluster", "--nodes", str(NODES), "--storage", str(tmp_path)]
    words += ["--http-port", str(http_port), "--p2p-port", str(http_port + 2)]
    with (tmp_path / "nodes.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "qnode", *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert process.stdout is not None
        assert any("nodes are ready" in line for line in process.stdout), "it ended"
        yield process
    finally:
        process.kill()
        process.communicate()
        print((tmp_path / "nodes.log").read_text())


def test_nodes_form_a_cluster_and_are_stopped_together(command: subprocess.Popen[str], http_port: int) -> None:
    nodes = children_of(command.pid)
    assert len(nodes) == NODES
    for number in range(NODES):
        shown = httpx.get(f"http://127.0.0.1:{http_port + 10 * number}/cluster", trust_env=False).json()["result"]
        assert len(shown["peers"]) == NODES
    command.send_signal(signal.SIGINT)
    assert command.wait(START_SECONDS) == 0
    assert not any(map(is_running, nodes))


def test_nodes_die_with_the_command(command: subprocess.Popen[str]) -> None:
    nodes = children_of(command.pid)
    command.kill()
    wait_for(lambda: not any(map(is_running, nodes)), 10.0)


def test_others_are_stopped_when_one_node_dies(command: subprocess.Popen[str]) -> None:
    nodes = children_of(command.pid)
    os.kill(nodes[-1], signal.SIGKILL)
    assert command.wait(START_SECONDS) == 1
    assert not any(map(is_running, nodes))
