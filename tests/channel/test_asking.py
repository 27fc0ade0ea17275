"""Calls without a task: whose end a function is told, and that are answered where they are read."""

import asyncio

import pytest

from qnode.channel import LinkBroken, Unreached
from qnode.errors import BadInput, InternalError, QnodeError, TimedOut, Unavailable
from tests.channel.peers import ECHO, TIMEOUT_SECONDS, Peer, on_both_loops, peers

NOW, NOBODYS = 30, 31


class Ends:
    """The ends of calls, as they are told."""

    def __init__(self) -> None:
        self.told: list[bytes | QnodeError] = []
        self._changed = asyncio.Event()

    def __call__(self, end: bytes | QnodeError) -> None:
        self.told.append(end)
        self._changed.set()

    async def until(self, count: int) -> list[bytes | QnodeError]:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while len(self.told) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.told


class Slow:
    """An answerer that waits until it is cancelled."""

    def __init__(self) -> None:
        self.begun, self.cancelled = asyncio.Event(), asyncio.Event()

    async def answer(self, peer: int, payload: bytes) -> bytes:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
        return payload


def ask(of: Peer, other: Peer, topic: int, payload: bytes, ends: Ends, seconds: float = TIMEOUT_SECONDS) -> None:
    of.channel.ask(other.me, topic, payload, seconds, ends)


def test_each_who_asks_is_told_the_own_answer() -> None:
    async def claim() -> None:
        async with peers(2) as (a, b):
            sent = [b"%d" % number * (number % 50) for number in range(200)]
            told = [Ends() for _ in sent]
            for payload, ends in zip(sent, told, strict=True):
                ask(a, b, ECHO, payload, ends)
            assert [await ends.until(1) for ends in told] == [[payload] for payload in sent]

    on_both_loops(claim)


def test_what_is_answered_at_once_is_told_as_what_a_task_answers() -> None:
    async def in_a_task(peer: int, payload: bytes) -> bytes:
        await asyncio.sleep(0)
        return b"late " + payload

    def at_once(peer: int, payload: bytes) -> bytes | None:
        if payload == b"bad":
            raise BadInput("no such thing")
        if payload == b"mistake":
            raise ZeroDivisionError
        return None if payload == b"large" else b"soon " + payload

    async def claim() -> None:
        async with peers(2) as (a, b):
            b.channel.on_call(NOW, in_a_task, at_once)
            assert await a.channel.call(2, NOW, b"small", TIMEOUT_SECONDS) == b"soon small"
            assert await a.channel.call(2, NOW, b"large", TIMEOUT_SECONDS) == b"late large"
            with pytest.raises(BadInput, match="no such thing"):
                await a.channel.call(2, NOW, b"bad", TIMEOUT_SECONDS)
            with pytest.raises(InternalError, match="unexpected error"):
                await a.channel.call(2, NOW, b"mistake", TIMEOUT_SECONDS)
            assert await a.ask(b) == b"?"

    on_both_loops(claim)


def test_errors_of_the_peer_are_told() -> None:
    async def claim() -> None:
        async with peers(2) as (a, b):
            ends = Ends()
            ask(a, b, NOBODYS, b"", ends)
            (end,) = await ends.until(1)
            assert type(end) is Unavailable

    on_both_loops(claim)


def test_an_answer_that_does_not_come_in_time_is_told_and_the_peer_gives_it_up() -> None:
    async def claim() -> None:
        async with peers(2) as (a, b):
            ends, slow = Ends(), Slow()
            b.channel.on_call(NOW, slow.answer)
            ask(a, b, NOW, b"", ends, 0.05)
            (end,) = await ends.until(1)
            assert type(end) is TimedOut
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await slow.cancelled.wait()

    on_both_loops(claim)


def test_nobody_is_told_of_what_was_withdrawn_and_the_peer_gives_it_up() -> None:
    async def claim() -> None:
        async with peers(2) as (a, b):
            ends, slow = Ends(), Slow()
            b.channel.on_call(NOW, slow.answer)
            withdraw = a.channel.ask(2, NOW, b"", TIMEOUT_SECONDS, ends)
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await slow.begun.wait()
                withdraw()
                withdraw()
                await slow.cancelled.wait()
            assert await a.ask(b) == b"?"
            a.channel.break_link(2, "the end of the test")
            assert ends.told == []

    on_both_loops(claim)


def test_a_link_that_breaks_is_told_and_without_one_nothing_is_asked() -> None:
    async def claim() -> None:
        async with peers(2) as (a, b):
            ends, slow = Ends(), Slow()
            b.channel.on_call(NOW, slow.answer)
            ask(a, b, NOW, b"", ends)
            await slow.begun.wait()
            ask(a, b, NOW, b"never sent", ends)
            a.channel.remove_peer(2)
            assert list(map(type, ends.told)) == [LinkBroken, LinkBroken]
            with pytest.raises(Unreached):
                ask(a, b, NOW, b"", ends)

    on_both_loops(claim)


def test_who_fails_when_told_breaks_no_link(caplog: pytest.LogCaptureFixture) -> None:
    async def claim() -> None:
        async with peers(2) as (a, b):
            a.channel.ask(2, ECHO, b"", TIMEOUT_SECONDS, lambda end: 1 // 0)  # type: ignore[arg-type, return-value]
            assert await a.ask(b) == b"?"
            assert a.events == [("up", 2)]

    on_both_loops(claim)
    assert "could not be told" in caplog.text
