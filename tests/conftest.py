"""How tests are spread over workers (pytest-xdist): a file stays whole, and all files that start nodes stay with one worker.

Nodes are processes of their own, which want a core themselves, and take ports that were free a moment ago.
"""

from types import ModuleType

import pytest

NODES = ("tests.support.node", "tests.support.cluster")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        assert isinstance(item, pytest.Function)
        group = "nodes" if starts_nodes(item.module) else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))


def starts_nodes(module: ModuleType) -> bool:
    """Tell whether a module of tests has something of what starts nodes."""
    return any(getattr(value, "__module__", None) in NODES for value in vars(module).values())
