"""The streams of records from a primary to its replicas: in order, in pieces, bounded."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from qnode.errors import NotFound
from qnode.shards import outgoing
from qnode.shards.outgoing import Outgoing
from qnode.shards.replication.actions import SendRecords
from qnode.shards.replication.messages import Append, decode
from qnode.shards.tail import LogReader, Tail
from qnode.wal import Log, Record

RECORDS = [Record(1, op_num, b"x" * 100) for op_num in range(1, 101)]


class Wire:
    def __init__(self) -> None:
        self.sent: list[tuple[int, Append]] = []

    def send(self, peer: int, data: bytes) -> None:
        message = decode(data)
        assert isinstance(message, Append)
        self.sent.append((peer, message))

    def ops(self, peer: int) -> list[int]:
        """What a peer was sent, each piece beginning where the one before ended."""
        ops: list[int] = []
        for to, message in self.sent:
            if to == peer:
                assert not ops or message.prev_op == ops[-1]
                ops += [record.op_num for record in message.records]
        return ops


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with Log.open(tmp_path / "log", file_bytes=2000) as log:
        for record in RECORDS:
            log.append([record])
        yield log


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "MESSAGE_BYTES", 1000)
    monkeypatch.setattr(outgoing, "WINDOW_BYTES", 3000)


def send(peer: int, prev_op: int, last_op: int) -> SendRecords:
    return SendRecords(peer, 1, prev_op, 1 if prev_op else 0, last_op, 0)


@pytest.mark.parametrize("in_memory", [range(0), range(100), range(50, 100)], ids=["log", "memory", "both"])
def test_no_more_is_under_way_than_the_window_and_the_rest_follows_the_answers(log: Log, in_memory: range) -> None:
    wire, tail = Wire(), Tail()
    tail.add([RECORDS[at] for at in in_memory], {})
    stream = Outgoing(log, tail, wire.send)
    stream.ask(send(2, 0, 60))
    stream.ask(send(2, 60, 100))
    assert wire.ops(2) == list(range(1, 31))
    stream.answered(2, 10)
    assert wire.ops(2) == list(range(1, 41))
    for answered in range(20, 101, 10):
        stream.answered(2, answered)
    assert wire.ops(2) == list(range(1, 101))
    assert all(len(message.records) <= 10 for _, message in wire.sent)


def test_a_question_waits_behind_what_was_asked_for_before(log: Log) -> None:
    wire = Wire()
    stream = Outgoing(log, Tail(), wire.send)
    stream.ask(send(2, 0, 40))
    stream.ask(send(2, 40, 40))
    assert wire.sent[-1][1].last_op == 30
    stream.answered(2, 30)
    assert [(message.prev_op, len(message.records)) for _, message in wire.sent[-2:]] == [(30, 10), (40, 0)]


def test_one_replica_that_does_not_answer_does_not_hold_up_another(log: Log) -> None:
    wire = Wire()
    stream = Outgoing(log, Tail(), wire.send)
    stream.ask(send(2, 0, 100))
    stream.ask(send(3, 0, 20))
    assert wire.ops(3) == list(range(1, 21))


def test_what_was_refused_makes_way_and_a_broken_link_forgets_all(log: Log) -> None:
    wire = Wire()
    stream = Outgoing(log, Tail(), wire.send)
    stream.ask(send(2, 0, 50))
    stream.refused(2)
    assert wire.ops(2) == list(range(1, 51))
    stream.ask(send(2, 50, 100))
    stream.forget(2)
    sent = len(wire.sent)
    stream.answered(2, 50)
    assert len(wire.sent) == sent


def test_records_that_were_dropped_are_not_found(log: Log) -> None:
    log.drop_before(50)
    stream = Outgoing(log, Tail(), Wire().send)
    with pytest.raises(NotFound):
        stream.ask(send(2, 5, 10))


def test_a_tail_keeps_the_newest_records_and_never_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qnode.shards.tail.TAIL_BYTES", 1000)
    tail = Tail()
    for record in RECORDS:
        tail.add([record], {})
    with Log.open(tmp_path / "log", next_op=1000) as log:

        def kept(op_num: int) -> bool:
            try:
                return tail.record(op_num, LogReader(log)) is RECORDS[op_num - 1]
            except NotFound:
                return False

        assert [op_num for op_num in range(1, 101) if kept(op_num)] == list(range(91, 101))
        tail.forget_up_to(92)
        tail.cut(99)
        assert [op_num for op_num in range(1, 101) if kept(op_num)] == list(range(93, 99))
