"""The streams of records from a primary to its replicas: in order, in pieces, bounded."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from qnode.errors import NotFound
from qnode.shards import outgoing, windows
from qnode.shards.outgoing import Outgoing
from qnode.shards.replication.actions import SendRecords
from qnode.shards.replication.messages import Append, decode
from qnode.shards.tail import LogReader, Tail
from qnode.shards.windows import Windows
from qnode.wal import Log, Record

RECORDS = [Record(1, op_num, b"x" * 100) for op_num in range(1, 101)]

WINDOW = Windows().of(lambda peer: None)


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
    stream = Outgoing(log, tail, wire.send, WINDOW)
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
    stream = Outgoing(log, Tail(), wire.send, WINDOW)
    stream.ask(send(2, 0, 40))
    stream.ask(send(2, 40, 40))
    assert wire.sent[-1][1].last_op == 30
    stream.answered(2, 30)
    assert [(message.prev_op, len(message.records)) for _, message in wire.sent[-2:]] == [(30, 10), (40, 0)]


def test_one_replica_that_does_not_answer_does_not_hold_up_another(log: Log) -> None:
    wire = Wire()
    stream = Outgoing(log, Tail(), wire.send, WINDOW)
    stream.ask(send(2, 0, 100))
    stream.ask(send(3, 0, 20))
    assert wire.ops(3) == list(range(1, 21))


def test_what_was_refused_makes_way_and_a_broken_link_forgets_all(log: Log) -> None:
    wire = Wire()
    stream = Outgoing(log, Tail(), wire.send, WINDOW)
    stream.ask(send(2, 0, 50))
    stream.refused(2)
    assert wire.ops(2) == list(range(1, 51))
    stream.ask(send(2, 50, 100))
    stream.forget(2)
    sent = len(wire.sent)
    stream.answered(2, 50)
    assert len(wire.sent) == sent


def test_all_shards_together_send_no_more_than_a_peer_may_have_under_way_and_all_get_on(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "PEER_WINDOW_BYTES", 5000)
    monkeypatch.setattr(windows, "SMALL_BYTES", 150)
    shared, wires, woken = Windows(), [Wire() for _ in range(4)], set[int]()
    streams = [
        Outgoing(log, Tail(), wire.send, shared.of(lambda peer, at=at: woken.add(at)))  # type: ignore[misc]
        for at, wire in enumerate(wires)
    ]
    for stream in streams[:3]:
        stream.ask(send(2, 0, 100))
    assert [len(wire.ops(2)) for wire in wires] == [30, 20, 0, 0]
    streams[0].ask(send(3, 0, 10))
    assert len(wires[0].ops(3)) == 10, "another peer has a window of its own"
    streams[3].ask(send(2, 0, 1))
    assert len(wires[3].ops(2)) == 1, "what is small does not wait"
    answered = [0] * 3
    turns: list[int] = []
    while min(answered) < 100:
        for at, stream in enumerate(streams[:3]):
            if answered[at] < len(wires[at].ops(2)):
                answered[at] += 10
                stream.answered(2, answered[at])
            while woken:
                turns.append(turn := woken.pop())
                streams[turn].woken(2)
            under_way = [100 * (len(wires[at].ops(2)) - answered[at]) for at in range(3)]
            assert sum(under_way) <= 5000
    assert all(wire.ops(2) == list(range(1, 101)) for wire in wires[:3])
    assert turns[:4] == [1, 2, 0, 1], "each in turn"


def test_a_shard_that_ends_while_it_waits_or_has_its_turn_keeps_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(windows, "PEER_WINDOW_BYTES", 5000)
    monkeypatch.setattr(windows, "SMALL_BYTES", 10)
    shared, woken = Windows(), list[int]()
    first, second, third = (shared.of(lambda peer, at=at: woken.append(at)) for at in range(3))  # type: ignore[misc]
    assert first.take(2, 9000)
    assert not second.take(2, 4000)
    assert not third.take(2, 4000)
    first.give(2, 9000)
    assert woken == [1]
    second.leave(2)
    assert woken == [1, 2]
    assert third.take(2, 4000)
    assert first.take(2, 1000)
    assert not second.take(2, 1000)
    second.leave(2)
    first.leave(2)
    third.leave(2)
    assert second.take(2, 5000)


def test_words_on_commits_do_not_pile_up_behind_a_replica_that_does_not_answer(log: Log) -> None:
    wire = Wire()
    stream = Outgoing(log, Tail(), wire.send, WINDOW)
    stream.ask(send(2, 0, 40))
    for commit_op in range(1, 1000):
        stream.ask(SendRecords(2, 1, 40, 1, 40, commit_op))
    stream.answered(2, 30)
    assert [message.commit_op for _, message in wire.sent[-2:]] == [0, 999]
    assert len(wire.sent) == 5


def test_records_that_were_dropped_are_not_found(log: Log) -> None:
    log.drop_before(50)
    stream = Outgoing(log, Tail(), Wire().send, WINDOW)
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
