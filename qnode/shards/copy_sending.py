"""The primary's end of copies: one task for each replica that waits for one, as long as the protocol says that it does.

    keep a state of the index, and the log behind it  →  write it beside the shard  →  send  →  order it into its place
    →  keep the log until the replica is in sync

A broken link is waited for, without a place among those that copy, and sending goes on where it stopped; any other failure begins anew after a pause.
Whether a copy is still wanted is asked on the writer thread, and the order to put it in place is sent from there:
what the shard sends afterwards comes behind it.

Lives on the event loop; files are made and read in threads.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic

from qnode.channel import Channel, LinkBroken, OutgoingStream, Unreached
from qnode.errors import QnodeError, TimedOut, Unavailable
from qnode.index.copying import Held, files_of_copy, hold
from qnode.shards.copying import (
    PIECE_BYTES,
    CopyProgress,
    CopySettings,
    Offer,
    Stage,
    Throttle,
    discard,
    encode_offer,
    encode_opening,
    outgoing_folder,
    to_its_end,
)
from qnode.shards.local_shard import LocalShard
from qnode.shards.peer_frames import COPY_ID_BYTES, Address, Copied, CopyId, Install, NotCopied, Word
from qnode.shards.replication.view import CATCHING_UP
from qnode.shards.topics import Topic

FOLLOW_STEP_SECONDS = 0.25

_log = logging.getLogger(__name__)


class _NotWanted(Exception):
    """The replica does not wait for this copy any more."""


class OutgoingCopy:
    """The copies of a shard to one peer, one after the other until one has arrived."""

    def __init__(self, address: Address, shard: LocalShard, peer: int) -> None:
        self.address = address
        self.shard = shard
        self.peer = peer
        self.is_asked_for = True
        self.stage: Stage | None = None  # None: it waits for its turn
        self.began_at = monotonic()
        self.sent_bytes = 0
        self.offer: Offer | None = None
        self.applied_op = self.applied_epoch = self.epoch = 0
        self.id: CopyId = b""
        self.answer: asyncio.Future[Word] | None = None
        self.has_place = False

    @property
    def folder(self) -> Path:
        return outgoing_folder(self.shard.path, self.id)

    def begin(self) -> None:
        """Begin with a new copy."""
        self.id = secrets.token_bytes(COPY_ID_BYTES)
        self.stage, self.began_at, self.sent_bytes, self.offer = Stage.CREATING, monotonic(), 0, None

    def hold(self) -> Held:
        """Keep the index and the log as they are now; on the writer thread."""
        epoch = self.shard.copying_epoch(self.peer)
        if epoch is None:
            raise _NotWanted
        held = hold(self.shard.index)
        self.applied_op, self.applied_epoch, self.epoch = held.applied_op, self.shard.applied_epoch(), epoch
        self.shard.keep_log_from(self.peer, held.applied_op + 1)
        return held

    def is_wanted(self) -> bool:
        """Whether the replica waits for a copy of this primary; on the writer thread."""
        return self.shard.copying_epoch(self.peer) is not None

    def is_of_now(self) -> bool:
        """Whether the replica still waits for this very copy; on the writer thread."""
        return self.shard.copying_epoch(self.peer) == self.epoch


class OutgoingCopies:
    """The copies that leave this node: so many at a time as the settings say."""

    def __init__(
        self, channel: Channel, settings: CopySettings, say_on_thread: Callable[[int, Address, Word], None]
    ) -> None:
        """say_on_thread: send a word to a peer from a writer thread, in order with what the shard sends from there."""
        self._channel = channel
        self._settings = settings
        self._say_on_thread = say_on_thread
        self._throttle = Throttle(settings.bytes_per_second)
        self._places = asyncio.Semaphore(settings.most_outgoing)
        self._copies: dict[tuple[Address, int], tuple[OutgoingCopy, asyncio.Task[None]]] = {}

    def needed(self, address: Address, shard: LocalShard, peer: int) -> None:
        """Copy a shard to a peer that waits for it; harmless if that is under way."""
        if (known := self._copies.get((address, peer))) is not None:
            known[0].is_asked_for = True
            return
        copy = OutgoingCopy(address, shard, peer)
        task = asyncio.get_running_loop().create_task(self._serve(copy), name=f"copy {address} to {peer}")
        self._copies[address, peer] = (copy, task)

    def heard(self, peer: int, address: Address, word: Copied | NotCopied) -> None:
        """Hear what became of the order to put a copy in its place."""
        known = self._copies.get((address, peer))
        if known is not None and word.copy == known[0].id:
            _settle(known[0].answer, word)

    def link_broke(self, peer: int) -> None:
        """Ask again what became of what was ordered over a link that is no more."""
        for (_, receiver), (copy, _) in self._copies.items():
            if receiver == peer and copy.answer is not None and not copy.answer.done():
                copy.answer.set_exception(LinkBroken("the link broke before the copy was in its place"))

    def progress(self, address: Address) -> list[CopyProgress]:
        """Tell of the copies of a shard that are under way."""
        found = []
        for (other, peer), (copy, _) in self._copies.items():
            if other == address and copy.stage is not None:
                total_bytes = 0 if copy.offer is None else copy.offer.total_bytes
                seconds = monotonic() - copy.began_at
                found.append(CopyProgress(address, peer, copy.stage, copy.sent_bytes, total_bytes, seconds))
        return found

    def forget(self, address: Address) -> None:
        """End the copies of a shard that goes."""
        for (other, _), (_, task) in list(self._copies.items()):
            if other == address:
                task.cancel()

    async def close(self) -> None:
        """End all copies, and remove what was made for them."""
        tasks = [task for _, task in self._copies.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, copy: OutgoingCopy) -> None:
        """Copy as long as the replica waits for it. What is made is removed also when this is cancelled."""
        pause_seconds = self._settings.retry_seconds
        try:
            while True:
                copy.is_asked_for = False
                try:
                    if await copy.shard.run(copy.is_wanted):
                        await self._bring(copy)
                    elif not copy.is_asked_for:
                        return
                    pause_seconds = self._settings.retry_seconds
                except _NotWanted:
                    continue
                except QnodeError as error:
                    if copy.shard.fault is not None:
                        return  # a shard that is broken is no primary for long
                    _log.warning("a copy of %s to peer %d failed: %s", copy.shard.path, copy.peer, error)
                    copy.stage = None
                    await asyncio.sleep(pause_seconds)
                    pause_seconds = min(2 * pause_seconds, self._settings.longest_retry_seconds)
        except Exception:
            _log.exception("the copying of %s to peer %d has ended unexpectedly", copy.shard.path, copy.peer)
        finally:
            del self._copies[copy.address, copy.peer]

    async def _bring(self, copy: OutgoingCopy) -> None:
        """Make a copy, send it, have it put in its place, and wait until the replica is in sync."""
        try:
            await self._places.acquire()
            copy.has_place = True
            copy.begin()
            try:
                await to_its_end(self._make(copy))
                await self._send(copy)
                await self._put_in_place(copy)
            finally:
                self._leave_place(copy)
                await to_its_end(asyncio.to_thread(discard, copy.folder))
            await self._follow(copy)
        finally:
            copy.stage = None
            with suppress(QnodeError):  # a shard that is closed keeps nothing
                await copy.shard.run(lambda: copy.shard.keep_log_from(copy.peer, None))

    def _leave_place(self, copy: OutgoingCopy) -> None:
        if copy.has_place:
            copy.has_place = False
            self._places.release()

    async def _make(self, copy: OutgoingCopy) -> None:
        held: Held = await copy.shard.run(copy.hold)
        try:
            await asyncio.to_thread(held.write, copy.folder)
        finally:
            held.close()
        files = await asyncio.to_thread(files_of_copy, copy.folder)
        copy.offer = Offer(copy.address, copy.id, copy.epoch, tuple(files))

    async def _send(self, copy: OutgoingCopy) -> None:
        """Have all of a copy at the peer, over as many links as it takes."""
        copy.stage = Stage.TRANSFERRING
        assert copy.offer is not None
        patience_ends_at = monotonic() + self._settings.call_timeout_seconds
        while copy.sent_bytes < copy.offer.total_bytes:
            try:
                answer = await self._channel.call(
                    copy.peer, Topic.COPY_OFFER, encode_offer(copy.offer), self._settings.call_timeout_seconds
                )
                copy.sent_bytes = int(answer)
                if copy.sent_bytes < copy.offer.total_bytes:
                    await self._stream(copy, copy.offer)
            except (Unreached, LinkBroken):
                copy.sent_bytes = 0  # how much has arrived the peer will tell
                await self._link_again(copy)
            except Unavailable:
                if monotonic() >= patience_ends_at:
                    raise
                await asyncio.sleep(self._settings.retry_seconds)  # its topology may be a little behind
                await self._link_again(copy)

    async def _stream(self, copy: OutgoingCopy, offer: Offer) -> None:
        opening = encode_opening(copy.address, copy.id, copy.sent_bytes)
        async with self._channel.open_stream(copy.peer, Topic.COPY, opening) as stream:
            skipped_bytes = copy.sent_bytes
            for file in offer.files:
                if skipped_bytes < file.size_bytes:
                    await self._stream_file(copy, stream, copy.folder / file.path, skipped_bytes)
                skipped_bytes = max(0, skipped_bytes - file.size_bytes)
            await stream.finish(self._settings.stall_timeout_seconds)

    async def _stream_file(self, copy: OutgoingCopy, stream: OutgoingStream, path: Path, begin: int) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while piece := await to_its_end(asyncio.to_thread(os.pread, descriptor, PIECE_BYTES, begin)):
                await self._throttle.take(len(piece))
                try:
                    async with asyncio.timeout(self._settings.stall_timeout_seconds):
                        await stream.write(piece)
                except TimeoutError:
                    raise TimedOut(f"peer {copy.peer} takes no more of a copy") from None
                begin += len(piece)
                copy.sent_bytes += len(piece)
        finally:
            os.close(descriptor)

    async def _put_in_place(self, copy: OutgoingCopy) -> None:
        """Order the copy into its place, until the peer says that it is, or that the copy is lost."""
        copy.stage = Stage.RECOVERING
        pause_seconds = self._settings.retry_seconds
        while True:
            copy.answer = asyncio.get_running_loop().create_future()
            if not await copy.shard.run(lambda: self._order(copy)):
                raise _NotWanted
            try:
                async with asyncio.timeout(self._settings.install_timeout_seconds):
                    word = await copy.answer
            except TimeoutError:
                raise TimedOut(f"peer {copy.peer} has not put a copy in its place") from None
            except LinkBroken:
                await self._link_again(copy)
                continue
            if isinstance(word, Copied):
                return
            assert isinstance(word, NotCopied)
            if word.is_lost or pause_seconds >= self._settings.longest_retry_seconds:
                raise Unavailable(f"peer {copy.peer} has not taken a copy that it was given")
            await asyncio.sleep(pause_seconds)
            pause_seconds *= 2

    def _order(self, copy: OutgoingCopy) -> bool:
        """Send the order if it is still to be given; on the writer thread."""
        if not copy.is_of_now():
            return False
        order = Install(copy.id, copy.epoch, copy.applied_op, copy.applied_epoch)
        self._say_on_thread(copy.peer, copy.address, order)
        return True

    async def _link_again(self, copy: OutgoingCopy) -> None:
        """Wait for a link, while the copy is wanted, and let others copy meanwhile."""
        if not self._channel.is_connected(copy.peer):
            self._leave_place(copy)
            await self._channel.wait_connected(copy.peer, self._settings.link_timeout_seconds)
            await self._places.acquire()
            copy.has_place = True
        if not await copy.shard.run(copy.is_of_now):
            raise _NotWanted

    async def _follow(self, copy: OutgoingCopy) -> None:
        """Wait, for a bounded time, until the replica is in sync, or is to be copied again."""
        copy.stage = Stage.SYNCING
        ends_at = monotonic() + self._settings.follow_timeout_seconds
        while monotonic() < ends_at and not copy.is_asked_for:
            view = copy.shard.view
            if view is None or view.epoch != copy.epoch or view.replicas.get(copy.peer) not in CATCHING_UP:
                return
            await asyncio.sleep(FOLLOW_STEP_SECONDS)


def _settle(answer: asyncio.Future[Word] | None, word: Word) -> None:
    if answer is not None and not answer.done():
        answer.set_result(word)
