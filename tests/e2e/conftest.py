"""Fixtures of the tests with real processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from qdrant_client import QdrantClient

from tests.support.node import Node


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with Node(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a node answers that the tests of a file share."""
    with Node(tmp_path_factory.mktemp("node")) as running:
        running.wait_until_ready()  # clients give up sooner than kernels are compiled
        yield running.address


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[QdrantClient]:
    """The client library at that node."""
    client = QdrantClient(address)
    yield client
    client.close()
