"""The topology of a cluster of one, on a real journal."""

import asyncio
from pathlib import Path

import pytest

from qnode.errors import BadRequest, NotFound
from qnode.models.topology import Topology
from qnode.models.topology_commands import AddPeer, Batch, CreateCollection, DropAlias, PutMetadata, SetAlias
from qnode.raft import ClusterLog, ConsensusSettings, NoLeader, Timing, stored_topology
from qnode.raft.topology import Reason, UnknownCommand, apply_command

FAST = ConsensusSettings(Timing(0.02, 0.1, 0.2, 0.3, 0.3), 0.01, compact_after=5)


class NoLinks:
    def send(self, peer: int, message: bytes) -> None:
        raise AssertionError("there is nobody else")


def opened(folder: Path, initial: Topology | None = None, *, found: bool = True) -> ClusterLog:
    ended.clear()
    return ClusterLog(
        folder, 1, NoLinks(), lambda topology, config: ((1,),), ended.append,
        found=found, initial=initial, settings=FAST,
    )  # fmt: skip


ended: list[BaseException | None] = []


def test_what_was_answered_is_in_the_topology_here_and_after_reopening(tmp_path: Path) -> None:
    async def claim() -> None:
        log = opened(tmp_path)
        assert await log.propose(AddPeer(1, "http://n1", "word")) is None
        assert await log.create("c", {"x": 1})
        assert not await log.create("c", {"x": 2})
        assert await log.update("c", {"x": 1}, {"x": 3})
        assert await log.set_field("c", "f", "keyword")
        await log.change_aliases([SetAlias("a", "c")])
        assert (log.current.collections["c"].config, log.current.collections["c"].fields) == (
            {"x": 3},
            {"f": "keyword"},
        )
        assert log.current.aliases == {"a": "c"}
        with pytest.raises(NotFound, match="Collection `no such` doesn't exist!"):
            await log.change_aliases([SetAlias("b", "no such")])
        known = log.current
        log.close()
        await log.wait_closed()
        assert stored_topology(tmp_path) == known
        again = opened(tmp_path)
        assert again.current == known
        assert await again.delete("c")
        again.close()

    asyncio.run(claim())


def test_what_a_node_held_alone_is_the_beginning_and_lasts(tmp_path: Path) -> None:
    async def claim() -> None:
        alone, _ = apply_command(Topology(), CreateCollection("c", {}, ((0,),)))
        log = opened(tmp_path, alone)
        await log.propose(AddPeer(1, "http://n1", "word"))
        assert log.current.collections["c"].shards[0].primary == 1
        log.close()
        await log.wait_closed()
        again = opened(tmp_path)
        assert again.current.collections["c"].shards[0].primary == 1
        again.close()

    asyncio.run(claim())


def test_subscribers_have_been_told_when_the_proposer_goes_on(tmp_path: Path) -> None:
    async def claim() -> None:
        log = opened(tmp_path)
        seen: list[Topology] = []
        log.subscribe(lambda: seen.append(log.current))
        await log.propose(AddPeer(1, "http://n1", "word"))
        assert seen[-1] is log.current
        await asyncio.gather(*(log.propose(PutMetadata(f"k{number}", number)) for number in range(20)))
        assert seen[-1] is log.current
        assert len(log.current.metadata) == 20
        log.close()

    asyncio.run(claim())


def test_subscribers_hear_of_changes_behind_one_that_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ArithmeticError

    async def claim() -> None:
        log = opened(tmp_path)
        seen: list[Topology] = []
        log.subscribe(fail)
        log.subscribe(lambda: seen.append(log.current))
        await log.propose(AddPeer(1, "http://n1", "word"))
        assert seen == [log.current]
        log.close()

    asyncio.run(claim())
    assert "could not follow" in caplog.text


def test_a_batch_tells_of_its_first_rejection_and_does_the_rest(tmp_path: Path) -> None:
    async def claim() -> None:
        log = opened(tmp_path)
        await log.propose(AddPeer(1, "http://n1", "word"))
        rejected = await log.propose(Batch((CreateCollection("c", {}, ((9,),)), PutMetadata("k", 1))))
        assert rejected is not None
        assert (rejected.reason, rejected.text) == (Reason.REFUSED, "Peer 9 does not exist")
        assert log.current.metadata == {"k": 1}
        log.close()

    asyncio.run(claim())


def test_a_proposer_that_is_cancelled_leaves_its_command_on_its_way(tmp_path: Path) -> None:
    async def claim() -> None:
        log = opened(tmp_path)
        await log.propose(AddPeer(1, "http://n1", "word"))
        seen = asyncio.Event()
        log.subscribe(seen.set)
        proposer = asyncio.create_task(log.propose(PutMetadata("k", 1)))
        await asyncio.sleep(0)
        proposer.cancel()
        async with asyncio.timeout(10):
            await seen.wait()
        assert log.current.metadata == {"k": 1}
        log.close()

    asyncio.run(claim())


def test_a_command_that_is_too_large_is_refused_before_anybody_hears_of_it(tmp_path: Path) -> None:
    async def claim() -> None:
        log = opened(tmp_path)
        with pytest.raises(BadRequest, match="at most 61439 are possible"):
            await log.propose(PutMetadata("k", "x" * 70_000))
        log.close()

    asyncio.run(claim())


def test_a_peer_that_nobody_added_can_decide_nothing(tmp_path: Path) -> None:
    async def claim() -> None:
        log = opened(tmp_path, found=False)
        with pytest.raises(NoLeader, match=r"leader is not established within 0\.2s"):
            await log.propose(PutMetadata("k", 1), 0.2)
        assert log.current == Topology()
        log.close()

    asyncio.run(claim())


def test_a_command_of_a_later_version_ends_this_peers_part(tmp_path: Path) -> None:
    async def claim() -> None:
        log = opened(tmp_path)
        with pytest.raises(Exception, match="not a command"):
            await log.consensus.propose(b'[1, {"c": "from the future"}]', 5.0)
        (error,) = ended
        assert isinstance(error, UnknownCommand)
        assert not log.consensus.is_leader
        with pytest.raises(NoLeader):
            await log.change_aliases([DropAlias("x")])
        log.close()

    asyncio.run(claim())


def test_a_stopped_members_topology_is_read_without_what_was_not_decided(tmp_path: Path) -> None:
    async def claim() -> None:
        log = opened(tmp_path)
        await log.propose(AddPeer(1, "http://n1", "word"))
        for number in range(17):
            await log.propose(PutMetadata(f"k{number}", number))
            known = log.current
        log.close()
        await log.wait_closed()
        assert stored_topology(tmp_path) == known

    asyncio.run(claim())
