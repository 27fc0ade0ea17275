"""A node that is told to recover snapshots serves them from its first answer on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.node import Node


def started(folder: Path, *arguments: str) -> Node:
    folder.mkdir()
    return Node(folder, arguments=arguments)


def saved(node: Node, path: str, target: Path) -> Path:
    name = node.ask("POST", path)["name"]
    target.write_bytes(node.call("GET", f"{path}/{name}").content)
    return target


def fill(node: Node, name: str, count: int) -> None:
    points: list[dict[str, Any]] = [{"id": i, "vector": [i, 1, 0, 0]} for i in range(count)]
    node.create(name)
    node.upsert(name, points)


def test_collections_and_whole_storages_are_recovered_at_start(tmp_path: Path) -> None:
    with started(tmp_path / "source") as source:
        fill(source, "a", 10)
        fill(source, "b", 20)
        one = saved(source, "/collections/a/snapshots", tmp_path / "one")
        whole = saved(source, "/snapshots", tmp_path / "whole")
    with started(tmp_path / "both", "--storage-snapshot", str(whole), "--snapshot", f"{one}:c") as node:
        assert {name: node.count(name) for name in "abc"} == {"a": 10, "b": 20, "c": 10}
        node.upsert("a", [{"id": 100, "vector": [1, 1, 1, 1]}])
        node.stop()
        node.arguments = ("--snapshot", f"{one}:a")
        assert node.launch().wait(60) == 1
        assert "--force-snapshot" in node.log.read_text()
        node.arguments = ("--snapshot", f"{one}:a", "--force-snapshot")
        node.start()
        assert node.count("a") == 10
        node.kill()
        node.arguments = ()
        node.start()
        assert {name: node.count(name) for name in "abc"} == {"a": 10, "b": 20, "c": 10}


@pytest.mark.parametrize("flag", ["--snapshot", "--storage-snapshot"])
def test_a_file_that_is_no_snapshot_keeps_the_node_from_starting(tmp_path: Path, flag: str) -> None:
    (tmp_path / "junk").write_bytes(b"x" * 5000)
    name = ":a" if flag == "--snapshot" else ""
    node = started(tmp_path / "node", flag, f"{tmp_path / 'junk'}{name}")
    try:
        assert node.launch().wait(60) == 1
        assert "snapshot" in node.log.read_text()
    finally:
        node.__exit__()
