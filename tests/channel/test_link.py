"""Calls, streams and messages that share a link, and links that break."""

import asyncio
import gc

import pytest

from qnode.channel import IncomingStream, LinkBroken, Unreached
from qnode.errors import BadInput, BadRequest, InternalError, TimedOut, Unavailable
from tests.channel.peers import ECHO, FILES, NOTES, TIMEOUT_SECONDS, Peer, close, limits, on_both_loops, peers
from tests.support.cutting_proxy import CuttingProxy, Way

SLOW = 20


class Gate:
    """A call that is answered when the test says so, and tells how it went."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def answer(self, peer: int, payload: bytes) -> bytes:
        self.entered.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return payload

    async def was(self, event: asyncio.Event) -> None:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await event.wait()


async def collect(peer: int, header: bytes, stream: IncomingStream) -> bytes:
    size = 0
    async for piece in stream:
        size += len(piece)
    return header + b"%d" % size


def test_thousands_of_calls_at_once_get_their_own_answers() -> None:
    async def claim() -> None:
        async with peers(2) as (a, b):
            sent = [b"%d" % number * (number % 50) for number in range(1000)]
            answers = await asyncio.gather(*(a.ask(b, payload) for payload in sent))
            assert answers == sent

    on_both_loops(claim)


def test_a_call_that_is_not_answered_in_time_is_cancelled_at_the_other_end() -> None:
    async def claim() -> None:
        gate = Gate()
        async with peers(2) as (a, b):
            b.channel.on_call(SLOW, gate.answer)
            with pytest.raises(TimedOut):
                await a.channel.call(2, SLOW, b"", 0.05)
            await gate.was(gate.cancelled)
            assert await a.ask(b) == b"?"

    on_both_loops(claim)


def test_a_cancelled_caller_cancels_the_answerer() -> None:
    async def claim() -> None:
        gate = Gate()
        async with peers(2) as (a, b):
            b.channel.on_call(SLOW, gate.answer)
            calling = asyncio.create_task(a.channel.call(2, SLOW, b"", TIMEOUT_SECONDS))
            await gate.was(gate.entered)
            calling.cancel()
            await gate.was(gate.cancelled)
            with pytest.raises(asyncio.CancelledError):
                await calling

    asyncio.run(claim())


def test_a_large_request_that_is_cancelled_half_sent_is_never_answered() -> None:
    async def claim() -> None:
        gate = Gate()
        async with peers(2) as (a, b):
            b.channel.on_call(SLOW, gate.answer)
            with pytest.raises(TimedOut):
                await a.channel.call(2, SLOW, bytes(60 << 20), 0.0)
            assert await a.ask(b, bytes(1 << 20)) == bytes(1 << 20)
            assert not gate.entered.is_set()

    asyncio.run(claim())


def test_a_mistake_of_the_answerer_is_an_internal_error_and_the_link_stays(caplog: pytest.LogCaptureFixture) -> None:
    async def claim() -> None:
        async def fail(peer: int, payload: bytes) -> bytes:
            raise ValueError("secret")

        async with peers(2) as (a, b):
            b.channel.on_call(SLOW, fail)
            with pytest.raises(InternalError) as raised:
                await a.channel.call(2, SLOW, b"", TIMEOUT_SECONDS)
            assert "secret" not in str(raised.value)
            assert "secret" in caplog.text
            assert await a.ask(b) == b"?"

    asyncio.run(claim())


def test_a_topic_that_nobody_serves_is_unavailable() -> None:
    async def claim() -> None:
        async with peers(2) as (a, _):
            with pytest.raises(Unavailable, match="topic 77"):
                await a.channel.call(2, 77, b"", TIMEOUT_SECONDS)
            with pytest.raises(Unavailable, match="topic 77"):
                await a.channel.open_stream(2, 77, b"").finish(TIMEOUT_SECONDS)

    asyncio.run(claim())


def test_what_is_too_large_or_too_much_is_refused_and_the_link_stays() -> None:
    async def claim() -> None:
        small = limits(max_message_bytes=1000, max_backlog_bytes=2000, max_requests=3)
        gate = Gate()
        async with peers(2, limits=small) as (a, b):
            b.channel.on_call(SLOW, gate.answer)
            with pytest.raises(BadRequest):
                await a.ask(b, bytes(1001))
            with pytest.raises(BadRequest):
                a.channel.send(2, NOTES, bytes(1001))
            calls = [a.channel.call(2, SLOW, bytes(900), TIMEOUT_SECONDS) for _ in range(3)]
            outcomes = asyncio.gather(*calls, return_exceptions=True)
            await gate.was(gate.entered)
            gate.open.set()
            kinds = [type(outcome) for outcome in await outcomes]
            assert kinds == [bytes, bytes, Unreached]
            gate.open.clear()
            waiting = [asyncio.create_task(a.channel.call(2, SLOW, b"", TIMEOUT_SECONDS)) for _ in range(3)]
            await asyncio.sleep(0)
            with pytest.raises(Unavailable, match="answers 3 calls already"):
                await a.ask(b)
            gate.open.set()
            assert await asyncio.gather(*waiting) == [b""] * 3

    asyncio.run(claim())


def test_messages_beyond_all_bounds_break_the_link_rather_than_being_left_out() -> None:
    async def claim() -> None:
        small = limits(max_message_bytes=1000, max_backlog_bytes=2000)
        async with peers(2, limits=small) as (a, b):
            taken = sum(a.channel.send(2, NOTES, bytes(1000)) for _ in range(10))
            assert taken == 3
            assert a.events[-1] == ("down", 2)
            await a.until(lambda: a.channel.is_connected(2))
            assert len(b.notes) in range(taken + 1)

    asyncio.run(claim())


def test_a_stream_arrives_whole_and_is_answered() -> None:
    async def claim() -> None:
        async with peers(2) as (a, b):
            b.channel.on_stream(FILES, collect)
            async with a.channel.open_stream(2, FILES, b"name ") as stream:
                for size in (0, 1, 3_000_000, 70_000):
                    await stream.write(bytes(size))
                assert await stream.finish(TIMEOUT_SECONDS) == b"name 3070001"

    on_both_loops(claim)


def test_a_reader_that_stands_still_holds_up_its_own_stream_alone() -> None:
    async def claim() -> None:
        reading = asyncio.Event()

        async def wait_then_collect(peer: int, header: bytes, stream: IncomingStream) -> bytes:
            if header == b"slow":
                await reading.wait()
            return await collect(peer, b"", stream)

        async with peers(2, limits=limits(stream_window_bytes=200_000)) as (a, b):
            b.channel.on_stream(FILES, wait_then_collect)
            slow, quick = (a.channel.open_stream(2, FILES, header) for header in (b"slow", b"quick"))
            await slow.write(bytes(200_000))
            stuck = asyncio.create_task(slow.write(bytes(500_000)))
            await quick.write(bytes(2_000_000))
            assert await quick.finish(TIMEOUT_SECONDS) == b"2000000"
            assert await a.ask(b, bytes(300_000)) == bytes(300_000)
            assert not stuck.done()
            reading.set()
            await stuck
            assert await slow.finish(TIMEOUT_SECONDS) == b"700000"

    on_both_loops(claim)


def test_a_small_call_overtakes_a_large_message() -> None:
    async def claim() -> None:
        async with peers(2) as (a, b):
            a.channel.send(2, NOTES, bytes(30 << 20))
            assert await a.ask(b) == b"?"
            assert b.notes == []
            await b.until(lambda: len(b.notes) == 1)

    on_both_loops(claim)


def test_a_stream_that_is_left_unfinished_cancels_its_reader() -> None:
    async def claim() -> None:
        gate = Gate()
        async with peers(2) as (a, b):
            b.channel.on_stream(FILES, lambda peer, header, stream: gate.answer(peer, header))
            async with a.channel.open_stream(2, FILES, b"") as stream:
                await stream.write(b"x")
                await gate.was(gate.entered)
            await gate.was(gate.cancelled)

    asyncio.run(claim())


def test_a_writer_is_told_why_its_reader_has_failed() -> None:
    async def claim() -> None:
        async def refuse(peer: int, header: bytes, stream: IncomingStream) -> bytes:
            raise BadInput("no room for this")

        async def write_on() -> None:
            async with a.channel.open_stream(2, FILES, b"") as stream:
                while True:
                    await stream.write(bytes(100_000))

        async with peers(2) as (a, b):
            b.channel.on_stream(FILES, refuse)
            with pytest.raises(BadInput, match="no room for this"):
                await write_on()
            gc.collect()

    asyncio.run(claim())


async def linked_through_a_proxy() -> tuple[Peer, Peer, CuttingProxy]:
    a, b = await Peer(1).listen(), Peer(2)
    proxy = CuttingProxy(("127.0.0.1", a.port))
    b.channel.set_peer(1, f"http://127.0.0.1:{proxy.port}")
    await a.until(lambda: a.events == [("up", 2)])
    await b.until(lambda: b.events == [("up", 1)])
    return a, b, proxy


@pytest.mark.parametrize("ways", [(Way.THERE,), (Way.BACK,), (Way.THERE, Way.BACK)], ids=str)
def test_both_ends_of_a_link_that_is_cut_are_told_and_it_is_made_again(ways: tuple[Way, ...]) -> None:
    async def claim() -> None:
        a, b, proxy = await linked_through_a_proxy()
        gate = Gate()
        a.channel.on_call(SLOW, gate.answer)
        with proxy:
            calling = asyncio.create_task(b.channel.call(1, SLOW, b"", TIMEOUT_SECONDS))
            await gate.was(gate.entered)
            proxy.cut(*ways)
            await a.until(lambda: ("down", 2) in a.events)
            await b.until(lambda: ("down", 1) in b.events)
            with pytest.raises(LinkBroken):
                await calling
            await gate.was(gate.cancelled)
            proxy.heal()
            await b.until(lambda: b.channel.is_connected(1))
            assert await b.ask(a) == b"?"
            await close(a, b)

    asyncio.run(claim())


def test_a_link_cut_in_the_middle_of_messages_has_delivered_a_beginning_of_them() -> None:
    async def claim() -> None:
        for cut in range(400, 3000, 137):
            a, b, proxy = await linked_through_a_proxy()
            with proxy:
                proxy.truncate_after_bytes[Way.THERE] = cut
                sent = [b"%d" % number for number in range(100)]
                for payload in sent:
                    b.channel.send(1, NOTES, payload)
                await a.until(lambda: ("down", 2) in a.events)  # noqa: B023
                read = [payload for _, payload in a.notes]
                assert read == sent[: len(read)]
                assert len(read) < len(sent)
                await close(a, b)

    asyncio.run(claim())


def test_an_idle_link_stays_and_a_delayed_one_too() -> None:
    async def claim() -> None:
        a, b, proxy = await linked_through_a_proxy()
        with proxy:
            proxy.delay_seconds = 0.1
            await asyncio.sleep(3 * 0.4)  # the passing of time is what is tested: three times the longest silence
            assert await b.ask(a) == b"?"
            assert a.events == [("up", 2)]
            await close(a, b)

    asyncio.run(claim())


def test_who_calls_when_the_link_breaks_before_the_request_left_is_unreached() -> None:
    async def claim() -> None:
        async with peers(2) as (a, b):
            calling = asyncio.create_task(a.channel.call(2, ECHO, bytes(50 << 20), TIMEOUT_SECONDS))
            await asyncio.sleep(0)
            a.channel.remove_peer(2)
            with pytest.raises((Unreached, LinkBroken)) as raised:
                await calling
            assert raised.type is Unreached
            assert b.channel.turned_away == 0

    asyncio.run(claim())
