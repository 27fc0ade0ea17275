"""The table of what is served: `docs/api.md`."""

import re
from pathlib import Path

from tests.support.contract import OPERATIONS

TABLE = Path(__file__).parents[2] / "docs" / "api.md"


def test_the_table_says_something_of_every_operation() -> None:
    rows = re.findall(r"^\| `([A-Z]+)` \| `(.+?)` \| (.+) \|$", TABLE.read_text(), re.MULTILINE)
    assert sorted((method, path) for method, path, _ in rows) == sorted(OPERATIONS)
