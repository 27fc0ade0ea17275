"""The judge of registers' histories, compared with a search through all orders."""

from __future__ import annotations

import random
from itertools import permutations
from math import inf

from tests.support.registers import INITIAL, Event, fault_of, without_early_reads


def is_of_a_register(history: list[Event]) -> bool:
    """Try all orders; a write without an end may also be left out."""
    return any(_fits(order) for order in permutations(history))


def _fits(order: tuple[Event, ...]) -> bool:
    held = INITIAL
    for at, event in enumerate(order):
        if any(later.end < event.begin for later in order[at + 1 :]):
            return False
        if event.is_write:
            held = event.value
        elif event.value != held:
            return False
    return True


def random_history(rng: random.Random) -> list[Event]:
    values = range(1, rng.randint(2, 4))
    history = []
    for value in values:
        begin = rng.randint(0, 9)
        history.append(Event(True, value, begin, inf if rng.random() < 0.2 else begin + rng.randint(0, 5) + 0.5))
    for _ in range(rng.randint(1, 4)):
        begin = rng.randint(0, 12)
        history.append(Event(False, rng.choice([INITIAL, *values]), begin, begin + rng.randint(0, 4) + 0.5))
    return history


def test_histories_are_judged_as_by_trying_all_orders() -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    kinds = set()
    for _ in range(1000):
        history = random_history(rng)
        expected = is_of_a_register(history)
        kinds.add(expected)
        assert (fault_of(history) is None) is expected, history
    assert kinds == {True, False}


def test_stale_read_is_found() -> None:
    history = [Event(True, 1, 0, 1), Event(False, 1, 2, 3), Event(False, INITIAL, 4, 5)]
    assert fault_of(history) is not None


def test_of_reads_through_several_nodes_only_those_during_the_write_may_disagree() -> None:
    write, seen, missed = Event(True, 1, 0, 10), Event(False, 1, 2, 3), Event(False, INITIAL, 4, 5)
    assert fault_of([write, seen, missed]) is not None
    assert fault_of(without_early_reads([write, seen, missed])) is None
    assert fault_of(without_early_reads([write, seen, Event(False, INITIAL, 11, 12)])) is not None
    assert fault_of(without_early_reads([write, Event(True, 2, 11, 12), Event(False, 1, 13, 14)])) is not None
    assert fault_of(without_early_reads([Event(True, 1, 5, 10), Event(False, 1, 1, 2)])) is not None


def test_read_of_a_refused_write_is_found() -> None:
    fault = fault_of([Event(False, 7, 0, 1)])
    assert fault is not None
    assert "refused" in fault
