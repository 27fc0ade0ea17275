"""Shards of several nodes over real channels: they replicate, are asked, and are copied where the log does not help."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from qnode.channel import Unreached
from qnode.errors import BadRequest, NotFound, Unavailable
from qnode.shards.copying import Offer, Stage, encode_offer, encode_opening
from qnode.shards.peer_frames import Install, NotCopied, decode_frame, encode_frame
from qnode.shards.replication import ReplicaState
from qnode.shards.replication.failover import LogEnd
from qnode.shards.replication.messages import Append, Appended, Reason, Refused, decode, encode
from qnode.shards.topics import Topic
from tests.channel.peers import TIMEOUT_SECONDS, introduce
from tests.shards.linked_group import ADDRESS, FOLDER, NUMBER, SETTINGS, End, LinkedGroup, linked
from tests.shards.shard_group import content, upsert

SMALL_LOG_BYTES = 1 << 10
PAD = "x" * 2000


def run(directory: Path, peers: int, act: Callable[[LinkedGroup], Awaitable[None]], **options: object) -> None:
    async def running() -> None:
        async with asyncio.timeout(40), linked(directory, peers, **options) as group:  # type: ignore[arg-type]
            await act(group)

    asyncio.run(running())


async def write(group: LinkedGroup, first: int, count: int) -> None:
    """Write more than a small log keeps, one operation for each point."""
    await asyncio.gather(*(group.shard(1).submit(upsert([n], pad=PAD)) for n in range(first, first + count)))


async def fall_behind(group: LinkedGroup, peer: int) -> None:
    """Let a node miss more than the log keeps, and start it again."""
    await write(group, 0, 50)
    await group.stop(peer)
    for first in range(0, 400, 50):
        await write(group, first, 50)
    await group.start(peer)


def test_a_complete_write_is_shown_by_every_node(tmp_path: Path) -> None:
    async def act(group: LinkedGroup) -> None:
        for first in range(0, 100, 10):
            op_num = await group.shard(1).submit(upsert(range(first, first + 10)))
            assert all(group.shard(peer).last_op >= op_num for peer in group.nodes)
        await group.assert_same_content()
        assert len(content(group.shard(3))) == 100

    run(tmp_path, 3, act)


def test_peers_tell_where_their_logs_end_and_leave_out_what_they_do_not_hold(tmp_path: Path) -> None:
    async def act(group: LinkedGroup) -> None:
        op_num = await group.shard(1).submit(upsert([1]))
        replicas = group.nodes[1].replicas
        asked = [ADDRESS, (FOLDER, 99), ("other", NUMBER)]
        for peer in (1, 2):
            assert await replicas.log_ends(peer, asked) == {ADDRESS: LogEnd(group.view.epoch, op_num)}
        with pytest.raises(Unreached):
            await replicas.log_ends(9, asked)
        with pytest.raises(BadRequest):
            await group.nodes[1].end.channel.call(2, Topic.LOG_ENDS, b"{}x", TIMEOUT_SECONDS)

    run(tmp_path, 2, act)


def test_a_write_goes_on_after_a_link_broke_and_came_up_again(tmp_path: Path) -> None:
    async def act(group: LinkedGroup) -> None:
        for n in range(20):
            group.break_link(1 + n % 2, 2 - n % 2)
            await group.shard(1).submit(upsert([n]))
            await group.until_active(1) if group.view.replicas[2] is ReplicaState.ACTIVE else None
            if group.view.replicas[2] is ReplicaState.DEAD:
                group.set_state(2, ReplicaState.PARTIAL)
                await group.until_active(2)
        await group.assert_same_content()

    run(tmp_path, 2, act)


def test_a_shard_that_is_not_here_says_so_to_who_sends_it_something(tmp_path: Path) -> None:
    async def act(group: LinkedGroup) -> None:
        heard: list[tuple[object, object]] = []
        asker = await End(9).listen()

        def note(peer: int, data: bytes) -> None:
            frame = decode_frame(data)
            assert isinstance(frame.content, bytes)
            heard.append((frame.address, decode(frame.content)))
            asker.changed.set()

        asker.channel.on_message(Topic.REPLICATION, note)
        asker.channel.set_peer(1, group.nodes[1].end.uri)
        await asker.channel.wait_connected(1, TIMEOUT_SECONDS)
        for message in (Append(5, 7, 4, 7), Appended(5, 7, 7, 9)):  # an answer is for nobody any more
            asker.channel.send(1, Topic.REPLICATION, encode_frame(("gone", 1), encode(message)))
        asker.channel.send(1, Topic.REPLICATION, encode_frame(ADDRESS, encode(Append(0, 0, 0, 0))))
        await asker.until(lambda: len(heard) == 2)
        assert heard[0] == (("gone", 1), Refused(5, Reason.NOT_HERE, 7, 0, 0, 0, 0))
        address, answer = heard[1]
        assert address == ADDRESS
        assert isinstance(answer, Refused)
        assert answer.reason is Reason.STALE_EPOCH
        asker.channel.remove_peer(1)
        await asker.channel.close()

    run(tmp_path, 1, act)


def test_a_shard_that_is_added_later_is_found(tmp_path: Path) -> None:
    async def act(group: LinkedGroup) -> None:
        group.nodes[2].replicas.remove(FOLDER, NUMBER)
        waiting = group.shard(1).submit(upsert([1]))
        await group.until(lambda: group.shard(1).log_end == LogEnd(group.view.epoch, 1))
        group.nodes[2].replicas.add(FOLDER, NUMBER, group.shard(2))
        await waiting
        assert group.view.replicas[2] is ReplicaState.ACTIVE
        await group.assert_same_content()

    run(tmp_path, 2, act)


def test_a_message_that_is_too_large_breaks_the_link(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def act(group: LinkedGroup) -> None:
        node = group.nodes[1]
        around = node.replicas.surroundings(FOLDER, NUMBER)
        around.send(2, bytes(node.end.channel.max_message_bytes + 1))
        await node.end.until(lambda: node.end.events == ["up", "down", "up"])
        assert "cannot be sent" in caplog.text
        await group.shard(1).submit(upsert([1]))

    run(tmp_path, 2, act)


def test_a_write_that_could_not_be_sent_is_refused_and_the_next_is_taken(tmp_path: Path) -> None:
    async def act(group: LinkedGroup) -> None:
        pad = "x" * group.nodes[1].replicas.max_record_bytes
        with pytest.raises(BadRequest, match="too large"):
            await group.shard(1).submit(upsert([1], pad=pad))
        await group.shard(1).submit(upsert([2]))
        assert group.nodes[1].end.events == ["up"]

    run(tmp_path, 2, act)


def test_what_no_shard_can_read_harms_nothing(tmp_path: Path) -> None:
    async def act(group: LinkedGroup) -> None:
        for data in (b"", b"\x01", b"\x09\x00\x00\x00\x00\x00", encode_frame(ADDRESS, b"junk")):
            group.nodes[1].end.channel.send(2, Topic.REPLICATION, data)
        await group.shard(1).submit(upsert([1]))
        await group.assert_same_content()
        assert group.nodes[1].end.events == ["up"]

    run(tmp_path, 2, act)


def test_a_replica_that_the_log_cannot_help_is_copied_and_joins(tmp_path: Path) -> None:
    async def act(group: LinkedGroup) -> None:
        await fall_behind(group, 3)
        await group.until_active(3)
        await write(group, 1000, 10)
        await group.assert_same_content()
        stages = [progress.stage for progress in group.seen if progress.peer == 3]
        assert {Stage.CREATING, Stage.TRANSFERRING} & set(stages)
        assert all(0 <= progress.done_bytes <= progress.total_bytes for progress in group.seen)
        await group.until_tidy()

    run(tmp_path, 3, act, keep_log_bytes=SMALL_LOG_BYTES)


def test_writes_go_on_beside_a_slow_copy_and_the_log_is_kept_for_it(tmp_path: Path) -> None:
    async def act(group: LinkedGroup) -> None:
        await fall_behind(group, 2)
        copies: set[float] = set()
        first = 10_000
        while group.view.replicas[2] is not ReplicaState.ACTIVE:
            await write(group, first, 20)
            first += 20
            copies |= {progress.total_bytes for progress in group.nodes[1].replicas.copies(*ADDRESS)}
        assert first > 10_400
        assert len(copies - {0}) == 1
        await group.assert_same_content()
        await group.until_tidy()

    slow = replace(SETTINGS, bytes_per_second=2 << 20)
    run(tmp_path, 2, act, keep_log_bytes=SMALL_LOG_BYTES, copy_settings=slow)


def test_a_copy_goes_on_where_a_broken_link_has_stopped_it(tmp_path: Path) -> None:
    async def act(group: LinkedGroup) -> None:
        await fall_behind(group, 2)
        done: list[int] = []
        for _ in range(2):
            least = max(done, default=0)

            def has_gone_on(least: int = least) -> bool:
                incoming = [p for p in group.nodes[2].replicas.copies(*ADDRESS) if p.stage is Stage.DOWNLOADING]
                done.extend(progress.done_bytes for progress in incoming)
                return max(done, default=0) > least

            await group.until(has_gone_on)
            group.break_link(1, 2)
        await group.until_active(2)
        assert done == sorted(done)
        assert len({progress.total_bytes for progress in group.seen if progress.total_bytes}) == 1
        await group.assert_same_content()
        await group.until_tidy()

    slow = replace(SETTINGS, bytes_per_second=4 << 20)
    run(tmp_path, 2, act, keep_log_bytes=SMALL_LOG_BYTES, copy_settings=slow)


def test_a_copy_whose_link_is_broken_keeps_no_place_from_another(tmp_path: Path) -> None:
    async def act(group: LinkedGroup) -> None:
        await fall_behind(group, 2)
        await group.until(lambda: any(p.stage is Stage.TRANSFERRING for p in group.nodes[1].replicas.copies(*ADDRESS)))
        for one, other in ((1, 2), (2, 1)):
            group.nodes[one].end.channel.remove_peer(other)
        await group.nodes[1].end.until(lambda: not group.nodes[1].end.channel.is_connected(2))
        await group.stop(3)
        for first in range(1000, 1400, 50):
            await write(group, first, 50)
        await group.nodes[3].listen()
        introduce([group.nodes[1].end, group.nodes[3].end])
        await group.nodes[3].open()
        group.set_state(3, ReplicaState.PARTIAL)
        await group.until_active(3)
        assert group.view.replicas[2] is not ReplicaState.ACTIVE
        introduce([group.nodes[1].end, group.nodes[2].end])
        await group.until_active(2)
        await group.assert_same_content()

    one = replace(SETTINGS, most_outgoing=1, bytes_per_second=4 << 20)
    run(tmp_path, 3, act, keep_log_bytes=SMALL_LOG_BYTES, copy_settings=one)


def test_a_copy_that_is_not_wanted_is_not_taken(tmp_path: Path) -> None:
    async def act(group: LinkedGroup) -> None:
        copy, channel = secrets.token_bytes(16), group.nodes[1].end.channel
        for epoch in (group.view.epoch, group.view.epoch + 1):
            offer = encode_offer(Offer(ADDRESS, copy, epoch, ()))
            with pytest.raises(BadRequest):
                await channel.call(2, Topic.COPY_OFFER, offer, TIMEOUT_SECONDS)
            await group.shard(1).submit(upsert([1]))
        held = await group.nodes[1].replicas.log_ends(2, [ADDRESS])
        async with channel.open_stream(2, Topic.COPY, encode_opening(ADDRESS, copy, 0)) as stream:
            with pytest.raises(NotFound):
                await stream.finish(TIMEOUT_SECONDS)
        order = encode_frame(ADDRESS, Install(copy, group.view.epoch, 1, 1))
        assert channel.send(2, Topic.REPLICATION, order)
        await group.shard(1).submit(upsert([2]))
        assert (await group.nodes[1].replicas.log_ends(2, [ADDRESS]))[ADDRESS] > held[ADDRESS]

    run(tmp_path, 2, act)


def test_a_shard_that_goes_ends_its_copies(tmp_path: Path) -> None:
    async def act(group: LinkedGroup) -> None:
        await fall_behind(group, 2)
        await group.until(lambda: bool(group.nodes[2].replicas.copies(*ADDRESS)))
        group.nodes[1].replicas.remove(FOLDER, NUMBER)
        group.nodes[2].replicas.remove(FOLDER, NUMBER)
        await group.until(lambda: not group.nodes[1].replicas.copies(*ADDRESS))
        assert group.nodes[2].replicas.copies(*ADDRESS) == []
        await group.until_tidy()

    slow = replace(SETTINGS, bytes_per_second=1 << 20)
    run(tmp_path, 2, act, keep_log_bytes=SMALL_LOG_BYTES, copy_settings=slow)


def test_what_an_earlier_process_left_of_copies_is_removed(tmp_path: Path) -> None:
    beside = tmp_path / "1" / FOLDER
    for name in ("3.outgoing-00ff", "3.incoming-00ff"):
        (beside / name / "store").mkdir(parents=True)
    (beside / "33.incoming-00ff").mkdir()

    async def act(group: LinkedGroup) -> None:
        await group.until(lambda: {path.name for path in beside.iterdir()} == {"3", "33.incoming-00ff"})

    run(tmp_path, 1, act)


def test_nobody_is_told_of_a_copy_that_nobody_ordered(tmp_path: Path) -> None:
    async def act(group: LinkedGroup) -> None:
        data = encode_frame(ADDRESS, NotCopied(secrets.token_bytes(16), is_lost=True))
        group.nodes[2].end.channel.send(1, Topic.REPLICATION, data)
        await group.shard(1).submit(upsert([1]))
        with pytest.raises(Unavailable):
            await group.nodes[1].replicas.log_ends(7, [])

    run(tmp_path, 2, act)
