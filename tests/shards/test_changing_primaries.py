"""Primaries of real shards that give way: in order, or because their disk is not well."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from qnode.errors import NotPrimary, OutOfSpace, UnknownOutcome
from qnode.shards.replication import ReplicaState
from tests.shards.shard_group import Group, content, running, upsert
from tests.support.unwell_disk import UnwellDisk

PATIENT, IMPATIENT = 1000.0, 0.0


def run(directory: Path, act: Callable[[Group], Awaitable[None]]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(30), running(directory, 3) as group:
            await act(group)

    asyncio.run(in_time())


async def on_an_unwell_disk(group: Group) -> UnwellDisk:
    """Open the primary anew on a disk that can be made unwell."""
    await group.stop(1)
    disk = group.nodes[1].disk = UnwellDisk()
    await group.start(1)
    await group.shard(1).submit(upsert([0]))
    return disk


def test_a_primary_that_hands_over_leaves_no_writer_in_doubt(tmp_path: Path) -> None:
    """Each write is answered when all have it, or was certainly not taken and may be sent to the next primary."""

    async def act(group: Group) -> None:
        epoch = group.view.epoch
        early = [group.shard(1).submit(upsert([n]), wait=n % 2 == 0) for n in range(20)]
        await group.shard(1).run(lambda: None)
        queued = [group.shard(1).submit(upsert([n])) for n in range(20, 40)]
        group.shard(1).hand_over((2, 3), 5.0)
        late = group.shard(1).submit(upsert([40]))
        answers = await asyncio.gather(*early, *queued, late, return_exceptions=True)
        refused = [n for n, answer in enumerate(answers) if isinstance(answer, NotPrimary)]
        taken = [answer for answer in answers if isinstance(answer, int)]
        assert len(refused) + len(taken) == 41
        assert sorted(taken) == list(range(1, len(taken) + 1))
        assert 40 in refused
        await group.until(lambda: group.view.primary == 2)
        assert group.view.epoch == epoch + 1
        assert group.view.active == {1, 2, 3}
        await asyncio.gather(*(group.shard(2).submit(upsert([n])) for n in refused))
        await group.assert_same_content()
        assert len(content(group.shard(3))) == 41

    run(tmp_path, act)


def test_a_primary_whose_heirs_have_no_link_goes_on(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        group.cut(1, 3)
        group.shard(1).hand_over((3,), 5.0)
        await group.shard(1).submit(upsert([1]))
        assert group.view.primary == 1

    run(tmp_path, act)


def test_a_disk_that_does_not_return_is_seen_from_outside_and_nothing_is_lost_when_another_follows(
    tmp_path: Path,
) -> None:
    async def act(group: Group) -> None:
        disk = await on_an_unwell_disk(group)
        disk.hang()
        hung = group.shard(1).submit(upsert([1]))
        await asyncio.to_thread(disk.met.wait)
        assert group.shard(1).ailment(PATIENT) is None
        assert group.shard(1).ailment(IMPATIENT) == "its disk does not answer"
        assert group.shard(1).log_end is not None
        group.make_primary(2)
        await group.shard(2).submit(upsert([2]))
        disk.go_on()
        with pytest.raises(UnknownOutcome):
            await hung
        group.set_state(1, ReplicaState.PARTIAL)
        await group.until_active(1)
        assert group.shard(1).ailment(IMPATIENT) is None
        await group.assert_same_content()

    run(tmp_path, act)


def test_a_disk_that_is_full_counts_from_the_first_write_that_it_refused_to_the_last(tmp_path: Path) -> None:
    async def act(group: Group) -> None:
        disk = await on_an_unwell_disk(group)
        disk.is_full = True
        with pytest.raises(OutOfSpace):
            await group.shard(1).submit(upsert([1]))
        assert group.shard(1).ailment(PATIENT) is None
        assert group.shard(1).ailment(IMPATIENT) == "its disk is full"
        disk.is_full = False
        await group.shard(1).submit(upsert([1]))
        assert group.shard(1).ailment(IMPATIENT) is None
        await group.assert_same_content()

    run(tmp_path, act)
