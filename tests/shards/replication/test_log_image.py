"""The image of a log against plain lists, with stores that are reported late."""

import os
import random

import pytest

from qnode.shards.replication.actions import Store
from qnode.shards.replication.log_image import LogImage
from qnode.wal import Record

SEED = int(os.environ.get("QNODE_TEST_SEED", random.SystemRandom().randrange(1 << 32)))


def records(first_op: int, *epochs: int) -> list[Record]:
    return [Record(epoch, op_num, b"") for op_num, epoch in enumerate(epochs, first_op)]


def test_an_opened_log_is_durable_and_knows_its_epochs() -> None:
    image = LogImage.of(5, 2, records(5, 2, 3, 3))
    assert (image.first_op, image.last_op, image.appended_op, image.synced_op, image.last_epoch) == (5, 7, 7, 7, 3)
    assert [image.epoch_at(op_num) for op_num in range(3, 9)] == [None, 2, 2, 3, 3, None]


def test_the_epoch_in_front_of_a_log_is_unknown_unless_it_was_told_or_nothing_is_there() -> None:
    assert LogImage.of(5, 0, []).epoch_at(4) is None
    assert LogImage.of(5, 3, []).epoch_at(4) == 3
    assert LogImage.of(1, 0, []).epoch_at(0) == 0


def test_a_refused_store_takes_those_behind_it_along() -> None:
    image = LogImage.of(1, 0, records(1, 1, 1))
    tickets = [image.store(records(op_num, 1)).ticket for op_num in (3, 4, 5)]
    image.appended(tickets[0])
    image.refused(tickets[1])
    assert (image.last_op, image.appended_op, image.synced_op) == (3, 3, 2)
    assert image.store(records(4, 2)) == Store(tickets[2] + 1, None, tuple(records(4, 2)))


def test_a_refused_store_leaves_cut_off_what_it_cut_off() -> None:
    image = LogImage.of(1, 0, records(1, 1, 1, 1))
    image.refused(image.store(records(2, 2, 2)).ticket)
    assert (image.last_op, image.synced_op, image.last_epoch) == (1, 1, 1)


@pytest.mark.parametrize("life", range(20))
def test_the_image_agrees_with_a_list_of_epochs(life: int) -> None:
    print(f"QNODE_TEST_SEED={SEED}")
    chance = random.Random(SEED + life)
    image, epochs, first_op = LogImage(1, 0), [0], 1  # epochs[op_num]
    disk: list[tuple[int, int]] = [(0, 0)]  # what the file holds, written late
    waiting: list[Store] = []
    durable = 0
    for _ in range(300):
        kind = chance.random()
        if kind < 0.5:
            lowest = min(image.last_op + 1, max(first_op, durable - 3))
            at = chance.randint(lowest, image.last_op + 1) if kind < 0.15 else image.last_op + 1
            epoch = max(epochs[-1], 1) + (chance.random() < 0.3)
            new = records(at, *[epoch] * chance.randint(1, 4))
            waiting.append(image.store(new))
            del epochs[at:]
            epochs += [epoch] * len(new)
        elif kind < 0.8 and waiting:
            count = chance.randint(1, len(waiting))
            for store in waiting[:count]:
                del disk[store.records[0].op_num :]
                disk += [(record.epoch, record.op_num) for record in store.records]
            image.synced(waiting[count - 1].ticket)
            del waiting[:count]
        elif kind < 0.85 and image.synced_op >= first_op:
            first_op = chance.randint(first_op, image.synced_op + 1)
            image.drop_before(first_op)
        durable = image.synced_op
        assert image.last_op == len(epochs) - 1
        assert [image.epoch_at(at) for at in range(first_op - 1, len(epochs))] == epochs[first_op - 1 :]
        # what it takes for durable is in the file, and is what it says
        assert disk[first_op : durable + 1] == [(epochs[at], at) for at in range(first_op, durable + 1)]
        epoch, at = chance.randint(0, epochs[-1]), chance.randint(first_op, len(epochs))
        found = image.latest_of(epoch, at)
        assert found < first_op or epochs[found] <= epoch
        assert all(epochs[other] > epoch for other in range(max(found + 1, first_op), min(at + 1, len(epochs))))
