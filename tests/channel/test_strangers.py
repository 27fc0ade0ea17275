"""What the peer port does to who has no key: nothing but close."""

import asyncio
import random

import pytest

from qnode.channel import Channel, loopback_only, with_key
from qnode.channel.frames import Kind, encode
from qnode.channel.handshake import Dialing, Identity
from qnode.errors import CannotStart, TimedOut
from tests.channel.peers import KEY, TIMEOUT_SECONDS, Peer, close, limits, peers
from tests.support.cutting_proxy import CuttingProxy, Way

HELLO = encode(Kind.HELLO, payload=Dialing(Identity(9, 9), 1, KEY.encode()).hello, seal=None)


async def answer_to(port: int, data: bytes) -> bytes:
    """Send bytes and give all that comes back until the port closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def test_bytes_of_any_content_are_closed_without_a_word() -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    junk = [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bytes(5000), b"\x16\x03\x01" + bytes(600), b"\xff" * 64]
    junk += [chance.randbytes(chance.choice([16, 100, 70_000])) for _ in range(40)]
    junk += [HELLO[:4] + b"\x11" + HELLO[5:], HELLO[:16] + b"x" + HELLO[17:]]

    async def claim() -> None:
        async with peers(2) as (a, b):
            for data in junk:
                assert await answer_to(a.port, data) == b""
            assert a.channel.turned_away == len(junk)
            assert await b.ask(a) == b"?"
            assert a.events == [("up", 2)]

    asyncio.run(claim())


def test_a_hello_alone_gets_a_challenge_and_then_nothing() -> None:
    async def claim() -> None:
        async with peers(1) as (a,):
            answer = await answer_to(a.port, HELLO + encode(Kind.PROOF, payload=bytes(32), seal=None))
            assert answer[4] == Kind.CHALLENGE
            assert len(answer) < 100
            answer = await answer_to(a.port, HELLO + encode(Kind.MESSAGE, payload=b"let me in", seal=None))
            assert len(answer) < 100
            assert a.notes == a.events == []

    asyncio.run(claim())


@pytest.mark.parametrize("said", [b"", HELLO[:1], HELLO[:-1], HELLO], ids=["nothing", "a byte", "nearly all", "all"])
def test_who_is_slow_is_closed_when_its_time_is_up(said: bytes) -> None:
    async def claim() -> None:
        async with peers(1, limits=limits(handshake_timeout_seconds=0.1)) as (a,):
            assert len(await answer_to(a.port, said)) < 100
            assert a.channel.turned_away == 1

    asyncio.run(claim())


def test_many_that_say_nothing_do_not_keep_a_peer_out() -> None:
    async def claim() -> None:
        async with peers(2, linked=False, limits=limits(max_strangers=8)) as (a, b):
            silent = [await asyncio.open_connection("127.0.0.1", a.port) for _ in range(30)]
            assert await b.channel.meet(a.uri, TIMEOUT_SECONDS) == 1
            assert a.channel.turned_away >= 22
            for _, writer in silent:
                writer.close()

    asyncio.run(claim())


def test_a_peer_with_another_key_gets_no_link_on_either_side() -> None:
    async def claim() -> None:
        a = await Peer(1).listen()
        b = await Peer(2, with_key("another key, just as long")).listen()
        a.channel.set_peer(2, b.uri)
        b.channel.set_peer(1, a.uri)
        with pytest.raises(TimedOut):
            await a.channel.wait_connected(2, 0.3)
        assert a.events == b.events == []
        await close(a, b)

    asyncio.run(claim())


def test_a_handshake_cut_at_any_byte_leaves_nothing_behind() -> None:
    async def claim() -> None:
        async with peers(2, linked=False) as (a, b):
            with CuttingProxy(("127.0.0.1", a.port)) as proxy:
                for way, longest in ((Way.THERE, len(HELLO) + 48), (Way.BACK, 65 + 48)):
                    for cut in range(0, longest, 3):
                        proxy.truncate_after_bytes = {Way.THERE: None, Way.BACK: None, way: cut}
                        b.channel.set_peer(1, f"http://127.0.0.1:{proxy.port}")
                        await asyncio.to_thread(proxy.wait_connections, proxy.connections + 1, TIMEOUT_SECONDS)
                        b.channel.remove_peer(1)
                proxy.truncate_after_bytes = {Way.THERE: None, Way.BACK: None}
                assert await b.channel.meet(f"http://127.0.0.1:{proxy.port}", TIMEOUT_SECONDS) == 1
                assert await b.ask(a) == b"?"

    asyncio.run(claim())


def test_without_a_key_only_loopback_is_spoken_on() -> None:
    async def claim() -> None:
        open_to_all = Channel(1, loopback_only())
        with pytest.raises(CannotStart, match=r"cluster\.key"):
            await open_to_all.listen("0.0.0.0", 0)
        await open_to_all.close()
        async with peers(2, credentials=loopback_only()) as (a, b):
            assert await a.ask(b) == b"?"

    asyncio.run(claim())


def test_a_key_that_is_too_short_is_none() -> None:
    with pytest.raises(CannotStart, match="at least 16"):
        with_key("short")
