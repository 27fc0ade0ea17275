"""Links inside TLS. The certificates here are for these tests alone, and their keys are no secrets."""

import asyncio
import ssl
from pathlib import Path

import pytest

from qnode.channel import Certificates, Credentials, with_certificates, with_key
from qnode.errors import CannotStart, TimedOut
from tests.channel.peers import FILES, KEY, TIMEOUT_SECONDS, Peer, close, limits, on_both_loops, peers
from tests.channel.test_link import collect

FOLDER = Path(__file__).parent / "certificates"


def certified(owner: str = "cluster", authority: str = "cluster", key: str | None = None) -> Credentials:
    files = (FOLDER / f"{authority}-authority.pem", FOLDER / f"{owner}-peer.pem", FOLDER / f"{owner}-peer.key")
    return with_certificates(Certificates(*files), key)


def test_peers_of_one_authority_are_linked_inside_tls() -> None:
    async def claim() -> None:
        async with peers(3, credentials=certified()) as (a, b, c):
            b.channel.on_stream(FILES, collect)
            assert await a.ask(b, bytes(1_000_000)) == bytes(1_000_000)
            assert await c.ask(a) == b"?"
            async with a.channel.open_stream(2, FILES, b"") as stream:
                await stream.write(bytes(5_000_000))
                assert await stream.finish(TIMEOUT_SECONDS) == b"5000000"

    on_both_loops(claim)


@pytest.mark.parametrize(
    "other",
    [
        lambda: certified("stranger"),
        lambda: certified("stranger", "stranger"),
        lambda: certified("cluster", "stranger"),
        lambda: certified(key="another key, just as long"),
        lambda: with_key(KEY),
    ],
    ids=["another authority's", "another cluster's", "trusts another authority", "another key", "no certificate"],
)
def test_who_shows_no_certificate_of_the_authority_or_another_key_gets_no_link(other: object) -> None:
    async def claim() -> None:
        assert callable(other)
        a, b = await Peer(1, certified(key=KEY)).listen(), await Peer(2, other()).listen()
        a.channel.set_peer(2, b.uri)
        b.channel.set_peer(1, a.uri)
        for peer, unreached in ((a, 2), (b, 1)):
            with pytest.raises(TimedOut):
                await peer.channel.wait_connected(unreached, 0.3)
        assert a.events == b.events == []
        await close(a, b)

    on_both_loops(claim)


def test_a_dialer_checks_the_name_in_the_certificate() -> None:
    async def claim() -> None:
        a, b = await Peer(1, certified()).listen(), Peer(2, certified())
        b.channel.set_peer(1, f"http://127.0.0.2:{a.port}")
        with pytest.raises(TimedOut):
            await b.channel.wait_connected(1, 0.2)
        assert b.events == []
        await close(a, b)

    asyncio.run(claim())


def test_who_says_nothing_inside_tls_or_before_it_is_closed() -> None:
    async def claim() -> None:
        context = ssl.create_default_context(cafile=FOLDER / "cluster-authority.pem")
        context.load_cert_chain(FOLDER / "cluster-peer.pem", FOLDER / "cluster-peer.key")
        async with peers(1, credentials=certified(), limits=limits(handshake_timeout_seconds=0.2)) as (a,):
            for inside in (None, context):
                reader, writer = await asyncio.open_connection("127.0.0.1", a.port, ssl=inside)
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    assert await reader.read() == b""
                writer.close()

    asyncio.run(claim())


def test_a_file_that_is_no_certificate_stops_the_start() -> None:
    with pytest.raises(CannotStart, match=r"test_certificates\.py"):
        Certificates(Path(__file__), FOLDER / "cluster-peer.pem", FOLDER / "cluster-peer.key")
    with pytest.raises(CannotStart, match="cannot be used"):
        Certificates(FOLDER / "cluster-authority.pem", FOLDER / "cluster-peer.pem", FOLDER / "stranger-peer.key")
