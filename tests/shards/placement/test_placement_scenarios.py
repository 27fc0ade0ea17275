"""Each file of `scenarios/` is named after what it shows; see `scenario.py` for how to read one."""

from pathlib import Path

import pytest

from tests.shards.placement.scenario import Scenario

FILES = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_course_of_a_scenario_is_as_written(path: Path):
    given, _, expected = path.read_text().partition("\n\n")
    assert Scenario(given).course() == expected.rstrip()
