"""Random operations, faults and crashes, against a plain list of records."""

import os
import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from qnode.errors import InternalError, OutOfSpace
from qnode.wal.log import Log, Record
from tests.support.faulty_disk import FaultyDisk, PowerCut

FILE_BYTES = 2000
SEED = int(os.environ.get("QNODE_TEST_SEED", random.SystemRandom().randrange(1 << 32)))


@dataclass
class Expected:
    """What the log must hold: at least all records below `synced_op`, at most all that are here."""

    records: list[Record] = field(default_factory=list)
    first_op: int = 1  # no record below is asked for
    synced_op: int = 1
    droppable_op: int = 1
    reset_to: tuple[int, int] | None = None  # (next_op, epoch) of a reset that was under way

    @property
    def next_op(self) -> int:
        return self.records[-1].op_num + 1 if self.records else self.first_op

    def check(self, log: Log) -> None:
        """Compare with a log that was just opened, and take over what chance decided."""
        held = list(log.read(log.first_op))
        if self.reset_to is not None and (log.next_op, log.last_epoch, held) == (*self.reset_to, []):
            self.records, self.first_op = [], log.next_op
        else:
            assert log.first_op <= self.droppable_op
            assert log.next_op >= self.synced_op
            assert held == [r for r in self.records if log.first_op <= r.op_num < log.next_op]
            assert log.next_op - log.first_op == len(held)
            self.records, self.first_op = held, log.first_op
        self.synced_op, self.reset_to, self.droppable_op = log.next_op, None, log.first_op


class Run:
    """One seeded life of a log."""

    def __init__(self, directory: Path, chance: random.Random) -> None:
        directory.mkdir()
        self.directory, self.chance = directory, chance
        self.disk = FaultyDisk(directory, chance)
        self.expected = Expected()
        self.epoch = 0
        self.log = Log.open(directory, self.disk, file_bytes=FILE_BYTES)

    def step(self) -> None:
        action = self.chance.choices(
            [self.append, self.sync, self.truncate, self.drop, self.reset, self.read, self.reopen],
            [30, 15, 3, 4, 1, 5, 1],
        )[0]
        self.disk.short_writes = self.chance.random() < 0.2
        if self.chance.random() < 0.08:
            self.disk.free_bytes = self.chance.randint(0, 600)
        if self.chance.random() < 0.02:
            self.disk.fail_next_syncs = 1
        if self.chance.random() < 0.02:
            self.disk.fail_next_writes = 1
        if self.chance.random() < 0.1:
            self.disk.calls_before_power_cut = self.chance.randint(0, 12)
        try:
            action()
        except OutOfSpace:
            self.disk.free_bytes = None
        except InternalError:
            if self.chance.random() < 0.5:
                self.disk.kill()
            else:
                self.disk.crash()
            self.open()
        except PowerCut:
            self.disk.crash()
            self.open()
        self.disk.calls_before_power_cut, self.disk.fail_next_syncs, self.disk.fail_next_writes = None, 0, 0
        if self.chance.random() < 0.05:
            self.disk.crash()
            self.open()

    def open(self) -> None:
        """Open after a crash; the power may go again while opening."""
        while True:
            if self.chance.random() < 0.1:
                self.disk.calls_before_power_cut = self.chance.randint(0, 6)
            try:
                self.log = Log.open(self.directory, self.disk, file_bytes=FILE_BYTES)
                break
            except PowerCut:
                self.disk.crash()
        self.disk.calls_before_power_cut = None
        self.expected.check(self.log)

    def append(self) -> None:
        self.epoch += self.chance.random() < 0.2
        op_num = self.log.next_op
        self.epoch = max(self.epoch, self.log.last_epoch)
        size = self.chance.choice([0, 10, 100, 700, 5000])
        group = [
            Record(self.epoch, op_num + i, self.chance.randbytes(self.chance.randint(0, size)))
            for i in range(self.chance.randint(1, 5))
        ]
        before = list(self.expected.records)
        self.expected.records = before + group
        try:
            self.log.append(group)
        except OutOfSpace:
            self.expected.records = before  # refused, and must never come back
            raise

    def sync(self) -> None:
        self.log.sync()
        self.expected.synced_op = self.log.next_op

    def truncate(self) -> None:
        op_num = self.chance.randint(max(self.log.first_op, self.log.next_op - 8), self.log.next_op)
        self.expected.synced_op = min(self.expected.synced_op, op_num)
        self.log.truncate_from(op_num)
        self.expected.records = [r for r in self.expected.records if r.op_num < op_num]
        self.expected.synced_op = op_num

    def drop(self) -> None:
        op_num = self.chance.randint(self.log.first_op, self.log.next_op)
        self.expected.droppable_op = op_num
        self.log.drop_before(op_num)
        assert self.log.first_op <= op_num or op_num == self.log.first_op
        self.expected.first_op = self.log.first_op
        self.expected.records = [r for r in self.expected.records if r.op_num >= self.log.first_op]

    def reset(self) -> None:
        self.epoch += 1
        self.expected.reset_to = (self.chance.randint(1, self.log.next_op + 50), self.epoch)
        try:
            self.log.reset(*self.expected.reset_to)
        except OutOfSpace:
            self.expected.reset_to = None
            raise
        self.expected = Expected([], *[self.log.next_op] * 3)

    def read(self) -> None:
        op_num = self.chance.randint(self.log.first_op, self.log.next_op)
        reader = self.log if self.chance.random() < 0.5 else Log.open(self.directory, read_only=True)
        assert list(reader.read(op_num)) == [r for r in self.expected.records if r.op_num >= op_num]
        assert (reader.first_op, reader.next_op) == (self.log.first_op, self.log.next_op)
        assert reader.last_epoch == self.log.last_epoch

    def reopen(self) -> None:
        self.log.close()
        self.expected.synced_op = self.expected.next_op
        self.disk.crash()
        self.open()


def live(directory: Path, seed: int, steps: int) -> None:
    run = Run(directory, random.Random(seed))
    for _ in range(steps):
        run.step()
    run.reopen()


@pytest.mark.parametrize("life", range(25))
def test_log_keeps_what_was_synced_and_gives_back_nothing_else(tmp_path: Path, life: int) -> None:
    print(f"QNODE_TEST_SEED={SEED}")
    live(tmp_path / "wal", SEED + life, 200)


@pytest.mark.soak
def test_log_keeps_what_was_synced_for_thousands_of_lives(tmp_path: Path) -> None:
    for life in range(2000):
        print(f"QNODE_TEST_SEED={SEED + life}")
        live(tmp_path / str(life), SEED + life, 300)
