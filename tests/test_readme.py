"""What the README shows is so: its commands run as they stand there, and give what stands below them."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.cluster import ClusterOfProcesses
from tests.support.node import Node

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CLUSTER = "A cluster"
ADDRESS = "localhost:6333"
ADDRESSES = ("localhost:6333", "localhost:6343", "localhost:6353")


def blocks_of(text: str) -> list[tuple[str, str]]:
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    (found,) = re.findall(rf"^## {title}\n(.*?)(?=^## )", README, re.MULTILINE | re.DOTALL)
    return found


BLOCKS = blocks_of(README.replace(section(CLUSTER), ""))


def blocks(language: str, holding: str = "", among: Sequence[tuple[str, str]] = BLOCKS) -> list[str]:
    found = [text for marked, text in among if marked == language and holding in text]
    assert found, f"the README has no block of {language} with {holding!r}"
    return found


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with Node(tmp_path_factory.mktemp("readme")) as running:
        yield running


def output_of(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("bash") is None or shutil.which("curl") is None, reason="needs bash and curl")
def test_tour_with_curl_gives_the_answer_shown(node: Node) -> None:
    here = f"127.0.0.1:{node.port}"
    answers = [
        json.loads(output_of("bash", "-c", block.replace("curl ", "curl -sS --noproxy '*' ").replace(ADDRESS, here)))
        for block in blocks("sh", ADDRESS)
    ]
    assert [answer["status"] for answer in answers] == ["ok"] * 4
    (shown,) = map(json.loads, blocks("json"))
    for answer in (answers[-1], shown):
        del answer["time"]
        for point in answer["result"]["points"]:
            point["score"] = round(point["score"], 5)
    assert answers[-1] == shown


@pytest.mark.skipif(shutil.which("bash") is None or shutil.which("curl") is None, reason="needs bash and curl")
def test_tour_of_a_cluster_gives_the_answers_shown(tmp_path: Path) -> None:
    among = blocks_of(section(CLUSTER))
    with ClusterOfProcesses(tmp_path) as cluster:
        answers = []
        for block in blocks("sh", "curl ", among):
            command = block.replace("curl ", "curl -sS --noproxy '*' ")
            for address, member in zip(ADDRESSES, cluster, strict=True):
                command = command.replace(address, f"127.0.0.1:{member.port}")
            answers.append(json.loads(output_of("bash", "-c", command)))
    assert [answer["status"] for answer in answers] == ["ok"] * 5
    (shown,) = map(json.loads, blocks("json", "", among))
    assert answers[2]["result"] == shown["result"]
    assert len(answers[3]["result"]["peers"]) == 3
    assert {replica["state"] for replica in answers[4]["result"]["remote_shards"]} == {"Active"}


def test_tour_with_qdrant_client_prints_what_is_shown(node: Node) -> None:
    (program,) = blocks("python")
    shown = blocks("text")[0]
    assert output_of(sys.executable, "-W", "error", "-c", program.replace(ADDRESS, f"127.0.0.1:{node.port}")) == shown


def test_example_prints_what_is_shown(node: Node) -> None:
    (command,) = blocks("sh", "examples/")
    shown = blocks("text")[1]
    program = command.split()[1]
    assert shown in output_of(sys.executable, program, "--url", node.address)


def test_commit_check_runs_the_test_command() -> None:
    (command,) = blocks("sh", "pytest")
    environment, _, rest = command.strip().partition("activate && ")
    assert environment.startswith("python3 -m venv ")
    assert rest in (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("path", re.findall(r"`([\w./-]+/[\w./-]*|[A-Z]+\.md)`", README))
def test_file_that_is_named_exists(path: str) -> None:
    if path != "./storage" and not path.startswith("/"):
        assert (ROOT / path).exists()
