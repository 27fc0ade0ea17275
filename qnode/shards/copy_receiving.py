"""The replica's end of copies: their files arrive beside the shard, are checked, and take its place when the primary
says so.

What arrives is written where a listing says, which names files of an index only; each file is checked and synced when
it is whole. After a broken link the sender goes on where it stopped. The order to put a copy in place comes with the
Appends: it is obeyed in the epoch of the copy only, and only while this node's own topology does not call the replica
Active. Until that is done, all that arrives for the shard waits, so that no state of it answers for another.

Lives on the event loop; files are written in threads.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

import xxhash

from qnode.channel import IncomingStream
from qnode.disk import NewFile, fault_of, make_directory, sync_directory
from qnode.errors import BadRequest, InternalError, NotFound, QnodeError, Unavailable
from qnode.shards.copying import (
    PIECE_BYTES,
    CopyProgress,
    Offer,
    Stage,
    decode_offer,
    decode_opening,
    discard,
    incoming_folder,
    to_its_end,
)
from qnode.shards.local_shard import LocalShard
from qnode.shards.peer_frames import Address, Copied, Install, NotCopied, Word
from qnode.shards.replication.view import CATCHING_UP

_log = logging.getLogger(__name__)


class IncomingCopy:
    """The files of one copy, as far as they have arrived. One thread at a time writes."""

    def __init__(self, sender: int, offer: Offer, folder: Path) -> None:
        self.sender = sender
        self.offer = offer
        self.folder = folder
        self.began_at = monotonic()
        self.received_bytes = 0
        self.is_complete = False
        self.is_given_up = False
        self.writing = asyncio.Lock()
        self._at = 0
        self._file: NewFile | None = None
        self._left_bytes = 0
        self._digest = xxhash.xxh3_64()

    def write(self, data: bytes | bytearray) -> None:
        """Write what comes next; blocks. Raise OutOfSpace, or InternalError where it is not what the listing says."""
        if self.is_given_up:
            raise NotFound("the copy was given up")
        try:
            rest = memoryview(data)
            while rest and not self.is_complete:
                piece = rest[: self._open_next()]
                assert self._file is not None
                self._file.write(piece)
                self._digest.update(piece)
                self._left_bytes -= len(piece)
                self.received_bytes += len(piece)
                rest = rest[len(piece) :]
                self._finish_files()
        except OSError as error:
            raise fault_of(error, f"the copy {self.folder} could not be written") from error
        if rest:
            raise BadRequest("a copy is longer than its listing says")

    def give_up(self) -> None:
        """Remove what has arrived; blocks."""
        self.is_given_up = True
        if self._file is not None:
            self._file.drop()
        discard(self.folder)

    def _open_next(self) -> int:
        """Have the file open that bytes belong to, and tell how many."""
        if self._file is None:
            file = self.offer.files[self._at]
            path = self.folder / file.path
            make_directory(path.parent)
            self._file, self._left_bytes = NewFile(path), file.size_bytes
            self._digest.reset()
        return self._left_bytes

    def _finish_files(self) -> None:
        """Close the file that is whole, and make those behind it that are empty."""
        while self._file is not None and self._left_bytes == 0:
            file = self.offer.files[self._at]
            if self._digest.hexdigest() != file.xxh3:
                raise InternalError(f"{file.path} has arrived damaged")
            self._file.finish()
            self._file = None
            self._at += 1
            if self._at == len(self.offer.files):
                self._finish()
            elif self.offer.files[self._at].size_bytes == 0:
                self._open_next()

    def _finish(self) -> None:
        for folder in sorted({(self.folder / file.path).parent for file in self.offer.files}):
            sync_directory(folder)
        for folder in (self.folder / "segments", self.folder, self.folder.parent):
            make_directory(folder)
            sync_directory(folder)
        self.is_complete = True


class IncomingCopies:
    """The copies that arrive at this node, one for a shard at most."""

    def __init__(
        self,
        me: int,
        shards: Mapping[Address, LocalShard],
        say: Callable[[int, Address, Word], None],
        deliver: Callable[[int, Address, bytes], None],
    ) -> None:
        """say: send a word to a peer, behind what the shard has sent it. deliver: give the shard a message of a peer."""
        self._me = me
        self._shards = shards
        self._say = say
        self._deliver = deliver
        self._copies: dict[Address, IncomingCopy] = {}
        self._installing: dict[Address, tuple[IncomingCopy, deque[tuple[int, bytes]]]] = {}
        self._installed: dict[Address, Copied] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def progress(self, address: Address) -> list[CopyProgress]:
        """Tell of the copy that arrives for a shard."""
        installing = self._installing.get(address)
        copy = self._copies.get(address) if installing is None else installing[0]
        if copy is None:
            return []
        stage = Stage.DOWNLOADING if installing is None else Stage.RESTORING
        seconds = monotonic() - copy.began_at
        return [CopyProgress(address, copy.sender, stage, copy.received_bytes, copy.offer.total_bytes, seconds)]

    async def offered(self, peer: int, payload: bytes) -> bytes:
        """Answer how much of a copy has arrived already; raise Unavailable where it is not wanted (yet)."""
        offer = decode_offer(payload)
        shard = self._shards.get(offer.address)
        if self._is_closed or shard is None or not self._obeys(shard, peer, offer.epoch):
            raise Unavailable(f"peer {self._me} does not take a copy of this shard in epoch {offer.epoch} now")
        copy = self._copies.get(offer.address)
        if copy is None or copy.sender != peer or copy.offer != offer:
            if copy is not None:
                self._give_up(offer.address)
            copy = IncomingCopy(peer, offer, incoming_folder(shard.path, offer.copy))
            self._copies[offer.address] = copy
        async with copy.writing:  # what a broken stream has left to be written
            return str(copy.received_bytes).encode()

    async def arrives(self, peer: int, header: bytes, stream: IncomingStream) -> bytes:
        """Write a copy's bytes as they come. Cancelled when the link breaks: what has been written stays."""
        address, copy_id, position = decode_opening(header)
        copy = self._copies.get(address)
        if copy is None or (copy.sender, copy.offer.copy) != (peer, copy_id):
            raise NotFound("this copy was not offered, or was given up")
        async with copy.writing:
            if position != copy.received_bytes:
                raise BadRequest(f"a copy goes on at {copy.received_bytes}, not at {position}")
            try:
                await self._write(copy, stream)
            except QnodeError:
                if self._copies.get(address) is copy:
                    self._give_up(address)
                raise
        return b""

    def order(self, peer: int, address: Address, order: Install) -> None:
        """Put a copy in the place of the shard, as its primary says; tell it what became of that."""
        done = self._installed.get(address)
        shard, copy = self._shards.get(address), self._copies.get(address)
        if done is not None and done.copy == order.copy:
            self._say(peer, address, done)
        elif shard is None or copy is None or copy.offer.copy != order.copy or not copy.is_complete:
            is_under_way = address in self._installing and self._installing[address][0].offer.copy == order.copy
            if not is_under_way:
                self._say(peer, address, NotCopied(order.copy, is_lost=True))
        elif address in self._installing or not self._obeys(shard, peer, order.epoch):
            self._say(peer, address, NotCopied(order.copy, is_lost=False))
        else:
            del self._copies[address]
            self._installing[address] = (copy, deque())
            self._begin(self._install(shard, peer, address, order, copy))

    def holds_back(self, peer: int, address: Address, message: bytes) -> bool:
        """Take a message that must wait until a copy is in its place; False if it need not."""
        if (installing := self._installing.get(address)) is None:
            return False
        installing[1].append((peer, message))
        return True

    def followed(self, address: Address) -> None:
        """Give up what arrives for a shard that needs it no more, as its newest view says: it is in sync, or held no more."""
        shard, copy = self._shards.get(address), self._copies.get(address)
        view = None if shard is None else shard.view
        if copy is not None and view is not None and view.replicas.get(self._me) not in CATCHING_UP:
            self._give_up(address)

    def link_broke(self, peer: int) -> None:
        """Forget what waits of a peer's messages: with their link they are lost, and it will send anew."""
        for _, waiting in self._installing.values():
            kept = [(sender, message) for sender, message in waiting if sender != peer]
            waiting.clear()
            waiting.extend(kept)

    def forget(self, address: Address) -> None:
        """Give up what arrives for a shard that goes; an installation goes on to its end."""
        self._installed.pop(address, None)
        if address in self._copies:
            self._give_up(address)

    async def close(self) -> None:
        """Give up all that arrives, take nothing more, and wait for installations."""
        self._is_closed = True
        for address in list(self._copies):
            self._give_up(address)
        await asyncio.gather(*self._tasks)

    def _obeys(self, shard: LocalShard, peer: int, epoch: int) -> bool:
        view = shard.view
        return view is not None and (view.primary, view.epoch) == (peer, epoch) and self._me not in view.active

    async def _write(self, copy: IncomingCopy, stream: IncomingStream) -> None:
        waiting = bytearray()
        async for piece in stream:
            waiting += piece
            if len(waiting) >= PIECE_BYTES:
                await to_its_end(asyncio.to_thread(copy.write, waiting))
                waiting = bytearray()
        await to_its_end(asyncio.to_thread(copy.write, waiting))
        if not copy.is_complete:
            raise BadRequest("a copy has ended before its end")

    async def _install(
        self, shard: LocalShard, peer: int, address: Address, order: Install, copy: IncomingCopy
    ) -> None:
        word: Word = NotCopied(order.copy, is_lost=True)
        try:
            await shard.install(copy.folder, order.applied_op, order.applied_epoch, epoch=order.epoch)
            word = Copied(order.copy, order.applied_op)
        except QnodeError as error:
            _log.warning("a copy of %s from peer %d was not put in place: %s", shard.path, peer, error)
        except Exception:
            _log.exception("a copy of %s from peer %d could not be put in place", shard.path, peer)
        _, waiting = self._installing.pop(address)
        if self._shards.get(address) is shard:
            if isinstance(word, Copied):
                self._installed[address] = word
            self._say(peer, address, word)
            for sender, message in waiting:
                self._deliver(sender, address, message)
        await self._remove(copy)

    def _give_up(self, address: Address) -> None:
        self._begin(self._remove(self._copies.pop(address)))

    async def _remove(self, copy: IncomingCopy) -> None:
        async with copy.writing:
            try:
                await asyncio.to_thread(copy.give_up)
            except QnodeError as error:
                _log.warning("%s was not removed: %s", copy.folder, error)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
