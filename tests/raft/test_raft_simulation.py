"""The short form of the simulation; `python -m tests.raft.simulation` runs it for as long as one likes."""

from pathlib import Path

from tests.raft.simulation import run


def test_nothing_is_lost_and_nobody_is_stuck_whatever_happens_to_the_peers():
    done = 0
    for seed in range(12):
        group = run(seed)
        assert not group.wrong, f"seed {seed}"
        done += len(group.outcomes.done)
    assert done > 200


def test_a_command_that_a_repeating_link_brought_twice_is_not_called_refused():
    assert not run(2127).wrong


def test_the_same_holds_on_real_files(tmp_path: Path):
    assert not run(1000, tmp_path).wrong


def test_a_seed_replays_exactly():
    assert run(7).outcomes == run(7).outcomes
