"""All local shards of a node as its peers reach them: messages, links, copies, and where logs end.

    writer threads ──send──▸ queue ──▸ event loop ──▸ channel ──▸ peer
    peer ──▸ channel ──▸ the shard that it is for

What a shard sends goes over the link that stood when it was sent, in order, or nowhere. Every shard is told of every
link; one that is added, of those that stand. A peer that asks a shard which is not here (yet) is told so, and asks
again.

Lives on the event loop that it was made on; `surroundings` is what writer threads use.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import orjson

from qnode.channel import Channel
from qnode.errors import BadRequest, InternalError
from qnode.shards.copy_receiving import IncomingCopies
from qnode.shards.copy_sending import OutgoingCopies
from qnode.shards.copying import CopyProgress, CopySettings, leftovers, remove_leftovers
from qnode.shards.local_shard import LocalShard
from qnode.shards.peer_frames import Address, Copied, Install, NotCopied, Word, decode_frame, encode_frame
from qnode.shards.replication.failover import LogEnd
from qnode.shards.replication.messages import Append, BadMessage, Reason, Refused, decode, encode
from qnode.shards.replication.view import HandOver, SetState
from qnode.shards.surroundings import Surroundings
from qnode.shards.topics import Topic
from qnode.shards.windows import ShardWindow, Windows

LOG_ENDS_TIMEOUT_SECONDS: Final = 2.0
_AROUND_A_RECORD_BYTES: Final = 4 << 10

_log = logging.getLogger(__name__)

Propose = Callable[[str, int, SetState | HandOver], None]


class Replicas:
    """The local shards, by address. `add` each that was started, `remove` it before it is closed, `close` at the end."""

    def __init__(
        self,
        channel: Channel,
        propose: Propose,
        settings: CopySettings | None = None,
        has_left: Callable[[int], bool] = lambda peer: False,
    ) -> None:
        """Take the shards' topics of a channel. `propose(folder, number, command)` is called on the loop.

        has_left: whether a peer whose link has broken had said that it goes.
        """
        self._channel = channel
        self._propose = propose
        self._has_left = has_left
        self._loop = asyncio.get_running_loop()
        self._shards: dict[Address, LocalShard] = {}
        self._links = dict.fromkeys(channel.connected_peers(), 1)  # peer → number of its link, for the links that stand
        self._made_links = 1
        self._windows = Windows()
        self._posted: deque[Callable[[], None]] = deque()
        self._is_posting = False
        self._outgoing = OutgoingCopies(channel, settings or CopySettings(), self._say_on_thread)
        self._incoming = IncomingCopies(channel.me, self._shards, self._say, self._deliver)
        self._background: set[asyncio.Task[None]] = set()
        channel.on_message(Topic.REPLICATION, self._received)
        channel.on_message(Topic.HAND_OVER, self._asked_to_hand_over)
        channel.on_call(Topic.LOG_ENDS, self._tell_log_ends)
        channel.on_call(Topic.COPY_OFFER, self._incoming.offered)
        channel.on_stream(Topic.COPY, self._incoming.arrives)
        channel.watch(self._connected, self._disconnected)

    def surroundings(self, folder: str, number: int) -> Surroundings:
        """Give a shard what its writer thread sends, proposes and asks with, before the shard is added."""
        address = (folder, number)
        return _Surroundings(self, address, self._windows.of(lambda peer: self.post(lambda: self._wake(address, peer))))

    @property
    def max_record_bytes(self) -> int:
        """An operation that is larger does not fit into a message with what stands around it."""
        return self._channel.max_message_bytes - _AROUND_A_RECORD_BYTES

    def add(self, folder: str, number: int, shard: LocalShard) -> None:
        """Let peers reach a shard, which was started. Removes what an earlier process left of its copies."""
        assert (folder, number) not in self._shards
        if folders := leftovers(shard.path):
            task = self._loop.create_task(asyncio.to_thread(remove_leftovers, folders, shard.path))
            self._background.add(task)
            task.add_done_callback(self._background.discard)
        self._shards[folder, number] = shard
        for peer in self._links:
            shard.link_changed(peer, True)

    def followed(self, folder: str, number: int) -> None:
        """Hear that a shard was told another view."""
        self._incoming.followed((folder, number))

    def remove(self, folder: str, number: int) -> None:
        """Let nobody reach a shard any more, and end its copies; harmless for one that is not there."""
        if self._shards.pop((folder, number), None) is not None:
            self._outgoing.forget((folder, number))
            self._incoming.forget((folder, number))

    async def close(self) -> None:
        """End all copies; call it before the shards are closed."""
        await self._outgoing.close()
        await self._incoming.close()
        await asyncio.gather(*self._background)

    def copies(self, folder: str, number: int) -> list[CopyProgress]:
        """Tell of the copies of a shard that are under way, from here and to here."""
        address = (folder, number)
        return [*self._outgoing.progress(address), *self._incoming.progress(address)]

    async def log_ends(
        self, peer: int, addresses: Iterable[Address], timeout_seconds: float = LOG_ENDS_TIMEOUT_SECONDS
    ) -> dict[Address, LogEnd]:
        """Ask a peer where the logs of its replicas end; one that cannot serve is left out.

        Raises Unavailable (Unreached, LinkBroken) and TimedOut as calls do. Asked of this node itself it answers at once.
        """
        asked = list(addresses)
        if peer == self._channel.me:
            return self._log_ends_here(asked)
        answer = await self._channel.call(peer, Topic.LOG_ENDS, orjson.dumps(asked), timeout_seconds)
        try:
            wanted = set(asked)
            ends = {(folder, number): LogEnd(epoch, op) for folder, number, epoch, op in orjson.loads(answer)}
            return {address: end for address, end in ends.items() if address in wanted}
        except (ValueError, TypeError) as error:
            raise InternalError(f"peer {peer} has not answered where its logs end: {error}") from None

    def hand_over(self, peer: int, address: Address, epoch: int, heirs: Sequence[int], seconds: float) -> None:
        """Ask the primary of an epoch, here or on a peer, to let the first of these be primary that can, within so long."""
        if peer != self._channel.me:
            asked = orjson.dumps([*address, epoch, list(heirs), seconds])
            self._channel.send(peer, Topic.HAND_OVER, asked)
        elif (shard := self._shards.get(address)) is not None and shard.view is not None and shard.view.epoch == epoch:
            shard.hand_over(heirs, seconds)

    def ailing(self, patience_seconds: float) -> dict[tuple[Address, int], str]:
        """Say by shard and epoch what has been wrong for so long with a primary that is here, where it could be another."""
        found = {}
        for address, shard in self._shards.items():
            if (ailment := shard.ailment(patience_seconds)) is None:
                continue
            view = shard.view
            if view is not None and view.primary == self._channel.me and len(view.active) > 1:
                found[address, view.epoch] = ailment
        return found

    # Links

    def _connected(self, peer: int) -> None:
        self._made_links += 1
        self._links[peer] = self._made_links
        for shard in self._shards.values():
            shard.link_changed(peer, True)

    def _disconnected(self, peer: int, reason: str) -> None:
        self._links.pop(peer, None)
        self._incoming.link_broke(peer)
        has_left = self._has_left(peer)
        for shard in self._shards.values():
            shard.link_changed(peer, False, has_left=has_left)
        self._outgoing.link_broke(peer)

    # What arrives

    def _received(self, peer: int, data: bytes) -> None:
        try:
            frame = decode_frame(data)
        except BadMessage as fault:
            _log.warning("peer %d sent what no shard can read: %s", peer, fault)
            return
        match frame.content:
            case bytes() as message:
                if not self._incoming.holds_back(peer, frame.address, message):
                    self._deliver(peer, frame.address, message)
            case Install() as order:
                self._incoming.order(peer, frame.address, order)
            case Copied() as word:
                if (shard := self._shards.get(frame.address)) is not None:
                    shard.copied(peer, word.op_num)
                self._outgoing.heard(peer, frame.address, word)
            case NotCopied() as word:
                self._outgoing.heard(peer, frame.address, word)

    def _deliver(self, peer: int, address: Address, message: bytes) -> None:
        if (shard := self._shards.get(address)) is not None:
            shard.received(peer, message)
            return
        with suppress(BadMessage):
            append = decode(message)
            if isinstance(append, Append):  # answers to a shard that has gone are for nobody
                refusal = Refused(append.epoch, Reason.NOT_HERE, append.prev_op, 0, 0, 0, 0)
                self._channel.send(peer, Topic.REPLICATION, encode_frame(address, encode(refusal)))

    def _asked_to_hand_over(self, peer: int, data: bytes) -> None:
        try:
            folder, number, epoch, heirs, seconds = orjson.loads(data)
            self.hand_over(
                self._channel.me, (str(folder), int(number)), int(epoch), list(map(int, heirs)), float(seconds)
            )
        except (ValueError, TypeError) as error:
            _log.warning("peer %d asks in words that nobody reads that a shard be handed over: %s", peer, error)

    async def _tell_log_ends(self, peer: int, payload: bytes) -> bytes:
        try:
            asked = [(str(folder), int(number)) for folder, number in orjson.loads(payload)]
        except (ValueError, TypeError) as error:
            raise BadRequest(f"not a list of shards: {error}") from None
        ends = self._log_ends_here(asked)
        return orjson.dumps([[*address, end.last_epoch, end.last_op] for address, end in ends.items()])

    def _log_ends_here(self, addresses: Iterable[Address]) -> dict[Address, LogEnd]:
        ends = ((address, _log_end(self._shards, address)) for address in addresses)
        return {address: end for address, end in ends if end is not None}

    # What leaves. `post` and what uses it may be called on any thread.

    def post(self, work: Callable[[], None]) -> None:
        """Have something done on the loop, in the order of the calls; many at a time wake the loop once."""
        self._posted.append(work)
        if not self._is_posting:
            self._is_posting = True
            with suppress(RuntimeError):  # the loop was closed: nobody listens any more
                self._loop.call_soon_threadsafe(self._do_posted)

    def send_on_thread(self, peer: int, address: Address, content: bytes | Word) -> None:
        """Send over the link that stands now; without one, or when it has broken before, it is dropped."""
        if (link := self._links.get(peer)) is not None:
            data = encode_frame(address, content)
            self.post(lambda: self._send(peer, link, data))

    def propose_on_thread(self, address: Address, command: SetState | HandOver) -> None:
        """Propose a change of a shard's entry."""
        self.post(lambda: self._propose(*address, command))

    def copy_on_thread(self, address: Address, peer: int) -> None:
        """Begin to copy a shard to a peer."""
        self.post(lambda: self._copy(address, peer))

    def _say_on_thread(self, peer: int, address: Address, word: Word) -> None:
        self.send_on_thread(peer, address, word)

    def _say(self, peer: int, address: Address, word: Word) -> None:
        """Send a word from the loop, behind what shards have sent so far."""
        self._do_posted()
        self._channel.send(peer, Topic.REPLICATION, encode_frame(address, word))

    def _do_posted(self) -> None:
        self._is_posting = False
        while self._posted:
            try:
                self._posted.popleft()()
            except Exception:
                _log.exception("a shard's message was lost")

    def _send(self, peer: int, link: int, data: bytes) -> None:
        if self._links.get(peer) != link:
            return
        try:
            self._channel.send(peer, Topic.REPLICATION, data)
        except BadRequest as error:  # what is left out would never be asked for again over this link
            _log.error("a shard's message to peer %d cannot be sent: %s", peer, error)
            self._channel.break_link(peer, f"a message to it was lost: {error}")

    def _wake(self, address: Address, peer: int) -> None:
        if (shard := self._shards.get(address)) is not None:
            shard.has_room(peer)

    def _copy(self, address: Address, peer: int) -> None:
        if (shard := self._shards.get(address)) is not None:
            self._outgoing.needed(address, shard, peer)


def _log_end(shards: Mapping[Address, LocalShard], address: Address) -> LogEnd | None:
    shard = shards.get(address)
    return None if shard is None else shard.log_end


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """A shard's way out, used on its writer thread."""

    replicas: Replicas
    address: Address
    window: ShardWindow

    @property
    def max_record_bytes(self) -> int:
        return self.replicas.max_record_bytes

    def send(self, peer: int, data: bytes) -> None:
        self.replicas.send_on_thread(peer, self.address, data)

    def propose(self, command: SetState | HandOver) -> None:
        self.replicas.propose_on_thread(self.address, command)

    def copy_needed(self, peer: int) -> None:
        self.replicas.copy_on_thread(self.address, peer)
