"""Two and three replicas of a shard with real logs and indexes: what a client was told holds, and all show the same."""

import asyncio
import inspect
import shutil
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from qnode.errors import InternalError, NotPrimary, NotYetApplied, OutOfSpace, Unavailable, UnknownOutcome
from qnode.index import Index
from qnode.models.field_schema import FieldSchema
from qnode.models.point_id import key_of
from qnode.models.write import Selector, SetPayloadRequest
from qnode.shards import applying, outgoing, replicating, tail, writer
from qnode.shards.delivery import forget
from qnode.shards.replication import ReplicaState
from qnode.shards.replication.failover import LogEnd
from qnode.wal import Log, Record
from tests.shards.shard_group import QUICK, Group, content, running, upsert

ACTIVE, PARTIAL, DEAD = ReplicaState.ACTIVE, ReplicaState.PARTIAL, ReplicaState.DEAD


def replicated(peers: int, **options: Any) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., None]]:
    """Run a test beside a group of so many replicas, its first parameter; pytest sees the others, and `tmp_path`."""

    def decorated(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
        parameters = list(inspect.signature(test).parameters.values())[1:]
        wants_path = "tmp_path" in (parameter.name for parameter in parameters)

        def run(tmp_path: Path, **fixtures: Any) -> None:
            async def act() -> None:
                given = fixtures | ({"tmp_path": tmp_path} if wants_path else {})
                async with asyncio.timeout(30), running(tmp_path, peers, **options) as group:
                    await test(group, **given)

            asyncio.run(act())

        own = [inspect.Parameter("tmp_path", inspect.Parameter.KEYWORD_ONLY)] * (not wants_path)
        run.__signature__ = inspect.Signature([*parameters, *own])  # type: ignore[attr-defined]
        run.__name__, run.__doc__ = test.__name__, test.__doc__
        return run

    return decorated


@replicated(3)
async def test_a_write_that_is_complete_is_shown_by_every_replica(group: Group) -> None:
    for first in range(0, 100, 10):
        op_num = await group.shard(1).submit(upsert(range(first, first + 10)))
        assert all(group.shard(peer).last_op >= op_num for peer in group.nodes)
    await group.assert_same_content()
    assert len(content(group.shard(3))) == 100


@replicated(2, settings=replace(QUICK, link_timeout_seconds=1000.0, max_pending_bytes=30_000))
async def test_writes_that_wait_for_a_replica_are_bounded_by_their_size(group: Group) -> None:
    group.cut(1, 2)
    for _ in range(2):
        taken = []
        while True:
            waiting = group.shard(1).submit(upsert([len(taken)], pad="x" * 10_000))
            await group.shard(1).run(lambda: None)
            await asyncio.sleep(0)
            if waiting.done():
                break
            taken.append(waiting)
        with pytest.raises(Unavailable, match="too many bytes of writes wait for replicas"):
            await waiting
        assert len(taken) == 3
        group.connect(1, 2)
        await asyncio.gather(*taken)
        group.cut(1, 2)


@replicated(1)
async def test_writes_that_wait_to_be_logged_are_bounded_by_their_size(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "QUEUE_BYTES", 30_000)
    shard = group.shard(1)
    for _ in range(3):
        is_stopped, may_go_on = threading.Event(), threading.Event()
        stop = asyncio.ensure_future(shard.run(lambda: (is_stopped.set(), may_go_on.wait())))  # noqa: B023
        await asyncio.to_thread(is_stopped.wait)
        taken = [shard.submit(upsert([n], pad="x" * 10_000)) for n in range(3)]
        with pytest.raises(Unavailable, match="too many bytes of writes are waiting"):
            shard.submit(upsert([4]))
        may_go_on.set()
        await stop
        await asyncio.gather(*taken)
        await shard.run(lambda: None)


@replicated(3)
async def test_a_write_without_wait_is_answered_when_it_is_in_every_log(group: Group) -> None:
    op_num = await group.shard(1).submit(upsert([1]), wait=False)
    assert group.shard(1)._driver._shard.committed_op >= op_num
    for peer in group.nodes:
        await group.shard(peer).run(lambda: None)  # `log_end` is shown at the end of the turn that logged and answered
        end = group.shard(peer).log_end
        assert end is not None
        assert end.last_op >= op_num
    await group.assert_same_content()


@replicated(2)
async def test_writes_of_many_callers_that_read_what_others_wrote_leave_replicas_alike(group: Group) -> None:
    await group.shard(1).submit(upsert(range(20)))

    async def write(caller: int) -> None:
        for step in range(10):
            if (caller + step) % 2:
                await group.shard(1).submit(upsert([caller, step], value=caller), wait=caller % 3 == 0)
            else:
                selector = Selector((key_of(caller), key_of(step)), None)
                await group.shard(1).submit(SetPayloadRequest(selector, orjson.dumps({"by": caller}), None))

    await asyncio.gather(*(write(caller) for caller in range(20)))
    await group.assert_same_content()


@replicated(2)
async def test_a_replica_takes_no_writes_of_clients(group: Group) -> None:
    with pytest.raises(NotPrimary):
        await group.shard(2).submit(upsert([1]))


@replicated(2, floor=2)
async def test_a_write_is_refused_where_too_few_replicas_are_in_sync(group: Group) -> None:
    await group.shard(1).submit(upsert([1]))
    group.set_state(2, DEAD)
    with pytest.raises(Unavailable, match="too few"):
        await group.shard(1).submit(upsert([2]))


@replicated(3)
async def test_writes_go_on_without_a_silent_replica_once_the_topology_calls_it_dead(group: Group) -> None:
    group.isolate(3)
    waiting = [group.shard(1).submit(upsert([i])) for i in range(5)]
    await asyncio.gather(*waiting)
    assert group.view.replicas == {1: ACTIVE, 2: ACTIVE, 3: DEAD}
    assert len(content(group.shard(2))) == 5
    assert content(group.shard(3)) == []


@replicated(3)
async def test_a_write_waits_while_the_topology_does_not_call_a_silent_replica_dead(group: Group) -> None:
    group.on_proposal = lambda command: False
    group.isolate(3)
    waiting = group.shard(1).submit(upsert([1]), wait=False)
    await group.until(lambda: len(group.proposals) >= 3)
    assert not waiting.done()
    group.on_proposal = lambda command: True
    await waiting
    assert group.view.replicas[3] is DEAD


@replicated(3)
async def test_a_replica_that_was_away_catches_up_from_the_log(group: Group) -> None:
    await group.shard(1).submit(upsert(range(10)))
    await group.stop(3)
    for i in range(300):
        waiting = group.shard(1).submit(upsert([i], value=2))
    await waiting
    await group.start(3)
    group.set_state(3, PARTIAL)
    await group.until_active(3)
    await group.shard(1).submit(upsert([1000]))
    await group.assert_same_content()
    assert group.copies_asked == []


@replicated(2)
async def test_records_are_sent_in_pieces_and_never_too_many_at_once(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "MESSAGE_BYTES", 3000)
    monkeypatch.setattr(outgoing, "WINDOW_BYTES", 5000)
    monkeypatch.setattr(tail, "TAIL_BYTES", 10_000)
    group.isolate(2)
    for i in range(100):
        waiting = group.shard(1).submit(upsert([i], pad="x" * (i % 10) * 300))
    await waiting
    largest = 0
    deliver = group.deliver

    def delivered(sender: int, peer: int, link: object, data: bytes) -> None:
        nonlocal largest
        largest = max(largest, len(data))
        deliver(sender, peer, link, data)

    monkeypatch.setattr(group, "deliver", delivered)
    group.rejoin(2)
    group.set_state(2, PARTIAL)
    await group.until_active(2)
    await group.shard(1).submit(upsert([200], pad="y" * 20_000))
    await group.assert_same_content()
    assert 20_000 < largest < 24_000  # one record may be larger than a message should be


@replicated(3)
async def test_a_new_primary_keeps_what_was_acknowledged(group: Group) -> None:
    answered = [group.shard(1).submit(upsert([i]), wait=i % 2 == 0) for i in range(200)]
    await asyncio.wait(answered, return_when=asyncio.FIRST_COMPLETED)
    group.isolate(1)
    group.make_primary(2)
    await group.shard(2).submit(upsert([1000]))
    kept = {point[0] for point in content(group.shard(2))}
    acknowledged = [i for i, answer in enumerate(answered) if answer.done() and answer.exception() is None]
    assert acknowledged
    assert all(key_of(i) in kept for i in acknowledged)
    group.rejoin(1)
    group.set_state(1, PARTIAL)
    outcomes = await asyncio.gather(*answered, return_exceptions=True)
    assert all(isinstance(outcome, int | UnknownOutcome | NotPrimary) for outcome in outcomes)
    kept = {point[0] for point in content(group.shard(2))}
    for i, outcome in enumerate(outcomes):
        if isinstance(outcome, int | NotYetApplied):
            assert key_of(i) in kept
        if isinstance(outcome, NotPrimary):
            assert key_of(i) not in kept
    await group.until_active(1)
    await group.assert_same_content()


@replicated(3)
async def test_a_tail_that_no_new_primary_has_is_cut_off(group: Group) -> None:
    await group.shard(1).submit(upsert([1]))
    group.isolate(1)
    lost = [group.shard(1).submit(upsert([i], value=7)) for i in range(50, 60)]
    await group.until(lambda: group.shard(1).log_end.last_op == 11)
    group.make_primary(2)
    await group.shard(2).submit(upsert([2]))
    group.rejoin(1)
    for waiting in lost:
        with pytest.raises(UnknownOutcome):
            await waiting
    group.set_state(1, PARTIAL)
    await group.until_active(1)
    await group.assert_same_content()
    assert [point[0] for point in content(group.shard(1))] == [key_of(1), key_of(2)]


@replicated(3)
async def test_replicas_that_are_opened_again_go_on_where_they_were(group: Group) -> None:
    for round_number in range(3):
        for peer in group.nodes:
            await group.shard(1).submit(upsert(range(peer, peer + 20), value=round_number))
            await group.stop(peer)
            await group.start(peer)
        await group.shard(1).submit(upsert([round_number]))
    await group.assert_same_content()
    assert group.view.epoch == 1 + 4  # each start of the primary is a new one


@replicated(2)
async def test_a_log_of_a_node_alone_is_taken_over(group: Group) -> None:
    """Its records are of epoch 0."""
    for peer in group.nodes:
        await group.stop(peer)
        with Log.open(group.nodes[peer].path / "wal") as log:
            log.reset(1, 0)
    await group.start(1)
    await group.start(2)
    await group.shard(1).submit(upsert([1]))
    await group.assert_same_content()


@replicated(2, keep_log_bytes=1)
async def test_a_replica_that_the_log_does_not_reach_any_more_is_given_a_copy(group: Group, tmp_path: Path) -> None:
    await group.shard(2).create_field_index("n", FieldSchema("integer"))
    await group.stop(2)
    for i in range(40):
        await group.shard(1).submit(upsert([i], pad="x" * 5000))
    await group.start(2)
    group.set_state(2, PARTIAL)
    await group.until(lambda: bool(group.copies_asked))
    assert group.copies_asked == [(1, 2)]
    assert [peer for peer in group.nodes if await group.awaits_copy(peer, 1)] == [2]
    applied_op, epoch = await group.copy_of(1, tmp_path / "copy")
    await group.shard(1).submit(upsert([100]))
    await group.shard(2).install(tmp_path / "copy", applied_op, epoch)
    assert group.shard(2).last_op == applied_op
    group.shard(1).copied(2, applied_op)
    await group.until_active(2)
    await group.shard(1).submit(upsert([101]))
    await group.assert_same_content()
    await group.shard(2).wait_for_fields()
    assert group.shard(2).index.fields.ready("n")
    await group.stop(2)
    await group.start(2)
    await group.assert_same_content()


@replicated(2)
async def test_a_copy_is_not_installed_in_a_replica_that_is_in_sync(group: Group, tmp_path: Path) -> None:
    await group.shard(1).submit(upsert([1]))
    applied_op, epoch = await group.copy_of(1, tmp_path / "copy")
    with pytest.raises(Unavailable, match="too late"):
        await group.shard(2).install(tmp_path / "copy", applied_op, epoch)
    await group.shard(1).submit(upsert([2]))
    await group.assert_same_content()


@pytest.mark.parametrize("moved", [0, 1, 2])
@replicated(2)
async def test_an_installation_that_was_cut_off_is_finished_at_the_next_start(
    group: Group, tmp_path: Path, moved: int
) -> None:
    await group.shard(1).submit(upsert(range(10)))
    await group.stop(2)
    await group.shard(1).submit(upsert(range(20), value=2))
    applied_op, epoch = await group.copy_of(1, tmp_path / "copy")
    path = group.nodes[2].path
    (tmp_path / "copy" / "position").write_text(f"[{applied_op},{epoch}]")
    (tmp_path / "copy").rename(path / "arrived-1")
    for part in ("store", "segments")[:moved]:
        (path / part).rename(tmp_path / f"old {part}")
        (path / "arrived-1" / part).rename(path / part)
    await group.start(2)
    assert group.shard(2).last_op == applied_op
    assert not (path / "arrived-1").exists()
    group.set_state(2, PARTIAL)
    await group.until_active(2)
    await group.assert_same_content()


@replicated(2)
async def test_committed_writes_wait_for_room_and_new_ones_are_refused_meanwhile(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicating, "APPLY_PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(applying, "RETRY_SECONDS", 0.01)
    full = group.shard(1).index
    apply = Index.apply

    def fails(index: Index, operations: Any) -> None:
        if index is full:
            raise OutOfSpace("no space left on the disk")
        apply(index, operations)

    monkeypatch.setattr(Index, "apply", fails)
    with pytest.raises(NotYetApplied) as told:
        await group.shard(1).submit(upsert([1]))
    assert told.value.op_num == 1
    with pytest.raises(OutOfSpace):
        await group.shard(1).submit(upsert([2]))
    monkeypatch.setattr(Index, "apply", apply)
    await group.until(lambda: group.shard(1).last_op == 1)
    await group.shard(1).submit(upsert([3]))
    await group.assert_same_content()
    assert [point[0] for point in content(group.shard(2))] == [key_of(1), key_of(3)]


@replicated(2)
async def test_a_log_without_room_refuses_writes_that_are_nowhere_then(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    await group.shard(1).submit(upsert([1]))
    append = Log.append

    def fails(log: Log, records: Any) -> None:
        raise OutOfSpace("no space left on the disk")

    monkeypatch.setattr(Log, "append", fails)
    with pytest.raises(OutOfSpace):
        await group.shard(1).submit(upsert([2]))
    monkeypatch.setattr(Log, "append", append)
    assert await group.shard(1).submit(upsert([3])) == 2
    await group.assert_same_content()


@replicated(2)
async def test_a_replica_that_broke_down_is_taken_out_and_tells_of_no_log(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = group.shard(2).index
    apply = Index.apply

    def fails(index: Index, operations: Any) -> None:
        if index is broken:
            raise ValueError("a mistake")
        apply(index, operations)

    monkeypatch.setattr(Index, "apply", fails)
    await group.shard(1).submit(upsert([1]))
    assert group.view.replicas[2] is DEAD
    assert group.shard(2).log_end is None
    with pytest.raises(InternalError, match="a mistake"):
        await group.shard(2).submit(upsert([2]))


@replicated(3)
async def test_replicas_agree_after_links_were_cut_under_load(group: Group) -> None:
    stopped = False

    async def write(caller: int) -> list[int]:
        written = []
        for step in range(1_000_000):
            if stopped:
                break
            await group.shard(1).submit(upsert([caller * 10_000 + step]), wait=step % 2 == 0)
            written.append(caller * 10_000 + step)
        return written

    writers = [asyncio.create_task(write(caller)) for caller in range(5)]
    for peer in (2, 3, 2, 3):
        before = group.shard(1).last_op
        group.cut(1, peer)
        await group.until(lambda before=before: group.shard(1).last_op > before + 20)
        group.connect(1, peer)
        if group.view.replicas[peer] is DEAD:
            group.set_state(peer, PARTIAL)
        await group.until_active(peer)
    stopped = True
    written = [i for part in await asyncio.gather(*writers) for i in part]
    await group.assert_same_content()
    assert {point[0] for point in content(group.shard(2))} == {key_of(i) for i in written}


@replicated(2)
async def test_a_write_that_reads_points_is_held_until_it_sees_what_is_before_it(group: Group) -> None:
    group.on_proposal = lambda command: False
    group.isolate(2)
    first = group.shard(1).submit(upsert([1]))
    selector = Selector((key_of(1),), None)
    second = group.shard(1).submit(SetPayloadRequest(selector, orjson.dumps({"seen": True}), None))
    third = group.shard(1).submit(upsert([2]))
    assert await group.shard(1).run(lambda: 42) == 42  # what keeps the shard in order is not held up
    await group.until(lambda: group.shard(1).log_end == LogEnd(group.view.epoch, 1))
    assert group.shard(1).queue_length == 2
    group.on_proposal = lambda command: True
    assert await asyncio.gather(first, second, third) == [1, 2, 3]


@replicated(2)
async def test_an_idle_shard_sets_no_alarm(group: Group) -> None:
    await group.shard(1).submit(upsert([1]))
    await group.shard(1).wait_for_fields()
    await group.shard(2).wait_for_fields()
    await group.assert_same_content()
    assert group.shard(1)._writer._patience() is None
    assert group.shard(2)._writer._patience() is None


@replicated(2)
async def test_closing_tells_who_waits_for_other_replicas_what_is_known(group: Group) -> None:
    group.on_proposal = lambda command: False
    group.isolate(2)
    logged = group.shard(1).submit(upsert([1]))
    held = group.shard(1).submit(SetPayloadRequest(Selector((key_of(1),), None), b"{}", None))
    await group.until(lambda: group.shard(1).log_end.last_op == 1)
    await group.stop(1)
    with pytest.raises(UnknownOutcome):
        await logged
    with pytest.raises(Unavailable):
        await held


@replicated(2)
async def test_a_primary_whose_log_fails_says_that_the_outcome_is_not_known(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = group.shard(1)._driver._log
    sync = Log.sync

    def fails(failing: Log) -> None:
        if failing is log:
            raise InternalError("the disk has gone")
        sync(failing)

    monkeypatch.setattr(Log, "sync", fails)
    with pytest.raises(UnknownOutcome, match="the disk has gone"):
        await group.shard(1).submit(upsert([1]))
    assert group.shard(1).log_end is None
    group.make_primary(2)
    await group.shard(2).submit(upsert([2]))
    assert key_of(2) in [point[0] for point in content(group.shard(2))]


@replicated(2)
async def test_a_copy_heals_a_replica_that_broke_down(
    group: Group, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = group.shard(2).index
    apply = Index.apply

    def fails(index: Index, operations: Any) -> None:
        if index is broken:
            raise ValueError("a mistake")
        apply(index, operations)

    monkeypatch.setattr(Index, "apply", fails)
    await group.shard(1).submit(upsert([1]))
    assert group.shard(2).fault is not None
    assert group.view.replicas[2] is DEAD  # so the write was completed without it
    group.set_state(2, PARTIAL)
    await group.until(lambda: group.copies_asked == [(1, 2)])
    applied_op, epoch = await group.copy_of(1, tmp_path / "copy")
    await group.shard(2).install(tmp_path / "copy", applied_op, epoch)
    assert group.shard(2).fault is None
    group.shard(1).copied(2, applied_op)
    await group.until_active(2)
    await group.shard(1).submit(upsert([3]))
    await group.assert_same_content()


@pytest.mark.parametrize("writes", [0, 5])
@replicated(2)
async def test_a_primary_that_has_lost_its_files_does_not_take_those_of_others_along(group: Group, writes: int) -> None:
    await asyncio.gather(*(group.shard(1).submit(upsert([i])) for i in range(3)))
    held = content(group.shard(2))
    await group.stop(1)
    shutil.rmtree(group.nodes[1].path)
    await group.start(1, linked=False)
    for i in range(writes):
        group.shard(1).submit(upsert([100 + i])).add_done_callback(forget)
    group.connect(1, 2)
    await group.until(lambda: group.shard(1).fault is not None)
    assert "has lost" in str(group.shard(1).fault)
    assert group.view.replicas == {1: ACTIVE, 2: ACTIVE}
    group.make_primary(2)
    assert content(group.shard(2)) == held
    await group.shard(2).submit(upsert([50]))


@replicated(2)
async def test_a_shard_that_breaks_down_still_takes_the_views_of_the_same_turn(group: Group, tmp_path: Path) -> None:
    await group.shard(1).submit(upsert([1]))
    go_on = threading.Event()
    held = asyncio.create_task(group.shard(2).run(go_on.wait))
    await asyncio.sleep(0)
    group.shard(2).follow(replace(group.view, primary=2, epoch=0))  # no topology says this: the shard breaks down
    group.set_state(2, DEAD)
    group.set_state(2, PARTIAL)
    go_on.set()
    await held
    await group.until(lambda: group.copies_asked == [(1, 2)])
    assert group.shard(2).fault is not None
    await group.copy_to(2, tmp_path / "copy")
    await group.until_active(2)
    await group.assert_same_content()


@replicated(2, keep_log_bytes=1)
async def test_a_payload_index_that_is_made_behind_a_copy_is_made_in_the_copy(group: Group, tmp_path: Path) -> None:
    await group.stop(2)
    for i in range(40):
        await group.shard(1).submit(upsert([i], pad="x" * 5000))
    await group.start(2)
    group.set_state(2, PARTIAL)
    await group.until(lambda: bool(group.copies_asked))
    applied_op, epoch = await group.copy_of(1, tmp_path / "copy")
    go_on = threading.Event()
    held = asyncio.create_task(group.shard(2).run(go_on.wait))
    await asyncio.sleep(0)
    while group.shard(2).queue_length:  # noqa: ASYNC110 - until the thread waits
        await asyncio.sleep(0)
    installed = asyncio.create_task(group.shard(2).install(tmp_path / "copy", applied_op, epoch))
    while group.shard(2).queue_length < 1:  # noqa: ASYNC110 - until the installation is queued
        await asyncio.sleep(0)
    made = asyncio.create_task(group.shard(2).create_field_index("n", FieldSchema("integer")))
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(held, installed, made)
    await group.shard(2).wait_for_fields()
    assert group.shard(2).index.fields.ready("n")


@replicated(2)
async def test_a_primary_in_an_epoch_that_its_log_has_passed_takes_no_writes(group: Group) -> None:
    await group.stop(1)
    with Log.open(group.nodes[1].path / "wal") as log:
        log.append([Record(1000, log.next_op, b"")])
    await group.start(1)
    await group.until(lambda: group.shard(1).fault is not None)
    assert "set back" in str(group.shard(1).fault)
