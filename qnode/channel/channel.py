"""All links of a peer: one to each other peer, made again whenever it breaks.

    channel = Channel(me, with_key("…"))
    channel.on_call(TOPIC, answer)            # and on_message, on_stream, watch: before listening
    await channel.listen("0.0.0.0", 6335)
    channel.set_peer(7, "http://n7:6335")
    answer = await channel.call(7, TOPIC, b"…", timeout_seconds=1)

What holds:

1. At most one link to a peer is there at a time, at both ends the same. Watchers hear `connected`, then what it brings, then
   `disconnected`, and only then of the next one.
2. Messages of a topic arrive in order, each once, or the link breaks and both ends are told.
3. A peer in the address book is dialled until a link stands, whoever made it; one that is not may dial in, if `admits`
   says so.

**Two that dial each other at once** end with one link, without a word more than the handshake: a listener refuses a
dialer of a higher id while it has a link that itself has dialled, or is past the other's CHALLENGE in dialling; in all
other cases the new connection replaces whatever there was, for a dialer only dials when it has no link. (So of two at
once the lower id's wins; and a dial that hangs, for the way is blocked in its direction, does not keep the other away.)
A link that the refused dialer has lost and the listener has not noticed yet is found by a ping at once, or by its
silence; that of a process that is no more is known by its incarnation.

Left out: peers that reach each other only through a third.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import weakref
from collections.abc import Callable
from typing import Final

from qnode.channel.addresses import parse_uri
from qnode.channel.answering import AtOnce, CallAnswerer, MessageReader, StreamAnswerer, Topics
from qnode.channel.calling import Answered, OutgoingStream
from qnode.channel.connection import Connection, Network, Receiver
from qnode.channel.credentials import Credentials
from qnode.channel.dialling import dial
from qnode.channel.failures import Unreached
from qnode.channel.handshake import NOBODY, Answering, Dialing, HandshakeFailed, Identity, Refusal, Refused, Session
from qnode.channel.limits import Limits
from qnode.channel.link import Link
from qnode.channel.listening import Listener
from qnode.channel.tcp import Tcp
from qnode.errors import TimedOut, Unavailable

_MAX_TOPIC: Final = (1 << 16) - 1

_log = logging.getLogger(__name__)


class _Peer:
    """What is known of another peer."""

    __slots__ = ("dialling", "link", "linked", "uri")

    def __init__(self) -> None:
        self.uri: str | None = None
        self.link: Link | None = None
        self.linked = asyncio.Event()
        self.dialling: asyncio.Task[None] | None = None


class Channel:
    """The links of this peer. Lives in one event loop, and is closed in it."""

    def __init__(
        self,
        me: int,
        credentials: Credentials,
        *,
        limits: Limits | None = None,
        network: Network | None = None,
        admits: Callable[[int], bool] = lambda peer: True,
    ) -> None:
        """`admits` is asked about each peer that has proved itself and dials in."""
        assert me != NOBODY
        self.me = me
        self._identity = Identity(me, secrets.randbits(64))
        self._credentials = credentials
        self._limits = limits or Limits()
        self._network = network or Tcp()
        self._admits = admits
        self._topics = Topics()
        self._watchers: list[tuple[Callable[[int], None], Callable[[int, str], None]]] = []
        self._peers: dict[int, _Peer] = {}
        self._dialings: set[Dialing] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._is_closed = False
        self._listener = Listener(self._credentials, self._limits, self._network, self._answering, self._answered)

    # Who is told what. To be said before anything can arrive.

    def on_message(self, topic: int, reader: MessageReader) -> None:
        """Let `reader(peer, payload)` read the messages of a topic, in order."""
        assert 0 <= topic <= _MAX_TOPIC
        assert topic not in self._topics.messages
        self._topics.messages[topic] = reader

    def on_call(self, topic: int, answerer: CallAnswerer, at_once: AtOnce | None = None) -> None:
        """Let `await answerer(peer, payload)` answer the calls of a topic; before it `at_once(peer, payload)`, unless it gives None."""
        assert 0 <= topic <= _MAX_TOPIC
        assert topic not in self._topics.calls
        self._topics.calls[topic] = answerer
        if at_once is not None:
            self._topics.at_once[topic] = at_once

    def on_stream(self, topic: int, answerer: StreamAnswerer) -> None:
        """Let `await answerer(peer, header, stream)` read the streams of a topic, and give the answer to each."""
        assert 0 <= topic <= _MAX_TOPIC
        assert topic not in self._topics.streams
        self._topics.streams[topic] = answerer

    def watch(self, connected: Callable[[int], None], disconnected: Callable[[int, str], None]) -> None:
        """Tell when a link to a peer stands, and when and why it broke."""
        self._watchers.append((connected, disconnected))

    # Who is where.

    async def listen(self, host: str, port: int) -> int:
        """Let peers dial in, and give the port (for 0, the one that the system chose); raise CannotStart."""
        return await self._listener.start(host, port)

    def set_peer(self, peer: int, uri: str) -> None:
        """Keep a link to a peer, which is dialled at `uri` from now on; a link that stands stays.

        Raises BadInput for a bad URI.
        """
        assert peer not in (NOBODY, self.me)
        parse_uri(uri)
        known = self._peers.setdefault(peer, _Peer())
        if known.uri != uri:
            known.uri = uri
            self._stop_dialling(known)
            self._keep(peer, known)

    def remove_peer(self, peer: int) -> None:
        """Break the link to a peer and forget where it is. It may dial in again, if `admits` still says so."""
        if (known := self._peers.get(peer)) is None:
            return
        known.uri = None
        self._stop_dialling(known)
        if known.link is not None:
            known.link.close("the peer was removed")
        self._peers.pop(peer, None)

    async def meet(self, uri: str, timeout_seconds: float) -> int:
        """Dial whoever is at `uri` and give its id; the link stands then. Raise Unavailable, TimedOut or BadInput."""
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._dial(uri, NOBODY)
        except Refused as error:
            if error.reason is Refusal.HAS_LINK and self.is_connected(error.peer):
                return error.peer
            raise Unavailable(f"{uri}: {error}") from None
        except TimeoutError:
            raise TimedOut(f"no peer has answered at {uri} within {timeout_seconds:g} s") from None
        except (OSError, HandshakeFailed) as error:
            raise Unavailable(f"no peer could be reached at {uri}: {error}") from None

    def is_connected(self, peer: int) -> bool:
        return (known := self._peers.get(peer)) is not None and known.link is not None

    def connected_peers(self) -> list[int]:
        """Give the ids of all peers to which a link stands, in order."""
        return sorted(peer for peer, known in self._peers.items() if known.link is not None)

    async def wait_connected(self, peer: int, timeout_seconds: float) -> None:
        """Wait until a link to a peer stands; raise TimedOut."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._peers.setdefault(peer, _Peer()).linked.wait()
        except TimeoutError:
            raise TimedOut(f"there is no link to peer {peer} after {timeout_seconds:g} s") from None

    @property
    def turned_away(self) -> int:
        """How many connections to this peer did not become a link."""
        return self._listener.turned_away

    @property
    def max_message_bytes(self) -> int:
        return self._limits.max_message_bytes

    def break_link(self, peer: int, reason: str) -> None:
        """Break the link to a peer, if there is one; it is dialled again."""
        if (known := self._peers.get(peer)) is not None and known.link is not None:
            known.link.abort(reason)

    # Talking.

    def send(self, peer: int, topic: int, payload: bytes) -> bool:
        """Send a message; say whether there is a link that took it. It has arrived when a later answer says so, only.

        Raise BadRequest if it is too large.
        """
        known = self._peers.get(peer)
        return known is not None and known.link is not None and known.link.send(topic, payload)

    async def call(self, peer: int, topic: int, payload: bytes, timeout_seconds: float) -> bytes:
        """Ask a peer and give its answer.

        Raise what its answerer has raised; Unreached when it was not asked; LinkBroken or TimedOut when it may have been.
        """
        return await self._link(peer).call(topic, payload, timeout_seconds)

    def ask(
        self, peer: int, topic: int, payload: bytes, timeout_seconds: float, answered: Answered
    ) -> Callable[[], None]:
        """Ask a peer as `call` does, without a task: `answered` is told the answer, or what `call` would raise.

        Gives what withdraws it, after which nobody is told; raises Unreached when the peer is not asked.
        """
        return self._link(peer).ask(topic, payload, timeout_seconds, answered)

    def open_stream(self, peer: int, topic: int, header: bytes) -> OutgoingStream:
        """Begin to send a peer what has no bound; raise Unreached."""
        return self._link(peer).open_stream(topic, header)

    async def close(self) -> None:
        """Break all links, after what was sent has left or had its time, and accept and dial no more."""
        self._is_closed = True
        self._listener.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for known in list(self._peers.values()):
            if known.link is not None:
                known.link.close("this peer stops")
        if len(self._connections) > 0:
            connections = list(self._connections)
            waiting = [asyncio.ensure_future(connection.gone.wait()) for connection in connections]
            _, late = await asyncio.wait(waiting, timeout=self._limits.closing_timeout_seconds)
            for connection in connections:
                connection.abort_closing()
            await asyncio.gather(*late)

    def _link(self, peer: int) -> Link:
        known = self._peers.get(peer)
        if known is None or known.link is None:
            raise Unreached(f"there is no link to peer {peer}")
        return known.link

    # Dialling.

    def _keep(self, peer: int, known: _Peer) -> None:
        """Dial a peer until it has a link, if it is to be dialled at all."""
        if known.uri is not None and known.link is None and known.dialling is None and not self._is_closed:
            known.dialling = asyncio.get_running_loop().create_task(self._redial(peer, known.uri))
            self._tasks.add(known.dialling)
            known.dialling.add_done_callback(self._tasks.discard)

    def _stop_dialling(self, known: _Peer) -> None:
        if known.dialling is not None:
            known.dialling.cancel()
            known.dialling = None

    async def _redial(self, peer: int, uri: str) -> None:
        """Dial until it succeeds. May be cancelled at any time: a link that has begun stands or falls by itself."""
        pause_seconds = self._limits.redial_first_seconds
        level = logging.INFO
        while True:
            try:
                async with asyncio.timeout(self._limits.dial_timeout_seconds):
                    await self._dial(uri, peer)
                return
            except (OSError, HandshakeFailed) as error:  # of which TimeoutError is a kind
                _log.log(level, "Peer %d cannot be reached at %s: %s", peer, uri, error or "it does not answer")
                level = logging.DEBUG
            await asyncio.sleep(pause_seconds * random.uniform(0.5, 1.0))
            pause_seconds = min(2 * pause_seconds, self._limits.redial_longest_seconds)

    async def _dial(self, uri: str, expected: int) -> int:
        side = Dialing(self._identity, expected, self._credentials.key)
        self._dialings.add(side)
        try:
            await dial(uri, side, self._credentials, self._network, self._dialled)
        finally:
            self._dialings.discard(side)
        assert side.other is not None
        return side.other.peer

    # Links that begin and end.

    def _answering(self) -> Answering:
        return Answering(self._identity, self._credentials.key, self._judge)

    def _judge(self, other: Identity) -> Refusal | None:
        """Say why a peer that dials in must not have another link, if so (see the module)."""
        if not self._admits(other.peer):
            return Refusal.NOT_ADMITTED
        known = self._peers.get(other.peer)
        link = known.link if known is not None else None
        if self.me > other.peer or (link is not None and link.other != other):
            return None
        if link is not None and link.is_dialer:
            link.ping()
            return Refusal.HAS_LINK
        is_dialled = any(side.other is not None and side.other.peer == other.peer for side in self._dialings)
        return Refusal.HAS_LINK if is_dialled else None

    def _dialled(self, connection: Connection, session: Session) -> Receiver:
        return self._begin(connection, session, is_dialer=True)

    def _answered(self, connection: Connection, session: Session) -> Receiver:
        return self._begin(connection, session, is_dialer=False)

    def _begin(self, connection: Connection, session: Session, *, is_dialer: bool) -> Link:
        """Make the link of a connection, in place of the one that was there."""
        peer = session.other.peer
        known = self._peers.setdefault(peer, _Peer())
        if known.link is not None:
            known.link.abort("a new connection has taken its place")
        if is_dialer:
            known.dialling = None  # it ends by itself
        else:
            self._stop_dialling(known)
        is_sealed = self._credentials.certificates is None
        connection.decoder.begin_link(session.incoming if is_sealed else None)
        link = Link(
            connection,
            session.other,
            session.outgoing if is_sealed else None,
            is_dialer=is_dialer,
            topics=self._topics,
            limits=self._limits,
            broken=self._ended,
        )
        known.link = link
        known.linked.set()
        self._connections.add(connection)
        _log.info("There is a link to peer %d, %s", peer, "dialled here" if is_dialer else "dialled there")
        for connected, _ in self._watchers:
            connected(peer)
        return link

    def _ended(self, link: Link, reason: str) -> None:
        peer = link.other.peer
        known = self._peers[peer]
        assert known.link is link
        known.link = None
        known.linked.clear()
        _log.info("The link to peer %d is broken: %s", peer, reason)
        for _, disconnected in self._watchers:
            disconnected(peer, reason)
        self._keep(peer, known)
