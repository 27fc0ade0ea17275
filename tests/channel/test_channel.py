"""Links between channels: made, used, broken and made again."""

import asyncio

import pytest

from qnode.channel import Unreached
from qnode.errors import NotFound, TimedOut
from tests.channel.peers import ECHO, NOTES, TIMEOUT_SECONDS, Peer, close, introduce, on_both_loops, peers


def test_peers_call_each_other_in_both_directions() -> None:
    async def claim() -> None:
        async with peers(2) as (a, b):
            assert await a.ask(b, b"x") == b"x"
            assert await b.ask(a, b"y" * 1_000_000) == b"y" * 1_000_000

    on_both_loops(claim)


def test_two_that_dial_each_other_at_once_end_with_one_link() -> None:
    async def claim() -> None:
        for _ in range(30):
            async with peers(2) as (a, b):
                for _ in range(20):
                    await asyncio.gather(a.ask(b), b.ask(a))
                assert a.channel.connected_peers() == [2]
                assert [what for what, _ in a.events] == ["up"]
                assert [what for what, _ in b.events] == ["up"]

    on_both_loops(claim)


def test_messages_arrive_in_order_whatever_their_size() -> None:
    async def claim() -> None:
        sizes = [0, 1, 65_536, 65_537, 500_000, 3, 0, 131_072, 7]
        sent = [bytes([number]) * size for number, size in enumerate(sizes * 3)]
        async with peers(2) as (a, b):
            for payload in sent:
                assert a.channel.send(2, NOTES, payload)
            await b.until(lambda: len(b.notes) == len(sent))
            assert b.notes == [(1, payload) for payload in sent]

    on_both_loops(claim)


def test_who_has_no_link_is_unreached_and_a_message_is_not_taken() -> None:
    async def claim() -> None:
        async with peers(2, linked=False) as (a, _):
            assert not a.channel.send(2, NOTES, b"")
            with pytest.raises(Unreached):
                await a.channel.call(2, ECHO, b"", 1)

    asyncio.run(claim())


def test_a_stranger_to_the_address_book_learns_who_is_there_by_meeting_it() -> None:
    async def claim() -> None:
        async with peers(2, linked=False) as (a, b):
            assert await a.channel.meet(b.uri, TIMEOUT_SECONDS) == 2
            assert await a.ask(b) == b"?"
            assert await b.ask(a) == b"?"

    on_both_loops(claim)


def test_an_error_of_the_answerer_is_raised_where_it_was_asked() -> None:
    async def claim() -> None:
        async def fail(peer: int, payload: bytes) -> bytes:
            raise NotFound("Collection `x` doesn't exist!")

        async with peers(2) as (a, b):
            b.channel.on_call(9, fail)
            with pytest.raises(NotFound, match=r"^Not found: Collection `x` doesn't exist!$"):
                await a.channel.call(2, 9, b"", TIMEOUT_SECONDS)

    asyncio.run(claim())


def test_a_peer_that_starts_again_elsewhere_is_found_again() -> None:
    async def claim() -> None:
        async with peers(2) as (a, b):
            await b.channel.close()
            await a.until(lambda: a.events == [("up", 2), ("down", 2)])
            again = await Peer(2).listen()
            a.channel.set_peer(2, again.uri)
            await a.until(lambda: a.channel.is_connected(2))
            assert await again.ask(a) == b"?"
            await again.channel.close()

    on_both_loops(claim)


def test_a_peer_that_dials_in_after_its_restart_replaces_its_old_link() -> None:
    async def claim() -> None:
        async with peers(2) as (a, b):
            again = Peer(2)  # the former process is still there, as after a pause, and dials again itself
            assert await again.channel.meet(a.uri, TIMEOUT_SECONDS) == 1
            assert a.events[-2:] == [("down", 2), ("up", 2)]
            await b.channel.close()
            assert await again.channel.meet(a.uri, TIMEOUT_SECONDS) == 1
            assert await a.channel.call(2, ECHO, b"new", TIMEOUT_SECONDS) == b"new"
            assert a.channel.is_connected(2)
            await again.channel.close()

    asyncio.run(claim())


def test_a_removed_peer_is_disconnected_and_not_dialled() -> None:
    async def claim() -> None:
        async with peers(2) as (a, b):
            b.channel.remove_peer(1)
            a.channel.remove_peer(2)
            await b.until(lambda: b.events[-1] == ("down", 1))
            assert a.events[-1] == ("down", 2)
            assert a.channel.connected_peers() == b.channel.connected_peers() == []

    asyncio.run(claim())


def test_who_is_not_admitted_gets_no_link() -> None:
    async def claim() -> None:
        a = await Peer(1, admits=lambda peer: peer != 2).listen()
        b = Peer(2)
        b.channel.set_peer(1, a.uri)
        with pytest.raises(TimedOut):
            await b.channel.wait_connected(1, 0.2)
        assert a.channel.turned_away > 0
        assert a.events == []
        await close(a, b)

    asyncio.run(claim())


def test_five_peers_are_all_linked_with_each_other() -> None:
    async def claim() -> None:
        async with peers(5) as made:
            answers = await asyncio.gather(*(a.ask(b) for a in made for b in made if a is not b))
            assert answers == [b"?"] * 20

    asyncio.run(claim())


def test_a_reader_that_fails_breaks_the_link_rather_than_losing_a_message(caplog: pytest.LogCaptureFixture) -> None:
    async def claim() -> None:
        def fail(peer: int, payload: bytes) -> None:
            raise ValueError("a mistake")

        async with peers(2) as (a, b):
            b.channel.on_message(9, fail)
            a.channel.send(2, 9, b"x")
            await a.until(lambda: ("down", 2) in a.events)
            assert "could not be read" in caplog.text

    asyncio.run(claim())


def test_closing_sends_what_was_to_be_sent() -> None:
    async def claim() -> None:
        async with peers(2) as (a, b):
            a.channel.send(2, NOTES, b"good bye")
            await a.channel.close()
            await b.until(lambda: ("down", 1) in b.events)
            assert b.notes == [(1, b"good bye")]

    on_both_loops(claim)


def test_introducing_twice_changes_nothing() -> None:
    async def claim() -> None:
        async with peers(3) as made:
            introduce(made)
            await asyncio.gather(*(a.ask(b) for a in made for b in made if a is not b))
            assert all([what for what, _ in peer.events] == ["up", "up"] for peer in made)

    asyncio.run(claim())
