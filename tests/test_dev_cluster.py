import argparse
from pathlib import Path

import pytest

from qnode import dev_cluster


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    dev_cluster.add_arguments(parser)
    return parser.parse_args(words)


def test_three_nodes_are_what_is_started_if_nothing_else_is_said() -> None:
    given = options()
    members = dev_cluster.members_of(given.nodes, given.storage, given.http_port, given.p2p_port)
    assert [member.address for member in members] == [f"http://127.0.0.1:{port}" for port in (6333, 6343, 6353)]
    assert [member.uri for member in members] == [f"http://127.0.0.1:{port}" for port in (6335, 6345, 6355)]
    assert [member.bootstrap for member in members] == [None, "http://127.0.0.1:6335", "http://127.0.0.1:6335"]
    assert len({member.storage for member in members}) == 3


def test_nodes_store_below_the_folder_that_is_named() -> None:
    (only,) = dev_cluster.members_of(1, Path("there"), 7000, 8000)
    assert only.storage.parent == Path("there")
    assert "--bootstrap" not in only.command()
    assert only.command()[-2:] == ["--uri", "http://127.0.0.1:8000"]


def test_cluster_of_no_nodes_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert dev_cluster.run(options("--nodes", "0")) == 1
    assert capsys.readouterr().err == "qnode: --nodes must be 1 at least\n"
