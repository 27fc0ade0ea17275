"""Fixtures of the tests with real processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.node import Node


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with Node(tmp_path) as running:
        yield running
