"""What arrives for a shard is checked, and takes its place only when that is right."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from qnode.errors import InternalError, Unavailable
from qnode.index.copying import files_of_copy, hold
from qnode.shards.copy_receiving import IncomingCopies, IncomingCopy
from qnode.shards.copying import Offer, encode_offer
from qnode.shards.local_shard import LocalShard
from qnode.shards.peer_frames import Address, Copied, Install, NotCopied, Word
from qnode.shards.replication import ReplicaState
from tests.shards.shard_group import Group, content, running, upsert

ADDRESS: Address = ("c", 0)


class Receiving:
    """The incoming copies of peer 2, whose replica is behind, and a copy of peer 1's shard to bring."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.said: list[tuple[int, Word]] = []
        self.delivered: list[bytes] = []
        self.changed = asyncio.Event()
        shards: dict[Address, LocalShard] = {ADDRESS: group.shard(2)}
        self.copies = IncomingCopies(2, shards, self._say, lambda peer, address, data: self.delivered.append(data))

    def _say(self, peer: int, address: Address, word: Word) -> None:
        self.said.append((peer, word))
        self.changed.set()

    async def bring(self, folder: Path) -> Install:
        """Offer a copy of peer 1's shard to peer 2 and write it; give the order that installs it."""
        shard = self.group.shard(1)
        with closing(await shard.run(lambda: hold(shard.index))) as held:
            await asyncio.to_thread(held.write, folder)
        epoch = await shard.run(shard.applied_epoch)
        offer = Offer(ADDRESS, secrets.token_bytes(16), self.group.view.epoch, tuple(files_of_copy(folder)))
        assert await self.copies.offered(1, encode_offer(offer)) == b"0"
        copy = self.copies._copies[ADDRESS]
        for file in offer.files:
            copy.write((folder / file.path).read_bytes())
        assert copy.is_complete
        assert await self.copies.offered(1, encode_offer(offer)) == str(offer.total_bytes).encode()
        return Install(offer.copy, offer.epoch, held.applied_op, epoch)

    async def word(self) -> Word:
        while not self.said:
            self.changed.clear()
            await self.changed.wait()
        peer, word = self.said.pop(0)
        assert peer == 1
        return word


def run(directory: Path, act: Callable[[Receiving], Awaitable[None]]) -> None:
    async def receiving() -> None:
        async with asyncio.timeout(30), running(directory, 2) as group:
            await group.shard(1).submit(upsert(range(50)))
            group.set_state(2, ReplicaState.DEAD)
            await group.shard(1).submit(upsert(range(100), value=2))
            group.set_state(2, ReplicaState.DEAD)
            received = Receiving(group)
            await act(received)
            await received.copies.close()

    asyncio.run(receiving())


def test_a_copy_takes_the_place_of_a_shard_and_what_arrives_meanwhile_waits(tmp_path: Path) -> None:
    async def act(receiving: Receiving) -> None:
        order = await receiving.bring(tmp_path / "copy")
        receiving.copies.order(1, ADDRESS, order)
        assert receiving.copies.holds_back(1, ADDRESS, b"first")
        assert receiving.copies.holds_back(7, ADDRESS, b"lost with its link")
        assert receiving.copies.holds_back(1, ADDRESS, b"second")
        assert not receiving.copies.holds_back(1, ("c", 1), b"of another shard")
        receiving.copies.link_broke(7)
        assert receiving.delivered == []
        assert await receiving.word() == Copied(order.copy, order.applied_op)
        await asyncio.sleep(0)
        assert receiving.delivered == [b"first", b"second"]
        assert content(receiving.group.shard(2)) == content(receiving.group.shard(1))
        receiving.copies.order(1, ADDRESS, order)  # its answer may have been lost
        assert await receiving.word() == Copied(order.copy, order.applied_op)

    run(tmp_path, act)


def test_an_order_of_another_epoch_changes_nothing(tmp_path: Path) -> None:
    async def act(receiving: Receiving) -> None:
        order = await receiving.bring(tmp_path / "copy")
        before = content(receiving.group.shard(2))
        for wrong in (replace(order, epoch=order.epoch + 1), replace(order, epoch=order.epoch - 1)):
            receiving.copies.order(1, ADDRESS, wrong)
            assert await receiving.word() == NotCopied(order.copy, is_lost=False)
        receiving.copies.order(7, ADDRESS, order)
        assert receiving.said.pop() == (7, NotCopied(order.copy, is_lost=False))
        assert content(receiving.group.shard(2)) == before

    run(tmp_path, act)


def test_an_epoch_that_passes_before_the_copy_is_in_place_stops_it(tmp_path: Path) -> None:
    async def act(receiving: Receiving) -> None:
        order = await receiving.bring(tmp_path / "copy")
        before = content(receiving.group.shard(2))
        receiving.copies.order(1, ADDRESS, order)
        shard = receiving.group.shard(2)
        assert shard.view is not None
        shard.follow(replace(shard.view, epoch=order.epoch + 1, revision=shard.view.revision + 1))
        assert await receiving.word() == NotCopied(order.copy, is_lost=True)
        assert content(receiving.group.shard(2)) == before

    run(tmp_path, act)


@pytest.mark.parametrize("state", [ReplicaState.ACTIVE, ReplicaState.DEAD])
def test_a_copy_that_is_needed_no_more_leaves_nothing(tmp_path: Path, state: ReplicaState) -> None:
    async def act(receiving: Receiving) -> None:
        order = await receiving.bring(tmp_path / "copy")
        shard = receiving.group.shard(2)
        receiving.group.set_state(2, ReplicaState.PARTIAL)
        receiving.copies.followed(ADDRESS)
        assert receiving.copies.progress(ADDRESS)
        receiving.group.set_state(2, state)
        receiving.copies.followed(ADDRESS)
        assert not receiving.copies.progress(ADDRESS)
        receiving.copies.order(1, ADDRESS, order)
        assert await receiving.word() == NotCopied(order.copy, is_lost=True)
        await receiving.copies.close()
        assert not [path for path in shard.path.parent.iterdir() if "incoming" in path.name]

    run(tmp_path, act)


def test_nothing_arrives_after_the_end(tmp_path: Path) -> None:
    async def act(receiving: Receiving) -> None:
        await receiving.copies.close()
        with pytest.raises(Unavailable):
            await receiving.bring(tmp_path / "copy")

    run(tmp_path, act)


def test_a_file_that_arrives_damaged_is_not_taken(tmp_path: Path) -> None:
    async def act(receiving: Receiving) -> None:
        folder = tmp_path / "copy"
        await receiving.bring(folder)
        files = tuple(files_of_copy(folder))
        copy = IncomingCopy(1, Offer(ADDRESS, secrets.token_bytes(16), 1, files), tmp_path / "damaged")
        data = bytearray((folder / files[0].path).read_bytes())
        data[len(data) // 2] ^= 1
        with pytest.raises(InternalError, match="damaged"):
            copy.write(data)
        assert not copy.is_complete
        copy.give_up()
        assert not (tmp_path / "damaged").exists()

    run(tmp_path, act)
